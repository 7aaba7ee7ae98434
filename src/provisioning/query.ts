import { ServiceError } from '../base/errors.ts'
import { Fields, isObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { shown } from './ids.ts'

/** Whether a query's WHERE admits a document as it is shown on the wire. */
export type Admits = (document: object) => boolean

export type QuerySource = 'enrollments' | 'enrollmentGroups' | 'registrations'

const everything: Admits = () => true

const SELECT_ALL = /^\s*(?:\*|select\s+\*(?:\s+from\s+(\w+))?)\s*(?:where\s+(.+?))?\s*;?\s*$/is
const CONDITION =
  /^\s*([A-Za-z_][\w.-]*)\s*(=|!=|<>)\s*(?:'((?:[^']|'')*)'|"([^"]*)"|(true|false|null)|(-?\d+(?:\.\d+)?))\s*$/i

/**
 * Reads `{"query": "SELECT * [FROM source] [WHERE member = 'value' [AND …]]"}` (dps.md 6.4). The az CLI wraps its
 * specification twice and sends it as text, so whatever holds a bare `SELECT *` and does not read as a query means
 * everything, as it does to the real service.
 *
 * @param source what FROM may name
 */
export function parseQuery(specification: unknown, source: QuerySource): Admits {
  const fields = new Fields(specification, 'querySpecification')
  const text = fields.required('query', fields.string('query'))
  if (text.length > limits.enrollmentQueryLength)
    fields.fail('query', `at most ${limits.enrollmentQueryLength} characters`, String(text.length))
  const match = SELECT_ALL.exec(text)
  if (match === null) {
    if (/select\s+\*/i.test(text) && !/\bwhere\b/i.test(text)) return everything
    return fields.fail('query', EXPECTED, shown(text))
  }
  const [, from, where] = match
  if (from !== undefined && from.toLowerCase() !== source.toLowerCase())
    fields.fail('query', `a query from ${source}`, shown(from))
  if (where === undefined) return everything
  const conditions = where.split(/\s+and\s+(?=[A-Za-z_][\w.-]*\s*(?:=|!=|<>))/i).map(parseCondition)
  return (document) => conditions.every((condition) => condition(document))
}

const EXPECTED = "SELECT * [FROM enrollments | enrollmentGroups | registrations] [WHERE member = 'value' [AND …]]"

function parseCondition(text: string): Admits {
  const match = CONDITION.exec(text)
  if (match === null)
    throw new ServiceError(
      400004,
      `querySpecification.query must be ${EXPECTED}; its condition ${shown(text)} does not read so. Other operators are not supported.`,
    )
  const [, path = '', operator, single, double, word, number] = match
  const wanted =
    single?.replaceAll("''", "'") ?? double ?? wordValue(word) ?? (word === undefined ? Number(number) : null)
  const steps = path.split('.')
  return (document) => (memberOf(document, steps) === wanted) === (operator === '=')
}

const wordValue = (word: string | undefined): boolean | undefined =>
  word === undefined || word.toLowerCase() === 'null' ? undefined : word.toLowerCase() === 'true'

/** Member names without regard to case; an absent member counts as null. */
function memberOf(document: unknown, steps: readonly string[]): unknown {
  let value = document
  for (const step of steps) {
    if (!isObject(value)) return null
    const name = Object.keys(value).find((each) => each.toLowerCase() === step.toLowerCase())
    value = name === undefined ? null : value[name]
  }
  return value ?? null
}
