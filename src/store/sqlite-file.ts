import { chmodSync, closeSync, existsSync, fsyncSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { migrate, requireLayout } from './migrations/index.ts'
import type { Schema } from './store.ts'
import { ensureTables, tableOf } from './tables.ts'

/** `Must` in ASCII: tells our files from other SQLite databases. */
const APPLICATION_ID = 0x4d757374

/** Opens the file for its one writer: makes it on first use, brings its layout and indexes up to date. */
export function openForWriting(file: string, schema: Schema): DatabaseSync {
  keepPrivate(file)
  const db = new DatabaseSync(file)
  try {
    db.exec('PRAGMA busy_timeout = 5000')
    requireOurs(db, file)
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA wal_autocheckpoint = 4000;
      PRAGMA journal_size_limit = 67108864;
      PRAGMA cache_size = -65536;
      PRAGMA temp_store = MEMORY;
      PRAGMA application_id = ${APPLICATION_ID};
    `)
    migrate(db, file)
    ensureTables(db, schema)
    syncFolder(dirname(file))
  } catch (error) {
    db.close()
    throw error
  }
  return db
}

/** Opens the file beside its writer. */
export function openForReading(file: string, schema: Schema): DatabaseSync {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    db.exec('PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY')
    requireOurs(db, file)
    requireLayout(db, file)
    for (const table of [...schema.collections, ...schema.queues].map(tableOf))
      if (db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(table) === undefined)
        throw new Error(`The store ${file} has no ${table.slice(2)}: its writer was started with another schema.`)
  } catch (error) {
    db.close()
    throw error
  }
  return db
}

/** SQLite gives the files beside it (-wal, -shm) the mode of the database, so it must be right before it is opened. */
function keepPrivate(file: string): void {
  closeSync(openSync(file, 'a', 0o600))
  for (const each of [file, `${file}-wal`, `${file}-shm`]) if (existsSync(each)) chmodSync(each, 0o600)
}

function requireOurs(db: DatabaseSync, file: string): void {
  const found = Number(db.prepare('PRAGMA application_id').get()?.['application_id'])
  const tables = Number(db.prepare('SELECT count(*) AS count FROM sqlite_schema').get()?.['count'])
  if (found !== APPLICATION_ID && tables > 0)
    throw new Error(`${file} is a database of another program. Choose another data folder.`)
}

/** A new file is only safe from power loss when its folder is. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
