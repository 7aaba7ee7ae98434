import { unknownVariant } from '../base/errors.ts'
import { identityEtag, requireMatch } from '../base/etags.ts'
import type { Judgement } from '../control/control.ts'
import { deviceOfScope, edgeScopeOf } from '../documents/identity-ids.ts'
import type { Stored } from '../store/store.ts'
import { newDeviceRows, removedDeviceKeys, systemModuleRows } from './device-rows.ts'
import { deviceExists, deviceNotFound } from './devices.ts'
import { changed, type Judging, writeTwin } from './import-judging.ts'
import type { DeviceLine } from './import-line.ts'
import { findParents } from './parents.ts'
import { type DeviceRecord, devices, keyOf, moduleLists } from './records.ts'
import { deviceRecord, reasonToLook } from './registry.ts'

/** A line about a device. */
export async function judgeDevice(judging: Judging, line: DeviceLine): Promise<Judgement> {
  const { hub, draft } = judging
  const { mode, deviceId } = line
  const id = keyOf(hub.name, { deviceId })
  // What waits for its parent is judged by what is there, too: or where a chunk ends would decide what is reported first.
  const isLikelyNew = mode.startsWith('create') && wantedScopes(line.device, line.device.iotEdge ?? false).length === 0
  const stored = await (isLikelyNew ? draft.getNew(devices, id) : draft.get(devices, id))
  switch (mode) {
    case 'create':
      if (stored !== undefined) throw deviceExists(deviceId)
      return createDevice(judging, line)
    case 'createOrUpdate':
    case 'createOrUpdateIfMatchETag':
      return stored === undefined ? createDevice(judging, line) : updateDevice(judging, line, stored)
    case 'update':
    case 'updateIfMatchETag':
      return updateDevice(judging, line, required(stored, deviceId))
    case 'delete':
    case 'deleteIfMatchETag':
      return removeDevice(judging, line, required(stored, deviceId))
    case 'updateTwin':
    case 'updateTwinIfMatchETag':
      required(stored, deviceId)
      await writeTwin(judging, line, 'existing')
      return {}
    default:
      return unknownVariant('importMode', mode)
  }
}

function required(stored: Stored<DeviceRecord> | undefined, deviceId: string): Stored<DeviceRecord> {
  if (stored === undefined) throw deviceNotFound(deviceId)
  return stored
}

async function createDevice(judging: Judging, line: DeviceLine): Promise<Judgement> {
  const { hub, needs, draft } = judging
  const { deviceId, device } = line
  const iotEdge = device.iotEdge ?? false
  const parents = await parentScopesOf(judging, line, iotEdge)
  if (parents === 'later') return { later: true }
  const now = needs.clock.now()
  const birth = { deviceId, generationId: needs.ticks(), now }
  const record = deviceRecord(hub, undefined, { ...device, iotEdge }, parents.scopes, birth)
  const rows = newDeviceRows(hub, record, NO_TWIN, needs.ticks, now)
  draft.expect(rows.expect)
  draft.put(rows.put)
  await writeTwin(judging, line, 'new')
  return {}
}

const NO_TWIN = { tags: {}, desired: {} }

async function updateDevice(judging: Judging, line: DeviceLine, stored: Stored<DeviceRecord>): Promise<Judgement> {
  const { hub, needs, draft } = judging
  const { deviceId, ifMatch } = line
  requireMatch(ifMatch, identityEtag(stored.version))
  const old = stored.value
  const iotEdge = line.device.iotEdge ?? old.iotEdge
  const parents = await parentScopesOf(judging, line, iotEdge, old)
  if (parents === 'later') return { later: true }
  const { authentication: given } = line.device
  const authentication = line.keyless && old.authentication.type === given.type ? old.authentication : given
  const now = needs.clock.now()
  const input = { ...line.device, authentication, iotEdge }
  const record = deviceRecord(hub, old, input, parents.scopes, { ...old, now })
  draft.put([{ collection: devices, id: stored.id, value: record }])
  if (iotEdge && !old.iotEdge) {
    const system = systemModuleRows(hub, deviceId, await draft.get(moduleLists, stored.id), needs.ticks, now)
    draft.expect(system.expect)
    draft.put(system.put)
  }
  // The modes that compare an etag write identities only (hub-service.md 3.3).
  if (ifMatch.kind === 'any') await writeTwin(judging, line, 'existing')
  const why = reasonToLook(old, record)
  return why === undefined ? {} : changed(judging, [{ hub: hub.name, deviceId, why }])
}

async function removeDevice(judging: Judging, line: DeviceLine, stored: Stored<DeviceRecord>): Promise<Judgement> {
  const { hub, draft } = judging
  const { deviceId } = line
  requireMatch(line.ifMatch, identityEtag(stored.version))
  const list = await draft.get(moduleLists, stored.id)
  draft.delete(removedDeviceKeys(hub, deviceId, list))
  return changed(judging, [{ hub: hub.name, deviceId, why: 'deleted' }])
}

/** The scopes of the parents that a line names; an Edge device's own scope is the hub's to say. */
const wantedScopes = ({ deviceScope, parentScopes }: DeviceLine['device'], iotEdge: boolean): readonly string[] =>
  (iotEdge || deviceScope === undefined ? (parentScopes ?? []) : [deviceScope]).filter((each) => each !== '')

/** The parent that the line names, by the scope that it has in this hub; `later` where it is not there yet. */
async function parentScopesOf(
  { hub, draft, last }: Judging,
  { deviceId, device }: DeviceLine,
  iotEdge: boolean,
  old?: DeviceRecord,
): Promise<{ readonly scopes: readonly string[] | undefined } | 'later'> {
  const isSaid = (iotEdge ? undefined : device.deviceScope) !== undefined || device.parentScopes !== undefined
  const scopes: string[] = []
  for (const scope of wantedScopes(device, iotEdge)) {
    const parentId = deviceOfScope(scope)
    const parent =
      parentId === undefined ? undefined : await draft.get(devices, keyOf(hub.name, { deviceId: parentId }))
    if (parent?.value.iotEdge) scopes.push(edgeScopeOf(parent.value.deviceId, parent.value.generationId))
    else if (!last && parentId !== undefined) return 'later'
    else scopes.push(scope)
  }
  const found = await findParents(
    draft,
    hub.name,
    deviceId,
    iotEdge,
    { deviceScope: undefined, parentScopes: isSaid ? scopes : undefined },
    old?.parentScopes,
  )
  return { scopes: found.parentScopes }
}
