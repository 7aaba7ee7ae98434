import type { IfMatch } from '../base/etags.ts'
import type { JsonObject } from '../base/json.ts'
import type { Sku } from './documents.ts'
import type { Instance } from './instances.ts'
import type { Caller, HubRight, Policy, PolicyInput } from './policies.ts'

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

export interface Hubs {
  get(name: string): Promise<IotHub | undefined>
  /** By name with or without port; an unknown host gives the only hub where exactly one exists. */
  byHost(host: string): Promise<IotHub | undefined>
  list(): Promise<readonly IotHub[]>
  /** Creates or updates; 400 names the member, 409 a name that is taken, 412 an etag that does not match. */
  put(caller: Caller, name: string, input: IotHubInput | JsonObject, ifMatch: IfMatch): Promise<IotHub>
  /** Adds the policy or changes its rights and keys. */
  putPolicy(caller: Caller, name: string, policy: PolicyInput | JsonObject, ifMatch: IfMatch): Promise<IotHub>
  removePolicy(caller: Caller, name: string, keyName: string, ifMatch: IfMatch): Promise<IotHub>
  regenerateKey(
    caller: Caller,
    name: string,
    keyName: string,
    key: 'primary' | 'secondary',
    ifMatch: IfMatch,
  ): Promise<IotHub>
  /** 409 while a provisioning service links it or devices live in it. */
  remove(caller: Caller, name: string, ifMatch: IfMatch): Promise<void>
}
