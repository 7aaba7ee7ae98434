import { createCipheriv, createHash, createHmac } from 'node:crypto'
import { u32 } from '../base/big-endian.ts'

/** The derivations and the cipher of TPM 2.0 Part 1 that credentials and duplicates need (attestation-crypto.md A4.1). */

export const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

export const hmac = (key: Buffer, ...parts: readonly Uint8Array[]): Buffer => {
  const mac = createHmac('sha256', key)
  for (const part of parts) mac.update(part)
  return mac.digest()
}

/** KDFa with SHA-256: `bits` of key material from `key`; the label's terminating zero is added here. */
export function kdfa(key: Buffer, label: string, contextU: Buffer, contextV: Buffer, bits: number): Buffer {
  const blocks: Buffer[] = []
  for (let block = 1; (block - 1) * 256 < bits; block++)
    blocks.push(hmac(key, u32(block), Buffer.from(`${label}\0`), contextU, contextV, u32(bits)))
  return Buffer.concat(blocks).subarray(0, bits / 8)
}

/** KDFe with SHA-256, 256 bits: the seed that an ECDH agreement gives; the coordinates have 32 bytes each. */
export const kdfe = (z: Buffer, label: string, ephemeralX: Buffer, staticX: Buffer): Buffer =>
  sha256(u32(1), z, Buffer.from(`${label}\0`), ephemeralX, staticX)

/** AES in CFB with an initial vector of zeros, encrypting; the key's length chooses AES-128 or AES-256. */
export function cfb(key: Buffer, plain: Buffer): Buffer {
  const cipher = createCipheriv(`aes-${key.length * 8}-cfb`, key, Buffer.alloc(16))
  return Buffer.concat([cipher.update(plain), cipher.final()])
}
