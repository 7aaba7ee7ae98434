/**
 * The program that loses power: callers that change a store all the time, each writing a line to `acks` when a commit
 * was answered. `node power-loss-load.ts <folder> <in-thread|writer-thread> <commits a caller>`
 *
 * Step n of a caller puts two documents and a work item and appends to a log, all in one commit, so that whoever finds
 * one must find all; some steps trim the log. It goes on where the files in the folder end, and closes and opens the
 * store in the middle. `verify` (power-loss-check.ts) knows what must be there.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { connectSqliteStore, openSqliteStore, startSqliteWriter } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { CALLERS, changeOf, powerLossSchema as schema, stepOf, TRIM_EVERY, trimmedAt } from './power-loss-check.ts'

const [folder = '', kind = '', commits = ''] = process.argv.slice(2)
const file = join(folder, 'store.db')
const acks = openSync(join(folder, 'acks'), 'a')

async function open(): Promise<{ store: Store; close(): Promise<void> }> {
  if (kind === 'in-thread') {
    const store = await openSqliteStore({ file, schema, windowMs: 0 })
    return { store, close: () => store.close() }
  }
  const writer = await startSqliteWriter({ file, schema, windowMs: 2 })
  const store = await connectSqliteStore({ file, schema, port: writer.connect() })
  return { store, close: () => store.close().then(writer.close) }
}

async function call(store: Store, caller: number, count: number): Promise<void> {
  let step = await stepOf(store, caller)
  if (step > 0) acknowledge(`${caller} ${step}\n`) // what was read is promised too
  for (const end = step + count; step < end; step++) {
    const { ok } = await store.commit(changeOf(caller, step + 1))
    if (!ok) throw new Error('There is nothing to conflict with.')
    acknowledge(`${caller} ${step + 1}\n`)
    if ((step + 1) % TRIM_EVERY === 0) await store.trim(`log-${caller}`, trimmedAt(step + 1))
  }
}

function acknowledge(line: string): void {
  writeSync(acks, line)
  process.stdout.write(line)
}

for (const _half of [1, 2]) {
  const { store, close } = await open()
  await Promise.all(Array.from({ length: CALLERS }, (_, caller) => call(store, caller, Math.ceil(Number(commits) / 2))))
  await close()
}
closeSync(acks)
