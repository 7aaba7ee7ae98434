import type { DatabaseSync } from 'node:sqlite'
import { limits } from '../base/limits.ts'
import { type Catalog, memberOf, type Table } from './catalog.ts'
import { readCursor, writeCursor } from './cursors.ts'
import { soundId } from './operations.ts'
import { pageSql, whereOf } from './ranges.ts'
import { createStatements, rowOf, type Statements } from './statements.ts'
import type { Collection, DueItem, Lease, LogEntry, Queue, Range, Scan, ScanPage, Stored } from './store.ts'

/** The reading half of the port, without promises: SQLite answers at once. */
export type SqliteReader = ReturnType<typeof createSqliteReader>

export function createSqliteReader(db: DatabaseSync, { find }: Catalog) {
  const run = createStatements(db)
  return {
    get: <T>(from: Collection<T>, id: string): Stored<T> | undefined => getDocument(run, find(from), id),
    getMany<T>(from: Collection<T>, ids: readonly string[]): readonly (Stored<T> | undefined)[] {
      requireLimit(Math.max(1, ids.length))
      return together(db, () => ids.map((id) => getDocument<T>(run, find(from), id)))
    },
    scan: <T>(from: Collection<T>, scan: Scan): ScanPage<T> => scanPage(run, find(from), scan),
    count(from: Collection<unknown>, range: Range = {}): number {
      const table = find(from)
      const { conditions, values } = whereOf(table, range)
      const where = conditions.length > 0 ? ` WHERE ${conditions.join(' AND ')}` : ''
      return rowOf<[number]>(run(`SELECT count(*) FROM "${table.name}"${where}`), ...values)![0]
    },
    due: <T>(from: Queue<T>, now: number, limit: number): readonly DueItem<T>[] =>
      dueItems(run, find(from), now, limit),
    read: (log: string, from: number, limit: number): readonly LogEntry[] => readLog(run, soundId(log), from, limit),
    bounds(log: string): { first: number; next: number } {
      const row = rowOf<[number, number]>(run('SELECT first, next FROM log WHERE name = ?'), soundId(log))
      return { first: row?.[0] ?? 0, next: row?.[1] ?? 0 }
    },
    seek: (log: string, time: number): number => together(db, () => seekLog(run, soundId(log), time)),
    leaseOf(name: string): Lease | undefined {
      const row = rowOf<[string, number, number]>(
        run('SELECT holder, fence, until FROM lease WHERE name = ?'),
        soundId(name),
      )
      return row === undefined ? undefined : { holder: row[0], fence: row[1], until: row[2] }
    },
  }
}

function getDocument<T>(run: Statements, table: Table, id: string): Stored<T> | undefined {
  // SQLite would replace the ill-formed part, and so find the document of another id.
  if (!id.isWellFormed()) return undefined
  const row = rowOf<[number, string]>(run(`SELECT version, value FROM "${table.name}" WHERE id = ?`), id)
  return row === undefined ? undefined : { id, version: row[0], value: JSON.parse(row[1]) as T }
}

function scanPage<T>(run: Statements, table: Table, scan: Scan): ScanPage<T> {
  const limit = requireLimit(scan.limit)
  const after = scan.after === undefined ? undefined : readCursor(scan.after, scan.index)
  // One more than asked for tells whether another page follows.
  const { sql, values } = pageSql(table.name, whereOf(table, scan), after, limit + 1)
  const items: Stored<T>[] = []
  let bytes = 0
  for (const row of rowsOf<[string, number, string]>(run(sql).iterate(...values))) {
    if (items.length === limit || bytes >= limits.storePageBytes)
      return { items, next: cursorAfter(table, scan.index, items.at(-1)!) }
    const [id, version, value] = row
    items.push({ id, version, value: JSON.parse(value) as T })
    bytes += value.length
  }
  return { items }
}

function cursorAfter(table: Table, index: string | undefined, { id, value }: Stored<unknown>): string {
  const member = index === undefined ? undefined : memberOf(table.indexes.get(index)!, value)
  return writeCursor({ index, value: member as string | number | undefined, id })
}

function dueItems<T>(run: Statements, table: Table, now: number, limit: number): readonly DueItem<T>[] {
  const rows = run(
    `SELECT id, version, due, value FROM "${table.name}" WHERE due <= ? ORDER BY due, id LIMIT ?`,
  ).iterate(now, requireLimit(limit))
  return untilFull(
    rowsOf<[string, number, number, string]>(rows),
    ([, , , value]) => value.length,
    ([id, version, dueAt, value]) => ({ id, version, value: JSON.parse(value) as T, dueAt }),
  )
}

function readLog(run: Statements, log: string, from: number, limit: number): readonly LogEntry[] {
  // Not ?1, ?2: Node 22 takes numbered parameters for named ones.
  const rows = run(
    `WITH wanted AS (SELECT id, first FROM log WHERE name = ?)
     SELECT position, time, value FROM entry
     WHERE log = (SELECT id FROM wanted) AND position >= max(?, (SELECT first FROM wanted))
     ORDER BY position LIMIT ?`,
  ).iterate(log, from, requireLimit(limit))
  return untilFull(
    rowsOf<[number, number, Uint8Array]>(rows),
    ([, , value]) => value.byteLength,
    ([position, time, value]) => ({
      position,
      time,
      value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
    }),
  )
}

/** `latest` never falls from one entry to the next, so the first that reaches `time` is where reading sees it. */
function seekLog(run: Statements, log: string, time: number): number {
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

/** One view of the data for several statements. */
function together<T>(db: DatabaseSync, read: () => T): T {
  db.exec('BEGIN')
  try {
    return read()
  } finally {
    db.exec('COMMIT')
  }
}

const rowsOf = <Row>(rows: Iterable<unknown>): Iterable<Row> => rows as Iterable<Row>

/** As many as fit a page in bytes, and at least one. */
function untilFull<Row, T>(rows: Iterable<Row>, bytesOf: (row: Row) => number, make: (row: Row) => T): readonly T[] {
  const items: T[] = []
  let bytes = 0
  for (const row of rows) {
    items.push(make(row))
    bytes += bytesOf(row)
    if (bytes >= limits.storePageBytes) break
  }
  return items
}

function requireLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= limits.storePage) return limit
  throw new RangeError(`A page has 1 to ${limits.storePage} items, asked for ${limit}.`)
}
