import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Store } from '../store/store.ts'
import { type Authorize, createAuthorize } from './authorize.ts'
import { type Certificates, createCertificates } from './ca-certificates.ts'
import type { Owner } from './documents.ts'
import { createHubInstances, createHubs, type Hubs } from './hubs.ts'
import { createImports, type Imports } from './imports.ts'
import {
  createProvisioningServices,
  createServiceInstances,
  type ProvisioningServices,
} from './provisioning-services.ts'
import { absent, type Instance } from './snapshots.ts'

export { type Authorize, dpsRefusals, hubRefusals, type Refusals } from './authorize.ts'
export type { CaCertificate, CertificateInput, Certificates, TrustedCertificates } from './ca-certificates.ts'
export { type AllocationPolicy, controlSchema, type LinkedHubEntry, type Owner, type Sku } from './documents.ts'
export { type Hubs, hubNameRule, type IotHub, type IotHubInput, isHubName } from './hubs.ts'
export type { Judgement, Line, LineFailure, LineRules } from './import-lines.ts'
export type { ImportState, Imports, ImportTarget } from './imports.ts'
export type { InstanceRoom } from './instance-room.ts'
export { type HubConnection, type LinkedHubInput, linkConnection, maskedConnectionString } from './linked-hubs.ts'
export {
  type Caller,
  type DpsRight,
  type HubRight,
  MASK,
  type Policy,
  type PolicyInput,
  requirePolicy,
  rightsText,
} from './policies.ts'
export {
  isServiceName,
  type ProvisioningService,
  type ProvisioningServiceInput,
  type ProvisioningServices,
  serviceNameRule,
} from './provisioning-services.ts'
export type { Instance } from './snapshots.ts'

export interface ControlNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Host names of an instance that is created without any; default `<name>.<kind>.localhost`. */
  readonly hostNames?: (owner: Owner) => readonly string[]
  /** What lives in an instance, in words (`3 enrollments, 1 registration`); undefined: nothing, so it may be deleted. */
  readonly contents?: (owner: Owner, instance: Instance) => Promise<string | undefined>
  /** Called before an instance goes for good, to forget what other stores keep of it. */
  readonly forget?: (owner: Owner) => Promise<void>
}

/** What both services have: instances, shared access policies, linked hubs, CA certificates with proof of possession. */
export interface Control {
  readonly provisioningServices: ProvisioningServices
  readonly hubs: Hubs
  readonly certificates: Certificates
  readonly imports: Imports
  readonly authorize: Authorize
}

export function createControl(needs: ControlNeeds): Control {
  const { store, clock, random, log } = needs
  const hostNames = needs.hostNames ?? (({ kind, name }) => [`${name.toLowerCase()}.${kind}.localhost`])
  const { contents = async () => undefined, forget = async () => {} } = needs
  const instanceNeeds = { store, clock, log, contents, forget }
  const services = createServiceInstances(instanceNeeds)
  const hubs = createHubInstances(instanceNeeds, services)
  const presenceOf = async ({ kind, name }: Owner) => {
    const found = await (kind === 'dps' ? services : hubs).get(name)
    if (found === undefined) throw absent({ noun: kind === 'dps' ? 'provisioning service' : 'hub' }, name)
    return found.presence
  }
  return {
    provisioningServices: createProvisioningServices({
      random,
      clock,
      instances: services,
      hubs: hubs.list,
      hostNames,
    }),
    hubs: createHubs({ random, clock, instances: hubs, hostNames }),
    certificates: createCertificates({ store, clock, random, log, presenceOf }),
    imports: createImports({ store, clock, log }),
    authorize: createAuthorize(clock),
  }
}
