import { ServiceError } from '../base/errors.ts'
import { isObject, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'

/** What twin content may be (hub-device.md 5.3, hub-service.md 4.2). Whatever breaks a rule is refused as a whole. */

/** Integers that the real service keeps exactly. */
const INTEGER_LEAST = -4_503_599_627_370_496
const INTEGER_LARGEST = 4_503_599_627_370_495

export type TwinPart = 'tags' | 'desired' | 'reported'

const SIZE_LIMITS: Readonly<Record<TwinPart, number>> = {
  tags: limits.tagsBytes,
  desired: limits.desiredBytes,
  reported: limits.reportedBytes,
}

/** Members of a section that the service writes itself; clients send them back, and they are left aside. */
export const SERVICE_MEMBERS = ['$version', '$metadata'] as const

/**
 * Refuses content that a twin cannot hold, naming the member. `nulls`: whether null may stand for "delete this", as in
 * a patch; inside arrays it never may.
 */
export function requireTwinContent(part: TwinPart, content: JsonObject, nulls: 'delete' | 'refused'): void {
  checkObject(part, content, 1, nulls === 'delete')
}

/**
 * Refuses a section that has grown over its size: 8 KB of tags, 32 KB of desired and of reported properties. Empty strings,
 * objects and arrays have no size there, so the text is bounded as well.
 */
export function requireTwinSize(part: TwinPart, content: JsonObject): void {
  const size = twinSize(content)
  if (size > SIZE_LIMITS[part])
    throw new ServiceError(
      400004,
      `The ${part} of a twin may have ${SIZE_LIMITS[part]} bytes of names and values, found ${size}. Remove members or shorten values.`,
    )
  const text = Buffer.byteLength(JSON.stringify(content))
  if (text > limits.twinTextBytes)
    throw new ServiceError(
      400004,
      `The ${part} of a twin may have ${limits.twinTextBytes} bytes as JSON text, found ${text}. Remove members or empty values.`,
    )
}

/** UTF-8 bytes of all names and strings; 8 for a number, 4 for a boolean; structure does not count. */
export function twinSize(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value)
  if (typeof value === 'number') return 8
  if (typeof value === 'boolean') return 4
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + twinSize(item), 0)
  if (!isObject(value)) return 0
  return Object.entries(value).reduce((sum, [name, member]) => sum + Buffer.byteLength(name) + twinSize(member), 0)
}

function checkObject(path: string, value: Record<string, unknown>, depth: number, nulls: boolean): void {
  for (const [name, member] of Object.entries(value)) {
    requireName(path, name)
    checkValue(`${path}.${name}`, member, depth, nulls)
  }
}

function checkValue(path: string, value: unknown, depth: number, nulls: boolean): void {
  if (value === null) {
    if (!nulls) refuse(path, 'a value', 'null')
    return
  }
  if (typeof value === 'object' && depth >= limits.twinDepth)
    refuse(path, `a scalar, because twins nest ${limits.twinDepth} levels deep at most`, 'an object or array')
  if (typeof value === 'string' && Buffer.byteLength(value) > limits.twinStringBytes)
    refuse(path, `a string of at most ${limits.twinStringBytes} bytes`, `${Buffer.byteLength(value)}`)
  // JSON.parse makes infinity of 1e400, and JSON.stringify null of that.
  if (typeof value === 'number' && !Number.isFinite(value)) refuse(path, 'a number of 64 bits', 'a larger one')
  if (typeof value === 'number' && Number.isInteger(value) && (value < INTEGER_LEAST || value > INTEGER_LARGEST))
    refuse(path, `an integer from ${INTEGER_LEAST} to ${INTEGER_LARGEST}`, String(value))
  // An array is replaced as a whole, so a null inside it can delete nothing.
  if (Array.isArray(value))
    for (const [at, item] of value.entries()) checkValue(`${path}[${at}]`, item, depth + 1, false)
  else if (isObject(value)) checkObject(path, value, depth + 1, nulls)
}

/** C0, C1, dots, dollars and blanks are what paths of queries and the service's own members are made of. */
const FORBIDDEN = /[\p{Cc}.$ ]/u

function requireName(path: string, name: string): void {
  if (name === '') refuse(path, 'named members', 'an empty name')
  if (Buffer.byteLength(name) > limits.twinKeyBytes)
    refuse(path, `names of at most ${limits.twinKeyBytes} bytes`, `one of ${Buffer.byteLength(name)}`)
  const found = FORBIDDEN.exec(name)?.[0]
  if (found !== undefined)
    refuse(
      path,
      'names without control characters, ".", "$" and blanks',
      JSON.stringify(name.slice(0, limits.idLength)),
    )
}

function refuse(path: string, expected: string, found: string): never {
  throw new ServiceError(400004, `${path.slice(0, 4 * limits.idLength)} must be ${expected}, found ${found}.`)
}
