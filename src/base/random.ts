import { randomBytes, randomUUID } from 'node:crypto'

/** Chance is an argument, so that a failing run can be repeated from its seed. */
export interface Random {
  bytes(count: number): Buffer
  uuid(): string
  /** 0 <= x < 1 */
  fraction(): number
}

const POOL_BYTES = 4_096
let pool = Buffer.alloc(0)
let taken = 0

/** A call into the generator costs more than the bytes: small requests share one. What was handed out is wiped. */
function pooledBytes(count: number): Buffer {
  if (count > POOL_BYTES / 4) return randomBytes(count)
  if (taken + count > pool.length) {
    pool = randomBytes(POOL_BYTES)
    taken = 0
  }
  const part = pool.subarray(taken, taken + count)
  const bytes = Buffer.from(part)
  part.fill(0)
  taken += count
  return bytes
}

/** Cryptographically strong: the only source for keys, identifiers and verification codes of a running product. */
export const systemRandom: Random = {
  bytes: pooledBytes,
  uuid: () => randomUUID(),
  fraction: () => pooledBytes(6).readUIntBE(0, 6) / 2 ** 48,
}

/** Repeatable and NOT secret: for tests and simulations only (splitmix32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x9e3779b9) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
  const bytes = (count: number): Buffer => Buffer.from(Array.from({ length: count }, () => next() & 0xff))
  return {
    bytes,
    uuid: () =>
      bytes(16)
        .toString('hex')
        .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    fraction: () => next() / 2 ** 32,
  }
}
