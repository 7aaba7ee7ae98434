import type { DatabaseSync } from 'node:sqlite'
import { limits } from '../base/limits.ts'
import { rowOf, type Statements } from './statements.ts'

/**
 * Removes entries before the beginning of their log: a bounded number of rows and bytes, in a transaction of its own,
 * so that forgetting millions of messages never holds up a commit for long. True while there are more.
 */
export function sweepLogs(db: DatabaseSync, run: Statements): boolean {
  const log = rowOf<[id: number, kept: number, first: number]>(
    run('SELECT id, kept, first FROM log WHERE kept < first LIMIT 1'),
  )
  if (log === undefined) return false
  const [id, kept, first] = log
  const until = sweepEnd(run, id, kept, first)
  db.exec('BEGIN IMMEDIATE')
  run('DELETE FROM entry WHERE log = ? AND position < ?').run(id, until)
  run('UPDATE log SET kept = ? WHERE id = ?').run(until, id)
  db.exec('COMMIT')
  return true
}

/** Where this step ends. The length of a value is in its row's header, so adding lengths up reads no value. */
function sweepEnd(run: Statements, log: number, kept: number, first: number): number {
  const rows = run(
    'SELECT position, length(value) FROM entry WHERE log = ? AND position >= ? AND position < ? ORDER BY position LIMIT ?',
  ).all(log, kept, first, limits.storeSweep) as unknown as readonly (readonly [position: number, length: number])[]
  let bytes = 0
  for (const [position, length] of rows) {
    bytes += length
    if (bytes >= limits.storeSweepBytes) return position + 1
  }
  return rows.length < limits.storeSweep ? first : rows.at(-1)![0] + 1
}
