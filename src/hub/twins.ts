import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { identityEtag, twinEtag } from '../base/etags.ts'
import { compact, isObject, type JsonObject, kindOf, parseJson } from '../base/json.ts'
import type { IotHub } from '../control/control.ts'
import { isIdentityId } from '../documents/identity-ids.ts'
import { sectionForService, twinForDevice } from '../documents/twin-document.ts'
import { patchSection } from '../documents/twin-patch.ts'
import type { TwinRecord } from '../documents/twin-record.ts'
import { requireTwinContent, requireTwinSize } from '../documents/twin-rules.ts'
import type { Store, Stored } from '../store/store.ts'
import { authenticationDocument } from './authentication.ts'
import type { Changes } from './changes.ts'
import { deviceNotFound, deviceScopeOf, timeOrNever } from './devices.ts'
import { moduleNotFound } from './modules.ts'
import { type DeviceRecord, devices, keyOf, type ModuleRecord, modules, twins } from './records.ts'
import { type ConnectionState, NEVER_CONNECTED, type SessionDirectory } from './session-directory.ts'
import type { Session } from './sessions.ts'
import { settle } from './settle.ts'

/** Device and module twins (hub-service.md 4, hub-device.md 5.3). They live and die with their identity. */
export interface Twins {
  /** For the device itself: `{desired, reported}`, each with `$version` only. Sees every patch it sent before. */
  getForDevice(session: Session): Promise<JsonObject>
  /** The document of hub-service.md 4.2; throws 404001, 404010. */
  get(hub: IotHub, deviceId: string, moduleId?: string): Promise<TwinDocument>
  /**
   * A merge patch of reported properties by the device itself. Answers with the new `$version`.
   * @param patch JSON text as the device sent it
   * @param version the `$version` that the device takes for current, if it said so: 412001 when it is not
   */
  patchReported(session: Session, patch: Buffer, version: number | undefined): Promise<number>
  /** What a move to another hub takes along; undefined: no such device. */
  read(hub: IotHub, deviceId: string): Promise<TakenAlong | undefined>
}

/** The shape of provisioning/linked-hub.ts; tags and properties without versions. */
export interface TakenAlong {
  readonly twin: { readonly tags: JsonObject; readonly desired: JsonObject; readonly reported: JsonObject }
  readonly iotEdge: boolean
  readonly status: 'enabled' | 'disabled'
}

export interface TwinsNeeds {
  readonly store: Store
  readonly changes: Changes
  readonly clock: Clock
  readonly directory: SessionDirectory
}

export function createTwins({ store, changes, clock, directory }: TwinsNeeds): Twins {
  /** The last patch of each session: a device that pipelines them must not meet itself. Never rejects. */
  const patching = new WeakMap<Session, Promise<void>>()

  async function find(hub: IotHub, deviceId: string, moduleId: string | undefined): Promise<Found> {
    if (!isIdentityId(deviceId)) throw deviceNotFound(deviceId)
    const id = keyOf(hub.name, { deviceId, moduleId })
    const sound = moduleId === undefined || isIdentityId(moduleId)
    const [device, module, twin] = await Promise.all([
      store.get(devices, keyOf(hub.name, { deviceId })),
      moduleId !== undefined && sound ? store.get(modules, id) : undefined,
      sound ? store.get(twins, id) : undefined,
    ])
    if (device === undefined) throw deviceNotFound(deviceId)
    if (moduleId !== undefined && module === undefined) throw moduleNotFound(deviceId, moduleId)
    // Every identity is made together with its twin; without one the store is damaged.
    if (twin === undefined) throw new ServiceError(500001, `The twin of ${id} is missing from the store.`)
    return { device, module, twin }
  }

  async function patchReported(session: Session, text: Buffer, version: number | undefined): Promise<number> {
    const patch = parsePatch(text)
    const { hub, deviceId, moduleId } = session.identity
    const id = keyOf(hub.name, { deviceId, moduleId })
    return settle(changes, hub, async () => {
      const stored = await store.get(twins, id)
      // After reading: what was read is then of this session's identity, not of the next one of its name.
      await session.confirm()
      if (stored === undefined) throw notFound(deviceId, moduleId)
      const { reported } = stored.value
      if (version !== undefined && version !== reported.version)
        throw new ServiceError(
          412001,
          `Precondition failed: the patch is for $version ${version} of the reported properties, they are at ${reported.version}.`,
        )
      const patched = patchSection(reported, patch, clock.now())
      requireTwinSize('reported', patched.properties)
      return {
        change: {
          expect: [{ in: twins, id, version: stored.version }],
          put: [{ collection: twins, id, value: { ...stored.value, reported: patched } }],
        },
        answer: () => {
          session.touch()
          return patched.version
        },
      }
    })
  }

  return {
    async getForDevice(session) {
      const { hub, deviceId, moduleId } = session.identity
      await patching.get(session)
      const twin = await store.get(twins, keyOf(hub.name, { deviceId, moduleId }))
      await session.confirm()
      if (twin === undefined)
        throw moduleId === undefined ? deviceNotFound(deviceId) : moduleNotFound(deviceId, moduleId)
      session.touch()
      return twinForDevice(twin.value)
    },

    async get(hub, deviceId, moduleId) {
      const found = await find(hub, deviceId, moduleId)
      const [state = NEVER_CONNECTED] = await directory.states(hub.name, [{ deviceId, moduleId }])
      return twinDocument(found, state)
    },

    patchReported(session, text, version) {
      const before = patching.get(session) ?? Promise.resolve()
      const patched = before.then(() => patchReported(session, text, version))
      patching.set(
        session,
        patched.then(
          () => {},
          () => {},
        ),
      )
      return patched
    },

    async read(hub, deviceId) {
      if (!isIdentityId(deviceId)) return undefined
      const id = keyOf(hub.name, { deviceId })
      const [device, twin] = await Promise.all([store.get(devices, id), store.get(twins, id)])
      if (device === undefined || twin === undefined) return undefined
      const { iotEdge, status } = device.value
      const { tags, desired, reported } = twin.value
      return { twin: { tags, desired: desired.properties, reported: reported.properties }, iotEdge, status }
    },
  }
}

const notFound = (deviceId: string, moduleId: string | undefined): ServiceError =>
  moduleId === undefined ? deviceNotFound(deviceId) : moduleNotFound(deviceId, moduleId)

function parsePatch(text: Buffer): JsonObject {
  const patch = parseJson(text)
  if (!isObject(patch)) throw new ServiceError(400004, `The patch must be a JSON object, found ${kindOf(patch)}.`)
  requireTwinContent('reported', patch as JsonObject, 'delete')
  return patch as JsonObject
}

interface Found {
  readonly device: Stored<DeviceRecord>
  readonly module: Stored<ModuleRecord> | undefined
  readonly twin: Stored<TwinRecord>
}

/**
 * The etag follows `version`, not the stored row: a device that reports does not stand in the way of a service that
 * changes tags or desired properties (the real hub's samples show `AAAAAAAAAAE=` at version 2).
 *
 * In the order of the real service; members that are not set are left out (hub-service.md 4.2).
 */
function twinDocument({ device, module, twin }: Found, state: ConnectionState) {
  const { deviceId, status, statusReason, statusUpdatedTime, iotEdge, parentScopes } = device.value
  const identity = module ?? device
  const { authentication } = identity.value
  const { tags, desired, reported, version } = twin.value
  return compact({
    deviceId,
    moduleId: module?.value.moduleId,
    etag: twinEtag(version - 1),
    deviceEtag: identityEtag(identity.version),
    status,
    statusReason,
    statusUpdateTime: timeOrNever(statusUpdatedTime),
    connectionState: state.connected ? 'Connected' : 'Disconnected',
    lastActivityTime: timeOrNever(state.lastActivityTime),
    cloudToDeviceMessageCount: 0,
    authenticationType: authentication.type,
    x509Thumbprint: authenticationDocument(authentication).x509Thumbprint,
    modelId: state.modelId,
    version,
    tags: Object.keys(tags).length === 0 ? undefined : tags,
    properties: {
      desired: sectionForService(desired, 'desired'),
      reported: sectionForService(reported, 'reported'),
    },
    capabilities: module === undefined ? { iotEdge } : undefined,
    deviceScope: module === undefined ? deviceScopeOf(device.value) : undefined,
    parentScopes: module === undefined ? parentScopes : undefined,
  })
}

export type TwinDocument = ReturnType<typeof twinDocument>
