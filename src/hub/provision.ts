import { Fields } from '../base/json.ts'
import type { IotHub } from '../control/control.ts'
import { resetTwin, type TwinContent } from '../documents/twin-record.ts'
import { requireTwinContent, requireTwinSize } from '../documents/twin-rules.ts'
import type { Put, Stored } from '../store/store.ts'
import { parseAuthentication, sameAuthentication } from './authentication.ts'
import { newDeviceRows, systemModuleRows, together } from './device-rows.ts'
import { requireId } from './devices.ts'
import { type Authentication, type DeviceRecord, devices, keyOf, moduleLists, twins } from './records.ts'
import type { RegistryNeeds } from './registry.ts'
import { type Judged, settle } from './settle.ts'

/** What a provisioning service assigns to a hub: the shape of provisioning/linked-hub.ts. */
export interface ProvisionedDevice {
  readonly deviceId: string
  /** As in a device document: `sas` or `selfSigned`, with keys or thumbprints. */
  readonly authentication: object
  readonly iotEdge: boolean
  /** Absent: enabled where it is new, unchanged where it is there. */
  readonly status?: 'disabled'
  readonly twin: TwinContent
}

/**
 * Makes the device with its first twin, or refreshes the credentials of the one that is there, makes it an Edge device
 * (never the reverse: its modules depend on it) and leaves the rest alone; `reset` makes it anew, its twin too, but for
 * its modules. One commit; repeating it changes nothing, and commits nothing where it is told that the device returns.
 */
export type Provision = (
  hub: IotHub,
  device: ProvisionedDevice,
  mode: 'keep' | 'reset',
  returning?: boolean,
) => Promise<'created' | 'refreshed'>

export function createProvision(needs: RegistryNeeds): Provision {
  const { store, changes, clock, random, ticks } = needs

  return async (hub, device, mode, returning = false) => {
    requireId('device ID', device.deviceId)
    const authentication = parseAuthentication(new Fields(device, 'device'), random, 'refused')
    requireContent(device.twin)
    const id = keyOf(hub.name, device)
    return settle(changes, hub, async (attempt) => {
      // Most others are new to their hub: the first attempt does not look, its commit says whether that was right.
      const stored = attempt === 0 && !returning ? undefined : await store.get(devices, id)
      return stored === undefined
        ? create(hub, device, authentication)
        : refresh(hub, stored, device, authentication, mode)
    })
  }

  function create(hub: IotHub, device: ProvisionedDevice, authentication: Authentication): Judged<'created'> {
    const record: DeviceRecord = {
      deviceId: device.deviceId,
      generationId: ticks(),
      status: 'enabled',
      authentication,
      keyed: 0,
      iotEdge: device.iotEdge,
      ...(device.status === 'disabled' && disabledIn(hub)),
    }
    const rows = newDeviceRows(hub, record, device.twin, ticks, clock.now())
    return { change: together(rows), answer: () => 'created' }
  }

  async function refresh(
    hub: IotHub,
    { id, version, value: old }: Stored<DeviceRecord>,
    device: ProvisionedDevice,
    authentication: Authentication,
    mode: 'keep' | 'reset',
  ): Promise<Judged<'refreshed'>> {
    const same = sameAuthentication(old.authentication, authentication)
    const iotEdge = device.iotEdge || (mode === 'keep' && old.iotEdge)
    const isDisabled = device.status === 'disabled' && old.status === 'enabled'
    const unchanged = same && old.iotEdge === iotEdge && !isDisabled
    if (unchanged && mode === 'keep') return { change: undefined, answer: () => 'refreshed' }
    const becomesEdge = iotEdge && !old.iotEdge
    const [list, twin] = await Promise.all([
      becomesEdge ? store.get(moduleLists, id) : undefined,
      mode === 'reset' ? store.get(twins, id) : undefined,
    ])
    const system = becomesEdge ? systemModuleRows(hub, old.deviceId, list, ticks, clock.now()) : { expect: [], put: [] }
    const record: DeviceRecord = {
      ...old,
      authentication,
      iotEdge,
      keyed: same ? old.keyed : old.keyed + 1,
      ...(isDisabled && { ...disabledIn(hub), statusUpdatedTime: clock.now() }),
    }
    const put: Put[] = unchanged ? [] : [{ collection: devices, id, value: record }]
    if (twin !== undefined) put.push({ collection: twins, id, value: resetTwin(twin.value, device.twin, clock.now()) })
    return {
      change: together(
        {
          expect: [
            { in: devices, id, version },
            ...(twin === undefined ? [] : [{ in: twins, id, version: twin.version }]),
          ],
          put,
        },
        system,
      ),
      changed:
        same && !isDisabled
          ? []
          : [{ hub: hub.name, deviceId: old.deviceId, why: isDisabled ? 'status' : 'credentials' }],
      answer: () => 'refreshed',
    }
  }
}

const disabledIn = (hub: IotHub) => ({ status: 'disabled', disabledIn: hub.name }) as const

function requireContent(twin: TwinContent): void {
  for (const part of ['tags', 'desired', 'reported'] as const) {
    const content = twin[part]
    if (content === undefined) continue
    requireTwinContent(part, content, 'refused')
    requireTwinSize(part, content)
  }
}
