import { collection, type Schema } from '../store/store.ts'
import type { DpsRight, HubRight, Policy } from './policies.ts'

/** What belongs to somebody: a provisioning service or a hub, by the name of the instance. */
export interface Owner {
  readonly kind: 'dps' | 'hub'
  readonly name: string
}

/** An instance's own id, and the first part of the ids of what belongs to it. Names do not differ by case alone. */
export const ownerId = ({ kind, name }: Owner): string => `${kind}/${name.toLowerCase()}`

/** How a provisioning service knows a hub that devices are assigned to (dps.md 7.1 `iotHubs`). */
export interface LinkedHubEntry {
  /** From the connection string; lower case, with its port. What devices are told as `assignedHub`. */
  readonly hostName: string
  /** 1 to 1000. */
  readonly allocationWeight: number
  readonly applyAllocationPolicy: boolean
  /** With its key: never leaves the service unmasked. */
  readonly connectionString?: string
  readonly location?: string
}

export const allocationPolicies = ['Hashed', 'GeoLatency', 'Static'] as const
export type AllocationPolicy = (typeof allocationPolicies)[number]

/** What both kinds of instance store. */
export interface InstanceDocument<R extends string> {
  readonly name: string
  /** `Deleting`: nothing new is made inside; deleting again finishes what a crash interrupted. */
  readonly state: 'Active' | 'Deleting'
  readonly hostNames: readonly string[]
  readonly policies: readonly Policy<R>[]
  readonly location: string
  readonly tags: Readonly<Record<string, string>>
  readonly createdAt: number
  readonly updatedAt: number
}

export interface ProvisioningServiceDocument extends InstanceDocument<DpsRight> {
  readonly idScope: string
  /** Absent: the first of `hostNames`. */
  readonly deviceHostName?: string
  readonly allocationPolicy: AllocationPolicy
  readonly linkedHubs: readonly LinkedHubEntry[]
}

export interface IotHubDocument extends InstanceDocument<HubRight> {
  readonly partitions: number
  readonly retentionDays: number
  readonly sku: Sku
}

/** Kept and shown; Muster has no price tiers. */
export interface Sku {
  readonly name: string
  readonly capacity: number
}

export interface CertificateDocument {
  readonly name: string
  /** Base64 of the DER. */
  readonly certificate: string
  readonly isVerified: boolean
  /** Waiting for its proof of possession; absent once used. */
  readonly verificationCode?: string
  readonly createdAt: number
  readonly updatedAt: number
}

/** A bulk import under way (`imports.ts`); deleted when it is finished. */
export interface ImportDocument {
  readonly kind: string
  readonly mode: string
  /** Version of the presence of the instance that it belongs to. */
  readonly presence: number
  readonly createdAt: number
  readonly updatedAt: number
  /** Lines that are done. */
  readonly cursor: number
  readonly succeeded: number
  readonly failed: number
  /** Their log: where this import's entries begin, and how many there are. */
  readonly failures: { readonly base: number; readonly entries: number }
  /** Log of the lines that were put off: those from `next` to `entries` wait, the round under way ends at `end`. */
  readonly later: {
    readonly base: number
    readonly entries: number
    readonly next: number
    readonly end: number
    readonly rounds: number
    /** Lines that succeeded in this round. */
    readonly gained: number
    /** What is still missing will not come: it is the last round. */
    readonly last: boolean
  }
}

export const provisioningServices = collection<ProvisioningServiceDocument>('provisioningServices')
export const iotHubs = collection<IotHubDocument>('iotHubs')
/** Id: `dps/name/certificate`. */
export const certificates = collection<CertificateDocument>('certificates')

/**
 * One document per kind of instance (`dps`, `hub`) and per owner of certificates (`dps/name`), written anew by every
 * commit that changes what it stands for. Its version is what caches compare and what writers expect, so that rules
 * over the whole set (unique names, ceilings) hold under concurrency.
 */
export const epochs = collection<{ readonly changedAt: number }>('controlEpochs')

/**
 * One document per instance, from its creation to the beginning of its deletion, never changed in between. A commit
 * that makes something inside the instance expects it, so that nothing is left behind under a deleted name.
 */
export const presences = collection<{ readonly since: number }>('controlPresences')

/** Id: `hub/name/import`. */
export const imports = collection<ImportDocument>('imports')

export const controlSchema: Schema = {
  collections: [provisioningServices, iotHubs, certificates, epochs, presences, imports],
  queues: [],
}
