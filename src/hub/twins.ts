import { ServiceError } from '../base/errors.ts'
import { identityEtag, twinEtag } from '../base/etags.ts'
import { compact, type JsonObject } from '../base/json.ts'
import type { IotHub } from '../control/control.ts'
import { isIdentityId } from '../documents/identity-ids.ts'
import { sectionForService, twinForDevice } from '../documents/twin-document.ts'
import type { TwinRecord } from '../documents/twin-record.ts'
import type { Store, Stored } from '../store/store.ts'
import { authenticationDocument } from './authentication.ts'
import { deviceNotFound, deviceScopeOf, timeOrNever } from './devices.ts'
import type { Identity } from './identity.ts'
import { moduleNotFound } from './modules.ts'
import { type DeviceRecord, devices, keyOf, type ModuleRecord, modules, twins } from './records.ts'
import { type ConnectionState, NEVER_CONNECTED, type SessionDirectory } from './session-directory.ts'

/** Device and module twins (hub-service.md 4, hub-device.md 5.3). They live and die with their identity. */
export interface Twins {
  /** `{desired, reported}`, each with `$version` only. */
  getForDevice(identity: Identity): Promise<JsonObject>
  /** The document of hub-service.md 4.2; throws 404001, 404010. */
  get(hub: IotHub, deviceId: string, moduleId?: string): Promise<TwinDocument>
  /** Tags and properties without versions, as a move to another hub takes them along; undefined: no such device. */
  data(
    hub: IotHub,
    deviceId: string,
  ): Promise<{ readonly tags: JsonObject; readonly desired: JsonObject; readonly reported: JsonObject } | undefined>
}

export function createTwins({ store, directory }: { store: Store; directory: SessionDirectory }): Twins {
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

  return {
    async getForDevice({ hub, deviceId, moduleId }) {
      const twin = await store.get(twins, keyOf(hub.name, { deviceId, moduleId }))
      if (twin === undefined)
        throw moduleId === undefined ? deviceNotFound(deviceId) : moduleNotFound(deviceId, moduleId)
      return twinForDevice(twin.value)
    },

    async get(hub, deviceId, moduleId) {
      const found = await find(hub, deviceId, moduleId)
      const [state = NEVER_CONNECTED] = await directory.states(hub.name, [{ deviceId, moduleId }])
      return twinDocument(found, state)
    },

    async data(hub, deviceId) {
      const twin = isIdentityId(deviceId) ? await store.get(twins, keyOf(hub.name, { deviceId })) : undefined
      if (twin === undefined) return undefined
      const { tags, desired, reported } = twin.value
      return { tags, desired: desired.properties, reported: reported.properties }
    },
  }
}

interface Found {
  readonly device: Stored<DeviceRecord>
  readonly module: Stored<ModuleRecord> | undefined
  readonly twin: Stored<TwinRecord>
}

/** In the order of the real service; members that are not set are left out (hub-service.md 4.2). */
function twinDocument({ device, module, twin }: Found, state: ConnectionState) {
  const { deviceId, status, statusReason, statusUpdatedTime, iotEdge, parentScopes } = device.value
  const identity = module ?? device
  const { authentication } = identity.value
  const { tags, desired, reported, version } = twin.value
  return compact({
    deviceId,
    moduleId: module?.value.moduleId,
    etag: twinEtag(twin.version),
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
