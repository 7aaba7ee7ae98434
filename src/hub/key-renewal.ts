import { ServiceError } from '../base/errors.ts'
import { Fields } from '../base/json.ts'
import type { Caller, IotHub } from '../control/control.ts'
import { isIdentityId } from '../documents/identity-ids.ts'
import type { Stored } from '../store/store.ts'
import { generatedKeys } from './authentication.ts'
import { type Item, itemError, parseItems } from './bulk-items.ts'
import { deviceNotFound } from './devices.ts'
import { moduleNotFound } from './modules.ts'
import { type DeviceRecord, devices, keyOf, type ModuleRecord, modules } from './records.ts'
import type { RegistryNeeds } from './registry.ts'
import { settle } from './settle.ts'

const POLICY_KEYS = ['primaryKey', 'secondaryKey', 'both'] as const
type PolicyKey = (typeof POLICY_KEYS)[number]

interface Named {
  readonly id: string
  readonly moduleId: string | null
}

/** The answer of hub-service.md 2.8, in the order of the request. */
export interface KeyRenewal {
  readonly policyKey: PolicyKey
  /** Both keys as they are now, the one that was kept included. */
  readonly rotatedKeys: readonly (Named & { readonly primaryKey: string; readonly secondaryKey: string })[]
  readonly errors: readonly (Named & { readonly errorCode: string; readonly errorStatus: string })[]
}

/**
 * `POST /devices/keys/regenerate`: new symmetric keys for up to 100 devices and modules, each by itself; those that
 * fail are told in `errors`, the others stay. Live sessions of the renewed are cut. Only a request that is malformed
 * as a whole is refused (400004, 400011, 413002).
 */
export type RenewKeys = (caller: Caller, hub: IotHub, body: unknown) => Promise<KeyRenewal>

export function createKeyRenewal(needs: RegistryNeeds): RenewKeys {
  const { store, changes, random, log } = needs

  async function renew(caller: Caller, hub: IotHub, { deviceId, moduleId }: Item, which: PolicyKey) {
    const made = generatedKeys(random)
    const keys = await settle(changes, hub, async () => {
      const stored = await find(hub, deviceId, moduleId)
      const { authentication, keyed } = stored.value
      if (authentication.type !== 'sas')
        throw new ServiceError(
          400003,
          `${shown(deviceId, moduleId)} has no symmetric keys to renew: its authentication is ${authentication.type}.`,
        )
      const renewed = {
        ...authentication,
        ...(which !== 'secondaryKey' && { primaryKey: made.primaryKey }),
        ...(which !== 'primaryKey' && { secondaryKey: made.secondaryKey }),
      }
      const collection = moduleId === undefined ? devices : modules
      const value = { ...stored.value, authentication: renewed, keyed: keyed + 1 }
      return {
        change: {
          expect: [{ in: collection, id: stored.id, version: stored.version }],
          put: [{ collection, id: stored.id, value }],
        },
        changed: [{ hub: hub.name, deviceId, moduleId, why: 'credentials' as const }],
        answer: () => renewed,
      }
    })
    log.debug({ caller: caller.name, hub: hub.name, deviceId, moduleId, which }, 'keys renewed')
    return { primaryKey: keys.primaryKey, secondaryKey: keys.secondaryKey }
  }

  async function find(
    hub: IotHub,
    deviceId: string,
    moduleId: string | undefined,
  ): Promise<Stored<DeviceRecord | ModuleRecord>> {
    const device = isIdentityId(deviceId) ? await store.get(devices, keyOf(hub.name, { deviceId })) : undefined
    if (device === undefined) throw deviceNotFound(deviceId)
    if (moduleId === undefined) return device
    const module = isIdentityId(moduleId)
      ? await store.get(modules, keyOf(hub.name, { deviceId, moduleId }))
      : undefined
    if (module === undefined) throw moduleNotFound(deviceId, moduleId)
    return module
  }

  return async (caller, hub, body) => {
    const fields = new Fields(body, 'body')
    const policyKey = fields.required('policyKey', fields.oneOf('policyKey', POLICY_KEYS))
    const items = parseItems(fields.required('devices', fields.array('devices')))
    // Side by side, so that they share the store's commits.
    const outcomes = await Promise.all(
      items.map(async (item) => {
        const named: Named = { id: item.deviceId, moduleId: item.moduleId ?? null }
        const keys = await renew(caller, hub, item, policyKey).catch((thrown: unknown) =>
          itemError(log, hub, item, thrown),
        )
        return { ...named, ...keys }
      }),
    )
    return {
      policyKey,
      rotatedKeys: outcomes.filter((outcome) => 'primaryKey' in outcome),
      errors: outcomes.filter((outcome) => 'errorCode' in outcome),
    }
  }
}

const shown = (deviceId: string, moduleId: string | undefined): string =>
  moduleId === undefined ? deviceId : `${deviceId}/${moduleId}`
