import type { DatabaseSync } from 'node:sqlite'
import { limits } from '../base/limits.ts'
import { readCursor, writeCursor } from './cursors.ts'
import { pageSql, whereOf } from './ranges.ts'
import { createStatements, rowOf, type Statements } from './statements.ts'
import type { Collection, DueItem, Lease, LogEntry, Queue, Range, Scan, ScanPage, Stored } from './store.ts'
import { membersOf, tableOf } from './tables.ts'

/** The reading half of the port, without promises: SQLite answers at once. */
export type SqliteReader = ReturnType<typeof createSqliteReader>

export function createSqliteReader(db: DatabaseSync) {
  const run = createStatements(db)
  return {
    get: <T>(from: Collection<T>, id: string): Stored<T> | undefined => get(run, from, id),
    getMany<T>(from: Collection<T>, ids: readonly string[]): readonly (Stored<T> | undefined)[] {
      requireLimit(Math.max(1, ids.length))
      return together(db, () => ids.map((id) => get(run, from, id)))
    },
    scan: <T>(from: Collection<T>, scan: Scan): ScanPage<T> => scanPage(run, from, scan),
    count(from: Collection<unknown>, range: Range = {}): number {
      const { conditions, values } = whereOf(from, range)
      const where = conditions.length > 0 ? ` WHERE ${conditions.join(' AND ')}` : ''
      return rowOf<[number]>(run(`SELECT count(*) FROM "${tableOf(from)}"${where}`), ...values)![0]
    },
    due<T>(from: Queue<T>, now: number, limit: number): readonly DueItem<T>[] {
      const rows = run(
        `SELECT id, version, value, due FROM "${tableOf(from)}" WHERE due <= ? ORDER BY due, id LIMIT ?`,
      ).iterate(now, requireLimit(limit))
      return firstBytes(
        rows,
        (row) => row[2].length,
        ([id, version, value, dueAt]: [string, number, string, number]) => ({
          id,
          version,
          value: JSON.parse(value) as T,
          dueAt,
        }),
      )
    },
    read(log: string, from: number, limit: number): readonly LogEntry[] {
      const rows = run(
        `SELECT position, time, value FROM entry
         WHERE log = (SELECT id FROM log WHERE name = ?1) AND position >= max(?2, (SELECT first FROM log WHERE name = ?1))
         ORDER BY position LIMIT ?3`,
      ).iterate(log, from, requireLimit(limit))
      return firstBytes(
        rows,
        (row) => row[2].byteLength,
        ([position, time, value]: [number, number, Uint8Array]) => ({
          position,
          time,
          value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
        }),
      )
    },
    bounds(log: string): { first: number; next: number } {
      const row = rowOf<[number, number]>(run('SELECT first, next FROM log WHERE name = ?'), log)
      return { first: row?.[0] ?? 0, next: row?.[1] ?? 0 }
    },
    seek: (log: string, time: number): number => together(db, () => seek(run, log, time)),
    leaseOf(name: string): Lease | undefined {
      const row = rowOf<[string, number, number]>(run('SELECT holder, fence, until FROM lease WHERE name = ?'), name)
      return row === undefined ? undefined : { holder: row[0], fence: row[1], until: row[2] }
    },
  }
}

function get<T>(run: Statements, from: Collection<T>, id: string): Stored<T> | undefined {
  const row = rowOf<[number, string]>(run(`SELECT version, value FROM "${tableOf(from)}" WHERE id = ?`), id)
  return row === undefined ? undefined : { id, version: row[0], value: JSON.parse(row[1]) as T }
}

function scanPage<T>(run: Statements, from: Collection<T>, scan: Scan): ScanPage<T> {
  const limit = requireLimit(scan.limit)
  const after = scan.after === undefined ? undefined : readCursor(scan.after, scan.index)
  // One more than asked for tells whether another page follows.
  const { sql, values } = pageSql(tableOf(from), whereOf(from, scan), after, limit + 1)
  const items: Stored<T>[] = []
  let bytes = 0
  for (const row of run(sql).iterate(...values) as Iterable<unknown>) {
    const last = items.at(-1)
    if (last !== undefined && (items.length === limit || bytes >= limits.storePageBytes))
      return {
        items,
        next: writeCursor({ index: scan.index, value: indexed(from, scan.index, last.value), id: last.id }),
      }
    const [id, version, value] = row as [string, number, string]
    items.push({ id, version, value: JSON.parse(value) as T })
    bytes += value.length
  }
  return { items }
}

function indexed(from: Collection<unknown>, index: string | undefined, value: unknown): string | number | undefined {
  if (index === undefined) return undefined
  let member = value
  for (const name of membersOf(from.indexes[index]!)) member = (member as Record<string, unknown>)[name]
  return member as string | number
}

/** `latest` never falls from one entry to the next, so the first that reaches `time` is the first that has it. */
function seek(run: Statements, log: string, time: number): number {
  const found = rowOf<[number, number, number]>(run('SELECT id, first, next FROM log WHERE name = ?'), log)
  if (found === undefined) return 0
  const [id, first, next] = found
  let low = first
  let high = next
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const [latest] = rowOf<[number]>(run('SELECT latest FROM entry WHERE log = ? AND position = ?'), id, middle)!
    if (latest < time) low = middle + 1
    else high = middle
  }
  return low
}

/** One view of the data for several statements; free when a transaction is already under way. */
function together<T>(db: DatabaseSync, read: () => T): T {
  db.exec('BEGIN')
  try {
    return read()
  } finally {
    db.exec('COMMIT')
  }
}

function firstBytes<Row, T>(rows: Iterable<unknown>, size: (row: Row) => number, make: (row: Row) => T): readonly T[] {
  const items: T[] = []
  let bytes = 0
  for (const row of rows as Iterable<Row>) {
    items.push(make(row))
    bytes += size(row)
    if (bytes >= limits.storePageBytes) break
  }
  return items
}

function requireLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= limits.storePage) return limit
  throw new RangeError(`A page has 1 to ${limits.storePage} items, asked for ${limit}.`)
}
