import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Store } from '../store/store.ts'
import type { Authorize } from './authorize.ts'
import type { Certificates } from './ca-certificates.ts'
import type { Owner } from './documents.ts'
import type { Hubs } from './hubs.ts'
import type { ProvisioningServices } from './provisioning-services.ts'

export { type Authorize, dpsRefusals, hubRefusals, type Refusals } from './authorize.ts'
export type { CaCertificate, CertificateInput, Certificates, TrustedCertificates } from './ca-certificates.ts'
export { type AllocationPolicy, controlSchema, type LinkedHubEntry, type Owner, type Sku } from './documents.ts'
export type { Hubs, IotHub, IotHubInput } from './hubs.ts'
export type { Instance } from './instances.ts'
export type { LinkedHubInput } from './linked-hubs.ts'
export type { Caller, DpsRight, HubRight, Policy, PolicyInput } from './policies.ts'
export type {
  ProvisioningService,
  ProvisioningServiceInput,
  ProvisioningServices,
} from './provisioning-services.ts'

export interface ControlNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Host names of an instance that is created without any; default `<name>.<kind>.localhost`. */
  readonly hostNames?: (owner: Owner) => readonly string[]
  /** What lives in an instance, in words (`3 enrollments, 1 registration`); undefined: nothing, so it may be deleted. */
  readonly contents?: (owner: Owner) => Promise<string | undefined>
}

/** What both services have: instances, shared access policies, linked hubs, CA certificates with proof of possession. */
export interface Control {
  readonly provisioningServices: ProvisioningServices
  readonly hubs: Hubs
  readonly certificates: Certificates
  readonly authorize: Authorize
}
