import { type Clock, every, type Timer } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Store } from '../store/store.ts'
import type { LiveSession } from './live-sessions.ts'
import { type DirectoryEntry, directory } from './records.ts'

/**
 * Writes connection ends and activity times to the directory, lazily and many at a time: ends soon, activity of a
 * connection that lives once a minute. An entry that somebody else has written since is no longer this process's.
 */
export interface ActivityWriter {
  touched(session: LiveSession): void
  ended(session: LiveSession): void
  /** A newer connection of the identity wrote its own entry. */
  superseded(key: string): void
  /** The end of a session of this process that is not yet in the store. */
  endOf(key: string, fence: number): DirectoryEntry | undefined
  start(): void
  /** Writes everything that is waiting. */
  stop(): Promise<void>
}

export function createActivityWriter({ store, clock, log }: { store: Store; clock: Clock; log: Log }): ActivityWriter {
  /** Each waits once; bounded by the connections of this process, since opening one needs the same store. */
  const waiting = new Map<string, LiveSession>()
  /** When an entry was last written, for those that are touched again and again. */
  const writtenAt = new WeakMap<LiveSession, number>()
  let timer: Timer | undefined
  /** One flush at a time: two would take each other's writes for somebody else's. */
  let flushing: Promise<void> = Promise.resolve()

  const isDue = (session: LiveSession, now: number): boolean =>
    session.ended !== undefined ||
    now - (writtenAt.get(session) ?? session.entry.connectionStateUpdatedTime) >= limits.activityWriteMs

  function flush(which: (session: LiveSession) => boolean): Promise<void> {
    flushing = flushing.catch(() => {}).then(() => writeDue(which))
    return flushing
  }

  async function writeDue(which: (session: LiveSession) => boolean): Promise<void> {
    const due = [...waiting.values()].filter(which)
    for (let at = 0; at < due.length; at += limits.sessionFlushBatch)
      await write(due.slice(at, at + limits.sessionFlushBatch))
  }

  /** All of them, or all but those whose entries have moved on. */
  async function write(batch: readonly LiveSession[]): Promise<void> {
    const entries = batch.map(({ entry }) => entry)
    const result = await store.commit({
      expect: batch.map(({ key, version }) => ({ in: directory, id: key, version })),
      put: batch.map(({ key, entry }) => ({ collection: directory, id: key, value: entry })),
    })
    if (!result.ok) {
      const moved = new Set(result.conflicts.map(({ id }) => id))
      for (const session of batch) if (moved.has(session.key)) forget(session)
      const rest = batch.filter(({ key }) => !moved.has(key))
      if (rest.length > 0) await write(rest)
      return
    }
    const now = clock.now()
    for (const [at, session] of batch.entries()) {
      session.version = result.versions[at]!
      writtenAt.set(session, now)
      if (session.entry === entries[at]) forget(session)
    }
  }

  function forget(session: LiveSession): void {
    if (waiting.get(session.key) === session) waiting.delete(session.key)
  }

  return {
    touched: (session) => void waiting.set(session.key, session),
    ended: (session) => void waiting.set(session.key, session),
    superseded: (key) => void waiting.delete(key),
    endOf(key, fence) {
      const session = waiting.get(key)
      return session?.fence === fence ? session.entry : undefined
    },
    start() {
      timer = every(
        clock,
        limits.sessionFlushMs,
        () => flush((session) => isDue(session, clock.now())),
        (error) => log.warn({ error }, 'connection states could not be written; the next round tries again'),
      )
    },
    async stop() {
      timer?.cancel()
      await flush(() => true)
    },
  }
}
