import type { Fields } from '../base/json.ts'
import type { Random } from '../base/random.ts'
import { decodeKey, generateKey } from '../crypto/keys.ts'
import type { Authentication, AuthenticationType } from './records.ts'

/** Keys that the hub makes itself: 32 bytes, 44 characters (hub-service.md 2.3). */
const GENERATED_KEY_BYTES = 32
const THUMBPRINT = /^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$/
const TYPES = ['sas', 'selfSigned', 'certificateAuthority', 'none'] as const satisfies readonly AuthenticationType[]

/**
 * The `authentication` member of a request (hub-service.md 2.3). Absent, null and empty keys mean "generate": Node
 * sends empty ones with every create and update that names none. Members of other types than the one named are left
 * aside, because clients send back whole documents that they have read.
 */
export function parseAuthentication(body: Fields, random: Random, none: 'modules' | 'refused'): Authentication {
  const fields = body.fields('authentication')
  if (fields === undefined) return generatedKeys(random)
  const thumbprints = readThumbprints(fields)
  const inferred = thumbprints === undefined ? 'sas' : 'selfSigned'
  const type = fields.oneOf('type', TYPES) ?? inferred
  switch (type) {
    case 'sas':
      return readKeys(fields, random)
    case 'selfSigned':
      if (thumbprints !== undefined) return { type, ...thumbprints }
      return fields.fail('x509Thumbprint', 'one or two thumbprints for type selfSigned', 'none')
    case 'certificateAuthority':
      return { type }
    case 'none':
      // Only modules of Edge exist without credentials; a device without any could never connect.
      if (none === 'refused') fields.fail('type', 'sas, selfSigned or certificateAuthority for a device', 'none')
      return { type }
  }
}

export const generatedKeys = (random: Random): Extract<Authentication, { type: 'sas' }> => ({
  type: 'sas',
  primaryKey: generateKey(random, GENERATED_KEY_BYTES),
  secondaryKey: generateKey(random, GENERATED_KEY_BYTES),
})

function readKeys(fields: Fields, random: Random): Authentication {
  const keys = fields.fields('symmetricKey')
  const primaryKey = keys?.string('primaryKey') ?? ''
  const secondaryKey = keys?.string('secondaryKey') ?? ''
  if (keys === undefined || (primaryKey === '' && secondaryKey === '')) return generatedKeys(random)
  for (const [name, key] of [
    ['primaryKey', primaryKey],
    ['secondaryKey', secondaryKey],
  ] as const)
    if (decodeKey(key) === undefined)
      keys.fail(name, 'base64 of 16 to 64 bytes (or both keys empty, to have them generated)', foundKey(key))
  return { type: 'sas', primaryKey, secondaryKey }
}

const foundKey = (key: string): string => (key === '' ? 'an empty one' : `${key.length} characters that are not`)

type Thumbprints = { readonly primaryThumbprint: string | null; readonly secondaryThumbprint: string | null }

function readThumbprints(fields: Fields): Thumbprints | undefined {
  const x509 = fields.fields('x509Thumbprint')
  const primaryThumbprint = x509?.string('primaryThumbprint') || null
  const secondaryThumbprint = x509?.string('secondaryThumbprint') || null
  if (x509 === undefined || (primaryThumbprint === null && secondaryThumbprint === null)) return undefined
  for (const [name, thumbprint] of Object.entries({ primaryThumbprint, secondaryThumbprint }))
    if (thumbprint !== null && !THUMBPRINT.test(thumbprint))
      x509.fail(name, '40 (SHA-1) or 64 (SHA-256) hexadecimal digits', JSON.stringify(thumbprint.slice(0, 80)))
  return { primaryThumbprint, secondaryThumbprint }
}

/** The document form: all four members are always there, null where the type has none (hub-service.md 2.3). */
export function authenticationDocument(authentication: Authentication) {
  const sas = authentication.type === 'sas' ? authentication : undefined
  const selfSigned = authentication.type === 'selfSigned' ? authentication : undefined
  return {
    symmetricKey: { primaryKey: sas?.primaryKey ?? null, secondaryKey: sas?.secondaryKey ?? null },
    x509Thumbprint: {
      primaryThumbprint: selfSigned?.primaryThumbprint ?? null,
      secondaryThumbprint: selfSigned?.secondaryThumbprint ?? null,
    },
    type: authentication.type,
  }
}

/** Whether two blocks admit the same credentials. */
export const sameAuthentication = (a: Authentication, b: Authentication): boolean =>
  JSON.stringify(authenticationDocument(a)) === JSON.stringify(authenticationDocument(b))
