import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

/**
 * Builds certificates byte by byte, so that a test can make what no tool would: each piece can be left out, repeated or
 * replaced. Everything here is synchronous; a certificate costs one signature.
 */

// --- DER

export function tlv(tag: number, ...contents: readonly (Buffer | number[])[]): Buffer {
  const content = Buffer.concat(contents.map((each) => Buffer.from(each)))
  const { length } = content
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content])
  const bytes =
    length < 0x100
      ? [length]
      : length < 0x10000
        ? [length >> 8, length & 0xff]
        : [length >> 16, (length >> 8) & 0xff, length & 0xff]
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length, ...bytes]), content])
}

export const sequence = (...contents: readonly (Buffer | number[])[]): Buffer => tlv(0x30, ...contents)
export const boolean = (value: boolean): Buffer => tlv(0x01, [value ? 0xff : 0x00])
export const octets = (content: Buffer): Buffer => tlv(0x04, content)
export const explicit = (n: number, content: Buffer): Buffer => tlv(0xa0 | n, content)

export function integer(value: number | Buffer): Buffer {
  if (typeof value !== 'number') return tlv(0x02, value)
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
  return tlv(0x02, (bytes[0] ?? 0) >= 0x80 ? [0] : [], bytes)
}

export function oid(dotted: string): Buffer {
  const [first = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt)
  const bytes = [first * 40n + second, ...rest].flatMap((arc) => {
    const septets = [Number(arc & 0x7fn)]
    for (let left = arc >> 7n; left > 0n; left >>= 7n) septets.unshift(Number(left & 0x7fn) | 0x80)
    return septets
  })
  return tlv(0x06, bytes)
}

/** UTCTime until 2049, GeneralizedTime from then on (RFC 5280 4.1.2.5). */
export function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')}`
  return text < '2050' ? tlv(0x17, Buffer.from(text.slice(2))) : tlv(0x18, Buffer.from(text))
}

// --- names

const ATTRIBUTES: Readonly<Record<string, string>> = {
  CN: '2.5.4.3',
  C: '2.5.4.6',
  L: '2.5.4.7',
  S: '2.5.4.8',
  O: '2.5.4.10',
  OU: '2.5.4.11',
  E: '1.2.840.113549.1.9.1',
}

export const attribute = (type: string, value: Buffer): Buffer => sequence(oid(ATTRIBUTES[type] ?? type), value)
export const utf8 = (text: string): Buffer => tlv(0x0c, Buffer.from(text))
export const printable = (text: string): Buffer => tlv(0x13, Buffer.from(text, 'latin1'))
export const ia5 = (text: string): Buffer => tlv(0x16, Buffer.from(text, 'latin1'))

/** A Name of relative names given as already encoded attributes, each list one set. */
export const nameOf = (...rdns: readonly (readonly Buffer[])[]): Buffer =>
  sequence(...rdns.map((rdn) => tlv(0x31, ...rdn)))

/** `name('CN=dev-001')`, `name('C=US', 'O=Contoso', 'CN=x')`: UTF8String, in encoded order. */
export const name = (...parts: readonly string[]): Buffer =>
  nameOf(...parts.map((part) => [attribute(part.slice(0, part.indexOf('=')), utf8(part.slice(part.indexOf('=') + 1)))]))

// --- extensions

export const extension = (id: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(id), critical ? boolean(true) : [], octets(value))

export const basicConstraints = (ca: boolean, pathLength?: number): Buffer =>
  extension('2.5.29.19', sequence(ca ? boolean(true) : [], pathLength === undefined ? [] : integer(pathLength)), true)

/** First content byte of the bit string: 0x80 digitalSignature, 0x40 nonRepudiation, 0x20 keyEncipherment, 0x04 keyCertSign, 0x02 cRLSign. */
export const keyUsage = (bits: number, critical = true): Buffer =>
  extension('2.5.29.15', tlv(0x03, [0, bits]), critical)

export const purposes = (ids: readonly string[], critical = false): Buffer =>
  extension('2.5.29.37', sequence(...ids.map(oid)), critical)
export const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
export const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'

export const subjectKeyId = (id: Buffer): Buffer => extension('2.5.29.14', octets(id))
export const authorityKeyId = (id: Buffer, issuerAndSerial?: { issuer: Buffer; serial: Buffer }): Buffer =>
  extension(
    '2.5.29.35',
    sequence(
      tlv(0x80, id),
      issuerAndSerial === undefined
        ? []
        : Buffer.concat([tlv(0xa1, tlv(0xa4, issuerAndSerial.issuer)), tlv(0x82, issuerAndSerial.serial)]),
    ),
  )

export const dnsName = (text: string): Buffer => tlv(0x82, Buffer.from(text))
export const email = (text: string): Buffer => tlv(0x81, Buffer.from(text))
export const uri = (text: string): Buffer => tlv(0x86, Buffer.from(text))
export const ip = (bytes: readonly number[]): Buffer => tlv(0x87, [...bytes])
export const directory = (encoded: Buffer): Buffer => tlv(0xa4, encoded)
export const alternativeNames = (...names: readonly Buffer[]): Buffer => extension('2.5.29.17', sequence(...names))

export const nameConstraints = (subtrees: { permitted?: readonly Buffer[]; excluded?: readonly Buffer[] }): Buffer => {
  const list = (tag: number, names: readonly Buffer[] | undefined): Buffer | number[] =>
    names === undefined ? [] : tlv(tag, ...names.map((each) => sequence(each)))
  return extension('2.5.29.30', sequence(list(0xa0, subtrees.permitted), list(0xa1, subtrees.excluded)), true)
}

// --- keys

export interface Keys {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

export const ecKeys = (namedCurve = 'P-256'): Keys => generateKeyPairSync('ec', { namedCurve })
export const rsaKeys = (modulusLength = 2048): Keys => generateKeyPairSync('rsa', { modulusLength })

const spkiOf = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' })

/** SHA-1 of the public key, as most tools make key ids. */
export const keyIdOf = (key: KeyObject): Buffer => createHash('sha1').update(spkiOf(key)).digest()

const SIGNATURES: Readonly<Record<string, readonly [id: string, parameters: Buffer]>> = {
  'ec sha256': ['1.2.840.10045.4.3.2', Buffer.alloc(0)],
  'ec sha384': ['1.2.840.10045.4.3.3', Buffer.alloc(0)],
  'ec sha1': ['1.2.840.10045.4.1', Buffer.alloc(0)],
  'rsa sha256': ['1.2.840.113549.1.1.11', tlv(0x05)],
  'rsa sha1': ['1.2.840.113549.1.1.5', tlv(0x05)],
  'rsa md5': ['1.2.840.113549.1.1.4', tlv(0x05)],
  'ed25519 sha256': ['1.3.101.112', Buffer.alloc(0)],
}

// --- certificates

export interface Shape {
  /** Encoded, or the text of a common name. */
  readonly subject: Buffer | string
  /** Who signs; absent: itself. */
  readonly by?: Party
  /** Default: a new P-256 pair. */
  readonly keys?: Keys
  readonly version?: 1 | 2 | 3
  readonly serial?: Buffer
  readonly from?: number
  readonly until?: number
  /** Instead of the sequence of the two times. */
  readonly validity?: Buffer
  /** Complete extensions; none: the member is left out. */
  readonly extensions?: readonly Buffer[]
  readonly digest?: 'sha256' | 'sha384' | 'sha1' | 'md5'
  /** Instead of the issuer's name. */
  readonly issuerName?: Buffer
  /** The signature algorithm inside, where it is to differ from the one outside. */
  readonly innerAlgorithm?: Buffer
  /** Encoded elements between public key and extensions. */
  readonly uniqueIds?: Buffer
}

/** A certificate together with what is needed to issue another one from it. */
export interface Party {
  readonly der: Buffer
  readonly subject: Buffer
  readonly keys: Keys
  readonly serial: Buffer
}

/** Inside every default validity. */
export const NOW = Date.UTC(2026, 5, 1)
const YEAR = 365 * 24 * 3600 * 1000
let serials = 1

export function certificate(shape: Shape): Party {
  const { by, keys = ecKeys(), version = 3, extensions = [], digest = 'sha256' } = shape
  const subject = typeof shape.subject === 'string' ? name(`CN=${shape.subject}`) : shape.subject
  const serial = shape.serial ?? Buffer.from([0x40, (serials >> 16) & 0xff, (serials >> 8) & 0xff, serials++ & 0xff])
  const signingKey = (by?.keys ?? keys).privateKey
  const [id, parameters] = SIGNATURES[`${signingKey.asymmetricKeyType} ${digest}`]!
  const algorithm = sequence(oid(id), parameters)
  const body = sequence(
    version === 1 ? [] : explicit(0, integer(version - 1)),
    integer(serial),
    shape.innerAlgorithm ?? algorithm,
    shape.issuerName ?? by?.subject ?? subject,
    shape.validity ?? sequence(time(shape.from ?? NOW - YEAR), time(shape.until ?? NOW + YEAR)),
    subject,
    spkiOf(keys.publicKey),
    shape.uniqueIds ?? [],
    extensions.length === 0 ? [] : explicit(3, sequence(...extensions)),
  )
  const signature = sign(signingKey.asymmetricKeyType === 'ed25519' ? null : digest, body, signingKey)
  return { der: sequence(body, algorithm, tlv(0x03, [0], signature)), subject, keys, serial }
}

/** Extensions of an ordinary authority: CA:TRUE, keyCertSign, key ids. */
export const authorityExtensions = (keys: Keys, by?: Party, pathLength?: number): Buffer[] => [
  basicConstraints(true, pathLength),
  keyUsage(0x86),
  subjectKeyId(keyIdOf(keys.publicKey)),
  authorityKeyId(keyIdOf((by?.keys ?? keys).publicKey)),
]

/** An ordinary root or intermediate. */
export function authority(
  subject: Buffer | string,
  options: Omit<Shape, 'subject' | 'extensions'> & { pathLength?: number; more?: readonly Buffer[] } = {},
): Party {
  const { pathLength, more = [], keys = ecKeys(), ...shape } = options
  return certificate({
    ...shape,
    subject,
    keys,
    extensions: [...authorityExtensions(keys, options.by, pathLength), ...more],
  })
}

/** An ordinary device certificate. */
export const device = (
  subject: Buffer | string,
  by: Party,
  shape: Partial<Omit<Shape, 'subject' | 'by'>> = {},
): Party =>
  certificate({
    subject,
    by,
    extensions: [
      basicConstraints(false),
      keyUsage(0xe0),
      purposes([CLIENT_AUTH]),
      authorityKeyId(keyIdOf(by.keys.publicKey)),
    ],
    ...shape,
  })

export const pem = (der: Buffer, label = 'CERTIFICATE'): string =>
  `-----BEGIN ${label}-----\n${der.toString('base64').replace(/.{64}/g, '$&\n').trimEnd()}\n-----END ${label}-----\n`

/** The public half of a private key. */
export const publicOf = (privateKey: KeyObject): KeyObject => createPublicKey(privateKey)
