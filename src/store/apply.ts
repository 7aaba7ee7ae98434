import { unknownVariant } from '../base/errors.ts'
import type { Operation, Outcome } from './operations.ts'
import { rowOf, type Statements } from './statements.ts'

/** The end of a log, as the transaction under way sees it. */
export interface Head {
  readonly id: number
  next: number
  /** Greatest time so far. */
  latest: number
}

/** What one transaction works on. */
export interface Writing {
  readonly run: Statements
  /** The last version given out. */
  last: number
  readonly heads: Map<string, Head>
  /** Heads whose row does not say so yet. */
  readonly changed: Set<Head>
}

/** Applies one operation inside the transaction. One that meets a conflict has written nothing. */
export function apply(writing: Writing, operation: Operation): Outcome {
  switch (operation[0]) {
    case 'commit':
      return commit(writing, operation)
    case 'trim':
      return trim(writing, operation[1], operation[2])
    case 'lease':
      return lease(writing, operation)
    case 'release':
      writing.run('DELETE FROM lease WHERE name = ? AND holder = ?').run(operation[1], operation[2])
      return ['done', 0, []]
    default:
      return unknownVariant('operation', operation)
  }
}

function commit(
  writing: Writing,
  [, expect, put, remove, append, enqueue]: Extract<Operation, { 0: 'commit' }>,
): Outcome {
  const { run } = writing
  const conflicts: [number, number][] = []
  for (const [at, [table, id, version]] of expect.entries()) {
    const found = rowOf<[number]>(run(`SELECT version FROM "${table}" WHERE id = ?`), id)?.[0] ?? 0
    if (found !== version) conflicts.push([at, found])
  }
  if (conflicts.length > 0) return ['conflict', conflicts]
  const first = writing.last + 1
  for (const [table, id, json] of put)
    run(
      `INSERT INTO "${table}" (id, version, value) VALUES (?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET version = excluded.version, value = excluded.value`,
    ).run(id, ++writing.last, json)
  for (const [table, id] of remove) run(`DELETE FROM "${table}" WHERE id = ?`).run(id)
  for (const [table, id, dueAt, json] of enqueue)
    run(
      `INSERT INTO "${table}" (id, version, due, value) VALUES (?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET version = excluded.version, due = excluded.due, value = excluded.value`,
    ).run(id, ++writing.last, dueAt, json)
  return ['done', first, append.map(([log, time, value]) => appendTo(writing, log, time, value))]
}

function appendTo(writing: Writing, log: string, time: number, value: Uint8Array): number {
  const head = headOf(writing, log)
  head.latest = Math.max(head.latest, time)
  writing
    .run('INSERT INTO entry (log, position, time, latest, value) VALUES (?, ?, ?, ?, ?)')
    .run(head.id, head.next, time, head.latest, value)
  writing.changed.add(head)
  return head.next++
}

function headOf({ run, heads }: Writing, log: string): Head {
  let head = heads.get(log)
  if (head === undefined) {
    const row =
      rowOf<[number, number, number]>(run('SELECT id, next, latest FROM log WHERE name = ?'), log) ??
      rowOf<[number, number, number]>(
        run('INSERT INTO log (name, first, next, latest, kept) VALUES (?, 0, 0, 0, 0) RETURNING id, next, latest'),
        log,
      )!
    head = { id: row[0], next: row[1], latest: row[2] }
    heads.set(log, head)
  }
  return head
}

/** Writes the ends of the logs that grew: once a transaction, not once an entry. */
export function flushHeads({ run, changed }: Writing): void {
  for (const { next, latest, id } of changed)
    run('UPDATE log SET next = ?, latest = ? WHERE id = ?').run(next, latest, id)
  changed.clear()
}

/** Only moves the beginning; the entries go later, in steps (`sweep.ts`). */
function trim(writing: Writing, log: string, position: number): Outcome {
  flushHeads(writing)
  writing.run('UPDATE log SET first = max(first, min(next, ?)) WHERE name = ?').run(position, log)
  return ['done', 0, []]
}

/** Fences come from the version counter: they grow over the whole store, so a released lease need not be remembered. */
function lease(writing: Writing, [, name, holder, now, until]: Extract<Operation, { 0: 'lease' }>): Outcome {
  const { run } = writing
  const held = rowOf<[string, number, number]>(run('SELECT holder, fence, until FROM lease WHERE name = ?'), name)
  if (held !== undefined && held[0] !== holder && held[2] > now) return ['lease', undefined]
  const fence = held !== undefined && held[0] === holder ? held[1] : ++writing.last
  run('INSERT OR REPLACE INTO lease (name, holder, fence, until) VALUES (?, ?, ?, ?)').run(name, holder, fence, until)
  return ['lease', { holder, fence, until }]
}
