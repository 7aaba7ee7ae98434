import { limits } from '../base/limits.ts'
import type { Store } from '../store/store.ts'
import type { Nodes } from './nodes.ts'
import { type DirectoryEntry, directory, type IdentityKey, keyOf } from './records.ts'

/** What the session directory tells about an identity (hub-device.md 5.4). */
export interface ConnectionState {
  readonly connected: boolean
  /** Milliseconds; undefined: never connected. */
  readonly connectionStateUpdatedTime: number | undefined
  readonly lastActivityTime: number | undefined
  /** The Plug and Play model announced at the last connection, or ''. */
  readonly modelId: string
}

export const NEVER_CONNECTED: ConnectionState = {
  connected: false,
  connectionStateUpdatedTime: undefined,
  lastActivityTime: undefined,
  modelId: '',
}

/**
 * Reads the durable directory of sessions: one entry per identity that ever connected. Entries are written when a
 * connection opens, and lazily after that; what this process knows of its own sessions is newer and goes first.
 */
export interface SessionDirectory {
  /** In the order of `identities`. */
  states(hub: string, identities: readonly IdentityKey[]): Promise<readonly ConnectionState[]>
  /** Devices of the hub, not modules, that are connected now. */
  connectedDevices(hub: string): Promise<number>
}

/** What this process knows of an entry that names it: undefined where the entry is all there is. */
export type OwnState = (key: string, entry: DirectoryEntry) => DirectoryEntry | undefined

export function createSessionDirectory(needs: { store: Store; nodes: Nodes; own: OwnState }): SessionDirectory {
  const { store, nodes, own } = needs

  /** The entry as it really is: a process that no longer lives has no connections. */
  async function settled(found: readonly { key: string; entry: DirectoryEntry }[]): Promise<DirectoryEntry[]> {
    const fresh = found.map(({ key, entry }) => (entry.node === nodes.self ? (own(key, entry) ?? entry) : entry))
    const until = await nodes.aliveUntil(fresh.filter((entry) => entry.connected).map(({ node }) => node))
    return fresh.map((entry) => {
      const end = until.get(entry.node)
      if (!entry.connected || end === undefined || end === Number.POSITIVE_INFINITY) return entry
      const ended = Math.max(end, entry.connectionStateUpdatedTime)
      return { ...entry, connected: false, connectionStateUpdatedTime: ended }
    })
  }

  return {
    async states(hub, identities) {
      const keys = identities.map((identity) => keyOf(hub, identity))
      const stored = await store.getMany(directory, keys)
      const found = stored.flatMap((each, at) => (each === undefined ? [] : [{ key: keys[at]!, entry: each.value }]))
      const byKey = new Map((await settled(found)).map((entry, at) => [found[at]!.key, entry]))
      return keys.map((key) => {
        const entry = byKey.get(key)
        return entry === undefined ? NEVER_CONNECTED : { ...entry, modelId: entry.modelId ?? '' }
      })
    },

    async connectedDevices(hub) {
      let connected = 0
      let after: string | undefined
      do {
        const page = await store.scan(directory, { prefix: `${hub}/`, limit: limits.storePage, after })
        const ofDevices = page.items.filter(({ id }) => id.indexOf('/', hub.length + 1) === -1)
        const entries = await settled(ofDevices.map(({ id, value }) => ({ key: id, entry: value })))
        connected += entries.filter((entry) => entry.connected).length
        after = page.next
      } while (after !== undefined)
      return connected
    },
  }
}
