import { chmodSync, closeSync, existsSync, fsyncSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { limits } from '../base/limits.ts'
import type { Catalog } from './catalog.ts'
import { migrate, requireLayout } from './migrations/index.ts'
import { ensureTables } from './tables.ts'

/** `Must` in ASCII: tells our files from other SQLite databases. */
const APPLICATION_ID = 0x4d757374

/** In place of a file name: a database that lives as long as its one connection. */
export const IN_MEMORY = ':memory:'

export interface WritingOptions {
  /** False: commits are not synced to the disk, for data that nobody misses after a crash (the test kit). */
  readonly durable?: boolean
  /** Length of the write-ahead log at which a commit copies it into the file. */
  readonly logPages?: number
}

/** Opens the file for its one writer: makes it on first use, brings its layout and indexes up to date. */
export function openForWriting(file: string, catalog: Catalog, options: WritingOptions = {}): DatabaseSync {
  const { durable = true, logPages = limits.storeLogPages } = options
  if (file !== IN_MEMORY) keepPrivate(file)
  const db = new DatabaseSync(file)
  try {
    db.exec('PRAGMA busy_timeout = 5000')
    requireOurs(db, file)
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = ${durable ? 'FULL' : 'OFF'};
      PRAGMA fullfsync = ON;
      PRAGMA wal_autocheckpoint = ${logPages};
      PRAGMA journal_size_limit = ${limits.storeLogFileBytes};
      PRAGMA cache_size = -65536;
      PRAGMA temp_store = MEMORY;
    `)
    migrate(db, file)
    ensureTables(db, catalog)
    if (durable && file !== IN_MEMORY) syncFolder(dirname(file))
  } catch (error) {
    db.close()
    // SQLite's own words do not say which file.
    throw 'errcode' in (error as object)
      ? new Error(`The store ${file} cannot be opened: ${(error as Error).message}.`, { cause: error })
      : error
  }
  return db
}

/** For a connection that only copies the log into the file, as durably as the writer would. */
export function setUpCheckpoints(db: DatabaseSync): void {
  db.exec(`
    PRAGMA busy_timeout = 5000;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA wal_autocheckpoint = 0;
  `)
}

/** Opens the file beside its writer. */
export function openForReading(file: string, catalog: Catalog): DatabaseSync {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    db.exec('PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY')
    requireLayout(db, file)
    for (const { name, label } of catalog.tables)
      if (db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name) === undefined)
        throw new Error(`The store ${file} has no ${label}: its writer was started with another schema.`)
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

/** Marks an empty file as ours, and refuses one that is not. */
function requireOurs(db: DatabaseSync, file: string): void {
  if (db.prepare('PRAGMA application_id').get()?.['application_id'] === APPLICATION_ID) return
  if (db.prepare('SELECT 1 FROM sqlite_schema').get() !== undefined)
    throw new Error(`${file} is a database of another program. Choose another data folder.`)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
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
