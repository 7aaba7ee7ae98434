import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'

/** Milliseconds between year 1, where .NET ticks begin, and 1970. */
const YEAR_ONE_MS = 62_135_596_800_000n
const PER_MS = 10_000n

/**
 * Numbers like the real hub's generation ids: 18 decimal digits, ticks of 100 ns since year 1 (hub-service.md 2.2).
 * They only grow in one process; the digits below a millisecond are chance, so that two processes hardly meet.
 */
export function createTicks(clock: Clock, random: Random): () => string {
  let last = 0n
  return () => {
    const now = (BigInt(clock.now()) + YEAR_ONE_MS) * PER_MS + BigInt(Math.floor(random.fraction() * Number(PER_MS)))
    last = now > last ? now : last + 1n
    return last.toString()
  }
}
