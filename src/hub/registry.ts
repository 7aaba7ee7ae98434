import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { type IfMatch, identityEtag, requireMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { type Page, type PageRequest, scanPage } from '../base/pages.ts'
import type { Random } from '../base/random.ts'
import type { Caller, IotHub } from '../control/control.ts'
import { isIdentityId } from '../documents/identity-ids.ts'
import type { TwinContent } from '../documents/twin-record.ts'
import type { Store, Stored } from '../store/store.ts'
import { sameAuthentication } from './authentication.ts'
import type { Changes } from './changes.ts'
import { newDeviceRows, removedDeviceKeys, systemModuleRows, together } from './device-rows.ts'
import {
  type DeviceDocument,
  type DeviceInput,
  deviceDocument,
  deviceExists,
  deviceNotFound,
  deviceScopeOf,
  parseDevice,
  requireId,
} from './devices.ts'
import { findParents } from './parents.ts'
import { type DeviceRecord, devices, keyOf, moduleLists } from './records.ts'
import { NEVER_CONNECTED, type SessionDirectory } from './session-directory.ts'
import { type Judged, settle } from './settle.ts'

export interface RegistryNeeds {
  readonly store: Store
  readonly changes: Changes
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** A new generation id. */
  readonly ticks: () => string
  readonly directory: SessionDirectory
}

/** The devices of a hub (hub-service.md 2). Ids that break the rules are those of no device. */
export interface DeviceRegistry {
  /** Throws 404001. */
  getDevice(hub: IotHub, deviceId: string): Promise<DeviceDocument>
  /** Up to `top` devices, in no promised order. */
  listDevices(hub: IotHub, top: number): Promise<readonly DeviceDocument[]>
  /**
   * All devices of the hub, or the children of the Edge device whose scope is named, page by page in the order of
   * their ids. Throws 400004 for a continuation that this list did not give.
   */
  pageDevices(hub: IotHub, page: PageRequest, parentScope?: string): Promise<Page<DeviceDocument>>
  /** Without If-Match creates (409001 if there), with it replaces what a client may set (404001, 412001). */
  putDevice(caller: Caller, hub: IotHub, deviceId: string, body: unknown, ifMatch: IfMatch): Promise<DeviceDocument>
  createDevice(
    caller: Caller,
    hub: IotHub,
    deviceId: string,
    input: DeviceInput,
    twin: TwinContent,
  ): Promise<DeviceDocument>
  updateDevice(
    caller: Caller,
    hub: IotHub,
    deviceId: string,
    input: DeviceInput,
    ifMatch: IfMatch,
  ): Promise<DeviceDocument>
  /** The device with its modules, twins and place in the session directory, in one commit; live sessions are cut. */
  removeDevice(caller: Caller, hub: IotHub, deviceId: string, ifMatch: IfMatch): Promise<void>
  /** For provisioning, which moves devices: absent is fine. */
  discard(hub: IotHub, deviceId: string): Promise<void>
  /** `/statistics/devices` */
  deviceStatistics(
    hub: IotHub,
  ): Promise<{ totalDeviceCount: number; enabledDeviceCount: number; disabledDeviceCount: number }>
  /** `/statistics/service` */
  serviceStatistics(hub: IotHub): Promise<{ connectedDeviceCount: number }>
}

export function createDeviceRegistry(needs: RegistryNeeds): DeviceRegistry {
  const { store, changes, clock, random, log, ticks } = needs
  const told = (caller: Caller, hub: IotHub, deviceId: string, what: string) =>
    log.debug({ caller: caller.name, hub: hub.name, deviceId }, what)

  const createDevice: DeviceRegistry['createDevice'] = async (caller, hub, deviceId, input, twin) => {
    requireId('device ID', deviceId)
    return settle(changes, hub, async (attempt) => {
      if (attempt > 0 && (await store.get(devices, keyOf(hub.name, { deviceId }))) !== undefined)
        throw deviceExists(deviceId)
      const iotEdge = input.iotEdge ?? false
      const parents = await findParents(store, hub.name, deviceId, iotEdge, input)
      const record = deviceRecord(hub, undefined, { ...input, iotEdge }, parents.parentScopes, {
        deviceId,
        generationId: ticks(),
        now: clock.now(),
      })
      const rows = newDeviceRows(hub, record, twin, ticks, clock.now())
      return {
        change: together(rows, { expect: parents.expect, put: [] }),
        answer: ([version = 0]) => {
          told(caller, hub, deviceId, 'device created')
          return deviceDocument({ id: '', version, value: record }, NEVER_CONNECTED)
        },
      }
    })
  }

  const updateDevice: DeviceRegistry['updateDevice'] = async (caller, hub, deviceId, input, ifMatch) => {
    const updated = await settle(changes, hub, async (): Promise<Judged<Stored<DeviceRecord>>> => {
      const stored = await find(hub, deviceId)
      requireMatch(ifMatch, identityEtag(stored.version))
      const old = stored.value
      const iotEdge = input.iotEdge ?? old.iotEdge
      // An Edge device that becomes a leaf: the scope in the document that the client read is its own, not a parent's.
      const isOwnScope = old.iotEdge && input.deviceScope === deviceScopeOf(old)
      const said = isOwnScope ? { ...input, deviceScope: undefined } : input
      const parents = await findParents(store, hub.name, deviceId, iotEdge, said, old.parentScopes)
      const record = deviceRecord(hub, old, { ...input, iotEdge }, parents.parentScopes, { ...old, now: clock.now() })
      const list = iotEdge && !old.iotEdge ? await store.get(moduleLists, stored.id) : undefined
      const system =
        iotEdge && !old.iotEdge ? systemModuleRows(hub, deviceId, list, ticks, clock.now()) : { expect: [], put: [] }
      const why = reasonToLook(old, record)
      return {
        change: together(
          {
            expect: [{ in: devices, id: stored.id, version: stored.version }, ...parents.expect],
            put: [{ collection: devices, id: stored.id, value: record }],
          },
          system,
        ),
        changed: why === undefined ? [] : [{ hub: hub.name, deviceId, why }],
        answer: ([version = 0]) => ({ id: stored.id, version, value: record }),
      }
    })
    told(caller, hub, deviceId, 'device updated')
    return documentOf(hub, updated)
  }

  const removeDevice: DeviceRegistry['removeDevice'] = async (caller, hub, deviceId, ifMatch) => {
    await settle(changes, hub, async () => {
      const stored = await find(hub, deviceId)
      requireMatch(ifMatch, identityEtag(stored.version))
      const list = await store.get(moduleLists, stored.id)
      return {
        change: {
          expect: [
            { in: devices, id: stored.id, version: stored.version },
            { in: moduleLists, id: stored.id, version: list?.version ?? 0 },
          ],
          delete: removedDeviceKeys(hub, deviceId, list),
        },
        changed: [{ hub: hub.name, deviceId, why: 'deleted' }],
        answer: () => undefined,
      }
    })
    told(caller, hub, deviceId, 'device deleted')
  }

  async function find(hub: IotHub, deviceId: string): Promise<Stored<DeviceRecord>> {
    const stored = isIdentityId(deviceId) ? await store.get(devices, keyOf(hub.name, { deviceId })) : undefined
    if (stored === undefined) throw deviceNotFound(deviceId)
    return stored
  }

  async function documentsOf(hub: IotHub, found: readonly Stored<DeviceRecord>[]): Promise<DeviceDocument[]> {
    const states = await needs.directory.states(
      hub.name,
      found.map(({ value }) => value),
    )
    return found.map((stored, at) => deviceDocument(stored, states[at] ?? NEVER_CONNECTED))
  }

  async function documentOf(hub: IotHub, stored: Stored<DeviceRecord>): Promise<DeviceDocument> {
    const [state = NEVER_CONNECTED] = await needs.directory.states(hub.name, [stored.value])
    return deviceDocument(stored, state)
  }

  return {
    createDevice,
    updateDevice,

    async getDevice(hub, deviceId) {
      return documentOf(hub, await find(hub, deviceId))
    },

    async listDevices(hub, top) {
      const { items } = await store.scan(devices, { ...ofHub(hub), limit: Math.min(top, limits.deviceList) })
      return documentsOf(hub, items)
    },

    async pageDevices(hub, { size, continuation }, parentScope) {
      const range = parentScope === undefined ? ofHub(hub) : { index: 'parentScope', equals: parentScope }
      const { items, next } = await scanPage(() => store.scan(devices, { ...range, limit: size, after: continuation }))
      // A scope holds a generation id and is not meant to be that of a device in another hub too; nothing enforces it.
      const own = items.filter(({ id }) => id.startsWith(ofHub(hub).prefix))
      return { items: await documentsOf(hub, own), ...(next !== undefined && { continuation: next }) }
    },

    async putDevice(caller, hub, deviceId, body, ifMatch) {
      requireId('device ID', deviceId)
      const input = parseDevice(body, deviceId, random)
      if (ifMatch.kind !== 'absent') return updateDevice(caller, hub, deviceId, input, ifMatch)
      return createDevice(caller, hub, deviceId, input, { tags: {}, desired: {} })
    },

    removeDevice,

    async discard(hub, deviceId) {
      await removeDevice(PROVISIONING, hub, deviceId, { kind: 'any' }).catch((thrown: unknown) => {
        if (!(thrown instanceof ServiceError && thrown.code === 404001)) throw thrown
      })
    },

    async deviceStatistics(hub) {
      const [totalDeviceCount, disabledDeviceCount] = await Promise.all([
        store.count(devices, ofHub(hub)),
        store.count(devices, { index: 'disabledIn', equals: hub.name }),
      ])
      return { totalDeviceCount, enabledDeviceCount: totalDeviceCount - disabledDeviceCount, disabledDeviceCount }
    },

    async serviceStatistics(hub) {
      return { connectedDeviceCount: await needs.directory.connectedDevices(hub.name) }
    },
  }
}

/** Who asks when a provisioning service of this house moves a device. */
const PROVISIONING: Caller = { kind: 'management', name: 'provisioning' }

/** The record that `input` makes of a new device (`old` undefined) or an existing one. */
export function deviceRecord(
  hub: IotHub,
  old: DeviceRecord | undefined,
  input: DeviceInput & { readonly iotEdge: boolean },
  parentScopes: readonly string[] | undefined,
  birth: { readonly deviceId: string; readonly generationId: string; readonly now: number },
): DeviceRecord {
  const sameKeys = old !== undefined && sameAuthentication(old.authentication, input.authentication)
  const statusUpdatedTime = old === undefined || old.status === input.status ? old?.statusUpdatedTime : birth.now
  return {
    deviceId: birth.deviceId,
    generationId: birth.generationId,
    status: input.status,
    ...(input.statusReason === undefined ? {} : { statusReason: input.statusReason }),
    ...(statusUpdatedTime === undefined ? {} : { statusUpdatedTime }),
    authentication: input.authentication,
    keyed: old === undefined ? 0 : sameKeys ? old.keyed : old.keyed + 1,
    iotEdge: input.iotEdge,
    ...(parentScopes === undefined ? {} : { parentScopes }),
    ...(input.status === 'disabled' ? { disabledIn: hub.name } : {}),
  }
}

/** Why live sessions of the device have to be looked at again. */
export function reasonToLook(old: DeviceRecord, now: DeviceRecord): 'status' | 'credentials' | undefined {
  if (old.status !== now.status) return 'status'
  return old.keyed === now.keyed ? undefined : 'credentials'
}

const ofHub = (hub: IotHub) => ({ prefix: `${hub.name}/` })

/** How many a list is to have at most: `top` of the query string, 1 to 1000 (hub-service.md 2.1). */
export function parseTop(top: string | undefined): number {
  if (top === undefined || top === '') return limits.deviceList
  const wanted = /^\d{1,9}$/.test(top) ? Number(top) : 0
  if (wanted >= 1 && wanted <= limits.deviceList) return wanted
  throw new ServiceError(
    400004,
    `top must be a whole number from 1 to ${limits.deviceList}, found ${JSON.stringify(top.slice(0, 40))}.`,
  )
}
