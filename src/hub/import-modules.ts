import { ServiceError, unknownVariant } from '../base/errors.ts'
import { identityEtag, requireMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Judgement } from '../control/control.ts'
import { isSystemModule } from '../documents/identity-ids.ts'
import type { Stored } from '../store/store.ts'
import { sameAuthentication } from './authentication.ts'
import { newModuleRows, type StoredList } from './device-rows.ts'
import { deviceNotFound } from './devices.ts'
import { changed, type Judging, writeTwin } from './import-judging.ts'
import type { DeviceLine } from './import-line.ts'
import { moduleExists, moduleNotFound } from './modules.ts'
import {
  type DeviceRecord,
  devices,
  directory,
  keyOf,
  type ModuleRecord,
  moduleLists,
  modules,
  twins,
} from './records.ts'

type ModuleLine = DeviceLine & { readonly moduleId: string }

/** A line about a module. One whose device is not there yet waits for it. */
export async function judgeModule(judging: Judging, line: ModuleLine): Promise<Judgement> {
  const { hub, draft, last } = judging
  const { mode, deviceId, moduleId } = line
  const device = await draft.get(devices, keyOf(hub.name, { deviceId }))
  if (device === undefined) {
    if (!last) return { later: true }
    throw deviceNotFound(deviceId)
  }
  const stored = await draft.get(modules, keyOf(hub.name, line))
  switch (mode) {
    case 'create':
      if (stored === undefined) return createModule(judging, line, device)
      // An Edge device brings its system modules along: what was never used is the line's to fill in.
      if (!isSystemModule(moduleId) || !isUnused(stored.value)) throw moduleExists(deviceId, moduleId)
      return updateModule(judging, line, stored)
    case 'createOrUpdate':
    case 'createOrUpdateIfMatchETag':
      return stored === undefined ? createModule(judging, line, device) : updateModule(judging, line, stored)
    case 'update':
    case 'updateIfMatchETag':
      return updateModule(judging, line, required(stored, line))
    case 'delete':
    case 'deleteIfMatchETag':
      return removeModule(judging, line, required(stored, line))
    case 'updateTwin':
    case 'updateTwinIfMatchETag':
      required(stored, line)
      await writeTwin(judging, line, 'existing')
      return {}
    default:
      return unknownVariant('importMode', mode)
  }
}

const isUnused = ({ authentication, keyed }: ModuleRecord): boolean => authentication.type === 'none' && keyed === 0

function required(stored: Stored<ModuleRecord> | undefined, line: ModuleLine): Stored<ModuleRecord> {
  if (stored === undefined) throw moduleNotFound(line.deviceId, line.moduleId)
  return stored
}

async function createModule(judging: Judging, line: ModuleLine, device: Stored<DeviceRecord>): Promise<Judgement> {
  const { hub, needs, draft } = judging
  const { deviceId, moduleId, module } = line
  if (isSystemModule(moduleId) && !device.value.iotEdge)
    throw new ServiceError(400004, `${moduleId} belongs to Edge devices; ${deviceId} is none.`)
  const list: StoredList = await draft.get(moduleLists, device.id)
  if ((list?.value.modules.length ?? 0) >= limits.modulesPerDevice)
    throw new ServiceError(413003, `A device has ${limits.modulesPerDevice} modules at most.`)
  const record: ModuleRecord = {
    deviceId,
    moduleId,
    generationId: needs.ticks(),
    ...(module.managedBy === undefined ? {} : { managedBy: module.managedBy }),
    authentication: module.authentication,
    keyed: 0,
  }
  const rows = newModuleRows(hub, deviceId, [record], list, needs.clock.now())
  draft.expect(rows.expect)
  draft.put(rows.put)
  await writeTwin(judging, line, 'new')
  return {}
}

async function updateModule(judging: Judging, line: ModuleLine, stored: Stored<ModuleRecord>): Promise<Judgement> {
  const { hub, draft } = judging
  const { deviceId, moduleId, module, ifMatch } = line
  requireMatch(ifMatch, identityEtag(stored.version))
  const old = stored.value
  const { authentication: given } = module
  // Exports without keys show the system modules of a new Edge device as they are: with none.
  const keeps = line.keyless && (old.authentication.type === given.type || isSystemModule(moduleId))
  const authentication = keeps ? old.authentication : given
  const same = sameAuthentication(old.authentication, authentication)
  const record: ModuleRecord = {
    ...old,
    ...(module.managedBy === undefined ? {} : { managedBy: module.managedBy }),
    authentication,
    keyed: same ? old.keyed : old.keyed + 1,
  }
  draft.put([{ collection: modules, id: stored.id, value: record }])
  // A system module that nobody has used yet was made by the line of its device: this one makes the rest of it.
  const isNew = isSystemModule(moduleId) && isUnused(old)
  if (ifMatch.kind === 'any') await writeTwin(judging, line, isNew ? 'new' : 'existing')
  return same ? {} : changed(judging, [{ hub: hub.name, deviceId, moduleId, why: 'credentials' }])
}

async function removeModule(judging: Judging, line: ModuleLine, stored: Stored<ModuleRecord>): Promise<Judgement> {
  const { hub, draft } = judging
  const { deviceId, moduleId } = line
  if (isSystemModule(moduleId))
    throw new ServiceError(401100, `${moduleId} lives and dies with its device; it cannot be deleted by itself.`)
  requireMatch(line.ifMatch, identityEtag(stored.version))
  const id = keyOf(hub.name, { deviceId })
  const list = await draft.get(moduleLists, id)
  const left = (list?.value.modules ?? []).filter((each) => each !== moduleId)
  draft.put([{ collection: moduleLists, id, value: { modules: left } }])
  draft.delete([modules, twins, directory].map((each) => ({ in: each, id: stored.id })))
  return changed(judging, [{ hub: hub.name, deviceId, moduleId, why: 'deleted' }])
}
