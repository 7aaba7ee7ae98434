/**
 * The store port: versions, order, atomicity, no rules. It is one message deep: `commit` is all or nothing, and no
 * callback ever runs inside a transaction, so the same port is one statement batch on PostgreSQL and one message to
 * the writer thread on SQLite. Every adapter runs `store.contract.ts`.
 */

/**
 * A declared collection of JSON documents. Index name -> JSON path of a string or number member (`$.a.b`, `$.a[0]`);
 * documents where it is absent or null are not in the index.
 */
export interface Collection<T> {
  readonly name: string
  readonly indexes: Readonly<Record<string, string>>
  /** Only carries the document type; never present. */
  readonly _type?: T
}

export const collection = <T>(name: string, indexes: Readonly<Record<string, string>> = {}): Collection<T> => ({
  name,
  indexes,
})

/** A declared queue of due work; each item is processed at least once. */
export interface Queue<T> {
  readonly name: string
  readonly _type?: T
}

export const queue = <T>(name: string): Queue<T> => ({ name })

export interface Schema {
  readonly collections: readonly Collection<unknown>[]
  readonly queues: readonly Queue<unknown>[]
}

/** Versions grow over the whole store and never repeat, so a document deleted and made again has a new one. */
export interface Stored<T> {
  readonly id: string
  readonly version: number
  readonly value: T
}

export interface Put {
  readonly collection: Collection<unknown>
  readonly id: string
  readonly value: unknown
}

/** A document or a queue item. */
export interface Key {
  readonly in: Collection<unknown> | Queue<unknown>
  readonly id: string
}

/** version 0: must not exist. */
export interface Expectation extends Key {
  readonly version: number
}

export interface Append {
  readonly log: string
  /** Milliseconds since 1970. */
  readonly time: number
  /** Must not be changed before the answer. */
  readonly value: Uint8Array
}

/** Puts (or moves) a work item; `id` is unique in its queue. */
export interface Enqueue {
  readonly queue: Queue<unknown>
  readonly id: string
  readonly dueAt: number
  readonly value: unknown
}

/** At most `limits.storeBatch` parts; a document or item is written once. */
export interface Commit {
  readonly expect?: readonly Expectation[]
  readonly put?: readonly Put[]
  readonly delete?: readonly Key[]
  readonly append?: readonly Append[]
  readonly enqueue?: readonly Enqueue[]
}

export type CommitResult =
  | {
      readonly ok: true
      /** New versions, in the order of `put`. */
      readonly versions: readonly number[]
      /** Positions in their logs, in the order of `append`. */
      readonly positions: readonly number[]
      /** New versions of the work items, in the order of `enqueue`. */
      readonly queued: readonly number[]
    }
  | {
      readonly ok: false
      /** The expectations that did not hold, with the version found (0: absent). Nothing was written. */
      readonly conflicts: readonly Expectation[]
    }

/**
 * Ordered by (index value, id), or by id where no index is named; text by its UTF-8 bytes. Bounds are inclusive `from`,
 * exclusive `to`, and only meet values of their own type.
 */
export interface Range {
  readonly index?: string
  readonly equals?: string | number
  readonly from?: string | number
  readonly to?: string | number
  /** Only ids that begin so; without an index. */
  readonly prefix?: string
}

export interface Scan extends Range {
  /** Up to `limits.storePage`. A page of large documents may end earlier (`limits.storePageBytes`): trust `next`. */
  readonly limit: number
  /** `next` of the page before. A malformed one is refused with a RangeError. */
  readonly after?: string | undefined
}

export interface ScanPage<T> {
  readonly items: readonly Stored<T>[]
  readonly next?: string
}

export interface DueItem<T> extends Stored<T> {
  readonly dueAt: number
}

export interface LogEntry {
  readonly position: number
  readonly time: number
  readonly value: Buffer
}

export interface Lease {
  readonly holder: string
  /** Grows with every change of holder: a holder that shows an older one is stale. */
  readonly fence: number
  readonly until: number
}

export interface Store {
  /** Answers after the change is durable (it survives `kill -9` and power loss). */
  commit(change: Commit): Promise<CommitResult>
  get<T>(from: Collection<T>, id: string): Promise<Stored<T> | undefined>
  /** In the order of `ids`; undefined where absent. */
  getMany<T>(from: Collection<T>, ids: readonly string[]): Promise<readonly (Stored<T> | undefined)[]>
  scan<T>(from: Collection<T>, scan: Scan): Promise<ScanPage<T>>
  count(from: Collection<unknown>, range?: Range): Promise<number>
  /** Work items due at `now`, earliest first, those of one moment by id; fewer than `limit` where they are large. */
  due<T>(from: Queue<T>, now: number, limit: number): Promise<readonly DueItem<T>[]>
  /**
   * Entries at `from` and after, in order; fewer than `limit` where they are large, none only at the end. Positions start
   * at 0 and have no gaps before trimming.
   */
  read(log: string, from: number, limit: number): Promise<readonly LogEntry[]>
  /** First position still kept, and the one the next entry will get. */
  bounds(log: string): Promise<{ readonly first: number; readonly next: number }>
  /** Where reading begins to see entries of `time` and later. */
  seek(log: string, time: number): Promise<number>
  /** Forgets entries before `position`. */
  trim(log: string, position: number): Promise<void>
  /** Takes or prolongs a lease; undefined while somebody else's has not run out. */
  lease(name: string, holder: string, now: number, ttlMs: number): Promise<Lease | undefined>
  /** The lease as it stands, run out or not. */
  leaseOf(name: string): Promise<Lease | undefined>
  release(name: string, holder: string): Promise<void>
  close(): Promise<void>
}
