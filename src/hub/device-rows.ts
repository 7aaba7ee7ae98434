import type { IotHub } from '../control/control.ts'
import { SYSTEM_MODULES } from '../documents/identity-ids.ts'
import { freshTwin, type TwinContent } from '../documents/twin-record.ts'
import type { Commit, Expectation, Key, Put } from '../store/store.ts'
import {
  type DeviceRecord,
  devices,
  directory,
  keyOf,
  type ModuleList,
  type ModuleRecord,
  moduleLists,
  modules,
  twins,
} from './records.ts'

/** What a change of several documents is put together from. */
export interface Rows {
  readonly expect: readonly Expectation[]
  readonly put: readonly Put[]
}

export const together = (...rows: readonly Rows[]): Commit => ({
  expect: rows.flatMap(({ expect }) => expect),
  put: rows.flatMap(({ put }) => put),
})

const EMPTY: TwinContent = { tags: {}, desired: {} }

/**
 * A new device with its twin, and the two system modules of an Edge device: one commit. This is the hot path of
 * registration: two rows for a leaf device. The device's document is the first put.
 */
export function newDeviceRows(
  hub: IotHub,
  device: DeviceRecord,
  twin: TwinContent,
  ticks: () => string,
  now: number,
): Rows {
  const id = keyOf(hub.name, device)
  const rows: Rows = {
    expect: [hub.presence, { in: devices, id, version: 0 }],
    put: [
      { collection: devices, id, value: device },
      { collection: twins, id, value: freshTwin(twin, now) },
    ],
  }
  if (!device.iotEdge) return rows
  const system = systemModuleRows(hub, device.deviceId, undefined, ticks, now)
  return { expect: [...rows.expect, ...system.expect], put: [...rows.put, ...system.put] }
}

/** The stored list of a device's modules; undefined: it never had one. */
export type StoredList = { readonly version: number; readonly value: ModuleList } | undefined

/** `$edgeAgent` and `$edgeHub` where they do not exist yet (hub-service.md 2.5). */
export function systemModuleRows(
  hub: IotHub,
  deviceId: string,
  list: StoredList,
  ticks: () => string,
  now: number,
): Rows {
  const listed = list?.value.modules ?? []
  const missing = SYSTEM_MODULES.filter((name) => !listed.includes(name)).map(
    (moduleId): ModuleRecord => ({
      deviceId,
      moduleId,
      generationId: ticks(),
      managedBy: 'iotEdge',
      authentication: { type: 'none' },
      keyed: 0,
    }),
  )
  return missing.length === 0 ? { expect: [], put: [] } : newModuleRows(hub, deviceId, missing, list, now)
}

/** New modules of one device with their twins; the device's list of modules is the last put. */
export function newModuleRows(
  hub: IotHub,
  deviceId: string,
  made: readonly ModuleRecord[],
  list: StoredList,
  now: number,
  twin = EMPTY,
): Rows {
  const value: ModuleList = { modules: [...(list?.value.modules ?? []), ...made.map(({ moduleId }) => moduleId)] }
  const listId = keyOf(hub.name, { deviceId })
  const ids = made.map((module) => keyOf(hub.name, module))
  return {
    expect: [
      { in: moduleLists, id: listId, version: list?.version ?? 0 },
      ...ids.map((id) => ({ in: modules, id, version: 0 })),
    ],
    put: [
      ...made.flatMap((module, at) => [
        { collection: modules, id: ids[at]!, value: module },
        { collection: twins, id: ids[at]!, value: freshTwin(twin, now) },
      ]),
      { collection: moduleLists, id: listId, value },
    ],
  }
}

/** What goes with a device: its modules, the twins of all, their places in the session directory. */
export function removedDeviceKeys(hub: IotHub, deviceId: string, list: StoredList): readonly Key[] {
  const id = keyOf(hub.name, { deviceId })
  const moduleIds = (list?.value.modules ?? []).map((moduleId) => keyOf(hub.name, { deviceId, moduleId }))
  return [
    { in: devices, id },
    ...(list === undefined ? [] : [{ in: moduleLists, id }]),
    ...[id, ...moduleIds].flatMap((each): Key[] => [
      { in: twins, id: each },
      { in: directory, id: each },
    ]),
    ...moduleIds.map((each) => ({ in: modules, id: each })),
  ]
}
