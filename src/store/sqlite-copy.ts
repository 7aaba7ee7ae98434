import { closeSync, fsyncSync, openSync, rmSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { limits } from '../base/limits.ts'
import { layoutOf, newestLayout } from './migrations/index.ts'

/** A moment of a store, held until it is released: what is committed later is not in it, and nobody waits for it. */
export interface Snapshot {
  readonly bytes: number
  readonly layout: number
  /** Writes the moment into a new file, mode 0600, durable when this resolves. `copied`: bytes so far. */
  copy(to: string, copied: (bytes: number) => void): Promise<void>
  release(): void
}

/**
 * Holds the newest committed state of the store in `file`, in use or not. A reader of its own in a transaction: commits go on,
 * and the write-ahead log grows meanwhile instead of being used again.
 */
export function snapshotStore(file: string): Snapshot {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    db.exec('PRAGMA busy_timeout = 5000; BEGIN')
    const layout = layoutOf(db) // the first read is the moment
    const pageBytes = numberOf(db, 'PRAGMA page_size')
    return {
      bytes: numberOf(db, 'PRAGMA page_count') * pageBytes,
      layout,
      async copy(to, copied) {
        closeSync(openSync(to, 'wx', 0o600))
        await backup(db, to, {
          rate: limits.backupStepPages,
          progress: ({ totalPages, remainingPages }) => copied((totalPages - remainingPages) * pageBytes),
        })
        syncFile(to)
      },
      release: () => db.close(),
    }
  } catch (error) {
    db.close()
    throw error
  }
}

/** The layout of a copy that nobody has open. Throws when the file is no store, or damaged. */
export function checkCopy(file: string): number {
  const url = pathToFileURL(file)
  url.searchParams.set('immutable', '1') // leaves no files beside it
  const db = new DatabaseSync(url, { readOnly: true })
  try {
    const [first] = db.prepare('PRAGMA integrity_check(1)').all()
    if (first?.['integrity_check'] !== 'ok')
      throw new Error(`${file} is damaged: ${String(first?.['integrity_check'])}.`)
    const layout = layoutOf(db)
    if (layout > newestLayout)
      throw new Error(
        `${file} has layout ${layout}, this version of Muster knows ${newestLayout}: use the newer version.`,
      )
    return layout
  } finally {
    db.close()
  }
}

/**
 * Makes a copy fit to go on from: versions, and the fences and etags made of them, continue far above those that the
 * original gave out after the copy was made, and above those of an earlier store that went on from the same copy, so that
 * none is ever given twice.
 */
export function continueCopy(file: string, now: number): void {
  const db = new DatabaseSync(file)
  try {
    db.exec('PRAGMA synchronous = FULL')
    db.prepare('UPDATE counter SET last = max(last + ?, ?)').run(
      limits.restoreVersionLeap,
      Math.floor(now) * limits.restoreVersionsPerMs,
    )
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  } finally {
    db.close()
  }
  for (const beside of ['-wal', '-shm']) rmSync(`${file}${beside}`, { force: true })
  syncFile(file)
}

const numberOf = (db: DatabaseSync, pragma: string): number => Number(Object.values(db.prepare(pragma).get() ?? {})[0])

/** Until then a file may be empty after a loss of power, whatever its folder says. */
export function syncFile(file: string): void {
  const handle = openSync(file, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
