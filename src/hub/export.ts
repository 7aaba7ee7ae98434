import { identityEtag, twinEtag } from '../base/etags.ts'
import { compact } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { IotHub } from '../control/control.ts'
import { sectionForService } from '../documents/twin-document.ts'
import type { TwinRecord } from '../documents/twin-record.ts'
import type { Collection, Store, Stored } from '../store/store.ts'
import { authenticationDocument } from './authentication.ts'
import { deviceScopeOf } from './devices.ts'
import {
  type Authentication,
  type DeviceRecord,
  devices,
  keyOf,
  type ModuleRecord,
  moduleLists,
  modules,
  twins,
} from './records.ts'

export interface ExportPage {
  /** Lines of `devices.txt` (hub-service.md 3.3): a device, then its modules. */
  readonly lines: readonly object[]
  /** For the next page; absent on the last. */
  readonly next?: string
}

/** The identities of a hub with their twins, as the import takes them. Without `keys` an import makes new ones. */
export type DeviceExport = (
  hub: IotHub,
  page: { readonly after: string | undefined; readonly keys: boolean },
) => Promise<ExportPage>

export function createDeviceExport({ store }: { readonly store: Store }): DeviceExport {
  /** As `getMany`, for as many as there are. */
  async function all<T>(from: Collection<T>, ids: readonly string[]): Promise<Map<string, Stored<T>>> {
    const found = new Map<string, Stored<T>>()
    for (let at = 0; at < ids.length; at += limits.storePage)
      for (const each of await store.getMany(from, ids.slice(at, at + limits.storePage)))
        if (each !== undefined) found.set(each.id, each)
    return found
  }

  /** A few devices, which may have many modules. */
  async function step(hub: IotHub, after: string | undefined, keys: boolean): Promise<ExportPage> {
    const scan = { prefix: `${hub.name}/`, limit: limits.exportStep, after }
    const { items, next } = await store.scan(devices, scan)
    const ids = items.map(({ id }) => id)
    const lists = await all(moduleLists, ids)
    const moduleIds = [...lists.values()].flatMap(({ id, value }) => value.modules.map((name) => `${id}/${name}`))
    const [twinOf, moduleOf] = [await all(twins, [...ids, ...moduleIds]), await all(modules, moduleIds)]
    const lines = items.flatMap((device) => [
      deviceLine(device, twinOf.get(device.id)?.value, keys),
      ...(lists.get(device.id)?.value.modules ?? []).flatMap((moduleId) => {
        const id = keyOf(hub.name, { ...device.value, moduleId })
        const module = moduleOf.get(id)
        return module === undefined ? [] : [moduleLine(module, twinOf.get(id)?.value, keys)]
      }),
    ])
    return { lines, ...(next !== undefined && { next }) }
  }

  return async (hub, { after, keys }) => {
    const lines: object[] = []
    let [read, bytes, next] = [0, 0, after]
    do {
      const few = await step(hub, next, keys)
      lines.push(...few.lines)
      read += limits.exportStep
      bytes += Buffer.byteLength(JSON.stringify(few.lines))
      next = few.next
    } while (next !== undefined && read < limits.exportPage && bytes < limits.exportPageBytes)
    return { lines, ...(next !== undefined && { next }) }
  }
}

const deviceLine = (device: Stored<DeviceRecord>, twin: TwinRecord | undefined, keys: boolean): object =>
  compact({
    id: device.value.deviceId,
    eTag: identityEtag(device.version),
    status: device.value.status,
    statusReason: device.value.statusReason,
    authentication: authenticationLine(device.value.authentication, keys),
    ...twinMembers(twin),
    capabilities: { iotEdge: device.value.iotEdge },
    deviceScope: deviceScopeOf(device.value),
    parentScopes: device.value.parentScopes,
  })

const moduleLine = (module: Stored<ModuleRecord>, twin: TwinRecord | undefined, keys: boolean): object =>
  compact({
    id: module.value.deviceId,
    moduleId: module.value.moduleId,
    eTag: identityEtag(module.version),
    managedBy: module.value.managedBy,
    authentication: authenticationLine(module.value.authentication, keys),
    ...twinMembers(twin),
  })

function authenticationLine(authentication: Authentication, keys: boolean): object {
  const document = authenticationDocument(authentication)
  return keys ? document : { ...document, symmetricKey: { primaryKey: null, secondaryKey: null } }
}

const twinMembers = (twin: TwinRecord | undefined): object =>
  twin === undefined
    ? {}
    : {
        twinETag: twinEtag(twin.version - 1),
        tags: twin.tags,
        properties: {
          desired: sectionForService(twin.desired, 'desired'),
          reported: sectionForService(twin.reported, 'reported'),
        },
      }
