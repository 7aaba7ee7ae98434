import { constants, createECDH, publicEncrypt } from 'node:crypto'
import { sized, u16, u32 } from '../base/big-endian.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import { cfb, hmac, kdfa, kdfe, sha256 } from './tpm-kdf.ts'
import { TpmError, type TpmPublic } from './tpm-public.ts'

export { parseTpmPublic, readTpmPublic, TpmError, type TpmPublic } from './tpm-public.ts'

/**
 * The service's side of TPM 2.0 attestation: the activation blob, which hands an HMAC key to the one TPM that holds
 * both an endorsement key and a storage root key (attestation-crypto.md A4, dps.md 4.3).
 */

const NONE = Buffer.alloc(0)
const SHA256 = u16(0x000b)
const HMAC = u16(0x0005)
const KEYEDHASH = u16(0x0008)
/** sign, userWithAuth, noDA. */
const ATTRIBUTES = u32(0x00040440)
/** PolicyCommandCode(TPM2_Duplicate). */
const POLICY = sha256(Buffer.alloc(32), u32(0x0000016c), u32(0x0000014b))
/** C, C# and Rust take the inner key for AES-128 without looking (attestation-crypto.md A4.3). */
const INNER_BYTES = 16
const SEED_BYTES = 32

export interface Activation {
  readonly endorsementKey: TpmPublic
  readonly storageRootKey: TpmPublic
  /** The HMAC key that the TPM shall hold: 32 bytes. */
  readonly key: Buffer
  /** A short text that every client carries along and none reads; cut where SASL would have no room for it. */
  readonly uri: string
}

/**
 * The `authenticationKey` of a challenge and of a finished registration, before base64: 798 bytes and the text's with
 * RSA keys. Throws TpmError where a key cannot encrypt. Chance is `random`, but for the padding of RSA, which is
 * OpenSSL's.
 */
export function activationBlob(activation: Activation, random: Random): Buffer {
  const { endorsementKey, storageRootKey, key, uri } = activation
  const inner = random.bytes(INNER_BYTES)
  const identity = identityKey(key, random.bytes(SEED_BYTES))
  const credentialSeed = newSeed(endorsementKey, 'IDENTITY', random)
  const duplicateSeed = newSeed(storageRootKey, 'DUPLICATE', random)
  return Buffer.concat([
    credential(credentialSeed.seed, storageRootKey.name, inner, endorsementKey.symmetricBits),
    credentialSeed.encrypted,
    duplicate(duplicateSeed.seed, identity, inner, storageRootKey.symmetricBits),
    duplicateSeed.encrypted,
    sized(identity.area),
    sized(cfb(inner, Buffer.from(uri).subarray(0, limits.tpmUriBytes))),
  ])
}

export interface IdentityKey {
  /** TPMT_PUBLIC. */
  readonly area: Buffer
  readonly name: Buffer
  /** TPM2B_SENSITIVE. */
  readonly sensitive: Buffer
}

/** The HMAC key as an object of a TPM. */
export function identityKey(key: Buffer, seedValue: Buffer): IdentityKey {
  const unique = sha256(seedValue, key)
  const area = Buffer.concat([KEYEDHASH, SHA256, ATTRIBUTES, sized(POLICY), HMAC, SHA256, sized(unique)])
  const sensitive = sized(KEYEDHASH, sized(NONE), sized(seedValue), sized(key))
  return { area, name: Buffer.concat([SHA256, sha256(area)]), sensitive }
}

/** TPM2B_ID_OBJECT: `inner`, for whoever knows `seed` and holds an object of this name. */
export function credential(seed: Buffer, name: Buffer, inner: Buffer, symmetricBits: number): Buffer {
  const encrypted = cfb(kdfa(seed, 'STORAGE', name, NONE, symmetricBits), sized(inner))
  return sized(sized(hmac(kdfa(seed, 'INTEGRITY', NONE, NONE, 256), encrypted, name)), encrypted)
}

/** TPM2B_PRIVATE: the key's sensitive part under the inner key and under the new parent's seed. */
export function duplicate(
  seed: Buffer,
  { name, sensitive }: IdentityKey,
  inner: Buffer,
  symmetricBits: number,
): Buffer {
  const wrapped = cfb(inner, Buffer.concat([sized(sha256(sensitive, name)), sensitive]))
  const encrypted = cfb(kdfa(seed, 'STORAGE', name, NONE, symmetricBits), wrapped)
  return sized(sized(hmac(kdfa(seed, 'INTEGRITY', NONE, NONE, 256), encrypted, name)), encrypted)
}

interface Seed {
  readonly seed: Buffer
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly encrypted: Buffer
}

/** A seed that only the holder of `to` can read. */
function newSeed(to: TpmPublic, label: 'IDENTITY' | 'DUPLICATE', random: Random): Seed {
  try {
    return to.x === undefined ? rsaSeed(to, label, random) : eccSeed(to, to.x, label, random)
  } catch (cause) {
    if (cause instanceof TpmError) throw cause
    throw new TpmError('the key cannot encrypt', { cause })
  }
}

function rsaSeed({ key }: TpmPublic, label: string, random: Random): Seed {
  const seed = random.bytes(SEED_BYTES)
  // The label includes its terminating zero.
  const oaepLabel = Buffer.from(`${label}\0`)
  const options = { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel }
  return { seed, encrypted: sized(publicEncrypt(options, seed)) }
}

/** Agreement with an ephemeral key (attestation-crypto.md A4.2). */
function eccSeed({ key }: TpmPublic, x: Buffer, label: string, random: Random): Seed {
  const ephemeral = ephemeralKey(random)
  const point = ephemeral.getPublicKey()
  const [ownX, ownY] = [point.subarray(1, 33), point.subarray(33)]
  const { y = '' } = key.export({ format: 'jwk' })
  const theirs = Buffer.concat([Buffer.from([4]), x, Buffer.from(y, 'base64url')])
  const seed = kdfe(ephemeral.computeSecret(theirs), label, ownX, x)
  return { seed, encrypted: sized(sized(ownX), sized(ownY)) }
}

/** One number in 2^32 is no private key of the curve: drawn again. */
function ephemeralKey(random: Random): ReturnType<typeof createECDH> {
  const ecdh = createECDH('prime256v1')
  for (let attempt = 1; ; attempt++) {
    try {
      ecdh.setPrivateKey(random.bytes(32))
      return ecdh
    } catch (cause) {
      if (attempt === 4) throw cause
    }
  }
}
