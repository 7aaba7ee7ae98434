import type { IfMatch } from '../base/etags.ts'
import type { JsonObject } from '../base/json.ts'
import type { AllocationPolicy, LinkedHubEntry } from './documents.ts'
import type { Instance } from './instances.ts'
import type { LinkedHubInput } from './linked-hubs.ts'
import type { Caller, DpsRight, Policy, PolicyInput } from './policies.ts'

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
  /** Creates or updates; 400 names the member, 409 a name that is taken, 412 an etag that does not match. */
  put(
    caller: Caller,
    name: string,
    input: ProvisioningServiceInput | JsonObject,
    ifMatch: IfMatch,
  ): Promise<ProvisioningService>
  /** Adds the policy or changes its rights and keys. */
  putPolicy(caller: Caller, name: string, policy: PolicyInput | JsonObject, ifMatch: IfMatch): Promise<ProvisioningService>
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
