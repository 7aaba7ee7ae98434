import { isObject, type Json, type JsonObject } from '../base/json.ts'
import { usage } from './environment.ts'

/** The az CLI's ways to name members and values on the command line. */

/** One `a.b.c=value`. */
export interface Assignment {
  readonly path: readonly string[]
  /** JSON where the text can be that, else the text. */
  readonly value: Json
  readonly text: string
}

/** What stands after the sign may be a key: no complaint repeats it. */
export function assignmentOf(assignment: string): Assignment {
  const [, path, text] = /^([\w.]+)=(.*)$/s.exec(assignment) ?? []
  if (path === undefined || text === undefined || !path.split('.').every((name) => name !== '' && name !== '__proto__'))
    throw usage(`Expected --set as member.member=value, found ${JSON.stringify(assignment.split('=')[0])}.`)
  return { path: path.split('.'), value: jsonOrText(text), text }
}

function jsonOrText(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    return text
  }
}

/** Changes the document; every member on the way must be there. */
export function assign(document: JsonObject, { path, value }: Pick<Assignment, 'path' | 'value'>): void {
  const [name = '', ...rest] = path
  if (rest.length === 0) {
    document[name] = value
    return
  }
  const inner = Object.hasOwn(document, name) ? document[name] : undefined
  if (!isObject(inner))
    throw usage(`Expected --set to name a member of the resource, found none called ${JSON.stringify(name)}.`)
  assign(inner as JsonObject, { path: rest, value })
}

/**
 * An identity changed by `--set`. The hub ignores members that it does not know or that are its own; a user who names
 * one must hear of it.
 * @param settable the members of the document itself that may be changed
 */
export function changedIdentity(
  document: object,
  assignments: readonly string[],
  settable: readonly string[],
): JsonObject {
  const changed = structuredClone(document) as JsonObject
  for (const { path, value, text } of assignments.map(assignmentOf)) {
    const [root = '', ...members] = path
    if (!settable.includes(root))
      throw usage(`Expected --set of ${settable.join(', ')} or of a member of these, found ${JSON.stringify(root)}.`)
    requireMember(changed[root] ?? null, [root], members)
    // No member is a number: digits are a reason or a key.
    assign(changed, { path, value: typeof value === 'number' ? text : value })
  }
  return changed
}

function requireMember(holder: Json, at: readonly string[], [name, ...rest]: readonly string[]): void {
  if (name === undefined) return
  if (!isObject(holder) || !Object.hasOwn(holder, name)) {
    const known = isObject(holder) ? `one of ${Object.keys(holder).join(', ')} in` : 'nothing below'
    throw usage(`Expected --set to name ${known} ${at.join('.')}, found ${JSON.stringify(name)}.`)
  }
  requireMember((holder as JsonObject)[name] ?? null, [...at, name], rest)
}

/** `name=value name2=value2`, and a name alone for an empty value, as the az CLI takes tags; one empty text: none. */
export const pairsOf = (pairs: readonly string[]): JsonObject =>
  Object.fromEntries(
    pairs
      .filter((pair) => pair !== '')
      .map((pair) => {
        const [name = '', ...value] = pair.split('=')
        return [name, value.join('=')]
      }),
  )
