import type { DatabaseSync } from 'node:sqlite'
import { limits } from '../base/limits.ts'
import { apply, flushHeads, type Head, type Writing } from './apply.ts'
import type { Operation, Outcome } from './operations.ts'
import { createStatements, rowOf } from './statements.ts'
import { sweepLogs } from './sweep.ts'

export interface SqliteWriter {
  /** Applies each operation, all in one transaction, and answers in their order once it is durable. Never throws. */
  write(operations: readonly Operation[]): readonly Outcome[]
  /** Removes some of the entries that were trimmed; true while there are more. */
  sweep(): boolean
}

/**
 * Writes groups of operations through one connection. Each operation is judged against what those before it in its
 * group left behind. The version counter and the ends of the logs are remembered between groups; they are read again
 * when another connection wrote in between, and forgotten when a transaction fails, so they never run ahead of the file.
 */
export function createSqliteWriter(db: DatabaseSync): SqliteWriter {
  const run = createStatements(db)
  let remembered: { last: number; readonly heads: Map<string, Head> } | undefined
  let seen = -1

  const begin = (): Writing => {
    db.exec('BEGIN IMMEDIATE')
    const [version] = rowOf<[number]>(run('PRAGMA data_version'))!
    if (version !== seen || remembered === undefined || remembered.heads.size > limits.storeLogHeads) {
      remembered = { last: rowOf<[number]>(run('SELECT last FROM counter'))![0], heads: new Map() }
      seen = version
    }
    return { run, last: remembered.last, heads: remembered.heads, changed: new Set() }
  }

  const end = (writing: Writing): void => {
    flushHeads(writing)
    if (writing.last !== remembered!.last) run('UPDATE counter SET last = ?').run(writing.last)
    db.exec('COMMIT')
    remembered!.last = writing.last
  }

  const abandon = (): void => {
    remembered = undefined
    try {
      if (db.isTransaction) db.exec('ROLLBACK') // some errors (disk full, I/O) have ended it already
    } catch {
      // A connection that cannot even roll back fails at the next BEGIN, and that is reported.
    }
  }

  /** The usual way, without savepoints: what arrives was checked in the caller's thread, so errors are rare. */
  const together = (operations: readonly Operation[]): Outcome[] => {
    const writing = begin()
    const outcomes = operations.map((operation) => apply(writing, operation))
    end(writing)
    return outcomes
  }

  /** After an error: the same group again, each operation behind a savepoint, so that only the culprit is refused. */
  const apart = (operations: readonly Operation[]): Outcome[] => {
    const writing = begin()
    const outcomes = operations.map((operation): Outcome => {
      const { last } = writing
      db.exec('SAVEPOINT operation')
      try {
        const outcome = apply(writing, operation)
        flushHeads(writing)
        db.exec('RELEASE operation')
        return outcome
      } catch (error) {
        if (!isFaultOfOne(error)) throw error
        db.exec('ROLLBACK TO operation')
        db.exec('RELEASE operation')
        writing.last = last
        writing.heads.clear()
        writing.changed.clear()
        return ['refused', reasonOf(error)]
      }
    })
    end(writing)
    return outcomes
  }

  return {
    write(operations) {
      for (const attempt of [together, apart])
        try {
          return attempt(operations)
        } catch (error) {
          abandon()
          if (attempt === apart || !isFaultOfOne(error)) return operations.map(() => ['failed', reasonOf(error)])
        }
      return []
    },
    sweep() {
      try {
        return sweepLogs(db, run)
      } catch {
        abandon()
        return false // The next trim or start takes it up again; what fails here fails for writers too, and is told there.
      }
    },
  }
}

/** SQLITE_ERROR, TOOBIG, CONSTRAINT, MISMATCH, RANGE: about what was asked, not about the file or the disk. */
const FAULTS_OF_ONE = new Set([1, 18, 19, 20, 25])

function isFaultOfOne(error: unknown): boolean {
  const code = (error as { errcode?: unknown }).errcode
  return typeof code !== 'number' || FAULTS_OF_ONE.has(code & 0xff)
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
