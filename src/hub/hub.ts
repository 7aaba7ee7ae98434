import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { Bus } from '../bus/bus.ts'
import type { Control } from '../control/control.ts'
import type { Store } from '../store/store.ts'
import { type Bulk, createBulk } from './bulk.ts'
import { createChangeRetention } from './change-retention.ts'
import { createChanges } from './changes.ts'
import { createDeviceAuth, type DeviceAuth } from './device-auth.ts'
import { createDeviceExport, type DeviceExport } from './export.ts'
import { createWhyRevoked } from './grants.ts'
import { createDeviceImport, type DeviceImport } from './import.ts'
import { createKeyRenewal, type RenewKeys } from './key-renewal.ts'
import { createModuleRegistry, type ModuleRegistry } from './module-registry.ts'
import { createNodes } from './nodes.ts'
import { createProvision, type Provision } from './provision.ts'
import { devices } from './records.ts'
import { createDeviceRegistry, type DeviceRegistry, type RegistryNeeds } from './registry.ts'
import { createSessionDirectory } from './session-directory.ts'
import { createSessions, type Sessions } from './sessions.ts'
import { createTelemetry, type Telemetry } from './telemetry.ts'
import { createTicks } from './ticks.ts'
import { createTwins, type Twins } from './twins.ts'

export interface HubNeeds {
  /** Documents, among them those of `hubSchema`. */
  readonly store: Store
  /** Telemetry logs; a store of its own, so that retention never stalls the documents. */
  readonly telemetry: Store
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly control: Control
  /** Name of this node or worker, for people; each start of it gets a name of its own. */
  readonly node: string
  readonly metrics?: Metrics
}

export interface Registry extends DeviceRegistry, ModuleRegistry {
  readonly bulk: Bulk
  /** For `control.imports`. */
  readonly deviceImport: DeviceImport
  readonly deviceExport: DeviceExport
  readonly renewKeys: RenewKeys
  readonly provision: Provision
  /** What lives in the hub, in words; undefined: nothing, so that it may be deleted. */
  contents(hubName: string): Promise<string | undefined>
}

/** The identities of every hub of this installation, how they prove themselves, and what they send. */
export interface Hub {
  readonly registry: Registry
  readonly deviceAuth: DeviceAuth
  readonly sessions: Sessions
  readonly twins: Twins
  readonly telemetry: Telemetry
  /** Before the first connection: takes this process's lease and begins to follow the change sequence. */
  start(): Promise<void>
  /** After the last connection: cuts what is left, writes what waits. */
  stop(): Promise<void>
}

export function createHub(needs: HubNeeds): Hub {
  const { store, clock, random, log, control, bus } = needs
  const whyRevoked = createWhyRevoked(control)
  const changes = createChanges({ store, bus, clock })
  const nodes = createNodes(needs)
  const sessions = createSessions({ store, bus, clock, log, changes, nodes, whyRevoked })
  const directory = createSessionDirectory({ store, nodes, own: sessions.own })
  const registryNeeds: RegistryNeeds = {
    store,
    changes,
    clock,
    random,
    log,
    directory,
    ticks: createTicks(clock, random),
  }
  const identities = { ...createDeviceRegistry(registryNeeds), ...createModuleRegistry(registryNeeds) }
  const telemetry = createTelemetry(needs)
  const retention = createChangeRetention({ store, clock, log })

  return {
    registry: {
      ...identities,
      bulk: createBulk({ registry: identities, random, log }),
      deviceImport: createDeviceImport(registryNeeds),
      deviceExport: createDeviceExport(registryNeeds),
      renewKeys: createKeyRenewal(registryNeeds),
      provision: createProvision(registryNeeds),
      async contents(hubName) {
        const count = await store.count(devices, { prefix: `${hubName}/` })
        return count === 0 ? undefined : `${count} device${count === 1 ? '' : 's'}`
      },
    },
    deviceAuth: createDeviceAuth({ store, control, clock }),
    sessions,
    twins: createTwins({ store, changes, clock, directory }),
    telemetry,
    async start() {
      await sessions.start()
      telemetry.start()
      retention.start()
    },
    async stop() {
      retention.stop()
      telemetry.stop()
      await sessions.stop()
    },
  }
}

export { hubSchema } from './records.ts'
