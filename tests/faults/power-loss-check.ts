import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { type Commit, collection, queue, type Schema, type Store } from '../../src/store/store.ts'

/** What a caller writes at each step: the step, and enough around it to fill pages. */
interface Written {
  readonly step: number
  readonly padding: string
}

const documents = collection<Written>('documents', { step: '$.step' })
const work = queue<{ readonly step: number }>('work')
export const powerLossSchema: Schema = { collections: [documents], queues: [work] }

export const CALLERS = 8
export const TRIM_EVERY = 50
/** Entries that stay when a log is trimmed at a step. */
const KEPT = 20

export const trimmedAt = (step: number): number => step - KEPT

export function changeOf(caller: number, step: number): Commit {
  const value = { step, padding: String(step).repeat(300) }
  return {
    expect: step === 1 ? [{ in: documents, id: `first-${caller}`, version: 0 }] : [],
    put: [
      { collection: documents, id: `first-${caller}`, value },
      { collection: documents, id: `second-${caller}`, value },
      ...(step % 2 === 1 ? [{ collection: documents, id: `odd-${caller}`, value }] : []),
    ],
    delete: step % 2 === 0 ? [{ in: documents, id: `odd-${caller}` }] : [],
    append: [{ log: `log-${caller}`, time: step, value: Buffer.from(value.padding) }],
    enqueue: [{ queue: work, id: `item-${caller}`, dueAt: step, value: { step } }],
  }
}

/** The last step of a caller that the store knows; 0 for none. */
export async function stepOf(store: Store, caller: number): Promise<number> {
  return (await store.get(documents, `first-${caller}`))?.value.step ?? 0
}

/** The last acknowledged step of each caller, from the lines that the load wrote. A last line may be torn. */
export function acknowledged(lines: string): readonly number[] {
  const last = Array.from({ length: CALLERS }, () => 0)
  for (const line of lines.split('\n').slice(0, -1)) {
    const [caller = '', step = ''] = line.split(' ')
    last[Number(caller)] = Number(step)
  }
  return last
}

/**
 * Opens the store in `folder` and throws unless every acknowledged step is there, and of each caller either the whole
 * of its next step or nothing. Ends with a commit: a store that survived must also work.
 */
export async function verify(folder: string, acks: readonly number[]): Promise<void> {
  const file = join(folder, 'store.db')
  const store = await openSqliteStore({ file, schema: powerLossSchema, windowMs: 0 })
  try {
    for (const [caller, acked] of acks.entries()) await verifyCaller(store, caller, acked)
    await store.commit({ put: [{ collection: documents, id: 'after', value: { step: -1, padding: '' } }] })
  } finally {
    await store.close()
  }
  const db = new DatabaseSync(file, { readOnly: true })
  const rows = db.prepare('PRAGMA integrity_check').all()
  db.close()
  same('integrity', rows.map((row) => row['integrity_check']).join('; '), 'ok')
}

async function verifyCaller(store: Store, caller: number, acked: number): Promise<void> {
  const step = await stepOf(store, caller)
  if (step !== acked && step !== acked + 1)
    throw new Error(`Caller ${caller}: step ${acked} was acknowledged, step ${step} is in the store.`)
  const { put = [] } = changeOf(caller, step)
  const found = await store.getMany(documents, [`first-${caller}`, `second-${caller}`, `odd-${caller}`])
  const expected = [0, 1, 2].map((at) => (step === 0 ? undefined : put[at]?.value))
  same(`documents of ${caller}`, JSON.stringify(found.map((each) => each?.value)), JSON.stringify(expected))
  const indexed = await store.scan(documents, { index: 'step', equals: step, limit: 100 })
  for (const each of found)
    if (each !== undefined && !indexed.items.some(({ id }) => id === each.id))
      throw new Error(`${each.id} is not in its index.`)
  const items = (await store.due(work, Number.MAX_SAFE_INTEGER, 100)).filter(({ id }) => id === `item-${caller}`)
  same(
    `items of ${caller}`,
    items.map(({ dueAt, value }) => `${dueAt}/${value.step}`).join(),
    step === 0 ? '' : `${step}/${step}`,
  )
  await verifyLog(store, `log-${caller}`, step)
}

async function verifyLog(store: Store, log: string, step: number): Promise<void> {
  const { first, next } = await store.bounds(log)
  same(`end of ${log}`, next, step)
  const lastTrim = Math.floor(step / TRIM_EVERY) * TRIM_EVERY
  const beginnings = [lastTrim, lastTrim - TRIM_EVERY].map((at) => (at > 0 ? trimmedAt(at) : 0))
  if (!beginnings.includes(first)) throw new Error(`${log} begins at ${first}, expected one of ${beginnings}.`)
  const entries = await store.read(log, 0, 1000)
  same(`entries of ${log}`, entries.length, next - first)
  for (const [at, { position, value }] of entries.entries()) {
    same(`position in ${log}`, position, first + at)
    same(`entry ${position} of ${log}`, String(value), String(position + 1).repeat(300))
  }
}

function same(what: string, found: unknown, expected: unknown): void {
  if (found !== expected)
    throw new Error(`${what}: expected ${String(expected).slice(0, 200)}, found ${String(found).slice(0, 200)}.`)
}
