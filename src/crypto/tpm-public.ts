import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { byteReader, sized, u16 } from '../base/big-endian.ts'
import { limits } from '../base/limits.ts'

/** A TPM structure that is malformed, or of a kind that is not supported. The message says which part. */
export class TpmError extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {})
    this.name = 'TpmError'
  }
}

const ALG = { rsa: 0x0001, aes: 0x0006, sha256: 0x000b, null: 0x0010, ecc: 0x0023, cfb: 0x0043 } as const
const NIST_P256 = 0x0003
const P256_BYTES = 32
/** restricted and decrypt: the only keys that a TPM opens credentials and imports below. */
const STORAGE = 0x00030000

/** A storage key of a TPM: its endorsement key (EK) or its storage root key (SRK). */
export interface TpmPublic {
  /** TPM2B_PUBLIC: with the length in front. What registrations carry and what registration ids are made from. */
  readonly bytes: Buffer
  /** `000b` and SHA-256 of the area without its length (attestation-crypto.md A3.1). */
  readonly name: Buffer
  /** Bits of the symmetric key that protects its children. */
  readonly symmetricBits: 128 | 256
  readonly type: 'rsa' | 'ecc'
  readonly key: KeyObject
  /** ECC: the x coordinate, 32 bytes. */
  readonly x?: Buffer
}

const fail = (message: string): TpmError => new TpmError(message)

/**
 * Reads the public area of a storage key, nothing left out and nothing left over: RSA of 2048, 3072 or 4096 bits or
 * ECC P-256, SHA-256 names, AES-128 or AES-256 in CFB (attestation-crypto.md A3.2). The bare area without its length
 * is taken too (edge.md 5.7). Throws TpmError for everything else.
 */
export function parseTpmPublic(bytes: Buffer): TpmPublic {
  if (bytes.length > limits.tpmPublicBytes)
    throw fail(`expected at most ${limits.tpmPublicBytes} bytes, found ${bytes.length}`)
  const hasLength = bytes.length >= 2 && bytes.readUInt16BE() === bytes.length - 2
  const isBare = bytes.length >= 2 && ([ALG.rsa, ALG.ecc] as number[]).includes(bytes.readUInt16BE())
  if (!hasLength && !isBare) throw fail('its length does not match the bytes that follow')
  return parseArea(hasLength ? bytes.subarray(2) : bytes)
}

/** The same from base64, as enrollments and registrations carry it; white space and other alphabets are refused. */
export function readTpmPublic(base64: string): TpmPublic {
  if (base64.length > limits.tpmPublicBytes * 2 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || base64.length % 4 !== 0)
    throw fail('expected base64 with padding')
  return parseTpmPublic(Buffer.from(base64, 'base64'))
}

function parseArea(area: Buffer): TpmPublic {
  const read = byteReader(area, fail)
  const type = read.u16('the type')
  if (type !== ALG.rsa && type !== ALG.ecc) throw fail(`expected an RSA or ECC key, found algorithm ${hex(type)}`)
  expected('the name algorithm', 'SHA-256', read.u16('the name algorithm'), ALG.sha256)
  const attributes = read.u32('the attributes')
  if ((attributes & STORAGE) !== STORAGE) throw fail('expected a key with the attributes restricted and decrypt')
  const policy = read.sized('the policy')
  if (policy.length !== 0 && policy.length !== 32) throw fail(`expected a policy of 32 bytes, found ${policy.length}`)
  expected('the symmetric algorithm', 'AES', read.u16('the symmetric algorithm'), ALG.aes)
  const symmetricBits = read.u16('the symmetric key bits')
  if (symmetricBits !== 128 && symmetricBits !== 256)
    throw fail(`expected 128 or 256 symmetric key bits, found ${symmetricBits}`)
  expected('the symmetric mode', 'CFB', read.u16('the symmetric mode'), ALG.cfb)
  expected('the scheme', 'none', read.u16('the scheme'), ALG.null)
  const own = type === ALG.rsa ? readRsa(read) : readEcc(read)
  if (read.left() > 0) throw fail(`expected the end of the key, found ${read.left()} more bytes`)
  const name = Buffer.concat([u16(ALG.sha256), createHash('sha256').update(area).digest()])
  return { bytes: sized(area), name, symmetricBits, ...own }
}

type Own = Pick<TpmPublic, 'type' | 'key' | 'x'>

function readRsa(read: ReturnType<typeof byteReader>): Own {
  const bits = read.u16('the modulus bits')
  if (bits !== 2048 && bits !== 3072 && bits !== 4096)
    throw fail(`expected an RSA key of 2048, 3072 or 4096 bits, found ${bits}`)
  const exponent = read.u32('the exponent')
  // 0 stands for the default.
  if (exponent !== 0 && exponent !== 65_537) throw fail(`expected the exponent 65537, found ${exponent}`)
  const modulus = read.sized('the modulus')
  if (modulus.length !== bits / 8 || modulus[0]! < 0x80 || modulus.at(-1)! % 2 === 0)
    throw fail(`expected an odd modulus of ${bits} bits`)
  return { type: 'rsa', key: publicKey({ kty: 'RSA', n: modulus.toString('base64url'), e: 'AQAB' }) }
}

function readEcc(read: ReturnType<typeof byteReader>): Own {
  expected('the curve', 'NIST P-256', read.u16('the curve'), NIST_P256)
  expected('the key derivation', 'none', read.u16('the key derivation'), ALG.null)
  const [x, y] = [coordinate(read.sized('x')), coordinate(read.sized('y'))]
  const jwk = { kty: 'EC', crv: 'P-256', x: x.toString('base64url'), y: y.toString('base64url') }
  return { type: 'ecc', key: publicKey(jwk), x }
}

/** TPMs may leave leading zeros off. */
function coordinate(bytes: Buffer): Buffer {
  if (bytes.length > P256_BYTES) throw fail(`expected a coordinate of ${P256_BYTES} bytes, found ${bytes.length}`)
  return Buffer.concat([Buffer.alloc(P256_BYTES - bytes.length), bytes])
}

function publicKey(key: Record<string, string>): KeyObject {
  try {
    return createPublicKey({ key, format: 'jwk' })
  } catch (cause) {
    throw new TpmError('the numbers in it are not a public key', { cause })
  }
}

function expected(what: string, wanted: string, found: number, number: number): void {
  if (found !== number) throw fail(`expected ${what} ${wanted}, found ${hex(found)}`)
}

const hex = (value: number): string => `0x${value.toString(16).padStart(4, '0')}`
