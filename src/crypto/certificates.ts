import { createPublicKey, hash, type KeyObject, X509Certificate } from 'node:crypto'
import { limits } from '../base/limits.ts'
import {
  CertificateError,
  checkInteger,
  contextTag,
  DerReader,
  type Element,
  readOctetBits,
  readOid,
  readSmallInteger,
  readTime,
  tags,
} from './der.ts'
import { type Extensions, readExtensions } from './extensions.ts'
import { Lru } from './lru.ts'
import { commonNamesOf, dotNetName, type Name, readName } from './names.ts'

export { CertificateError } from './der.ts'

/** An algorithm's object identifier and its parameters, still encoded. */
export interface Algorithm {
  readonly id: string
  readonly parameters: Buffer | undefined
}

/** An X.509 certificate, taken apart once. Everything in it is a claim until a chain was validated. */
export interface Certificate {
  readonly raw: Buffer
  /** Node's own view; throws CertificateError where OpenSSL cannot read what this parser could. */
  readonly x509: X509Certificate
  /** Throws CertificateError where the key is of a kind or shape that OpenSSL does not know. */
  readonly publicKey: KeyObject
  /** SHA-256 of the public key with its algorithm, hex: two certificates with one key share it. */
  readonly keyId: string
  readonly keyAlgorithm: Algorithm
  /** The encoded SubjectPublicKeyInfo. */
  readonly publicKeyInfo: Buffer
  /** 1, 2 or 3. */
  readonly version: number
  /** Upper-case hex, without the sign octet of its encoding. */
  readonly serialNumber: string
  /** The subject's common name; undefined when it has none or several, because an identity must not be ambiguous. */
  readonly commonName: string | undefined
  /** .NET style, last part first: `CN=dev-001, O=Contoso`. */
  readonly subject: string
  readonly issuer: string
  readonly subjectName: Name
  readonly issuerName: Name
  /** Upper-case hex without colons. */
  readonly sha1: string
  readonly sha256: string
  /** Milliseconds since 1970. */
  readonly notBefore: number
  readonly notAfter: number
  readonly extensions: Extensions
  /** What the signature covers. */
  readonly signed: Buffer
  readonly signature: Buffer
  readonly signatureAlgorithm: Algorithm
}

/** Certificates that stood as issuers on an accepted path: a registration brings the same ones again and again. */
const issuers = new Lru<Certificate>(limits.chainIssuers)

/** Keeps parsed issuers, so that their next presentation costs a digest only. Called with accepted paths alone. */
export function rememberIssuers(path: readonly Certificate[]): void {
  for (const issuer of path.slice(1)) issuers.set(issuer.sha256, issuer)
}

/**
 * Takes one DER certificate apart. Strict where laxness would be ambiguity (DER lengths, trailing bytes, duplicates),
 * lenient where real tools are odd (attestation-crypto.md B5). Throws CertificateError with a plain reason.
 */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > limits.certificateBytes)
    throw new CertificateError(
      `A certificate may have ${limits.certificateBytes} bytes, this one has ${der.length}. Present a smaller one.`,
    )
  const sha256 = hash('sha256', der, 'hex').toUpperCase()
  // A copy: the caller's buffer may be a slice of a larger one, or change later.
  return issuers.get(sha256) ?? new ParsedCertificate(Buffer.from(der), sha256)
}

class ParsedCertificate implements Certificate {
  readonly raw: Buffer
  readonly sha256: string
  readonly version: number
  readonly serialNumber: string
  readonly issuerName: Name
  readonly subjectName: Name
  readonly notBefore: number
  readonly notAfter: number
  readonly publicKeyInfo: Buffer
  readonly keyAlgorithm: Algorithm
  readonly extensions: Extensions
  readonly signed: Buffer
  readonly signature: Buffer
  readonly signatureAlgorithm: Algorithm
  #x509: X509Certificate | undefined
  #publicKey: KeyObject | undefined
  #keyId: string | undefined
  #sha1: string | undefined

  constructor(raw: Buffer, sha256: string) {
    this.raw = raw
    this.sha256 = sha256
    const whole = new DerReader(raw, 'outer structure')
    const outer = whole.enter(tags.sequence)
    whole.end()
    const signed = outer.read(tags.sequence)
    const algorithm = outer.read(tags.sequence)
    this.signature = readOctetBits(outer.read(tags.bitString).content, 'signature')
    outer.end()
    this.signed = signed.raw
    this.signatureAlgorithm = readAlgorithm(algorithm, 'signature algorithm')

    const body = new DerReader(signed.content, 'body')
    this.version = readVersion(body)
    this.serialNumber = readSerialNumber(body.read(tags.integer).content)
    if (!body.read(tags.sequence).raw.equals(algorithm.raw))
      throw new CertificateError('The certificate names two different signature algorithms, inside and outside.')
    const issuer = body.read(tags.sequence)
    this.issuerName = readName(issuer.raw, issuer.content, 'issuer')
    const validity = body.enter(tags.sequence)
    this.notBefore = readTime(validity.any(), 'validity')
    this.notAfter = readTime(validity.any(), 'validity')
    validity.end()
    const subject = body.read(tags.sequence)
    this.subjectName = readName(subject.raw, subject.content, 'subject')
    const keyInfo = body.read(tags.sequence)
    this.publicKeyInfo = keyInfo.raw
    this.keyAlgorithm = readKeyAlgorithm(keyInfo)
    this.extensions = readTail(body, this.version)
  }

  get x509(): X509Certificate {
    this.#x509 ??= readable(() => new X509Certificate(this.raw), 'The certificate cannot be read by OpenSSL')
    return this.#x509
  }

  get publicKey(): KeyObject {
    this.#publicKey ??= readable(
      () => createPublicKey({ key: this.publicKeyInfo, format: 'der', type: 'spki' }),
      "The certificate's public key is not usable",
    )
    return this.#publicKey
  }

  get keyId(): string {
    this.#keyId ??= hash('sha256', this.publicKeyInfo, 'hex')
    return this.#keyId
  }

  get sha1(): string {
    this.#sha1 ??= hash('sha1', this.raw, 'hex').toUpperCase()
    return this.#sha1
  }

  get commonName(): string | undefined {
    const names = commonNamesOf(this.subjectName)
    return names.length === 1 ? names[0] : undefined
  }

  get subject(): string {
    return dotNetName(this.subjectName)
  }

  get issuer(): string {
    return dotNetName(this.issuerName)
  }
}

function readable<T>(read: () => T, complaint: string): T {
  try {
    return read()
  } catch (cause) {
    throw new CertificateError(`${complaint}.`, { cause })
  }
}

function readAlgorithm({ content }: Element, what: string): Algorithm {
  const reader = new DerReader(content, what)
  const id = readOid(reader.read(tags.oid).content, what)
  const parameters = reader.done ? undefined : reader.any().raw
  reader.end()
  return { id, parameters }
}

function readKeyAlgorithm({ content }: Element): Algorithm {
  const reader = new DerReader(content, 'public key')
  const algorithm = readAlgorithm(reader.read(tags.sequence), 'public key')
  reader.read(tags.bitString)
  reader.end()
  return algorithm
}

/** `[0] EXPLICIT INTEGER`, absent for version 1. An explicit 0, though the default, is accepted. */
function readVersion(body: DerReader): number {
  const field = body.optional(contextTag(0, true))
  if (field === undefined) return 1
  const reader = new DerReader(field.content, 'version')
  const version = readSmallInteger(reader.read(tags.integer).content, 'version') + 1
  reader.end()
  if (version > 3) throw new CertificateError(`The certificate has X.509 version ${version}; 1, 2 and 3 are known.`)
  return version
}

/** Zero, negative and overlong numbers occur in device fleets and do no harm here (attestation-crypto.md B3.1). */
function readSerialNumber(content: Buffer): string {
  const bytes = checkInteger(content, 'serial number')
  const unsigned = bytes.length > 1 && bytes[0] === 0 ? bytes.subarray(1) : bytes
  return unsigned.toString('hex').toUpperCase()
}

/** Unique ids need version 2, extensions version 3 (RFC 5280 4.1). */
function readTail(body: DerReader, version: number): Extensions {
  const issuerId = body.optional(contextTag(1, false))
  const subjectId = body.optional(contextTag(2, false))
  const wrapped = body.optional(contextTag(3, true))
  body.end()
  if ((issuerId ?? subjectId) !== undefined && version === 1)
    throw new CertificateError('The certificate has unique identifiers, but its version is 1.')
  if (wrapped === undefined) return readExtensions(undefined)
  if (version !== 3)
    throw new CertificateError(`The certificate has extensions, but its version is ${version} instead of 3.`)
  const reader = new DerReader(wrapped.content, 'extensions')
  const { content } = reader.read(tags.sequence)
  reader.end()
  return readExtensions(content)
}

const PEM_MARK = /-----(?:BEGIN|END) (?:X509 |TRUSTED )?CERTIFICATE-----/g
const PEM_BLOCK = /-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----([^-]*)-----END \1-----/g

/**
 * The certificates of an upload, in order, at least one: DER, PEM with one or many blocks, base64 of DER (C#), base64
 * of a PEM file (C sample), any line ends, text around the blocks (dps.md 6.3, attestation-crypto.md B6). Each is
 * checked to be readable by OpenSSL and to have a usable key. Throws CertificateError.
 */
export function readCertificates(input: string | Uint8Array): Certificate[] {
  if (input.length > limits.certificateBytes * limits.certificatesPerText)
    throw new CertificateError('The text is too large to be a list of certificates.')
  const certificates = encodedCertificates(input).map((der) => parseCertificate(der))
  for (const certificate of certificates) {
    void certificate.x509
    void certificate.publicKey
  }
  return certificates
}

function encodedCertificates(input: string | Uint8Array): Buffer[] {
  if (typeof input !== 'string') {
    const bytes = Buffer.from(input)
    return bytes[0] === tags.sequence ? [bytes] : encodedCertificates(bytes.toString('latin1'))
  }
  if (input.includes('-----BEGIN ')) return pemBlocks(input)
  const decoded = decodeBase64(input)
  if (decoded[0] === tags.sequence) return [decoded]
  const text = decoded.toString('latin1')
  if (text.includes('-----BEGIN ')) return pemBlocks(text)
  throw new CertificateError('Expected a certificate as PEM, DER or base64 of either; found something else.')
}

function pemBlocks(text: string): Buffer[] {
  const blocks = [...text.matchAll(PEM_BLOCK)].map(([, label = '', body = '']) => {
    const der = decodeBase64(body)
    // OpenSSL appends its own trust settings to the certificate under this label.
    return label === 'TRUSTED CERTIFICATE' ? new DerReader(der, 'outer structure').read(tags.sequence).raw : der
  })
  if (blocks.length === 0)
    throw new CertificateError(
      'The PEM text has no complete CERTIFICATE block. Send the certificate, not its key or a request.',
    )
  // What is left of a block that was cut off must not put the next one in its place.
  if (text.match(PEM_MARK)?.length !== 2 * blocks.length)
    throw new CertificateError('The PEM text has a CERTIFICATE block without its begin or its end. Send all of it.')
  if (blocks.length > limits.certificatesPerText)
    throw new CertificateError(
      `The PEM text has ${blocks.length} certificates; ${limits.certificatesPerText} are allowed.`,
    )
  return blocks
}

function decodeBase64(text: string): Buffer {
  const compact = text.replace(/^\uFEFF|^\xEF\xBB\xBF/, '').replace(/\s+/g, '')
  if (compact === '') throw new CertificateError('Expected a certificate, found nothing.')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(compact))
    throw new CertificateError('Expected a certificate as PEM, DER or base64 of either; found other characters.')
  return Buffer.from(compact, 'base64')
}

/** `2026-01-01T00:00:00Z`: certificates know no fractions of a second. */
const isoSeconds = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z')

/** The `info` member that services show of a stored certificate (dps.md 6.3): .NET names, upper-case hex. */
export interface CertificateInfo {
  readonly subjectName: string
  readonly sha1Thumbprint: string
  readonly sha256Thumbprint: string
  readonly issuerName: string
  readonly notBeforeUtc: string
  readonly notAfterUtc: string
  readonly serialNumber: string
  readonly version: number
}

/** Every member is present: C# and Java fail on a missing one (dps.md 6.3). */
export const certificateInfo = (certificate: Certificate): CertificateInfo => ({
  subjectName: certificate.subject,
  sha1Thumbprint: certificate.sha1,
  sha256Thumbprint: certificate.sha256,
  issuerName: certificate.issuer,
  notBeforeUtc: isoSeconds(certificate.notBefore),
  notAfterUtc: isoSeconds(certificate.notAfter),
  serialNumber: certificate.serialNumber,
  version: certificate.version,
})
