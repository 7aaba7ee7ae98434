import { type Code, ServiceError } from './errors.ts'

export type Json = null | boolean | number | string | Json[] | { [member: string]: Json }
export type JsonObject = { [member: string]: Json }

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Parses a request body; empty bytes give undefined. Malformed text is a 400 that says where it broke, as far as known. */
export function parseJson(body: Uint8Array | string, code: Code = 400004): unknown {
  const text = typeof body === 'string' ? body : Buffer.from(body).toString('utf8')
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ServiceError(code, `The request body is not valid JSON${jsonErrorPlace(cause)}.`, { cause })
  }
}

/**
 * Reads one member of a document field by field, so that every complaint names the member, what was expected and what
 * was found. Member names are matched without regard to case, as the real services do (hub-service.md 0).
 */
export class Fields {
  readonly #members: Map<string, unknown>
  readonly #path: string
  readonly #code: Code

  constructor(value: unknown, path: string, code: Code = 400004) {
    if (!isObject(value)) throw new ServiceError(code, `${path} must be a JSON object, found ${kindOf(value)}.`)
    this.#members = new Map(Object.entries(value).map(([name, member]) => [name.toLowerCase(), member]))
    this.#path = path
    this.#code = code
  }

  /** The member's value, null counting as absent: clients send null for "not set". */
  get(name: string): unknown {
    return this.#members.get(name.toLowerCase()) ?? undefined
  }

  string(name: string): string | undefined {
    return this.#typed(name, 'a string', (value) => typeof value === 'string') as string | undefined
  }

  boolean(name: string): boolean | undefined {
    return this.#typed(name, 'true or false', (value) => typeof value === 'boolean') as boolean | undefined
  }

  number(name: string): number | undefined {
    return this.#typed(name, 'a number', (value) => typeof value === 'number') as number | undefined
  }

  strings(name: string): string[] | undefined {
    return this.#typed(
      name,
      'an array of strings',
      (value) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
    ) as string[] | undefined
  }

  array(name: string): unknown[] | undefined {
    return this.#typed(name, 'an array', (value) => Array.isArray(value)) as unknown[] | undefined
  }

  object(name: string): JsonObject | undefined {
    return this.#typed(name, 'an object', isObject) as JsonObject | undefined
  }

  fields(name: string): Fields | undefined {
    const value = this.object(name)
    return value === undefined ? undefined : new Fields(value, `${this.#path}.${name}`, this.#code)
  }

  /** One of a closed set, compared without regard to case and answered in the set's own spelling. */
  oneOf<T extends string>(name: string, allowed: readonly T[]): T | undefined {
    const value = this.string(name)
    if (value === undefined) return undefined
    const found = allowed.find((each) => each.toLowerCase() === value.toLowerCase())
    if (found === undefined) this.fail(name, `one of ${allowed.join(', ')}`, JSON.stringify(value))
    return found
  }

  required<T>(name: string, value: T | undefined): T {
    if (value === undefined) this.fail(name, 'a value', 'nothing')
    return value
  }

  fail(name: string, expected: string, found: string): never {
    throw new ServiceError(this.#code, `${this.#path}.${name} must be ${expected}, found ${found}.`)
  }

  #typed(name: string, expected: string, fits: (value: unknown) => boolean): unknown {
    const value = this.get(name)
    if (value !== undefined && !fits(value)) this.fail(name, expected, kindOf(value))
    return value
  }
}

/** How a complaint names what it found, without repeating the value: it may be a secret. */
export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** A copy without members that are undefined: on the wire an absent member is absent, never null (dps.md 0.3, 1). */
export function compact<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T
}

/** Where JSON broke, as ` at position 5 …`: the engine's own message repeats the text, which may hold a secret. */
export const jsonErrorPlace = (error: unknown): string =>
  error instanceof SyntaxError ? (/ at position \d+( \(line \d+ column \d+\))?$/.exec(error.message)?.[0] ?? '') : ''
