import { ServiceError } from '../base/errors.ts'
import { type IfMatch, identityEtag, requireMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Caller, IotHub } from '../control/control.ts'
import { isIdentityId, isSystemModule } from '../documents/identity-ids.ts'
import type { TwinContent } from '../documents/twin-record.ts'
import type { Stored } from '../store/store.ts'
import { sameAuthentication } from './authentication.ts'
import { newModuleRows, type StoredList, together } from './device-rows.ts'
import { deviceNotFound, requireId } from './devices.ts'
import {
  type ModuleDocument,
  type ModuleInput,
  moduleDocument,
  moduleExists,
  moduleNotFound,
  parseModule,
} from './modules.ts'
import { devices, directory, keyOf, type ModuleRecord, moduleLists, modules, twins } from './records.ts'
import type { RegistryNeeds } from './registry.ts'
import { NEVER_CONNECTED } from './session-directory.ts'
import { settle } from './settle.ts'

/** The modules of a device (hub-service.md 2). A device may manage its own (edge.md 4.5); nobody else's. */
export interface ModuleRegistry {
  /** Throws 404001, 404010. */
  getModule(caller: Caller, hub: IotHub, deviceId: string, moduleId: string): Promise<ModuleDocument>
  listModules(caller: Caller, hub: IotHub, deviceId: string): Promise<readonly ModuleDocument[]>
  /** Without If-Match creates (409301 if there), with it replaces the credentials and keeps the generation. */
  putModule(
    caller: Caller,
    hub: IotHub,
    deviceId: string,
    moduleId: string,
    body: unknown,
    ifMatch: IfMatch,
  ): Promise<ModuleDocument>
  createModule(
    caller: Caller,
    hub: IotHub,
    deviceId: string,
    moduleId: string,
    input: ModuleInput,
    twin?: TwinContent,
  ): Promise<ModuleDocument>
  updateModule(
    caller: Caller,
    hub: IotHub,
    deviceId: string,
    moduleId: string,
    input: ModuleInput,
    ifMatch: IfMatch,
  ): Promise<ModuleDocument>
  removeModule(caller: Caller, hub: IotHub, deviceId: string, moduleId: string, ifMatch: IfMatch): Promise<void>
}

export function createModuleRegistry(needs: RegistryNeeds): ModuleRegistry {
  const { store, changes, clock, random, log, ticks } = needs
  const told = (caller: Caller, hub: IotHub, deviceId: string, moduleId: string, what: string) =>
    log.debug({ caller: caller.name, hub: hub.name, deviceId, moduleId }, what)

  const createModule: ModuleRegistry['createModule'] = async (caller, hub, deviceId, moduleId, input, twin) => {
    requireOwnDevice(caller, deviceId)
    requireId('module ID', moduleId)
    return settle(changes, hub, async () => {
      const { device, list } = await deviceAndList(hub, deviceId)
      const listed = list?.value.modules ?? []
      if (listed.includes(moduleId)) throw moduleExists(deviceId, moduleId)
      if (isSystemModule(moduleId) && !device.value.iotEdge)
        throw new ServiceError(400004, `${moduleId} belongs to Edge devices; ${deviceId} is none.`)
      if (listed.length >= limits.modulesPerDevice)
        throw new ServiceError(413003, `A device has ${limits.modulesPerDevice} modules at most.`)
      const { authentication, managedBy } = input
      const record: ModuleRecord = {
        deviceId,
        moduleId,
        generationId: ticks(),
        ...(managedBy === undefined ? {} : { managedBy }),
        authentication,
        keyed: 0,
      }
      return {
        // The device's version is not touched: its etag is the device's own.
        change: together(newModuleRows(hub, deviceId, [record], list, clock.now(), twin), {
          expect: [{ in: devices, id: device.id, version: device.version }],
          put: [],
        }),
        answer: ([version = 0]) => {
          told(caller, hub, deviceId, moduleId, 'module created')
          return moduleDocument({ id: '', version, value: record }, NEVER_CONNECTED)
        },
      }
    })
  }

  const updateModule: ModuleRegistry['updateModule'] = async (caller, hub, deviceId, moduleId, input, ifMatch) => {
    requireOwnDevice(caller, deviceId)
    const updated = await settle(changes, hub, async () => {
      const stored = await find(hub, deviceId, moduleId)
      requireMatch(ifMatch, identityEtag(stored.version))
      const old = stored.value
      const same = sameAuthentication(old.authentication, input.authentication)
      const record: ModuleRecord = {
        ...old,
        ...(input.managedBy === undefined ? {} : { managedBy: input.managedBy }),
        authentication: input.authentication,
        keyed: same ? old.keyed : old.keyed + 1,
      }
      return {
        change: {
          expect: [{ in: modules, id: stored.id, version: stored.version }],
          put: [{ collection: modules, id: stored.id, value: record }],
        },
        changed: same ? [] : [{ hub: hub.name, deviceId, moduleId, why: 'credentials' as const }],
        answer: ([version = 0]) => ({ id: stored.id, version, value: record }),
      }
    })
    told(caller, hub, deviceId, moduleId, 'module updated')
    return documentOf(hub, updated)
  }

  async function deviceAndList(hub: IotHub, deviceId: string) {
    const id = keyOf(hub.name, { deviceId })
    const [device, list] = isIdentityId(deviceId)
      ? await Promise.all([store.get(devices, id), store.get(moduleLists, id) as Promise<StoredList>])
      : []
    if (device === undefined) throw deviceNotFound(deviceId)
    return { device, list }
  }

  async function find(hub: IotHub, deviceId: string, moduleId: string): Promise<Stored<ModuleRecord>> {
    const sound = isIdentityId(deviceId) && isIdentityId(moduleId)
    const stored = sound ? await store.get(modules, keyOf(hub.name, { deviceId, moduleId })) : undefined
    if (stored !== undefined) return stored
    await deviceAndList(hub, deviceId)
    throw moduleNotFound(deviceId, moduleId)
  }

  async function documentOf(hub: IotHub, stored: Stored<ModuleRecord>): Promise<ModuleDocument> {
    const [state = NEVER_CONNECTED] = await needs.directory.states(hub.name, [stored.value])
    return moduleDocument(stored, state)
  }

  return {
    createModule,
    updateModule,

    async getModule(caller, hub, deviceId, moduleId) {
      // A module may look at itself.
      if (caller.name !== `${deviceId}/${moduleId}`) requireOwnDevice(caller, deviceId)
      return documentOf(hub, await find(hub, deviceId, moduleId))
    },

    async listModules(caller, hub, deviceId) {
      requireOwnDevice(caller, deviceId)
      const { list } = await deviceAndList(hub, deviceId)
      const ids = (list?.value.modules ?? []).map((moduleId) => keyOf(hub.name, { deviceId, moduleId }))
      const stored = (await store.getMany(modules, ids)).filter((module) => module !== undefined)
      const states = await needs.directory.states(
        hub.name,
        stored.map(({ value }) => value),
      )
      return stored.map((module, at) => moduleDocument(module, states[at] ?? NEVER_CONNECTED))
    },

    async putModule(caller, hub, deviceId, moduleId, body, ifMatch) {
      requireId('module ID', moduleId)
      const input = parseModule(body, deviceId, moduleId, random)
      if (ifMatch.kind === 'absent') return createModule(caller, hub, deviceId, moduleId, input)
      return updateModule(caller, hub, deviceId, moduleId, input, ifMatch)
    },

    async removeModule(caller, hub, deviceId, moduleId, ifMatch) {
      requireOwnDevice(caller, deviceId)
      if (isSystemModule(moduleId))
        throw new ServiceError(401100, `${moduleId} lives and dies with its device; it cannot be deleted by itself.`)
      await settle(changes, hub, async () => {
        const stored = await find(hub, deviceId, moduleId)
        requireMatch(ifMatch, identityEtag(stored.version))
        const { list } = await deviceAndList(hub, deviceId)
        const listId = keyOf(hub.name, { deviceId })
        return {
          change: {
            expect: [
              { in: modules, id: stored.id, version: stored.version },
              { in: moduleLists, id: listId, version: list?.version ?? 0 },
            ],
            put: [
              {
                collection: moduleLists,
                id: listId,
                value: { modules: (list?.value.modules ?? []).filter((id) => id !== moduleId) },
              },
            ],
            delete: [modules, twins, directory].map((collection) => ({ in: collection, id: stored.id })),
          },
          changed: [{ hub: hub.name, deviceId, moduleId, why: 'deleted' as const }],
          answer: () => undefined,
        }
      })
      told(caller, hub, deviceId, moduleId, 'module deleted')
    },
  }
}

/** A device is its own modules' keeper and nobody else's. */
function requireOwnDevice(caller: Caller, deviceId: string): void {
  if (caller.kind === 'device' && caller.name !== deviceId)
    throw new ServiceError(401002, `The credentials of ${caller.name} do not reach the modules of ${deviceId}.`)
}
