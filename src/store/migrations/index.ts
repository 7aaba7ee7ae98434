import { chmodSync, closeSync, existsSync, openSync, renameSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'

/** One step of the file's layout. A released one is never changed: what it made is on users' disks. */
export interface Migration {
  readonly number: number
  readonly name: string
  readonly sql: string
}

/**
 * The tables that every store has. Those of collections and queues follow from the schema (`tables.ts`); a migration
 * that changes their shape must go over all of them.
 */
export const migrations: readonly Migration[] = [
  {
    number: 1,
    name: 'first layout',
    sql: `
      CREATE TABLE counter (last INTEGER NOT NULL);
      INSERT INTO counter VALUES (0);
      -- first: the oldest entry that counts; kept: the oldest one not yet swept out; latest: greatest time so far.
      CREATE TABLE log (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        first INTEGER NOT NULL, next INTEGER NOT NULL, latest INTEGER NOT NULL, kept INTEGER NOT NULL
      );
      -- In order of arrival, so that values are only ever added at the end, whatever log they belong to.
      -- latest: greatest time up to here, which unlike time never falls, so that seek can halve its way.
      CREATE TABLE entry (
        row INTEGER PRIMARY KEY, log INTEGER NOT NULL, position INTEGER NOT NULL,
        time INTEGER NOT NULL, latest INTEGER NOT NULL, value BLOB NOT NULL
      );
      CREATE UNIQUE INDEX entry_position ON entry (log, position);
      CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence INTEGER NOT NULL, until INTEGER NOT NULL)
        WITHOUT ROWID;
    `,
  },
]

export const newestLayout = migrations.at(-1)?.number ?? 0

/**
 * Brings the file to the newest layout, one transaction a step, and refuses one that is newer still. A file of an older
 * layout is copied beside before (`documents.db.layout-1`), because an older Muster cannot open it afterwards.
 */
export function migrate(db: DatabaseSync, file: string, steps: readonly Migration[] = migrations): void {
  db.exec('CREATE TABLE IF NOT EXISTS layout (number INTEGER PRIMARY KEY, name TEXT NOT NULL)')
  keepCopy(db, file, steps.at(-1)?.number ?? 0)
  for (const step of steps) {
    db.exec('BEGIN IMMEDIATE')
    try {
      if (layoutOf(db) < step.number) {
        db.exec(step.sql)
        db.prepare('INSERT INTO layout VALUES (?, ?)').run(step.number, step.name)
      }
      db.exec('COMMIT')
    } catch (error) {
      db.exec('ROLLBACK')
      throw error
    }
  }
  requireLayout(db, file, steps)
}

function keepCopy(db: DatabaseSync, file: string, newest: number): void {
  const found = layoutOf(db)
  const copy = `${file}.layout-${found}`
  if (found === 0 || found >= newest || existsSync(copy)) return
  const fresh = `${copy}.new`
  closeSync(openSync(fresh, 'w', 0o600)) // VACUUM INTO takes an empty file, and with it its mode
  chmodSync(fresh, 0o600)
  db.prepare('VACUUM INTO ?').run(fresh)
  renameSync(fresh, copy)
}

/** For a connection that only reads: the file must be exactly at the layout this version knows. */
export function requireLayout(db: DatabaseSync, file: string, steps: readonly Migration[] = migrations): void {
  const newest = steps.at(-1)?.number ?? 0
  const found = layoutOf(db)
  if (found === newest) return
  throw new Error(
    `The store ${file} has layout ${found}, this version of Muster expects layout ${newest}. ` +
      (found > newest
        ? 'It was written by a newer version: start that one, or restore a copy made before the upgrade.'
        : 'It was not brought up to date: open it with its writer first.'),
  )
}

/** 0: nothing was made yet. Throws where the database has no layout table. */
export const layoutOf = (db: DatabaseSync): number =>
  Number(db.prepare('SELECT coalesce(max(number), 0) AS number FROM layout').get()?.['number'] ?? 0)
