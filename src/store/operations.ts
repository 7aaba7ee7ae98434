import { limits } from '../base/limits.ts'
import { type Catalog, type Member, memberOf, type Table } from './catalog.ts'
import type { Commit, CommitResult, Lease } from './store.ts'

/**
 * What a writer is asked to do, and what it answers. Tuples of strings and numbers, documents already JSON text: this
 * is what costs least to carry to another thread (1.6 us a commit, against 3.2 us for named members).
 */
export type Operation =
  | readonly [
      kind: 'commit',
      expect: readonly (readonly [table: string, id: string, version: number])[],
      put: readonly (readonly [table: string, id: string, json: string])[],
      remove: readonly (readonly [table: string, id: string])[],
      append: readonly (readonly [log: string, time: number, value: Uint8Array])[],
      enqueue: readonly (readonly [table: string, id: string, dueAt: number, json: string])[],
    ]
  | readonly [kind: 'trim', log: string, position: number]
  | readonly [kind: 'lease', name: string, holder: string, now: number, until: number]
  | readonly [kind: 'release', name: string, holder: string]

export type Outcome =
  /** Versions are given out one after the other: first to the puts, then to the enqueued items. */
  | readonly [kind: 'done', firstVersion: number, positions: readonly number[]]
  /** [place in `expect`, version found] */
  | readonly [kind: 'conflict', found: readonly (readonly [at: number, version: number])[]]
  | readonly [kind: 'lease', lease: Lease | undefined]
  /** This one cannot be written, others of its group were. */
  | readonly [kind: 'refused', reason: string]
  /** Nothing can be written now. */
  | readonly [kind: 'failed', reason: string]

/** How much work an operation is: its rows, and one more for every 4 KiB of a value. */
export function weightOf(operation: Operation): number {
  if (operation[0] !== 'commit') return 1
  const [, , put, remove, append, enqueue] = operation
  let weight = 1 + put.length + remove.length + append.length + enqueue.length
  for (const [, , json] of put) weight += json.length >> 12
  for (const [, , value] of append) weight += value.byteLength >> 12
  for (const [, , , json] of enqueue) weight += json.length >> 12
  return weight
}

/** Turns commits into operations, in the caller's thread, and refuses what no writer could take. */
export function createEncoder({ find }: Catalog): (change: Commit) => Operation {
  return ({ expect = [], put = [], delete: remove = [], append = [], enqueue = [] }) => {
    requireBatch(expect.length + put.length + remove.length + append.length + enqueue.length)
    const operation: Operation = [
      'commit',
      expect.map(({ in: of, id, version }) => [find(of).name, soundId(id), version] as const),
      put.map(({ collection, id, value }) => documentOf(find(collection), id, value)),
      remove.map(({ in: of, id }) => [find(of).name, soundId(id)] as const),
      append.map(({ log, time, value }) => [soundId(log), wholeNumber('time', time), soundBytes(log, value)] as const),
      enqueue.map(({ queue, id, dueAt, value }) => itemOf(find(queue), id, dueAt, value)),
    ]
    requireOnce(operation)
    return operation
  }
}

function documentOf(table: Table, id: string, value: unknown): readonly [string, string, string] {
  if (table.kind !== 'collection') throw new TypeError(`${table.label} is a queue: use enqueue.`)
  const json = jsonOf(`${table.label}/${id}`, value)
  for (const [index, member] of table.indexes) requireIndexable(table, index, member, value)
  return [table.name, soundId(id), json]
}

function itemOf(table: Table, id: string, dueAt: number, value: unknown): readonly [string, string, number, string] {
  if (table.kind !== 'queue') throw new TypeError(`${table.label} is a collection: use put.`)
  return [table.name, soundId(id), wholeNumber('dueAt', dueAt), jsonOf(`${table.label}/${id}`, value)]
}

/** The answer of the port, from the writer's. */
export function commitResult({ expect = [], put = [], enqueue = [] }: Commit, outcome: Outcome): CommitResult {
  if (outcome[0] === 'done') {
    const [, first, positions] = outcome
    return {
      ok: true,
      versions: put.map((_, at) => first + at),
      positions,
      queued: enqueue.map((_, at) => first + put.length + at),
    }
  }
  if (outcome[0] !== 'conflict') throw new Error(`The writer answered a commit with ${outcome[0]}.`)
  return {
    ok: false,
    conflicts: outcome[1].map(([at, version]) => {
      const { in: of, id } = expect[at]!
      return { in: of, id, version }
    }),
  }
}

const requireBatch = (parts: number): void => {
  if (parts > limits.storeBatch)
    throw new RangeError(
      `A commit has at most ${limits.storeBatch} expectations, puts, deletes, appends and enqueues, found ${parts}. Split it.`,
    )
}

/** Ids, names of logs and leases: what every store can hold as text and compare byte by byte. */
export function soundId(id: string): string {
  if (id.length > 0 && id.length <= limits.storeIdLength && id.isWellFormed() && !id.includes('\0')) return id
  throw new RangeError(
    `An id must be well-formed text without NUL, of 1 to ${limits.storeIdLength} characters, found ${id.length}.`,
  )
}

export function wholeNumber(name: string, value: number): number {
  if (Number.isSafeInteger(value)) return value
  throw new RangeError(`${name} must be a whole number, found ${value}.`)
}

const soundBytes = (log: string, value: Uint8Array): Uint8Array => {
  if (value.byteLength > limits.storeValueBytes) throw tooLarge(`An entry of ${log}`, value.byteLength)
  return value
}

function jsonOf(what: string, value: unknown): string {
  const json = JSON.stringify(value) as string | undefined
  if (json === undefined) throw new TypeError(`${what} must be a JSON value, found ${typeof value}.`)
  // UTF-8 takes at most three bytes for one UTF-16 unit, so most documents need not be measured.
  if (json.length * 3 > limits.storeValueBytes) {
    const bytes = Buffer.byteLength(json)
    if (bytes > limits.storeValueBytes) throw tooLarge(what, bytes)
  }
  return json
}

const tooLarge = (what: string, bytes: number): RangeError =>
  new RangeError(`${what} has ${bytes} bytes; the store takes at most ${limits.storeValueBytes}.`)

/**
 * An indexed member is absent, null, a string, or a number that is the same in JSON, SQL and JavaScript; anything else
 * would be found in one kind of store and not in another.
 */
function requireIndexable(table: Table, index: string, member: Member, document: unknown): void {
  const value = memberOf(member, document)
  if (value === undefined || value === null) return
  if (typeof value === 'string' && value.isWellFormed()) return
  if (typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER) return
  throw new TypeError(
    `The index ${index} of ${table.label} needs well-formed text or a number up to 2^53 at ${member.path}, found ${typeof value}.`,
  )
}

/** One commit writes a document or item once: what twice would mean differs between stores. */
function requireOnce([, , put, remove, , enqueue]: Extract<Operation, { 0: 'commit' }>): void {
  if (put.length + remove.length + enqueue.length < 2) return
  const seen = new Map<string, Set<string>>()
  for (const [table, id] of [...put, ...remove, ...enqueue]) {
    const ids = seen.get(table) ?? new Set()
    if (ids.has(id)) throw new RangeError(`One commit may write ${table.slice(2)}/${id} only once.`)
    seen.set(table, ids.add(id))
  }
}
