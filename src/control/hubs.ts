import { ServiceError } from '../base/errors.ts'
import { Fields, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import { readHostNames, readLocation, readTags, readWhole } from './common-input.ts'
import { type IotHubDocument, iotHubs, type Owner, type Sku } from './documents.ts'
import { isLinkTo } from './hosts.ts'
import { createInstanceRoom, type InstanceRoom } from './instance-room.ts'
import { createInstances, type Instances } from './instances.ts'
import { defaultPolicies, type HubRight, hubPolicies, type Policy, type PolicyInput, readPolicies } from './policies.ts'
import type { ServiceInstances } from './provisioning-services.ts'
import type { Instance, InstanceNeeds } from './snapshots.ts'

/** A hub instance (hub-service.md 11). */
export interface IotHub extends Instance {
  /** Lower case, may carry `:port`; the first is the primary, which devices and services are told. */
  readonly hostNames: readonly string[]
  readonly policies: readonly Policy<HubRight>[]
  /** Of the telemetry log; fixed at creation. */
  readonly partitions: number
  readonly retentionDays: number
  readonly sku: Sku
}

/** The `properties` of a PUT (hub-service.md 11). On an existing hub an absent member keeps what is stored. */
export interface IotHubInput {
  readonly authorizationPolicies?: readonly PolicyInput[]
  readonly eventHubEndpoints?: {
    readonly events?: { readonly partitionCount?: number; readonly retentionTimeInDays?: number }
  }
  readonly location?: string
  readonly tags?: Readonly<Record<string, string>>
  readonly sku?: { readonly name: string; readonly capacity?: number }
  /** Ours: under which names the hub answers; the first is the primary. */
  readonly hostNames?: readonly string[]
}

export type Hubs = InstanceRoom<IotHub, IotHubInput>

export type HubInstances = Instances<IotHubDocument, IotHub>

/** Where a hub differs from a provisioning service: one that is linked is not deleted. */
export const createHubInstances = (needs: InstanceNeeds, services: ServiceInstances): HubInstances =>
  createInstances(needs, {
    kind: 'hub',
    noun: 'hub',
    collection: iotHubs,
    view: ({ state, ...document }, etag, presence) => ({ ...document, etag, presence }),
    dependants: async (hub) => {
      const { epoch, views } = await services.snapshot()
      // Azure lets the link dangle, and every later registration fails; here the answer says where to unlink it.
      const linking = views.filter(({ linkedHubs }) =>
        linkedHubs.some((link) => isLinkTo(hub.hostNames, link.hostName)),
      )
      const names = linking.map((service) => service.name).join(', ')
      const found =
        names === '' ? undefined : `it is linked to the provisioning service ${names}. Unlink it there first.`
      return { found, expect: [epoch] }
    },
  })

export interface HubsNeeds {
  readonly random: Random
  readonly clock: InstanceNeeds['clock']
  readonly instances: HubInstances
  readonly hostNames: (owner: Owner) => readonly string[]
}

export const createHubs = (needs: HubsNeeds): Hubs =>
  createInstanceRoom<HubRight, IotHubDocument, IotHub, IotHubInput>({
    ...needs,
    policies: hubPolicies,
    hostNamesOf: (hub) => hub.hostNames,
    requireName,
    evaluate: (name, input, stored) => ({ document: evaluate(needs, name, input, stored) }),
  })

/** The az CLI's rule for hubs: they are the first label of a host name (hub-service.md 1.2). */
const NAME = /^(?!-)[A-Za-z0-9-]{3,50}(?<!-)$/

export const isHubName = (name: string): boolean => NAME.test(name)

export const hubNameRule = '3 to 50 letters, digits and hyphens, no hyphen first or last'

function requireName(name: string): void {
  if (isHubName(name)) return
  throw new ServiceError(
    400004,
    `The name of a hub must be ${hubNameRule}, found ${JSON.stringify(name.slice(0, 80))}.`,
  )
}

/** The document that `input` makes of `stored`; of a new hub where there is none. */
function evaluate(
  { random, clock, hostNames }: HubsNeeds,
  name: string,
  input: IotHubInput | JsonObject,
  stored: IotHubDocument | undefined,
): IotHubDocument {
  const fields = new Fields(input, 'properties')
  const resource = new Fields(input, 'resource')
  const events = fields.fields('eventHubEndpoints')?.fields('events')
  const now = clock.now()
  return {
    name: stored?.name ?? name,
    state: 'Active',
    hostNames: readHostNames(fields, 'hostNames') ?? stored?.hostNames ?? hostNames({ kind: 'hub', name }),
    policies:
      readPolicies(fields, stored?.policies ?? [], hubPolicies, random) ??
      stored?.policies ??
      defaultPolicies(hubPolicies, random),
    partitions: readPartitions(events, stored?.partitions),
    retentionDays:
      (events && readWhole(events, 'retentionTimeInDays', 1, limits.hubRetentionDays)) ?? stored?.retentionDays ?? 1,
    sku: readSku(resource) ?? stored?.sku ?? { name: 'S1', capacity: 1 },
    location: readLocation(resource) ?? stored?.location ?? 'local',
    tags: readTags(resource) ?? stored?.tags ?? {},
    createdAt: stored?.createdAt ?? now,
    updatedAt: now,
  }
}

/** A device's messages stay in their partition for good, so the number of partitions is decided once. */
function readPartitions(events: Fields | undefined, stored: number | undefined): number {
  const asked = events && readWhole(events, 'partitionCount', 1, limits.hubPartitions)
  if (events !== undefined && asked !== undefined && stored !== undefined && asked !== stored)
    events.fail('partitionCount', `${stored}, as the hub was created: it cannot change`, String(asked))
  return stored ?? asked ?? limits.hubPartitionsDefault
}

const SKUS = ['F1', 'B1', 'B2', 'B3', 'S1', 'S2', 'S3'] as const

function readSku(resource: Fields): Sku | undefined {
  const sku = resource.fields('sku')
  if (sku === undefined) return undefined
  const name = sku.required('name', sku.oneOf('name', SKUS))
  return { name, capacity: readWhole(sku, 'capacity', 1, limits.hubUnits) ?? 1 }
}
