import { ServiceError } from '../base/errors.ts'
import type { IfMatch } from '../base/etags.ts'
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
import { findByHost } from './hosts.ts'
import { createInstances, type Instances } from './instances.ts'
import { judgeLinks, type LinkableHub, type LinkedHubInput, readLinkedHubs } from './linked-hubs.ts'
import {
  type Caller,
  type DpsRight,
  defaultPolicies,
  dpsPolicies,
  type Policy,
  type PolicyChange,
  type PolicyInput,
  putPolicy,
  readPolicies,
  regenerateKey,
  removePolicy,
} from './policies.ts'
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
  /** Ours: under which names the service answers; the first is the primary. */
  readonly serviceHostNames?: readonly string[]
  /** Ours: what devices dial; default the primary service host name. */
  readonly deviceHostName?: string
}

export interface ProvisioningServices {
  get(name: string): Promise<ProvisioningService | undefined>
  /** Letter case does not matter. */
  byScope(idScope: string): Promise<ProvisioningService | undefined>
  /** By name with or without port; an unknown host gives the only service where exactly one exists. */
  byHost(host: string): Promise<ProvisioningService | undefined>
  list(): Promise<readonly ProvisioningService[]>
  /** Creates or updates; 400 names the member, 409 a host name that is taken, 412 an etag that does not match. */
  put(
    caller: Caller,
    name: string,
    input: ProvisioningServiceInput | JsonObject,
    ifMatch: IfMatch,
  ): Promise<ProvisioningService>
  /** Replaces the tags and nothing else. */
  setTags(caller: Caller, name: string, input: JsonObject, ifMatch: IfMatch): Promise<ProvisioningService>
  /** Adds the policy, or changes its rights and keys. */
  putPolicy(
    caller: Caller,
    name: string,
    policy: PolicyInput | JsonObject,
    ifMatch: IfMatch,
  ): Promise<ProvisioningService>
  removePolicy(caller: Caller, name: string, keyName: string, ifMatch: IfMatch): Promise<ProvisioningService>
  regenerateKey(
    caller: Caller,
    name: string,
    keyName: string,
    key: 'primary' | 'secondary',
    ifMatch: IfMatch,
  ): Promise<ProvisioningService>
  /** 409 while enrollments or registrations live in it. */
  remove(caller: Caller, name: string, ifMatch: IfMatch): Promise<void>
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
  const { instances, random } = needs
  const changePolicies = (caller: Caller, name: string, ifMatch: IfMatch, change: PolicyChange) =>
    instances.change(caller, name, ifMatch, (stored) => ({
      ...stored,
      policies: change(stored.policies, dpsPolicies, random),
      updatedAt: needs.clock.now(),
    }))
  return {
    get: instances.get,
    list: instances.list,
    byScope: async (idScope) => {
      const wanted = idScope.toLowerCase()
      return (await instances.list()).find((service) => service.idScope.toLowerCase() === wanted)
    },
    byHost: async (host) => {
      const services = await instances.list()
      const found = findByHost(services, (service) => service.serviceHostNames, host)
      return found ?? (services.length === 1 ? services[0] : undefined)
    },
    put: (caller, name, input, ifMatch) =>
      instances.write(caller, name, ifMatch, async (stored, all) => {
        if (stored === undefined) requireName(name)
        const document = evaluate(needs, name, input, stored, all)
        const expect = judgeLinks(document.linkedHubs, stored?.linkedHubs ?? [], await needs.hubs())
        return { document, expect }
      }),
    setTags: (caller, name, input, ifMatch) => {
      const fields = new Fields(input, 'resource')
      const tags = fields.required('tags', readTags(fields))
      return instances.change(caller, name, ifMatch, (stored) => ({ ...stored, tags, updatedAt: needs.clock.now() }))
    },
    putPolicy: (caller, name, policy, ifMatch) => changePolicies(caller, name, ifMatch, putPolicy(policy)),
    removePolicy: (caller, name, keyName, ifMatch) => changePolicies(caller, name, ifMatch, removePolicy(keyName)),
    regenerateKey: (caller, name, keyName, key, ifMatch) =>
      changePolicies(caller, name, ifMatch, regenerateKey(keyName, key)),
    remove: instances.remove,
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
    idScope: stored?.idScope ?? newIdScope(random, all.views),
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

/** Unique among all services: the commit expects the epoch under which the others were looked at. */
function newIdScope(random: Random, services: readonly ProvisioningService[]): string {
  for (;;) {
    const idScope = `0ne${random.bytes(4).toString('hex').toUpperCase()}`
    if (services.every((service) => service.idScope !== idScope)) return idScope
  }
}
