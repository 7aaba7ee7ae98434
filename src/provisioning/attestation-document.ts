import { ServiceError } from '../base/errors.ts'
import type { Fields, JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import { CertificateError, type CertificateInfo, certificateInfo, readCertificates } from '../crypto/certificates.ts'
import { decodeKey, generateKey } from '../crypto/keys.ts'
import { readTpmPublic, TpmError, type TpmPublic } from '../crypto/tpm.ts'

/** How a device proves itself, as an enrollment stores it (dps.md 6.3, AttestationMechanism). */
export type Attestation = SymmetricKeyAttestation | X509Attestation | TpmAttestation

export interface SymmetricKeyAttestation {
  readonly type: 'symmetricKey'
  /** Base64 of 16 to 64 bytes each. */
  readonly symmetricKey: { readonly primaryKey: string; readonly secondaryKey: string }
}

export interface X509Attestation {
  readonly type: 'x509'
  /** Exactly one of the three. */
  readonly x509: {
    /** Individual enrollments: the device's own certificates. */
    readonly clientCertificates?: Slots<StoredCertificate>
    /** Groups: CA certificates uploaded for this group alone. */
    readonly signingCertificates?: Slots<StoredCertificate>
    /** Groups: names of CA certificates of the service. */
    readonly caReferences?: Slots<string>
  }
}

export interface TpmAttestation {
  readonly type: 'tpm'
  /** Base64 of TPM2B_PUBLIC, length in front. The storage root key is kept and never compared (dps.md 4.1). */
  readonly tpm: { readonly endorsementKey: string; readonly storageRootKey?: string }
}

/** At least one is present. */
export interface Slots<T> {
  readonly primary?: T
  readonly secondary?: T
}

export interface StoredCertificate {
  /** Base64 of the DER; absent where only its `info` is known: devices are compared by thumbprint. */
  readonly certificate?: string
  readonly info: CertificateInfo
}

export const slotNames = ['primary', 'secondary'] as const

/** The slots that are filled, primary first. */
export const filled = <T>(slots: Slots<T> | undefined): readonly T[] => slotNames.flatMap((slot) => slots?.[slot] ?? [])

const TYPES = ['none', 'tpm', 'x509', 'symmetricKey'] as const
const X509_KINDS = ['clientCertificates', 'signingCertificates', 'caReferences'] as const

export interface AttestationContext {
  readonly kind: 'individual' | 'group'
  /** What the enrollment has now; undefined when it is being created. */
  readonly stored: Attestation | undefined
  readonly random: Random
  readonly byThumbprint: boolean
}

/**
 * Reads `attestation` of an enrollment. What a client leaves out because the service never showed it stays as stored:
 * keys of a symmetricKey attestation, and certificates of which it repeats the `info` (dps.md 6.3). Missing keys of a
 * new one are generated.
 */
export function parseAttestation(attestation: Fields, context: AttestationContext): Attestation {
  const type = attestation.required('type', attestation.oneOf('type', TYPES))
  for (const other of TYPES)
    if (other !== type && attestation.get(other) !== undefined)
      attestation.fail(other, `absent, because attestation.type is ${type}`, 'a second attestation')
  switch (type) {
    case 'symmetricKey':
      return parseSymmetricKey(attestation, context)
    case 'x509':
      return parseX509(attestation, context)
    case 'tpm':
      if (context.kind === 'individual') return parseTpm(attestation)
      return attestation.fail(
        'type',
        'x509 or symmetricKey: TPM attestation is for individual enrollments only',
        '"tpm"',
      )
    case 'none':
      return attestation.fail('type', 'x509 or symmetricKey, because nothing could be proven otherwise', '"none"')
  }
}

function parseTpm(attestation: Fields): TpmAttestation {
  const tpm = attestation.required('tpm', attestation.fields('tpm'))
  const endorsementKey = readKey('endorsementKey', tpm.required('endorsementKey', tpm.string('endorsementKey')))
  // No TPM client makes an elliptic one (attestation-crypto.md A4.2).
  if (endorsementKey.type !== 'rsa') refuseKey('endorsementKey', 'an RSA key', 'an elliptic one')
  const storage = tpm.string('storageRootKey')
  return {
    type: 'tpm',
    tpm: {
      endorsementKey: endorsementKey.bytes.toString('base64'),
      ...(storage !== undefined &&
        storage !== '' && { storageRootKey: readKey('storageRootKey', storage).bytes.toString('base64') }),
    },
  }
}

const KEY_CODES = { endorsementKey: 400201, storageRootKey: 400203 } as const

function readKey(name: keyof typeof KEY_CODES, base64: string): TpmPublic {
  try {
    return readTpmPublic(base64)
  } catch (error) {
    if (!(error instanceof TpmError)) throw error
    return refuseKey(
      name,
      `a storage key's TPM2B_PUBLIC in base64, as "muster tpm" prints it`,
      `none: ${error.message}`,
    )
  }
}

function refuseKey(name: keyof typeof KEY_CODES, expected: string, found: string): never {
  throw new ServiceError(KEY_CODES[name], `attestation.tpm.${name} must be ${expected}, found ${found}.`)
}

function parseSymmetricKey(attestation: Fields, { stored, random }: AttestationContext): SymmetricKeyAttestation {
  const keys = attestation.fields('symmetricKey')
  const before = stored?.type === 'symmetricKey' ? stored.symmetricKey : undefined
  return {
    type: 'symmetricKey',
    symmetricKey: {
      primaryKey: parseKey(keys, 'primaryKey') ?? before?.primaryKey ?? generateKey(random),
      secondaryKey: parseKey(keys, 'secondaryKey') ?? before?.secondaryKey ?? generateKey(random),
    },
  }
}

function parseKey(keys: Fields | undefined, name: string): string | undefined {
  const key = keys?.string(name)
  if (key === undefined || key === '') return undefined
  if (decodeKey(key) === undefined)
    keys?.fail(
      name,
      `base64 of ${limits.keyBytesLeast} to ${limits.keyBytes} bytes`,
      `a text of ${key.length} characters that is not`,
    )
  return key
}

function parseX509(attestation: Fields, context: AttestationContext): X509Attestation {
  const x509 = attestation.required('x509', attestation.fields('x509'))
  const given = X509_KINDS.filter((kind) => x509.get(kind) !== undefined)
  const [kind] = given
  const allowed = context.kind === 'individual' ? 'clientCertificates' : 'signingCertificates or caReferences'
  if (kind === undefined || given.length > 1 || (kind === 'clientCertificates') !== (context.kind === 'individual'))
    attestation.fail('x509', `an object with ${allowed} and nothing else`, given.join(' and ') || 'none of them')
  const slots = x509.required(kind, x509.fields(kind))
  const stored = context.stored?.type === 'x509' ? context.stored.x509 : undefined
  if (kind === 'caReferences') return { type: 'x509', x509: { caReferences: parseReferences(slots) } }
  return { type: 'x509', x509: { [kind]: parseCertificates(slots, stored?.[kind], context.byThumbprint) } }
}

function parseReferences(slots: Fields): Slots<string> {
  return parseSlots(slots, (slot) => {
    const name = slots.string(slot)
    if (name !== undefined && name.length > limits.certificateNameLength)
      slots.fail(slot, `a name of at most ${limits.certificateNameLength} characters`, `one of ${name.length}`)
    return name === '' ? undefined : name
  })
}

function parseCertificates(
  slots: Fields,
  stored: Slots<StoredCertificate> | undefined,
  byThumbprint: boolean,
): Slots<StoredCertificate> {
  return parseSlots(slots, (slot) => {
    const entry = slots.fields(slot)
    if (entry === undefined) return undefined
    const text = entry.string('certificate')
    if (text !== undefined && text !== '') return readCertificate(entry, text)
    const info = byThumbprint ? entry.fields('info') : undefined
    if (info === undefined || names(info, stored?.[slot])) return keptCertificate(entry, stored?.[slot])
    return { info: readInfo(info) }
  })
}

function parseSlots<T>(slots: Fields, read: (slot: (typeof slotNames)[number]) => T | undefined): Slots<T> {
  const [primary, secondary] = slotNames.map(read)
  if (primary === undefined && secondary === undefined) slots.fail('primary', 'given, or secondary', 'neither')
  return { ...(primary !== undefined && { primary }), ...(secondary !== undefined && { secondary }) }
}

/** Of a file with a whole chain the first certificate counts, as .NET reads it. */
function readCertificate(entry: Fields, text: string): StoredCertificate {
  const certificate = readable(entry, text)
  return { certificate: certificate.raw.toString('base64'), info: certificateInfo(certificate) }
}

function readable(entry: Fields, text: string) {
  try {
    const [first] = readCertificates(text)
    if (first !== undefined) return first
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error
    return entry.fail('certificate', 'a certificate: PEM, DER in base64 or PEM in base64', `none: ${error.message}`)
  }
  return entry.fail('certificate', 'a certificate', 'none')
}

/** Whether the `info` is that of the stored certificate. */
function names(info: Fields | undefined, stored: StoredCertificate | undefined): boolean {
  const named = info?.string('sha256Thumbprint') ?? info?.string('sha1Thumbprint')
  if (stored === undefined || named === undefined) return false
  return [stored.info.sha256Thumbprint, stored.info.sha1Thumbprint].includes(named.toUpperCase())
}

const THUMBPRINTS = { sha1Thumbprint: /^[0-9A-F]{40}$/i, sha256Thumbprint: /^[0-9A-F]{64}$/i } as const

/** `info` of a certificate that is nowhere else (dps.md 6.3): what is shown later is what was read. */
function readInfo(info: Fields): CertificateInfo {
  const text = (name: keyof CertificateInfo): string => {
    const value = info.required(name, info.string(name))
    if (value.length > limits.certificateBytes) info.fail(name, 'shorter', `${value.length} characters`)
    return value
  }
  const thumbprint = (name: keyof typeof THUMBPRINTS): string => {
    const value = text(name)
    if (!THUMBPRINTS[name].test(value)) info.fail(name, 'a thumbprint in hexadecimal digits', 'something else')
    return value.toUpperCase()
  }
  const time = (name: 'notBeforeUtc' | 'notAfterUtc'): string => {
    if (Number.isNaN(Date.parse(text(name)))) info.fail(name, 'a time', 'something else')
    return text(name)
  }
  return {
    subjectName: text('subjectName'),
    sha1Thumbprint: thumbprint('sha1Thumbprint'),
    sha256Thumbprint: thumbprint('sha256Thumbprint'),
    issuerName: text('issuerName'),
    notBeforeUtc: time('notBeforeUtc'),
    notAfterUtc: time('notAfterUtc'),
    serialNumber: text('serialNumber'),
    version: info.number('version') ?? 3,
  }
}

/** The az CLI updates by GET, change, PUT: the certificate comes back as the `info` it was shown (dps.md 6.3). */
function keptCertificate(entry: Fields, stored: StoredCertificate | undefined): StoredCertificate {
  const info = entry.fields('info')
  if (stored !== undefined && names(info, stored)) return stored
  return entry.fail(
    'certificate',
    'a certificate, or absent where info repeats the thumbprint of the stored one in this place',
    info === undefined ? 'neither' : 'the info of another certificate',
  )
}

/** `full`: with the symmetric keys, for PUT answers and attestationmechanism; `shown`: for GET and query. */
export type Secrecy = 'full' | 'shown'

/** The attestation on the wire: only the member that belongs to the type, never a certificate (dps.md 6.3). */
export function attestationDocument(attestation: Attestation, secrecy: Secrecy): JsonObject {
  if (attestation.type === 'symmetricKey')
    return secrecy === 'full'
      ? { type: attestation.type, symmetricKey: { ...attestation.symmetricKey } }
      : { type: attestation.type }
  if (attestation.type === 'tpm') return { type: 'tpm', tpm: { ...attestation.tpm } }
  const { clientCertificates, signingCertificates, caReferences } = attestation.x509
  if (caReferences !== undefined) return { type: 'x509', x509: { caReferences: { ...caReferences } } }
  const certificates = clientCertificates ?? signingCertificates
  const kind = clientCertificates === undefined ? 'signingCertificates' : 'clientCertificates'
  const slots = slotNames.flatMap((slot) => {
    const stored = certificates?.[slot]
    return stored === undefined ? [] : [[slot, { info: { ...stored.info } }] as const]
  })
  return { type: 'x509', x509: { [kind]: Object.fromEntries(slots) } }
}
