import { type Random, seededRandom } from '../../src/base/random.ts'

/** A whole number from 0 to below `limit`. */
export const below = (random: Random, limit: number): number => Math.floor(random.fraction() * limit)

export const pick = <T>(random: Random, from: readonly T[]): T => from[below(random, from.length)]!

/** The input number `at` of a run: repeatable alone, whatever was made before it. */
export const inputRandom = (seed: number, at: number): Random => seededRandom(Math.imul(seed + at, 0x9e3779b1) ^ at)

/** Values at which length fields, counters and texts break. */
const INTERESTING = [
  0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x0d, 0x20, 0x22, 0x25, 0x2b, 0x23, 0x2f, 0x5c, 0x7b, 0xc3, 0xed,
]

type Mutation = (input: Buffer, random: Random, corpus: readonly Buffer[]) => Buffer

const span = (input: Buffer, random: Random): [start: number, end: number] => {
  const start = below(random, input.length + 1)
  return [start, Math.min(input.length, start + 1 + below(random, pick(random, [2, 8, 64])))]
}

const changed = (input: Buffer, change: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(input)
  if (copy.length > 0) change(copy)
  return copy
}

const splice = (input: Buffer, start: number, end: number, by: Buffer): Buffer =>
  Buffer.concat([input.subarray(0, start), by, input.subarray(end)])

const MUTATIONS: readonly Mutation[] = [
  // A bit, a byte, two bytes as a length.
  (input, random) =>
    changed(input, (copy) => {
      const at = below(random, copy.length)
      copy[at] = copy[at]! ^ (1 << below(random, 8))
    }),
  (input, random) =>
    changed(input, (copy) => {
      copy[below(random, copy.length)] = pick(random, INTERESTING)
    }),
  (input, random) =>
    changed(input, (copy) => {
      copy[below(random, copy.length)] = below(random, 256)
    }),
  (input, random) =>
    changed(input, (copy) => {
      if (copy.length > 1)
        copy.writeUInt16BE(pick(random, [0, 1, 0x7f, 0xff, 0x7fff, 0xffff]), below(random, copy.length - 1))
    }),
  // Less, more, elsewhere.
  (input, random) => input.subarray(0, below(random, input.length + 1)),
  (input, random) => splice(input, ...span(input, random), Buffer.alloc(0)),
  (input, random) => {
    const at = below(random, input.length + 1)
    return splice(input, at, at, Buffer.from([pick(random, INTERESTING), below(random, 256)]))
  },
  (input, random) => {
    const [start, end] = span(input, random)
    return splice(input, end, end, input.subarray(start, end))
  },
  (input, random) => {
    const at = below(random, input.length + 1)
    return splice(input, at, at, Buffer.alloc(1 + below(random, 400), pick(random, INTERESTING)))
  },
  // Parts of another input.
  (input, random, corpus) => {
    const other = pick(random, corpus)
    return splice(input, ...span(input, random), other.subarray(...span(other, random)))
  },
  (input, random, corpus) => {
    const other = pick(random, corpus)
    return Buffer.concat([
      input.subarray(0, below(random, input.length + 1)),
      other.subarray(below(random, other.length + 1)),
    ])
  },
]

/** One to four mutations of an input of the corpus. */
export function mutated(random: Random, corpus: readonly Buffer[]): Buffer {
  let input = pick(random, corpus)
  for (let rounds = 1 + below(random, 4); rounds > 0; rounds--) input = pick(random, MUTATIONS)(input, random, corpus)
  return input
}

/** The input as one to three pieces, as a network would cut it. */
export function pieces(random: Random, input: Buffer): Buffer[] {
  const cuts = Array.from({ length: below(random, 3) }, () => below(random, input.length + 1)).sort((a, b) => a - b)
  return [0, ...cuts]
    .map((start, at) => input.subarray(start, cuts[at] ?? input.length))
    .filter((piece) => piece.length > 0)
}
