import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Bus } from '../bus/bus.ts'
import type { Store, Stored } from '../store/store.ts'
import { createActivityWriter } from './activity-writer.ts'
import { createChangeFollower } from './change-follower.ts'
import type { Changes } from './changes.ts'
import type { WhyRevoked } from './grants.ts'
import type { Identity } from './identity.ts'
import { createLiveSessions, type LiveSession } from './live-sessions.ts'
import type { Nodes } from './nodes.ts'
import {
  type DeviceRecord,
  type DirectoryEntry,
  devices,
  directory,
  keyOf,
  type ModuleRecord,
  modules,
} from './records.ts'
import type { OwnState } from './session-directory.ts'

/** Why a live session ended without the device wanting it. */
export type CutReason = 'taken over' | 'disabled' | 'deleted' | 'credentials' | 'expired' | 'stopping'

export interface SessionRequest {
  /** Plug and Play model announced by the device. */
  readonly modelId?: string | undefined
  /** Called once when the session is cut; not when `end` was called first. */
  cut(reason: CutReason): void
}

/** The one live connection of an identity. */
export interface Session {
  readonly identity: Identity
  /** Grows with every connection of the identity. */
  readonly fence: number
  readonly modelId: string | undefined
  /**
   * Before every send and delivery: throws once the session is not the identity's any more, whatever any node has
   * committed before this call. Calls of one session resolve in their order.
   */
  confirm(): Promise<void>
  /** The device sent or received something: lastActivityTime, written later. */
  touch(): void
  /** The connection is gone; further calls do nothing. */
  end(): void
}

/** Sessions over all nodes: one connection per identity, cut when what let it in no longer holds. */
export interface Sessions {
  /**
   * Makes this the identity's connection, in one commit that also proves that device and module are still as they were
   * authenticated; the one before, wherever it is, is cut. Throws what `deviceAuth` would throw now.
   */
  open(identity: Identity, request: SessionRequest): Promise<Session>
  start(): Promise<void>
  /** Cuts what still lives and writes states and activity times. */
  stop(): Promise<void>
}

export interface SessionsNeeds {
  readonly store: Store
  readonly bus: Bus
  readonly clock: Clock
  readonly log: Log
  readonly changes: Changes
  readonly nodes: Nodes
  readonly whyRevoked: WhyRevoked
}

export function createSessions(needs: SessionsNeeds): Sessions & { readonly own: OwnState } {
  const { store, bus, clock, log, changes, nodes, whyRevoked } = needs
  const live = createLiveSessions()
  const activity = createActivityWriter({ store, clock, log })
  let lastFence = 0

  const follower = createChangeFollower({
    store,
    bus,
    clock,
    log,
    changed: (seen) => verify(seen === 'all' ? live.all() : live.affectedBy(seen)),
    recheck: async () => {
      cutExpired()
      await cutRevoked()
    },
  })

  /** Reads again what let these sessions in, and cuts those that would not be let in now. */
  async function verify(sessions: readonly LiveSession[]): Promise<void> {
    for (let at = 0; at < sessions.length; at += limits.storePage) {
      const batch = sessions.slice(at, at + limits.storePage)
      const [found, entries] = await Promise.all([
        admissions(batch.map(({ identity }) => identity)),
        store.getMany(
          directory,
          batch.map(({ key }) => key),
        ),
      ])
      for (const [index, session] of batch.entries()) {
        const reason = whyCut(session, found[index]!, entries[index]?.value)
        if (reason !== undefined) cut(session, reason)
      }
    }
  }

  const whyCut = (
    session: LiveSession,
    admission: Admission,
    entry: DirectoryEntry | undefined,
  ): CutReason | undefined =>
    whyRefused(session.identity, admission) ??
    (entry?.fence === session.fence && entry.node === nodes.self ? undefined : 'taken over')

  async function admissions(identities: readonly Identity[]): Promise<Admission[]> {
    const keys = identities.map((identity) => keyOf(identity.hub.name, identity))
    const [foundDevices, foundModules] = await Promise.all([
      store.getMany(
        devices,
        identities.map(({ hub, deviceId }) => keyOf(hub.name, { deviceId })),
      ),
      identities.some(({ moduleId }) => moduleId !== undefined) ? store.getMany(modules, keys) : [],
    ])
    return identities.map(({ moduleId }, at) => ({
      device: foundDevices[at],
      module: moduleId === undefined ? undefined : foundModules[at],
    }))
  }

  function cut(session: LiveSession, reason: CutReason): void {
    if (session.ended !== undefined) return
    finish(session, reason)
    const { hub, deviceId, moduleId } = session.identity
    log.info({ hub: hub.name, deviceId, moduleId, reason }, 'session cut')
    session.request.cut(reason)
  }

  function finish(session: LiveSession, reason: CutReason | 'closed'): void {
    if (session.ended !== undefined) return
    session.ended = reason
    live.remove(session)
    const now = clock.now()
    session.entry = { ...session.entry, connected: false, connectionStateUpdatedTime: now, lastActivityTime: now }
    // What was taken over or deleted is no longer ours to write.
    if (reason !== 'taken over' && reason !== 'deleted') activity.ended(session)
  }

  function cutExpired(): void {
    const latest = clock.now() - limits.sessionTokenGraceMs
    for (const session of live.all()) if (session.identity.expiresAt < latest) cut(session, 'expired')
  }

  /** Those that a policy, a CA certificate or a hub let in which is gone. */
  async function cutRevoked(): Promise<void> {
    const sessions = live.all()
    if (sessions.length === 0) return
    const reasons = await whyRevoked(sessions.map(({ identity }) => identity))
    for (const [at, session] of sessions.entries()) {
      const reason = reasons[at]
      if (reason !== undefined) cut(session, reason)
    }
  }

  /** The commit that makes a connection the identity's; undefined when something moved meanwhile. */
  async function claim(identity: Identity, key: string, modelId: string | undefined) {
    const [[admission], stored] = await Promise.all([admissions([identity]), store.get(directory, key)])
    const { device, module } = admission!
    const refused = whyRefused(identity, admission!)
    if (refused !== undefined) throw refusal(identity, refused)
    const now = clock.now()
    const before = stored?.value
    lastFence = Math.max(lastFence, before?.fence ?? 0) + 1
    const here = live.get(key) !== undefined
    const entry: DirectoryEntry = {
      node: nodes.self,
      fence: lastFence,
      connected: true,
      connectionStateUpdatedTime: here && before !== undefined ? before.connectionStateUpdatedTime : now,
      lastActivityTime: now,
      ...(modelId === undefined ? {} : { modelId }),
    }
    const elsewhere = before?.connected === true && before.node !== nodes.self
    const { hub, deviceId, moduleId } = identity
    const result = await changes.commit(
      {
        expect: [
          { in: devices, id: device!.id, version: device!.version },
          ...(module === undefined ? [] : [{ in: modules, id: module.id, version: module.version }]),
          { in: directory, id: key, version: stored?.version ?? 0 },
        ],
        put: [{ collection: directory, id: key, value: entry }],
      },
      elsewhere ? [{ hub: hub.name, deviceId, moduleId, why: 'taken over' }] : [],
    )
    return result.ok ? { entry, version: result.versions[0]! } : undefined
  }

  async function open(identity: Identity, request: SessionRequest): Promise<Session> {
    const key = keyOf(identity.hub.name, identity)
    for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
      const position = follower.position()
      const claimed = await claim(identity, key, request.modelId)
      if (claimed === undefined) continue
      const { entry, version } = claimed
      const session: LiveSession = { key, identity, request, fence: entry.fence, entry, version, ended: undefined }
      const before = live.get(key)
      if (before !== undefined && before.fence > session.fence) throw refusal(identity, 'taken over')
      activity.superseded(key)
      if (before !== undefined) cut(before, 'taken over')
      live.add(session)
      // Entries taken up between our commit and this line were not compared with this session.
      if (follower.position() !== position) await verify([session])
      requireLive(session)
      return sessionOf(session)
    }
    throw new ServiceError(503001, `The connection of ${identity.deviceId} met too many others. Connect again.`, {
      retryAfter: 1,
    })
  }

  const sessionOf = (session: LiveSession): Session => ({
    identity: session.identity,
    fence: session.fence,
    modelId: session.request.modelId,
    async confirm() {
      requireLive(session)
      await follower.current()
      requireLive(session)
    },
    touch() {
      if (session.ended !== undefined) return
      session.entry = { ...session.entry, lastActivityTime: clock.now() }
      activity.touched(session)
    },
    end: () => finish(session, 'closed'),
  })

  return {
    open,
    own: (key, entry) => {
      const session = live.get(key)
      if (session?.fence === entry.fence) return session.entry
      // Ours, but no longer alive: the end is on its way to the store.
      return activity.endOf(key, entry.fence) ?? { ...entry, connected: false }
    },
    async start() {
      await nodes.start()
      await follower.start()
      activity.start()
    },
    async stop() {
      follower.stop()
      for (const session of live.all()) cut(session, 'stopping')
      await activity.stop()
      await nodes.stop()
    },
  }
}

interface Admission {
  readonly device: Stored<DeviceRecord> | undefined
  readonly module: Stored<ModuleRecord> | undefined
}

/** Why an identity that was authenticated once would not be let in now. */
function whyRefused(identity: Identity, { device, module }: Admission): CutReason | undefined {
  const owner = identity.moduleId === undefined ? device?.value : module?.value
  if (device === undefined || owner === undefined || owner.generationId !== identity.generationId) return 'deleted'
  if (device.value.status === 'disabled') return 'disabled'
  // A policy of the hub let it in: the identity's own keys do not matter.
  return identity.scope === 'hub' || owner.keyed === identity.keyed ? undefined : 'credentials'
}

function requireLive(session: LiveSession): void {
  if (session.ended !== undefined) throw refusal(session.identity, session.ended)
}

function refusal({ deviceId, moduleId }: Identity, reason: CutReason | 'closed'): ServiceError {
  const who = moduleId === undefined ? deviceId : `${deviceId}/${moduleId}`
  switch (reason) {
    case 'taken over':
      return new ServiceError(400027, `A newer connection of ${who} has replaced this one.`)
    case 'closed':
      return new ServiceError(400027, `This connection of ${who} has ended.`)
    case 'disabled':
      return new ServiceError(401003, `Device ${deviceId} is disabled.`)
    case 'deleted':
      return new ServiceError(404001, `${who} is not registered.`)
    case 'credentials':
      return new ServiceError(401003, `The credentials of ${who} have changed. Connect with the new ones.`)
    case 'expired':
      return new ServiceError(401003, `The token or certificate of ${who} has expired. Connect with a new one.`)
    case 'stopping':
      return new ServiceError(503001, 'This service is stopping. Connect again in a moment.')
  }
}
