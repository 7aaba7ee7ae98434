import { type KeyObject, verify } from 'node:crypto'
import { limits } from '../base/limits.ts'
import type { Certificate } from './certificates.ts'
import { contextTag, DerReader, readOid, tags } from './der.ts'
import { Lru } from './lru.ts'

/** What a signature check can say. `weak`: made with MD5 or SHA-1, which forgers can collide. */
export type SignatureVerdict = 'valid' | 'invalid' | 'weak' | 'unsupported'

/** Hash and kind of key of the signature algorithms that are verified over the raw bytes: nearly all there are. */
const ALGORITHMS: Readonly<Record<string, readonly [digest: string | null, keyType: string]>> = {
  '1.2.840.10045.4.3.1': ['sha224', 'ec'],
  '1.2.840.10045.4.3.2': ['sha256', 'ec'],
  '1.2.840.10045.4.3.3': ['sha384', 'ec'],
  '1.2.840.10045.4.3.4': ['sha512', 'ec'],
  '1.2.840.113549.1.1.14': ['sha224', 'rsa'],
  '1.2.840.113549.1.1.11': ['sha256', 'rsa'],
  '1.2.840.113549.1.1.12': ['sha384', 'rsa'],
  '1.2.840.113549.1.1.13': ['sha512', 'rsa'],
  '1.3.101.112': [null, 'ed25519'],
  '1.3.101.113': [null, 'ed448'],
}

const RSA_PSS = '1.2.840.113549.1.1.10'

const WEAK = new Set([
  '1.2.840.113549.1.1.2', // MD2 with RSA
  '1.2.840.113549.1.1.3', // MD4 with RSA
  '1.2.840.113549.1.1.4', // MD5 with RSA
  '1.2.840.113549.1.1.5', // SHA-1 with RSA
  '1.3.14.3.2.29', // SHA-1 with RSA, older number
  '1.2.840.10045.4.1', // SHA-1 with ECDSA
  '1.2.840.10040.4.3', // SHA-1 with DSA
])

/** SHA-256, SHA-384, SHA-512: what RSA-PSS must name. Its default, when nothing is named, is SHA-1 (RFC 4055 3.1). */
const STRONG_HASHES = new Set(['2.16.840.1.101.3.4.2.1', '2.16.840.1.101.3.4.2.2', '2.16.840.1.101.3.4.2.3'])

/** Positive verdicts only, each under the whole child and the whole key: nothing a stranger sends can poison it. */
const verdicts = new Lru<true>(limits.chainVerdicts)

const link = (child: Certificate, issuer: Certificate): string => `${child.sha256}:${issuer.keyId}`

/** Keeps the links of an accepted path, so that they are not computed again while they are in use. */
export function rememberSignatures(path: readonly Certificate[]): void {
  for (const [at, child] of path.entries()) {
    const issuer = path[at + 1]
    if (issuer !== undefined) verdicts.set(link(child, issuer), true)
  }
}

/** Whether `issuer`'s key signed `child`. Names, purposes and times are not looked at. Never throws. */
export function checkSignature(child: Certificate, issuer: Certificate): SignatureVerdict {
  if (verdicts.get(link(child, issuer)) === true) return 'valid'
  const { id, parameters } = child.signatureAlgorithm
  if (WEAK.has(id) || (id === RSA_PSS && !namesStrongHash(parameters))) return 'weak'
  const algorithm = ALGORITHMS[id]
  // OpenSSL knows further ones, MD5 under other numbers among them.
  if ((algorithm === undefined && id !== RSA_PSS) || !isQuickKey(issuer)) return 'unsupported'
  try {
    if (algorithm === undefined) return child.x509.verify(issuer.publicKey) ? 'valid' : 'invalid'
    return verified(child, issuer.publicKey, algorithm) ? 'valid' : 'invalid'
  } catch {
    // OpenSSL throws for keys and algorithms it does not know, and for a key that does not fit the algorithm.
    return 'unsupported'
  }
}

function verified(child: Certificate, key: KeyObject, [digest, keyType]: readonly [string | null, string]): boolean {
  // The algorithm that the certificate names must be the key's own: Node would otherwise follow the key alone.
  return key.asymmetricKeyType === keyType && verify(digest, child.signed, key, child.signature)
}

function namesStrongHash(parameters: Buffer | undefined): boolean {
  if (parameters === undefined) return false
  try {
    const hashAlgorithm = new DerReader(parameters, 'signature algorithm')
      .enter(tags.sequence)
      .enter(contextTag(0, true))
      .enter(tags.sequence)
    return STRONG_HASHES.has(readOid(hashAlgorithm.read(tags.oid).content, 'signature algorithm'))
  } catch {
    return false
  }
}

const RSA = '1.2.840.113549.1.1.1'
const EC = '1.2.840.10045.2.1'
const ED25519 = '1.3.101.112'
const ED448 = '1.3.101.113'

/** Named curves of 224 bits and more. Explicit parameters are refused: they are how CVE-2020-0601 was done. */
const CURVES = new Set([
  '1.2.840.10045.3.1.7', // P-256
  '1.3.132.0.33', // P-224
  '1.3.132.0.34', // P-384
  '1.3.132.0.35', // P-521
  '1.3.132.0.10', // secp256k1
  '1.3.36.3.3.2.8.1.1.7', // brainpoolP256r1
  '1.3.36.3.3.2.8.1.1.11', // brainpoolP384r1
  '1.3.36.3.3.2.8.1.1.13', // brainpoolP512r1
])

/** Why a certificate's public key is too weak to prove anything, or undefined. Reads the bytes; no key is built. */
export function keyWeakness({ keyAlgorithm: { id, parameters }, publicKeyInfo }: Certificate): string | undefined {
  switch (id) {
    case RSA:
    case RSA_PSS: {
      const { bits } = rsaSize(publicKeyInfo)
      return bits >= limits.rsaKeyBitsLeast
        ? undefined
        : `an RSA key of ${bits} bits; ${limits.rsaKeyBitsLeast} are needed`
    }
    case EC: {
      const curve = namedCurve(parameters)
      return curve !== undefined && CURVES.has(curve)
        ? undefined
        : `an elliptic curve key on ${curve ?? 'an unnamed curve'}; P-256 or better is needed`
    }
    case ED25519:
    case ED448:
      return undefined
    default:
      return `a key of the kind ${id}; RSA, elliptic curves, Ed25519 and Ed448 are known`
  }
}

/**
 * Whether a signature is checked in a millisecond or so. A stranger presents keys as well: with large RSA exponents,
 * or on large unusual curves, ten of them would keep us busy for half a second.
 */
function isQuickKey({ keyAlgorithm: { id, parameters }, publicKeyInfo }: Certificate): boolean {
  switch (id) {
    case RSA:
    case RSA_PSS: {
      const { bits, exponentBytes } = rsaSize(publicKeyInfo)
      return bits <= limits.rsaKeyBitsMost && exponentBytes <= limits.rsaExponentBytes
    }
    case EC:
      return CURVES.has(namedCurve(parameters) ?? '')
    default:
      return id === ED25519 || id === ED448
  }
}

function namedCurve(parameters: Buffer | undefined): string | undefined {
  if (parameters?.[0] !== tags.oid) return undefined
  try {
    return readOid(new DerReader(parameters, 'public key').read(tags.oid).content, 'public key')
  } catch {
    return undefined
  }
}

/** Weak and slow where the key cannot be read: OpenSSL may read it all the same. */
function rsaSize(publicKeyInfo: Buffer): { readonly bits: number; readonly exponentBytes: number } {
  try {
    const info = new DerReader(publicKeyInfo, 'public key').enter(tags.sequence)
    info.read(tags.sequence)
    const key = new DerReader(info.read(tags.bitString).content.subarray(1), 'public key').enter(tags.sequence)
    const modulus = withoutZeros(key.read(tags.integer).content)
    const exponent = withoutZeros(key.read(tags.integer).content)
    const bits = modulus.length === 0 ? 0 : modulus.length * 8 - Math.clz32(modulus[0]!) + 24
    return { bits, exponentBytes: exponent.length }
  } catch {
    return { bits: 0, exponentBytes: Number.POSITIVE_INFINITY }
  }
}

function withoutZeros(bytes: Buffer): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0)
  return bytes.subarray(start < 0 ? bytes.length : start)
}
