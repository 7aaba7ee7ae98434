import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'

/**
 * Brings the requests of one import into the order of their lines. A client has several under way at once; which of
 * them arrives first is chance. Only this process's requests are ordered: the import's own version, which every commit
 * expects, is what keeps two processes apart.
 */
export interface Turns {
  /**
   * Resolves when nothing of `key` is being worked on and the lines before `from` are done. Whoever got a turn ends it
   * with the number of lines that are done then.
   * @param at lines of the import that are done, as it is stored
   */
  take(key: string, from: number, at: number): Promise<(at: number) => void>
}

interface Lane {
  at: number
  busy: boolean
  readonly waiting: Set<{ readonly from: number; readonly go: () => void }>
}

export function createTurns(clock: Clock): Turns {
  const lanes = new Map<string, Lane>()

  const next = (key: string, lane: Lane): void => {
    if (lane.busy) return
    for (const each of lane.waiting)
      if (each.from <= lane.at) {
        each.go()
        return
      }
    if (lane.waiting.size === 0) lanes.delete(key)
  }

  return {
    async take(key, from, at) {
      const lane = lanes.get(key) ?? { at, busy: false, waiting: new Set() }
      lanes.set(key, lane)
      lane.at = Math.max(lane.at, at)
      const mustWait = lane.busy || from > lane.at
      if (mustWait && lane.waiting.size >= limits.importWaiting)
        throw new ServiceError(
          429001,
          `${lane.waiting.size} requests of this import wait for the lines before theirs already. Send them in order.`,
          { retryAfter: 1 },
        )
      await new Promise<void>((resolve, reject) => {
        const timer = clock.after(limits.importTurnMs, () => {
          lane.waiting.delete(waiter)
          next(key, lane)
          reject(notYet(from, lane.at))
        })
        const waiter = {
          from,
          go: () => {
            timer.cancel()
            lane.waiting.delete(waiter)
            lane.busy = true
            resolve()
          },
        }
        lane.waiting.add(waiter)
        next(key, lane)
      })
      return (now) => {
        lane.busy = false
        lane.at = now
        next(key, lane)
      }
    },
  }
}

export const notYet = (from: number, at: number): ServiceError =>
  new ServiceError(
    409000,
    `The lines before ${from} must be there first; the import is at line ${at}. Go on from there.`,
  )
