import type { Change } from './changes.ts'
import type { Identity } from './identity.ts'
import { type DirectoryEntry, keyOf } from './records.ts'
import type { CutReason, SessionRequest } from './sessions.ts'

/** A connection that this process holds. */
export interface LiveSession {
  readonly key: string
  readonly identity: Identity
  readonly request: SessionRequest
  readonly fence: number
  /** The directory entry as it should be; what the store has may be older. */
  entry: DirectoryEntry
  /** Of the stored entry: what the next write expects. */
  version: number
  /** Why it ended; undefined: it lives. */
  ended: CutReason | 'closed' | undefined
}

/** The connections of this process, by identity and by device. */
export interface LiveSessions {
  get(key: string): LiveSession | undefined
  add(session: LiveSession): void
  remove(session: LiveSession): void
  all(): readonly LiveSession[]
  /** Those whose admission a change may have ended: of a device, its modules too. */
  affectedBy(changes: readonly Change[]): readonly LiveSession[]
}

export function createLiveSessions(): LiveSessions {
  const byKey = new Map<string, LiveSession>()
  const byDevice = new Map<string, Set<LiveSession>>()
  const deviceKey = ({ identity }: LiveSession) => keyOf(identity.hub.name, { deviceId: identity.deviceId })

  return {
    get: (key) => byKey.get(key),
    add(session) {
      byKey.set(session.key, session)
      const device = deviceKey(session)
      const ofDevice = byDevice.get(device)
      if (ofDevice === undefined) byDevice.set(device, new Set([session]))
      else ofDevice.add(session)
    },
    remove(session) {
      if (byKey.get(session.key) === session) byKey.delete(session.key)
      const device = deviceKey(session)
      const ofDevice = byDevice.get(device)
      ofDevice?.delete(session)
      if (ofDevice?.size === 0) byDevice.delete(device)
    },
    all: () => [...byKey.values()],
    affectedBy(changes) {
      const affected = new Set<LiveSession>()
      for (const change of changes) {
        const session = byKey.get(keyOf(change.hub, change))
        if (session !== undefined) affected.add(session)
        if (change.moduleId === undefined)
          for (const each of byDevice.get(keyOf(change.hub, change)) ?? []) affected.add(each)
      }
      return [...affected]
    },
  }
}
