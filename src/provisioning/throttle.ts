import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'

/** A device that has proved itself is to register later: its connection is nobody's stranger, and worth keeping. */
export class Throttled extends ServiceError {
  constructor(retryAfter: number) {
    super(429001, 'Too many devices are being assigned. Register again after the seconds of Retry-After.', {
      retryAfter,
    })
    this.name = 'Throttled'
  }
}

export interface Throttle {
  /** An assignment has ended. */
  ended(): void
  /** For a device that finds no room. */
  refusal(): Throttled
}

/** Assignments a second of a node whose webhooks or hubs all let it wait as long as they can. */
const SLOWEST = limits.assignmentsSlow / (limits.outboundMs / 1_000)

/**
 * Tells devices when to come again: by chance, so that they do not come together, and spread over as long as it takes
 * this node to assign those that were sent away and have not come back. With a fixed spread a fleet that is larger than
 * it can be served in that time comes back again and again, and its handshakes take the time that the devices need that
 * were let in (users-and-lessons.md 3).
 */
export function createThrottle(needs: {
  readonly clock: Clock
  readonly random: Random
  /** The least; no client takes more than 300 (dps.md 1.10). */
  readonly retryAfterSeconds: number
}): Throttle {
  const { clock, random, retryAfterSeconds: least } = needs
  let spanBegan = clock.now()
  let ended = 0
  let perSecond = SLOWEST
  /** Devices that were sent away, less those that there has been room for since. */
  let away = 0
  let lookedAt = clock.now()

  const measure = (now: number): void => {
    const seconds = (now - spanBegan) / 1_000
    if (seconds < limits.throttleMeasureMs / 1_000) return
    perSecond = Math.max(SLOWEST, ended / seconds)
    spanBegan = now
    ended = 0
  }

  return {
    ended() {
      ended += 1
    },

    refusal() {
      const now = clock.now()
      measure(now)
      away = Math.max(0, away - (perSecond * (now - lookedAt)) / 1_000) + 1
      lookedAt = now
      const spread = Math.min(limits.throttleSpreadSeconds, Math.max(2 * least, (2 * away) / perSecond))
      return new Throttled(Math.min(limits.retryAfterSeconds, least + Math.floor(random.fraction() * spread)))
    },
  }
}
