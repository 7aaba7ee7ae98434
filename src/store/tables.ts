import type { DatabaseSync } from 'node:sqlite'
import type { Catalog, Table } from './catalog.ts'

/** Makes the tables and indexes that the schema declares; drops indexes that it no longer does. Data is never dropped. */
export function ensureTables(db: DatabaseSync, { tables }: Catalog): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    for (const table of tables)
      if (table.kind === 'collection') ensureCollection(db, table)
      else ensureQueue(db, table)
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
function ensureCollection(db: DatabaseSync, { name, indexes }: Table): void {
  db.exec(`CREATE TABLE IF NOT EXISTS "${name}"
    (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, value TEXT NOT NULL)`)
  const missing = new Map(
    [...indexes].map(([index, { sql }]) => [
      `${name}.${index}`,
      `CREATE INDEX "${name}.${index}" ON "${name}" (${sql}, id) WHERE ${sql} IS NOT NULL`,
    ]),
  )
  for (const row of db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?").all(name)) {
    const { name: index, sql } = row as { name: string; sql: string | null }
    if (sql === null) continue // SQLite's own, of the unique id
    if (missing.get(index) === sql) missing.delete(index)
    else db.exec(`DROP INDEX "${index}"`)
  }
  for (const sql of missing.values()) db.exec(sql)
}

function ensureQueue(db: DatabaseSync, { name }: Table): void {
  db.exec(`CREATE TABLE IF NOT EXISTS "${name}"
    (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, due INTEGER NOT NULL, value TEXT NOT NULL)`)
  db.exec(`CREATE INDEX IF NOT EXISTS "${name}.due" ON "${name}" (due, id)`)
}
