import type { Clock } from '../base/clock.ts'
import type { Bus } from '../bus/bus.ts'
import type { Append, Commit, CommitResult, Store } from '../store/store.ts'
import type { IdentityKey } from './records.ts'

/**
 * The durable change sequence: what may end a live session is appended to this log in the commit that changes it, and
 * every node follows the log. An entry only says "look at this identity again", so reading one twice is harmless.
 */
export const CHANGES_LOG = 'hub-changes'
/** On this topic of the bus a node says that the sequence has grown. It may be lost. */
export const CHANGES_HINT = 'hub-changes'

export interface Change extends IdentityKey {
  readonly hub: string
  readonly why: 'status' | 'deleted' | 'credentials' | 'taken over'
}

export interface Changes {
  /** Commits `change` with one entry for each of `changed`; after it the other nodes get a hint. */
  commit(change: Commit, changed: readonly Change[]): Promise<CommitResult>
  /** For a commit of somebody else's: the entries, and the hint after it. */
  entries(changed: readonly Change[]): readonly Append[]
  announce(): void
}

export function createChanges({ store, bus, clock }: { store: Store; bus: Bus; clock: Clock }): Changes {
  const entries: Changes['entries'] = (changed) => {
    const time = clock.now()
    return changed.map((each) => ({ log: CHANGES_LOG, time, value: encodeChange(each) }))
  }
  const announce = (): void => bus.publish(CHANGES_HINT, {})
  return {
    entries,
    announce,
    async commit(change, changed) {
      if (changed.length === 0) return store.commit(change)
      const result = await store.commit({ ...change, append: [...(change.append ?? []), ...entries(changed)] })
      if (result.ok) announce()
      return result
    },
  }
}

export const encodeChange = (change: Change): Buffer => Buffer.from(JSON.stringify(change))

export const decodeChange = (value: Buffer): Change => JSON.parse(value.toString('utf8')) as Change
