import type { DatabaseSync } from 'node:sqlite'
import type { Collection, Queue, Schema } from './store.ts'

/** What a name of a collection, queue or index may be, so that it can stand in SQL between quotes. */
const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/
const PATH = /^\$(\.[A-Za-z0-9_$-]{1,64})+$/

export const isQueue = (table: Collection<unknown> | Queue<unknown>): boolean => !('indexes' in table)

/** The table of a collection or queue. */
export const tableOf = (of: Collection<unknown> | Queue<unknown>): string => `${isQueue(of) ? 'q' : 'c'}_${of.name}`

/** The SQL expression of an index: the member at its path. Queries must repeat it exactly to be served by the index. */
export const memberAt = (path: string): string =>
  `json_extract(value, '$${membersOf(path)
    .map((name) => `."${name}"`)
    .join('')}')`

/** `$.a.b` -> ['a', 'b'] */
export const membersOf = (path: string): string[] => path.split('.').slice(1)

/** Makes the tables and indexes that the schema declares; drops indexes that it no longer does. Data is never dropped. */
export function ensureTables(db: DatabaseSync, schema: Schema): void {
  requireSoundSchema(schema)
  db.exec('BEGIN IMMEDIATE')
  try {
    for (const each of schema.collections) ensureCollection(db, each)
    for (const each of schema.queues) ensureQueue(db, each)
    db.exec('COMMIT')
  } catch (error) {
    db.exec('ROLLBACK')
    throw error
  }
}

/**
 * A rowid table with a unique id takes two to three times as many inserts as WITHOUT ROWID (dependencies.md 2.3): the
 * documents are added at the end, and only the small index is written at random places.
 */
function ensureCollection(db: DatabaseSync, { name, indexes }: Collection<unknown>): void {
  const table = `c_${name}`
  db.exec(`CREATE TABLE IF NOT EXISTS "${table}"
    (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, value TEXT NOT NULL)`)
  const wanted = new Map(
    Object.entries(indexes).map(([index, path]) => {
      const member = memberAt(path)
      return [
        `${table}.${index}`,
        `CREATE INDEX "${table}.${index}" ON "${table}" (${member}, id) WHERE ${member} IS NOT NULL`,
      ]
    }),
  )
  for (const row of db
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?")
    .all(table)) {
    const { name: index, sql } = row as { name: string; sql: string | null }
    if (sql === null) continue // SQLite's own, of the unique id
    if (wanted.get(index) === sql) wanted.delete(index)
    else db.exec(`DROP INDEX "${index}"`)
  }
  for (const sql of wanted.values()) db.exec(sql)
}

function ensureQueue(db: DatabaseSync, { name }: Queue<unknown>): void {
  const table = `q_${name}`
  db.exec(`CREATE TABLE IF NOT EXISTS "${table}"
    (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, due INTEGER NOT NULL, value TEXT NOT NULL)`)
  db.exec(`CREATE INDEX IF NOT EXISTS "${table}.due" ON "${table}" (due, id)`)
}

function requireSoundSchema({ collections, queues }: Schema): void {
  const seen = new Set<string>()
  const name = (kind: string, text: string) => {
    if (!NAME.test(text)) throw new Error(`The ${kind} name ${JSON.stringify(text)} must match ${NAME.source}.`)
  }
  for (const table of [...collections, ...queues]) {
    name(isQueue(table) ? 'queue' : 'collection', table.name)
    const key = tableOf(table).toLowerCase() // SQLite's names know no case
    if (seen.has(key)) throw new Error(`The schema declares ${table.name} twice.`)
    seen.add(key)
  }
  for (const { indexes } of collections)
    for (const [index, path] of Object.entries(indexes)) {
      name('index', index)
      if (!PATH.test(path))
        throw new Error(`The index ${index} has the path ${path}; it must look like $.member.member.`)
    }
}
