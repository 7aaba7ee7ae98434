import { type Clock, every, type Timer } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Bus } from '../bus/bus.ts'
import type { Store } from '../store/store.ts'
import { CHANGES_HINT, CHANGES_LOG, type Change, decodeChange } from './changes.ts'

export interface ChangeFollower {
  start(): Promise<void>
  stop(): void
  /**
   * Resolves once every change that was committed before this call has been looked at. Callers that meet share one
   * look at the end of the sequence, so this is cheap enough to stand before every message; it keeps their order.
   */
  current(): Promise<void>
  /** Grows as entries are taken up; whoever sees it unchanged has missed none. */
  position(): number
}

interface FollowerNeeds {
  readonly store: Store
  readonly bus: Bus
  readonly clock: Clock
  readonly log: Log
  /** Looks at what changed; 'all' when entries were trimmed before they could be read. */
  readonly changed: (changes: readonly Change[] | 'all') => Promise<void>
  /** What else is done as often as the sequence is re-checked without a hint. */
  readonly recheck: () => Promise<void>
}

/** Follows the change sequence: on every hint, before every message, and every `sessionRecheckMs` with no bus at all. */
export function createChangeFollower(needs: FollowerNeeds): ChangeFollower {
  const { store, bus, clock, log } = needs
  let position = 0
  let running: Promise<void> | undefined
  let queued: Promise<void> | undefined
  let timer: Timer | undefined
  let unsubscribe = () => {}

  async function follow(): Promise<void> {
    const { first, next } = await store.bounds(CHANGES_LOG)
    if (position < first) {
      const from = position
      position = next
      await needs.changed('all').catch((error: unknown) => {
        position = from
        throw error
      })
    }
    while (position < next) {
      const from = position
      const entries = await store.read(CHANGES_LOG, from, limits.changeBatch)
      // Taken up in one go with the look-up of the sessions, so that one which opens meanwhile sees the position move.
      position = entries.length === 0 ? next : entries.at(-1)!.position + 1
      try {
        await needs.changed(entries.map(({ value }) => decodeChange(value)))
      } catch (error) {
        position = from
        throw error
      }
    }
  }

  function begin(): Promise<void> {
    const run = follow().finally(() => {
      if (running === run) running = undefined
    })
    running = run
    return run
  }

  function current(): Promise<void> {
    if (running === undefined) return begin()
    // The look under way may have begun before the caller's change: wait for the next one, together.
    queued ??= running
      .catch(() => {})
      .then(() => {
        queued = undefined
        return begin()
      })
    return queued
  }

  const failed = (error: unknown) =>
    log.error({ error }, 'live sessions could not be looked at again; they stay as they are')

  return {
    current,
    position: () => position,
    async start() {
      position = (await store.bounds(CHANGES_LOG)).next
      unsubscribe = bus.subscribe(CHANGES_HINT, () => void current().catch(failed))
      timer = every(
        clock,
        limits.sessionRecheckMs,
        async () => {
          await Promise.all([needs.recheck(), current()])
        },
        failed,
      )
    },
    stop() {
      unsubscribe()
      timer?.cancel()
    },
  }
}
