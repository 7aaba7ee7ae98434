import type { Table } from './catalog.ts'
import type { Place } from './cursors.ts'
import type { Range } from './store.ts'

/** What is compared, and the conditions on it. */
export interface Where {
  /** `id`, or the member that the index is on. */
  readonly key: string
  /** By id, or at one value of an index: then the order is that of ids alone, and SQLite must be told so. */
  readonly single: boolean
  readonly conditions: readonly string[]
  readonly values: readonly (string | number)[]
}

/**
 * A range in SQL. Bounds only meet keys of their own type, numbers or strings: SQLite orders all numbers before all
 * strings, so `''` is the border between them.
 */
export function whereOf(table: Table, range: Range): Where {
  const { index, prefix } = range
  if (index === undefined) return whereId(range)
  const key = table.indexes.get(index)?.sql
  if (key === undefined) throw new RangeError(`The collection ${table.label} has no index ${index}.`)
  if (prefix !== undefined) throw new RangeError('A prefix is of ids: it cannot be combined with an index.')
  const bounds = boundsOf(key, range)
  return {
    key,
    single: range.equals !== undefined,
    conditions: [`${key} IS NOT NULL`, ...bounds.conditions],
    values: bounds.values,
  }
}

function whereId(range: Range): Where {
  for (const bound of [range.equals, range.from, range.to])
    if (typeof bound === 'number') throw new RangeError('Ids are strings: a number bounds only an index.')
  const { conditions, values } = boundsOf('id', range)
  if (range.prefix === undefined || range.prefix === '') return { key: 'id', single: true, conditions, values }
  const end = endOfPrefix(range.prefix)
  return {
    key: 'id',
    single: true,
    conditions: [...conditions, 'id >= ?', ...(end === undefined ? [] : ['id < ?'])],
    values: [...values, range.prefix, ...(end === undefined ? [] : [end])],
  }
}

function boundsOf(key: string, { equals, from, to }: Range): Pick<Where, 'conditions' | 'values'> {
  const types = new Set([equals, from, to].filter((bound) => bound !== undefined).map((bound) => typeof bound))
  if (types.size > 1) throw new RangeError('The bounds of a range must be all strings or all numbers.')
  const bounds: (readonly [condition: string, value: string | number])[] = []
  if (equals !== undefined) bounds.push([`${key} = ?`, equals])
  if (from !== undefined) bounds.push([`${key} >= ?`, from])
  else if (typeof to === 'string' && key !== 'id') bounds.push([`${key} >= ?`, ''])
  if (to !== undefined) bounds.push([`${key} < ?`, to])
  else if (typeof from === 'number') bounds.push([`${key} < ?`, ''])
  return { conditions: bounds.map(([condition]) => condition), values: bounds.map(([, value]) => value) }
}

/** The text of a page of at most `limit` rows [id, version, value], and its values. */
export function pageSql(
  table: string,
  { key, single, conditions, values }: Where,
  after: Place | undefined,
  limit: number,
): { sql: string; values: readonly (string | number)[] } {
  const page = (more: readonly string[], order: string, columns = 'id, version, value') => {
    const all = [...conditions, ...more]
    return `SELECT ${columns} FROM "${table}"${all.length > 0 ? ` WHERE ${all.join(' AND ')}` : ''} ORDER BY ${order} LIMIT ?`
  }
  if (single) {
    return after === undefined
      ? { sql: page([], 'id'), values: [...values, limit] }
      : { sql: page(['id > ?'], 'id'), values: [...values, after.id, limit] }
  }
  if (after === undefined) return { sql: page([], `${key}, id`), values: [...values, limit] }
  // First what is left at the cursor's own value, then what lies beyond: SQLite can enter an index over an expression
  // at (value, id) only this way, and anything else would walk again over all that was read before.
  const columns = `${key} AS key, id, version, value`
  return {
    sql: `SELECT id, version, value FROM (
        SELECT * FROM (${page([`${key} = ?`, 'id > ?'], 'id', columns)})
        UNION ALL
        SELECT * FROM (${page([`${key} > ?`], `${key}, id`, columns)})
      ) ORDER BY key, id LIMIT ?`,
    values: [...values, after.value!, after.id, limit, ...values, after.value!, limit, limit],
  }
}

/** The least text above all that begin with `prefix`, in the order of UTF-8 bytes; undefined when there is none. */
export function endOfPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0)!)
  for (let point = points.pop(); point !== undefined; point = points.pop()) {
    if (point === 0x10ffff) continue
    const next = point === 0xd7ff ? 0xe000 : point + 1 // no text has the surrogates in between
    return String.fromCodePoint(...points, next)
  }
  return undefined
}
