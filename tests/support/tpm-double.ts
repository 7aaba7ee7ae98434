import {
  constants,
  createDecipheriv,
  createECDH,
  createHash,
  createHmac,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
} from 'node:crypto'

/**
 * A TPM in test code: an endorsement key, a storage root key, and what TPM2_ActivateCredential, TPM2_Import, TPM2_Load
 * and TPM2_HMAC do with an activation blob (attestation-crypto.md A4 backwards). Made without the product's code, so
 * that the two check each other.
 */
export interface TpmDouble {
  /** Base64 of TPM2B_PUBLIC. */
  readonly endorsementKey: string
  readonly storageRootKey: string
  readonly ids: { readonly endorsementKey: string; readonly storageRootKey: string }
  /** Runs a blob (base64) and answers with the HMAC key in it. Throws as a TPM refuses. */
  activate(blob: string): Buffer
  /** What the blob carries for nobody to read. */
  uri(blob: string): string
}

export function tpmDouble(storage: 'rsa' | 'ecc' = 'rsa', ekPair = rsaPair()): TpmDouble {
  const ek = rsaPublic(ekPair.publicKey, '000300b2', EK_POLICY)
  const srk = storage === 'rsa' ? rsaStorageKey() : eccStorageKey()
  const srkName = Buffer.concat([Buffer.from('000b', 'hex'), sha256(srk.bytes.subarray(2))])

  function open(blob: string): { key: Buffer; uri: string } {
    const read = reader(Buffer.from(blob, 'base64'))
    const [idObject, secret, priv, seed, pub, data] = [read(), read(), read(), read(), read(), read()]
    const seed1 = oaep(ekPair.privateKey, 'IDENTITY\0', secret)
    const inner = reader(unwrap(idObject, seed1, srkName))()
    const name = Buffer.concat([Buffer.from('000b', 'hex'), sha256(pub)])
    const wrapped = decipher(inner, unwrap(priv, srk.seed(seed), name))
    const integrity = reader(wrapped)()
    const sensitive = wrapped.subarray(2 + integrity.length)
    if (!sha256(sensitive, name).equals(integrity)) throw new Error('TPM_RC_INTEGRITY: inner')
    const fields = reader(sensitive.subarray(4))
    const [, seedValue, key] = [fields(), fields(), fields()]
    if (!pub.subarray(-32).equals(sha256(seedValue, key))) throw new Error('TPM_RC_BINDING')
    return { key, uri: decipher(inner, data).toString() }
  }

  const ids = { endorsementKey: ek.toString('base64'), storageRootKey: srk.bytes.toString('base64') }
  return { ...ids, ids, activate: (blob) => open(blob).key, uri: (blob) => open(blob).uri }
}

const EK_POLICY = '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa'

export const rsaPair = () => generateKeyPairSync('rsa', { modulusLength: 2048 })

interface StorageKey {
  readonly bytes: Buffer
  /** The seed in a TPM2B_ENCRYPTED_SECRET. */
  seed(secret: Buffer): Buffer
}

function rsaStorageKey(): StorageKey {
  const { publicKey, privateKey } = rsaPair()
  return {
    bytes: rsaPublic(publicKey, '00030472', ''),
    seed: (secret) => oaep(privateKey, 'DUPLICATE\0', secret),
  }
}

function eccStorageKey(): StorageKey {
  const ecdh = createECDH('prime256v1')
  const point = ecdh.generateKeys()
  const [x, y] = [point.subarray(1, 33), point.subarray(33)]
  return {
    bytes: sized(Buffer.from('0023000b000304720000000600800043001000030010', 'hex'), sized(x), sized(y)),
    seed(secret) {
      const read = reader(secret)
      const [ex, ey] = [read(), read()]
      const z = ecdh.computeSecret(Buffer.concat([Buffer.from([4]), ex, ey]))
      return sha256(Buffer.from('00000001', 'hex'), z, Buffer.from('DUPLICATE\0'), ex, x)
    },
  }
}

function rsaPublic(key: KeyObject, attributes: string, policy: string): Buffer {
  const modulus = Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url')
  const head = Buffer.from(`0001000b${attributes}`, 'hex')
  const tail = Buffer.from('0006008000430010080000000000', 'hex')
  return sized(head, sized(Buffer.from(policy, 'hex')), tail, sized(modulus))
}

/** Checks the HMAC around what is encrypted under a seed and decrypts it. */
function unwrap(structure: Buffer, seed: Buffer, name: Buffer): Buffer {
  const mac = reader(structure)()
  const encrypted = structure.subarray(2 + mac.length)
  const expected = createHmac('sha256', kdfa(seed, 'INTEGRITY', Buffer.alloc(0), 256))
    .update(encrypted)
    .update(name)
  if (!expected.digest().equals(mac)) throw new Error('TPM_RC_INTEGRITY: outer')
  return decipher(kdfa(seed, 'STORAGE', name, 128), encrypted)
}

function kdfa(key: Buffer, label: string, context: Buffer, bits: number): Buffer {
  const size = Buffer.alloc(4)
  size.writeUInt32BE(bits)
  const mac = createHmac('sha256', key).update(Buffer.from('00000001', 'hex')).update(`${label}\0`)
  return mac
    .update(context)
    .update(size)
    .digest()
    .subarray(0, bits / 8)
}

const decipher = (key: Buffer, bytes: Buffer): Buffer =>
  createDecipheriv('aes-128-cfb', key, Buffer.alloc(16)).update(bytes)

const oaep = (key: KeyObject, label: string, secret: Buffer): Buffer =>
  privateDecrypt(
    { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel: Buffer.from(label) },
    secret,
  )

function sha256(...parts: readonly Buffer[]): Buffer {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

function sized(...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(content.length)
  return Buffer.concat([length, content])
}

/** Takes one sized buffer after the other. */
function reader(bytes: Buffer): () => Buffer {
  let at = 0
  return () => {
    const length = bytes.readUInt16BE(at)
    at += 2 + length
    if (at > bytes.length) throw new Error('TPM_RC_INSUFFICIENT')
    return bytes.subarray(at - length, at)
  }
}
