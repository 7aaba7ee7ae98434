import { ServiceError } from '../base/errors.ts'
import { Fields, type JsonObject } from '../base/json.ts'
import type { Random } from '../base/random.ts'
import { readHostName, readHostNames, readLocation, readTags } from './common-input.ts'
import {
  type AllocationPolicy,
  allocationPolicies,
  type LinkedHubEntry,
  type Owner,
  type ProvisioningServiceDocument,
  provisioningServices,
} from './documents.ts'
import { createInstanceRoom, type InstanceRoom } from './instance-room.ts'
import { createInstances, type Instances } from './instances.ts'
import { judgeLinks, type LinkableHub, type LinkedHubInput, readLinkedHubs } from './linked-hubs.ts'
import { type DpsRight, defaultPolicies, dpsPolicies, type Policy, type PolicyInput, readPolicies } from './policies.ts'
import type { Instance, InstanceNeeds, Snapshot } from './snapshots.ts'

/** A provisioning service instance (dps.md 7.1). */
export interface ProvisioningService extends Instance {
  /** `0ne` and eight of `[0-9A-F]`; never changes. */
  readonly idScope: string
  /** Lower case, may carry `:port`; the first is the primary. */
  readonly serviceHostNames: readonly string[]
  readonly deviceHostName: string
  readonly allocationPolicy: AllocationPolicy
  readonly linkedHubs: readonly LinkedHubEntry[]
  readonly policies: readonly Policy<DpsRight>[]
}

/** The `properties` of a PUT (dps.md 7.1). On an existing service an absent member keeps what is stored. */
export interface ProvisioningServiceInput {
  readonly allocationPolicy?: string
  readonly iotHubs?: readonly LinkedHubInput[]
  readonly authorizationPolicies?: readonly PolicyInput[]
  readonly location?: string
  readonly tags?: Readonly<Record<string, string>>
  /** Ours: the ID scope of a new service; default a random one. It never changes. */
  readonly idScope?: string
  /** Ours: under which names the service answers; the first is the primary. */
  readonly serviceHostNames?: readonly string[]
  /** Ours: what devices dial; default the primary service host name. */
  readonly deviceHostName?: string
}

export interface ProvisioningServices extends InstanceRoom<ProvisioningService, ProvisioningServiceInput> {
  /** Letter case does not matter. */
  byScope(idScope: string): Promise<ProvisioningService | undefined>
}

export type ServiceInstances = Instances<ProvisioningServiceDocument, ProvisioningService>

/** Where a provisioning service differs from a hub. */
export const createServiceInstances = (needs: InstanceNeeds): ServiceInstances =>
  createInstances(needs, {
    kind: 'dps',
    noun: 'provisioning service',
    collection: provisioningServices,
    view: ({ state, hostNames, deviceHostName, ...document }, etag, presence) => ({
      ...document,
      serviceHostNames: hostNames,
      deviceHostName: deviceHostName ?? hostNames[0] ?? '',
      etag,
      presence,
    }),
    dependants: async () => ({ found: undefined, expect: [] }),
  })

export interface ProvisioningServicesNeeds {
  readonly random: Random
  readonly clock: InstanceNeeds['clock']
  readonly instances: ServiceInstances
  readonly hubs: () => Promise<readonly LinkableHub[]>
  readonly hostNames: (owner: Owner) => readonly string[]
}

export function createProvisioningServices(needs: ProvisioningServicesNeeds): ProvisioningServices {
  const { clock, random, instances } = needs
  const room = createInstanceRoom<DpsRight, ProvisioningServiceDocument, ProvisioningService, ProvisioningServiceInput>(
    {
      clock,
      random,
      instances,
      policies: dpsPolicies,
      hostNamesOf: (service) => service.serviceHostNames,
      requireName,
      evaluate: async (name, input, stored, all) => {
        const document = evaluate(needs, name, input, stored, all)
        return { document, expect: judgeLinks(document.linkedHubs, stored?.linkedHubs ?? [], await needs.hubs()) }
      },
    },
  )
  return {
    ...room,
    byScope: async (idScope) => {
      const wanted = idScope.toLowerCase()
      return (await instances.list()).find((service) => service.idScope.toLowerCase() === wanted)
    },
  }
}

/** 3 to 64 letters, digits and hyphens, not digits only, no hyphen first (dps.md 7.1). */
const NAME = /^(?![0-9]+$)(?!-)[A-Za-z0-9-]{3,64}$/

export const isServiceName = (name: string): boolean => NAME.test(name)

export const serviceNameRule = '3 to 64 letters, digits and hyphens, not digits only and no hyphen first'

function requireName(name: string): void {
  if (isServiceName(name)) return
  throw new ServiceError(
    400004,
    `The name of a provisioning service must be ${serviceNameRule}, found ${JSON.stringify(name.slice(0, 80))}.`,
  )
}

/** The document that `input` makes of `stored`; of a new service where there is none. */
function evaluate(
  { random, clock, hostNames }: ProvisioningServicesNeeds,
  name: string,
  input: ProvisioningServiceInput | JsonObject,
  stored: ProvisioningServiceDocument | undefined,
  all: Snapshot<ProvisioningServiceDocument, ProvisioningService>,
): ProvisioningServiceDocument {
  const fields = new Fields(input, 'properties')
  const resource = new Fields(input, 'resource')
  const now = clock.now()
  const deviceHostName = readHostName(fields, 'deviceHostName') ?? stored?.deviceHostName
  return {
    name: stored?.name ?? name,
    state: 'Active',
    idScope: readIdScope(fields, stored?.idScope, all.views) ?? newIdScope(random, all.views),
    hostNames: readHostNames(fields, 'serviceHostNames') ?? stored?.hostNames ?? hostNames({ kind: 'dps', name }),
    ...(deviceHostName === undefined ? {} : { deviceHostName }),
    allocationPolicy: fields.oneOf('allocationPolicy', allocationPolicies) ?? stored?.allocationPolicy ?? 'Hashed',
    linkedHubs: readLinkedHubs(fields, stored?.linkedHubs ?? []) ?? stored?.linkedHubs ?? [],
    policies:
      readPolicies(fields, stored?.policies ?? [], dpsPolicies, random) ??
      stored?.policies ??
      defaultPolicies(dpsPolicies, random),
    location: readLocation(resource) ?? stored?.location ?? 'local',
    tags: readTags(resource) ?? stored?.tags ?? {},
    createdAt: stored?.createdAt ?? now,
    updatedAt: now,
  }
}

/** The stored one for good; of a new service the wanted one, which no other may have. */
function readIdScope(fields: Fields, stored: string | undefined, services: readonly ProvisioningService[]) {
  const wanted = fields.string('idScope')
  if (wanted === undefined) return stored
  const fail = (expected: string): never => fields.fail('idScope', expected, JSON.stringify(wanted.slice(0, 40)))
  if (stored !== undefined) return wanted === stored ? stored : fail(`${stored}, as the service was created`)
  if (!/^0ne[0-9A-F]{8}$/.test(wanted)) fail('0ne and eight of 0-9 A-F')
  if (services.some(({ idScope }) => idScope === wanted)) fail('one that no other service has')
  return wanted
}

/** Unique among all services: the commit expects the epoch under which the others were looked at. */
function newIdScope(random: Random, services: readonly ProvisioningService[]): string {
  for (;;) {
    const idScope = `0ne${random.bytes(4).toString('hex').toUpperCase()}`
    if (services.every((service) => service.idScope !== idScope)) return idScope
  }
}
