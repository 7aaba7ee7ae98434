import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../../tests/support/folders.ts'
import { limits } from '../base/limits.ts'
import { connectSqliteStore, openSqliteStore, startSqliteWriter } from './sqlite.ts'
import { storeContract } from './store.contract.ts'
import { type CommitResult, collection, type Schema, type Store } from './store.ts'

const notes = collection<unknown>('notes')
const schema: Schema = { collections: [notes], queues: [] }
const note = (id: string, value: unknown = id) => ({ collection: notes, id, value })
const file = () => join(temporaryFolder(), 'store.db')

async function opened(path: string, declared: Schema = schema): Promise<Store> {
  const store = await openSqliteStore({ file: path, schema: declared, windowMs: 0 })
  onTestFinished(() => store.close())
  return store
}

async function started(path: string, declared: Schema = schema) {
  const writer = await startSqliteWriter({ file: path, schema: declared, windowMs: 2 })
  onTestFinished(() => writer.close())
  return writer
}

async function connected(path: string, port: MessagePort, declared: Schema = schema): Promise<Store> {
  const store = await connectSqliteStore({ file: path, schema: declared, port })
  onTestFinished(() => store.close())
  return store
}

type MessagePort = Parameters<typeof connectSqliteStore>[0]['port']

storeContract('SQLite, writer in this thread', (declared) => opened(file(), declared))

storeContract('SQLite, writer thread', async (declared) => {
  const path = file()
  const writer = await started(path, declared)
  return connected(path, writer.connect(), declared)
})

test('a store opened again has everything and counts on from where it was', async () => {
  const path = file()
  const first = await openSqliteStore({ file: path, schema, windowMs: 0 })
  const before = await first.commit({ put: [note('a')], append: [{ log: 'l', time: 5, value: Buffer.from('x') }] })
  const lease = await first.lease('l', 'me', 1000, 500)
  await first.close()
  const second = await opened(path)
  expect((await second.get(notes, 'a'))?.version).toBe(before.ok && before.versions[0])
  const after = await second.commit({ put: [note('b')], append: [{ log: 'l', time: 4, value: Buffer.from('y') }] })
  expect(after).toMatchObject({ versions: [lease!.fence + 1], positions: [1] })
  expect(await second.leaseOf('l')).toEqual(lease)
  expect(await second.seek('l', 5)).toBe(0)
})

test('handles of one writer thread see what any of them was answered', async () => {
  const path = file()
  const writer = await started(path)
  const [one, other] = [await connected(path, writer.connect()), await connected(path, writer.connect())]
  for (let step = 0; step < 50; step++) {
    const [from, to] = step % 2 === 0 ? [one, other] : [other, one]
    await from.commit({ put: [note('a', step)] })
    expect((await to.get(notes, 'a'))?.value).toBe(step)
  }
})

test('a handle may live in another thread', async () => {
  const path = file()
  const writer = await started(path)
  const port = writer.connect()
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.module).then(async ({ connectSqliteStore }) => {
      const store = await connectSqliteStore(workerData)
      const collection = workerData.schema.collections[0]
      const result = await store.commit({ put: [{ collection, id: 'there', value: 'from another thread' }] })
      await store.close()
      parentPort.postMessage(result)
    })`
  const workerData = { module: new URL('./sqlite.ts', import.meta.url).href, file: path, schema, port }
  const thread = new Worker(code, { eval: true, workerData, transferList: [port] })
  const result = await new Promise((resolve, reject) => thread.once('message', resolve).once('error', reject))
  expect(result).toMatchObject({ ok: true })
  const here = await connected(path, writer.connect())
  expect((await here.get(notes, 'there'))?.value).toBe('from another thread')
})

test('two writers on one file agree on versions and positions', async () => {
  const path = file()
  const stores = [await opened(path), await opened(path)]
  const results: CommitResult[] = []
  for (let round = 0; round < 20; round++)
    results.push(
      ...(await Promise.all(
        stores.flatMap((store) =>
          // One round with documents alone: a position taken twice would be noticed by the file, a version would not.
          ['a', 'b'].map((id) =>
            store.commit({
              put: [note(id)],
              append: round % 2 === 0 ? [] : [{ log: 'l', time: 1, value: Buffer.from('x') }],
            }),
          ),
        ),
      )),
    )
  const all = (of: 'versions' | 'positions') =>
    results.flatMap((each) => (each.ok ? each[of] : [])).toSorted((a, b) => a - b)
  expect(all('versions')).toEqual(Array.from({ length: 80 }, (_, at) => at + 1))
  expect(all('positions')).toEqual(Array.from({ length: 40 }, (_, at) => at))
})

test('a commit sent when the writer thread has been closed is refused, and so is one after', async () => {
  const path = file()
  const writer = await startSqliteWriter({ file: path, schema, windowMs: 2 })
  const store = await connected(path, writer.connect())
  const early = store.commit({ put: [note('a')] })
  const settled = await Promise.allSettled([early, writer.close(), store.commit({ put: [note('b')] })])
  expect(settled[1]?.status).toBe('fulfilled')
  await expect(store.commit({ put: [note('c')] })).rejects.toMatchObject({ code: 503001 })
  // Whatever was answered is there.
  const again = await opened(path)
  for (const [at, id] of [
    [0, 'a'],
    [2, 'b'],
  ] as const)
    if (settled[at]!.status === 'fulfilled') expect(await again.get(notes, id)).toBeDefined()
})

test('when the writer thread dies, its owner is told and who waits gets 503001', async () => {
  const path = file()
  const writer = await startSqliteWriter({ file: path, schema, windowMs: 2 })
  const store = await connected(path, writer.connect())
  await store.commit({ put: [note('a')] })
  writer.connect().postMessage(null) // not a list of operations
  await expect(writer.failed).resolves.toBeInstanceOf(Error)
  await expect(store.commit({ put: [note('b')] })).rejects.toMatchObject({ code: 503001 })
  expect((await store.get(notes, 'a'))?.value).toBe('a')
  await writer.close()
})

test('a file that cannot be read is told so; nothing is said of changes', async () => {
  const path = file()
  const store = await opened(path)
  await store.commit({ put: [note('a')] })
  const other = new DatabaseSync(path)
  other.exec('DROP TABLE c_notes')
  other.close()
  const told = { code: 503001, message: 'The data store cannot be read. Try again later.' }
  await expect(store.get(notes, 'a')).rejects.toMatchObject(told)
})

test('a writer thread that cannot open its file says why', async () => {
  const options = { file: join(temporaryFolder(), 'no-such-folder', 'store.db'), schema, windowMs: 2 }
  await expect(startSqliteWriter(options)).rejects.toThrow(/no-such-folder/)
})

test('more waiting rows than the limit are refused as busy, and what waited is written', async () => {
  const path = file()
  const store = await opened(path)
  const value = 'x'.repeat(limits.storeValueBytes / 2)
  const weight = value.length / 4096
  const many = Array.from({ length: Math.ceil(limits.storeWaiting / weight) + 1 }, (_, at) =>
    store.commit({ put: [note(`n${at % 4}`, value)] }),
  )
  const results = await Promise.allSettled(many)
  const refused = results.filter((each) => each.status === 'rejected')
  expect(refused.length).toBeGreaterThan(0)
  expect(results.slice(0, 100).every((each) => each.status === 'fulfilled')).toBe(true)
  expect(refused[0]?.reason).toMatchObject({ code: 503005, retryAfter: 1 })
  expect(await store.commit({ put: [note('later')] })).toMatchObject({ ok: true })
})
