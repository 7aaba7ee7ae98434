import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { limits } from '../base/limits.ts'
import { createCheckpointer } from './checkpointer.ts'
import { connectSqliteStore, startSqliteWriter } from './sqlite.ts'
import { collection } from './store.ts'

const folder = mkdtempSync(join(tmpdir(), 'muster-checkpoint-'))
afterAll(() => rmSync(folder, { recursive: true }))

const things = collection<{ readonly text: string }>('things')
const schema = { collections: [things], queues: [] }

test('the log is copied into the file long before a commit would have to do it, and nothing is lost', async () => {
  const file = join(folder, 'store.db')
  const writer = await startSqliteWriter({ file, schema, windowMs: 0 })
  const store = await connectSqliteStore({ file, schema, port: writer.connect() })
  const size = () => statSync(file).size
  const empty = size()
  const count = limits.storeCheckpointRows + 100
  for (let n = 0; n < count; n += 100)
    await store.commit({
      put: Array.from({ length: 100 }, (_, at) => ({ collection: things, id: `t${n + at}`, value: { text: 'x' } })),
    })
  await expect.poll(size, { timeout: 15_000 }).toBeGreaterThan(empty)
  expect(statSync(`${file}-wal`).size).toBeLessThan(limits.storeLogPages * 4096)
  expect(await store.count(things)).toBe(count)
  await store.commit({ put: [{ collection: things, id: 'last', value: { text: 'y' } }] })
  await store.close()
  await writer.close()
  const again = await startSqliteWriter({ file, schema, windowMs: 0 })
  const reopened = await connectSqliteStore({ file, schema, port: again.connect() })
  expect(await reopened.count(things)).toBe(count + 1)
  await reopened.close()
  await again.close()
})

test('a thread that ends is told of, and the next round makes another', async () => {
  const results: string[] = []
  const checkpointer = createCheckpointer(join(folder, 'no-such-folder', 'store.db'), (result) => results.push(result))
  for (const rounds of [1, 2]) {
    checkpointer.wrote(limits.storeCheckpointRows)
    await expect.poll(() => results.length, { timeout: 15_000 }).toBe(rounds)
  }
  expect(results).toEqual(['failed', 'failed'])
  await checkpointer.close()
})

test('a round that copied is told of', async () => {
  const file = join(folder, 'copied.db')
  const writer = await startSqliteWriter({ file, schema, windowMs: 0 })
  const results: string[] = []
  const checkpointer = createCheckpointer(file, (result) => results.push(result))
  checkpointer.wrote(limits.storeCheckpointRows)
  await expect.poll(() => results, { timeout: 15_000 }).toEqual(['copied'])
  await checkpointer.close()
  await writer.close()
})
