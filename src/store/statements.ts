import type { DatabaseSync, StatementSync } from 'node:sqlite'

/** Prepares each text once. The texts follow from the schema and the shapes of scans, so there are only so many. */
export function createStatements(db: DatabaseSync): (sql: string) => StatementSync {
  const prepared = new Map<string, StatementSync>()
  return (sql) => {
    let statement = prepared.get(sql)
    if (statement === undefined) {
      statement = db.prepare(sql)
      statement.setReturnArrays(true) // rows as arrays: no member names to make
      prepared.set(sql, statement)
    }
    return statement
  }
}

export type Statements = ReturnType<typeof createStatements>

/** The one row of a query, or undefined. */
export const rowOf = <Row extends readonly unknown[]>(
  statement: StatementSync,
  ...values: (string | number | Uint8Array)[]
): Row | undefined => statement.get(...values) as unknown as Row | undefined
