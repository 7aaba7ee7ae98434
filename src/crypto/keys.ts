import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/

/**
 * The bytes of a symmetric key as enrollments, identities and policies carry it: base64 with padding, 16 to 64 bytes
 * (dps.md 1.8). Anything else, white space included, gives undefined.
 */
export function decodeKey(base64: string): Buffer | undefined {
  if (base64.length % 4 !== 0 || base64.length > limits.keyBytes * 2 || !BASE64.test(base64)) return undefined
  const key = Buffer.from(base64, 'base64')
  return key.length >= limits.keyBytesLeast && key.length <= limits.keyBytes ? key : undefined
}

/**
 * The key of one device of a symmetric-key group: HMAC-SHA256 of its registration id under the group's decoded key
 * (dps.md 1.8). The id is taken as given: HMAC sees case, ids do not, so callers try the id as sent, then lower-cased.
 */
export const deriveDeviceKey = (groupKey: Buffer, registrationId: string): Buffer =>
  createHmac('sha256', groupKey).update(registrationId, 'utf8').digest()

/** A new key as base64. The service's own keys have 64 bytes (dps.md 1.8). */
export const generateKey = (random: Random, bytes: number = limits.keyBytes): string =>
  random.bytes(bytes).toString('base64')

/** Names a key in traces and logs without telling it: twelve hex digits of SHA-256 over its text. */
export const fingerprintOf = (key: string): string => createHash('sha256').update(key).digest('hex').slice(0, 12)

/** Whether two byte strings are equal, in a time that depends on their lengths only. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b)
