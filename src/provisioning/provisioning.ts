import type { Clock } from '../base/clock.ts'
import type { IfMatch } from '../base/etags.ts'
import type { JsonObject } from '../base/json.ts'
import type { Log } from '../base/log.ts'
import type { Page, PageRequest } from '../base/pages.ts'
import type { Random } from '../base/random.ts'
import type { Caller, Control, ProvisioningService } from '../control/control.ts'
import type { Schema, Store } from '../store/store.ts'
import type { LinkedHubs } from './linked-hub.ts'

export interface ProvisioningNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly control: Control
  readonly linkedHubs: LinkedHubs
  readonly settings?: Partial<ProvisioningSettings>
}

export interface ProvisioningSettings {
  /** How long a registration stays `assigning` at the least, ms. */
  readonly assigningMs: number
  /** Seconds that a device is told to wait while assigning; 3 suits every client (dps.md 2.5). */
  readonly retryAfterSeconds: number
  /** How far certificates and tokens may be off the clock, ms. */
  readonly clockSkewMs: number
  /** Hub host names from nearest to farthest, for geoLatency; hubs that are not named come last, alike. */
  readonly latencyOrder: readonly string[]
}

/** What a device asks for (dps.md 1.3), already read by `parseRegisterBody`. */
export interface RegisterBody {
  readonly registrationId?: string
  /** For the custom allocation webhook; accepted and dropped without one (dps.md 5.4). */
  readonly payload?: unknown
  readonly tpm?: { readonly endorsementKey: string; readonly storageRootKey?: string }
  /** `csr`, or `clientCertificateCsr` of the older preview (dps.md 9.1). */
  readonly csr?: string
}

/** Who a device says it is, and what it shows for it. */
export type Claim = {
  readonly idScope: string
  readonly registrationId: string
  /** Request id under which the reason of a refusal is logged. */
  readonly trackingId?: string
} & (
  | { readonly kind: 'x509' /** DER, leaf first. */; readonly chain: readonly Buffer[] }
  | { readonly kind: 'sas'; readonly token: string }
  | { readonly kind: 'none' }
)

export type RegistrationStatus = 'unassigned' | 'assigning' | 'assigned' | 'failed' | 'disabled'

/** `registrationState` of dps.md 1.5, and the registration record of the service API (6.3). Absent members are absent. */
export interface DeviceRegistrationResult {
  readonly registrationId: string
  readonly createdDateTimeUtc?: string
  readonly assignedHub?: string
  readonly deviceId?: string
  readonly status: RegistrationStatus
  readonly substatus?: string
  readonly errorCode?: number
  readonly errorMessage?: string
  readonly lastUpdatedDateTimeUtc?: string
  readonly etag?: string
  readonly x509?: JsonObject
}

/** Answer to register and to a poll (dps.md 1.4, 1.5): 202 with Retry-After while `assigning`, else 200. */
export interface OperationStatus {
  readonly operationId: string
  readonly status: RegistrationStatus
  readonly registrationState?: DeviceRegistrationResult
}

export interface Registrations {
  /** Seconds for Retry-After while an operation is assigning. */
  readonly retryAfterSeconds: number
  /** Starts an operation; the answer is always `assigning` and follows the commit that makes it durable. */
  register(claim: Claim, body: RegisterBody, apiVersion: string): Promise<OperationStatus>
  /** Never throttled: an operation that was admitted can always be asked after. */
  status(claim: Claim, operationId: string, apiVersion: string): Promise<OperationStatus>
  lookup(claim: Claim, body: RegisterBody, apiVersion: string): Promise<DeviceRegistrationResult>
  get(service: ProvisioningService, registrationId: string, apiVersion: string): Promise<DeviceRegistrationResult>
  remove(caller: Caller, service: ProvisioningService, registrationId: string, ifMatch: IfMatch): Promise<void>
  /** Records of the devices that registered through a group, or the one of an individual registration id. */
  queryGroup(
    service: ProvisioningService,
    enrollmentGroupId: string,
    page: PageRequest,
    apiVersion: string,
  ): Promise<Page<DeviceRegistrationResult>>
  start(): void
  /** Waits for what is being assigned; the rest stays in the store for the next start. */
  stop(): Promise<void>
}

/** Documents on the wire: an IndividualEnrollment or EnrollmentGroup of dps.md 6.3. */
export type EnrollmentDocument = JsonObject

export interface BulkResult {
  readonly isSuccessful: boolean
  readonly errors: readonly JsonObject[]
}

/** Individual enrollments, or enrollment groups: the same operations on both. */
export interface Enrollments {
  get(service: ProvisioningService, id: string, apiVersion: string): Promise<EnrollmentDocument>
  /** Creates, or updates where `ifMatch` is present; answers with the symmetric keys (dps.md 6.3, 6.5). */
  put(
    caller: Caller,
    service: ProvisioningService,
    id: string,
    document: unknown,
    options: { readonly ifMatch: IfMatch; readonly apiVersion: string },
  ): Promise<EnrollmentDocument>
  remove(caller: Caller, service: ProvisioningService, id: string, ifMatch: IfMatch): Promise<void>
  /** @param specification the body of the query: `{"query": "SELECT *"}` (dps.md 6.4) */
  query(
    service: ProvisioningService,
    specification: unknown,
    page: PageRequest,
    apiVersion: string,
  ): Promise<Page<EnrollmentDocument>>
  bulk(caller: Caller, service: ProvisioningService, document: unknown, apiVersion: string): Promise<BulkResult>
  /** The attestation with its secrets. */
  attestationMechanism(service: ProvisioningService, id: string): Promise<JsonObject>
}

export interface Provisioning {
  readonly enrollments: Enrollments
  readonly enrollmentGroups: Enrollments
  readonly registrations: Registrations
}

export const provisioningSchema: Schema = { collections: [], queues: [] }

export function createProvisioning(_needs: ProvisioningNeeds): Provisioning {
  throw new Error('not wired yet')
}
