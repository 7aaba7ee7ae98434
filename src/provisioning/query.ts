import { ServiceError } from '../base/errors.ts'
import { Fields, isObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { shown } from './ids.ts'

/** Whether a query's WHERE admits a document as it is shown on the wire. */
export type Admits = (document: object) => boolean

const everything: Admits = () => true

const SELECT_ALL = /^(?:\*|select\s+\*)(?:\s+from\s+[\w.-]+)?(?:\s+where\s+(\S.*))?$/is
const CONDITION =
  /\s*([A-Za-z_][\w.-]*)\s*(=|!=|<>)\s*(?:'((?:[^']|'')*)'|"([^"]*)"|(true|false|null)\b|(-?\d+(?:\.\d+)?))\s*/iy
const AND = /and\b/iy

/**
 * Reads `{"query": "SELECT * [FROM source] [WHERE member = 'value' [AND …]]"}` (dps.md 6.4). The az CLI wraps its
 * specification twice and sends it as text, so whatever holds a bare `SELECT *` and does not read as a query means
 * everything, as it does to the real service. The route says what is asked for; whatever FROM names (clients differ) is
 * taken.
 */
export function parseQuery(specification: unknown): Admits {
  const fields = new Fields(specification, 'querySpecification')
  const text = fields.required('query', fields.string('query'))
  if (text.length > limits.enrollmentQueryLength)
    fields.fail('query', `at most ${limits.enrollmentQueryLength} characters`, String(text.length))
  const match = SELECT_ALL.exec(text.trim().replace(/;$/, '').trimEnd())
  if (match === null) {
    if (/select\s+\*/i.test(text) && !/\bwhere\b/i.test(text)) return everything
    return fields.fail('query', EXPECTED, shown(text))
  }
  const [, where] = match
  if (where === undefined) return everything
  const conditions = parseConditions(where)
  return (document) => conditions.every((condition) => condition(document))
}

const EXPECTED = "SELECT * [FROM …] [WHERE member = 'value' [AND …]]"

function parseConditions(text: string): Admits[] {
  const conditions: Admits[] = []
  for (let at = 0; ; ) {
    const match = matchAt(CONDITION, text, at)
    if (match === undefined) return unreadable(text.slice(at))
    conditions.push(conditionOf(match))
    at += match[0].length
    if (at === text.length) return conditions
    const and = matchAt(AND, text, at)
    if (and === undefined) return unreadable(text.slice(at))
    at += and[0].length
  }
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at
  return pattern.exec(text) ?? undefined
}

function unreadable(rest: string): never {
  throw new ServiceError(
    400004,
    `querySpecification.query must be ${EXPECTED}; it does not read so from ${shown(rest.trim())} on. Other operators are not supported.`,
  )
}

function conditionOf([, path = '', operator, single, double, word, number]: RegExpExecArray): Admits {
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
