import { type Clock, every, type Timer } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Store } from '../store/store.ts'
import { CHANGES_LOG } from './changes.ts'

/** Forgets old entries of the change sequence: a node that was away longer looks at all of its sessions again. */
export function createChangeRetention({ store, clock, log }: { store: Store; clock: Clock; log: Log }) {
  let timer: Timer | undefined

  async function trim(): Promise<void> {
    const position = await store.seek(CHANGES_LOG, clock.now() - limits.changeRetentionMs)
    if (position > (await store.bounds(CHANGES_LOG)).first) await store.trim(CHANGES_LOG, position)
  }

  return {
    start() {
      timer = every(clock, limits.retentionSweepMs, trim, (error) =>
        log.warn({ error }, 'the change sequence could not be trimmed; the next round tries again'),
      )
    },
    stop: () => timer?.cancel(),
  }
}
