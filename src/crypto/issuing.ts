import { createPrivateKey, KeyObject, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import type { Extension, Name } from '@peculiar/x509'
import { type Certificate, CertificateError, readCertificates } from './certificates.ts'
import { shownName } from './names.ts'

/** A certificate with its key, as PEM text that ends with a newline each. */
export interface Issued {
  readonly certificate: string
  /** PKCS#8, unencrypted. */
  readonly key: string
  /** This certificate, then its issuers, the root last. */
  readonly chain: string
}

export type KeyType = 'ec' | 'rsa'

interface Validity {
  readonly days: number
  /** Milliseconds since 1970. */
  readonly now: number
}

export interface AuthorityInput extends Validity {
  readonly commonName: string
  readonly keyType: KeyType
  /** How many intermediates may stand below; unlimited when absent. */
  readonly pathLength?: number | undefined
  /** The authority that signs this one; absent for a root. */
  readonly issuer?: Issued | undefined
}

export interface ServerCertificateInput extends Validity {
  readonly authority: Issued
  /** DNS names and IP addresses, at least one. */
  readonly names: readonly string[]
  readonly keyType: KeyType
}

export interface DeviceCertificateInput extends Validity {
  /** Absent: self-signed, for an individual enrollment. */
  readonly authority?: Issued | undefined
  readonly commonName: string
  readonly keyType: KeyType
}

export interface VerificationCertificateInput {
  readonly authority: Issued
  /** The verification code: the certificate's common name (dps.md 7.3). */
  readonly code: string
  /** Milliseconds since 1970. */
  readonly now: number
}

/** A root, or with `issuer` an intermediate: CA:TRUE, key usage digitalSignature, cRLSign, keyCertSign (edge.md 8.1). */
export async function createAuthority(input: AuthorityInput): Promise<Issued> {
  const { commonName, pathLength, issuer } = input
  return issue({ ...input, subject: commonName, issuer }, (x509) => [
    new x509.BasicConstraintsExtension(true, pathLength, true),
    new x509.KeyUsagesExtension(
      x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.keyCertSign,
      true,
    ),
  ])
}

/** A TLS server certificate for DNS names and IP addresses; the first name that fits is its common name. */
export async function issueServerCertificate(input: ServerCertificateInput): Promise<Issued> {
  const names = input.names.map(alternativeName)
  const subject = input.names.find((name) => name.length <= COMMON_NAME_LENGTH) ?? 'server'
  if (names.length === 0) throw new CertificateError('A server certificate needs at least one DNS name or IP address.')
  return issue({ ...input, subject, issuer: input.authority }, (x509) => [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    new x509.SubjectAlternativeNameExtension(names),
  ])
}

/** A device's client certificate; its common name is the registration id. Profile of certGen.sh (edge.md 8.1). */
export const issueDeviceCertificate = async (input: DeviceCertificateInput): Promise<Issued> =>
  issue({ ...input, subject: input.commonName, issuer: input.authority }, clientProfile)

/** Proof of possession: an ordinary client certificate whose common name is the verification code (dps.md 7.3). */
export const issueVerificationCertificate = async ({
  authority,
  code,
  now,
}: VerificationCertificateInput): Promise<Issued> =>
  issue({ subject: code, issuer: authority, keyType: 'ec', days: VERIFICATION_DAYS, now }, clientProfile)

type Library = typeof import('@peculiar/x509')
type Profile = (x509: Library) => Extension[]

/** Characters of a common name (X.520 ub-common-name); DPS allows registration ids of this length with X.509. */
const COMMON_NAME_LENGTH = 64
const VERIFICATION_DAYS = 30
const DAY_MS = 24 * 60 * 60 * 1000
/** A new certificate is valid since an hour ago: devices' clocks may be behind. */
const CLOCK_SLACK_MS = 60 * 60 * 1000

const clientProfile: Profile = (x509) => [
  new x509.BasicConstraintsExtension(false, undefined, true),
  new x509.KeyUsagesExtension(
    x509.KeyUsageFlags.nonRepudiation | x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment,
    true,
  ),
  new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.emailProtection]),
]

let loaded: Promise<Library> | undefined

/** Loaded on first use: 110 ms and 17 MB that a service which issues nothing need not pay (attestation-crypto.md B7). */
const library = (): Promise<Library> => {
  loaded ??= (async () => {
    await import('reflect-metadata')
    const x509 = await import('@peculiar/x509')
    x509.cryptoProvider.set(webcrypto as Crypto)
    return x509
  })()
  return loaded
}

interface Order extends Validity {
  readonly subject: string
  readonly keyType: KeyType
  readonly issuer: Issued | undefined
}

async function issue(order: Order, profile: Profile): Promise<Issued> {
  const { subject, keyType, issuer, days, now } = order
  if (subject.length === 0 || subject.length > COMMON_NAME_LENGTH)
    throw new CertificateError(
      `A common name has 1 to ${COMMON_NAME_LENGTH} characters, ${JSON.stringify(subject)} has ${subject.length}.`,
    )
  if (!Number.isFinite(days) || days <= 0)
    throw new CertificateError(`The days of validity must be above 0, found ${days}.`)
  const x509 = await library()
  const keys = await webcrypto.subtle.generateKey(KEYS[keyType], true, ['sign', 'verify'])
  // Typed, not as text: the library would read a text with quotes or commas as a list of attributes.
  const name = new x509.Name([{ CN: [{ utf8String: subject }] }])
  const signer = issuer === undefined ? undefined : await signerOf(x509, issuer)
  if (signer !== undefined && signer.certificate.notAfter <= now)
    throw new CertificateError(`The authority ${shownName(signer.certificate.subject)} has expired; make a new one.`)
  const notAfter = Math.min(now + days * DAY_MS, signer?.certificate.notAfter ?? Number.POSITIVE_INFINITY)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: name,
    issuer: signer?.name ?? name,
    notBefore: new Date(now - CLOCK_SLACK_MS),
    notAfter: new Date(notAfter),
    publicKey: keys.publicKey,
    signingKey: signer?.key ?? keys.privateKey,
    signingAlgorithm: signer?.algorithm ?? SIGNING[keyType],
    extensions: [...profile(x509), ...(await keyIdentifiers(x509, keys.publicKey, signer))],
  })
  const pem = `${certificate.toString('pem').trimEnd()}\n`
  return { certificate: pem, key: await privatePem(keys.privateKey), chain: pem + (issuer?.chain ?? '') }
}

const KEYS = {
  ec: { name: 'ECDSA', namedCurve: 'P-256' },
  rsa: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
} as const

const SIGNING = {
  ec: { name: 'ECDSA', hash: 'SHA-256' },
  rsa: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
} as const

/** Sixteen random bytes, positive and of full length whatever they are. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(Buffer.alloc(16))
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
  return bytes.toString('hex')
}

const privatePem = async (key: webcrypto.CryptoKey): Promise<string> =>
  `${KeyObject.from(key).export({ format: 'pem', type: 'pkcs8' }).toString().trimEnd()}\n`

interface Signer {
  readonly certificate: Certificate
  /** Exactly as the authority's subject is encoded, so that names chain byte by byte. */
  readonly name: Name
  readonly key: webcrypto.CryptoKey
  readonly algorithm: { readonly name: string; readonly hash: string }
}

/** Makes ready an authority of ours or the operator's own (any PEM key: PKCS#8, PKCS#1, SEC1, not encrypted). */
async function signerOf(x509: Library, authority: Issued): Promise<Signer> {
  const [certificate] = readCertificates(authority.certificate)
  if (certificate === undefined) throw new CertificateError('The authority has no certificate.')
  if (certificate.version === 3 && certificate.extensions.basicConstraints?.ca !== true)
    throw new CertificateError(
      `${shownName(certificate.subject)} is not a certificate authority; it cannot issue certificates.`,
    )
  const key = privateKeyOf(authority.key)
  if (!certificate.x509.checkPrivateKey(key))
    throw new CertificateError(`The private key does not belong to the certificate ${shownName(certificate.subject)}.`)
  const kind = signingKind(key)
  const pkcs8 = key.export({ format: 'der', type: 'pkcs8' })
  return {
    certificate,
    name: new x509.X509Certificate(certificate.raw).subjectName,
    key: await webcrypto.subtle.importKey('pkcs8', pkcs8, kind, false, ['sign']),
    algorithm: { name: kind.name, hash: kind.hash },
  }
}

function privateKeyOf(pem: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new CertificateError('The private key cannot be read. Expected an unencrypted key as PEM.', { cause })
  }
}

/** The hash goes with the size of the curve (RFC 5480 4); RSA signs with SHA-256. */
function signingKind(key: KeyObject): { name: string; hash: string; namedCurve?: string } {
  if (key.asymmetricKeyType === 'rsa') return SIGNING.rsa
  switch (key.asymmetricKeyDetails?.namedCurve) {
    case 'prime256v1':
      return { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    case 'secp384r1':
      return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
    case 'secp521r1':
      return { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' }
    default:
      throw new CertificateError('An authority needs an RSA key, or one on the curve P-256, P-384 or P-521.')
  }
}

/** Subject key id, and below an authority its key id exactly as that authority states it. */
async function keyIdentifiers(
  x509: Library,
  publicKey: webcrypto.CryptoKey,
  signer: Signer | undefined,
): Promise<Extension[]> {
  const own = await x509.SubjectKeyIdentifierExtension.create(publicKey)
  const issuer = signer === undefined ? own.keyId : signer.certificate.extensions.subjectKeyId
  return issuer === undefined ? [own] : [own, new x509.AuthorityKeyIdentifierExtension(issuer)]
}

const DNS_NAME = /^(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/i

function alternativeName(name: string): { type: 'dns' | 'ip'; value: string } {
  if (isIP(name) !== 0) return { type: 'ip', value: name }
  if (name.length > 253 || !DNS_NAME.test(name))
    throw new CertificateError(`Expected a DNS name or an IP address, found ${JSON.stringify(name)}.`)
  return { type: 'dns', value: name }
}
