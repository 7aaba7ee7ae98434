/** Big-endian pieces, as TPM 2.0 structures and the mssim frames are made of them (attestation-crypto.md 0). */

export const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** `2B(x)`: the length in two bytes, then the bytes of all parts. */
export const sized = (...parts: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts)
  return Buffer.concat([u16(content.length), content])
}

/** Reads front to back. What is not there is reported through `fail`, never read. */
export interface ByteReader {
  u8(what: string): number
  u16(what: string): number
  u32(what: string): number
  take(count: number, what: string): Buffer
  /** A length in two bytes, then so many bytes. */
  sized(what: string): Buffer
  /** How many bytes are left. */
  left(): number
}

/** @param fail makes the error of a structure that is too short; `complaint` says where it broke */
export function byteReader(bytes: Buffer, fail: (complaint: string) => Error): ByteReader {
  let at = 0
  const take = (count: number, what: string): Buffer => {
    if (count > bytes.length - at)
      throw fail(`${what} needs ${count} bytes at offset ${at}, found ${bytes.length - at}`)
    at += count
    return bytes.subarray(at - count, at)
  }
  const u16 = (what: string): number => take(2, what).readUInt16BE()
  return {
    take,
    u16,
    u8: (what) => take(1, what).readUInt8(),
    u32: (what) => take(4, what).readUInt32BE(),
    sized: (what) => take(u16(`the length of ${what}`), what),
    left: () => bytes.length - at,
  }
}
