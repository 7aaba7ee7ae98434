import { hash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { asServiceError, ServiceError } from '../base/errors.ts'
import type { Json } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Control, ProvisioningService } from '../control/control.ts'
import type { Expectation, Store, Stored } from '../store/store.ts'
import type { AssignmentWorker } from './assignment-worker.ts'
import { type Attempts, type Operation, UNKNOWN_ID_SCOPE } from './attempts.ts'
import type { Attest } from './attestation/attestation.ts'
import { type Admission, type Step, UNAUTHORIZED, type Verdict } from './attestation/verdict.ts'
import type { Claim, RegisterBody } from './claims.ts'
import { type IndividualEnrollment, isWithin } from './enrollment-document.ts'
import { requirePresence } from './enrollment-records.ts'
import { requireId, storeId } from './ids.ts'
import type { ProvisioningMetrics } from './metrics.ts'
import {
  type Assigning,
  type Credential,
  type DeviceRegistrationResult,
  deviceState,
  isOperation,
  type OperationStatus,
  opened,
  operationStatus,
  type Registration,
} from './registration-record.ts'
import { assignments, enrollments, registrations } from './schema.ts'
import type { Throttle } from './throttle.ts'
import { AuthorizationRequired } from './tpm-challenge.ts'
import { withHubKey } from './tpm-hub-key.ts'
import { traceOf } from './trace.ts'

export interface RegistrationNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly control: Pick<Control, 'provisioningServices'>
  readonly attest: Attest
  readonly attempts: Pick<Attempts, 'refused' | 'admitted'>
  readonly worker: Pick<AssignmentWorker, 'dueAt' | 'accept' | 'has' | 'isFull'>
  readonly throttle: Pick<Throttle, 'refusal'>
  readonly retryAfterSeconds: number
  readonly hubName: (hub: string) => string
  readonly count: Pick<ProvisioningMetrics, 'answered' | 'refused'>
}

/** The device API without its protocols (dps.md 1.1). */
export interface DeviceRegistrations {
  /** Seconds that a device is told to wait while its operation is assigning. */
  readonly retryAfterSeconds: number
  /**
   * Proves the device and opens an operation. The answer is always `assigning`, whatever the outcome will be, and
   * follows the commit that makes the operation durable. A device that asks again while its operation runs gets the
   * same operation. Throws 401 or 404 for a device that is not admitted, AuthorizationRequired for one that first has
   * to be told what to sign with, Throttled (429) for one that proved itself when too many are waiting.
   */
  register(claim: Claim, body: RegisterBody, apiVersion: string): Promise<OperationStatus>
  /** How an operation stands, for the identity that opened it. Never throttled; 404203 for an unknown operation. */
  status(claim: Claim, operationId: string, apiVersion: string): Promise<OperationStatus>
  /** The state of the registration; 404201 when there is none. */
  lookup(claim: Claim, body: RegisterBody, apiVersion: string): Promise<DeviceRegistrationResult>
}

/** What one request has looked at so far: what its trace will say. */
interface Looking {
  steps: readonly Step[]
  certificates?: Verdict['certificates']
  /** Attestation said no: its last step is the reason. */
  isRefused?: true
}

/** What is stored about a registration id. */
interface Found {
  readonly service: ProvisioningService
  readonly id: string
  readonly enrollment: Stored<IndividualEnrollment> | undefined
  readonly record: Stored<Registration> | undefined
}

export function createDeviceRegistrations(needs: RegistrationNeeds): DeviceRegistrations {
  const { store, clock, random, log, control, attest, attempts, worker, throttle, retryAfterSeconds, hubName, count } =
    needs

  /** Whatever a request is refused for leaves a trace. */
  async function followed<T>(operation: Operation, claim: Claim, run: (looking: Looking) => Promise<T>): Promise<T> {
    const looking: Looking = { steps: [] }
    try {
      const answer = await run(looking)
      count.answered(operation, claim)
      return answer
    } catch (thrown) {
      const error = asServiceError(thrown)
      const steps = looking.isRefused ? looking.steps : [...looking.steps, refusalStep(error)]
      attempts.refused({ operation, claim, looked: { ...looking, steps }, error })
      count.refused(operation, claim, error, steps.at(-1)?.reason ?? 'unknown')
      throw thrown
    }
  }

  async function register(
    claim: Claim,
    body: RegisterBody,
    apiVersion: string,
    looking: Looking,
  ): Promise<OperationStatus> {
    requireId('registrationId', claim.registrationId)
    const service = await serviceOf(claim, looking)
    for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
      const found = await find(service, claim)
      const admission = admit(claim, await judge(found, claim, body), looking)
      requireOneAttestation(claim, admission, body)
      const requestPayload = payloadFor(admission, body)
      const running = runningOperation(found, admission, body, requestPayload)
      if (running !== undefined) return assigning(running.operationId)
      // Only what is not admitted yet waits outside: who was can always ask how it stands. That a stranger is refused
      // as always costs little beside the handshake that a proven device need not repeat (`Throttled`).
      if (worker.isFull()) throw throttle.refusal()
      const answer = await open(found, claim, admission, { body, requestPayload, looking })
      if (answer !== undefined) return answer
    }
    log.warn({ trackingId: claim.trackingId, registrationId: claim.registrationId, apiVersion }, 'registrations race')
    throw new ServiceError(409203, 'Precondition failed.')
  }

  /** One commit: the record and its work item. Undefined when somebody else wrote in between. */
  async function open(
    { service, id, enrollment, record }: Found,
    claim: Claim,
    { admittedBy, credential, document }: Admission,
    { body, requestPayload, looking }: { body: RegisterBody; requestPayload: Json | undefined; looking: Looking },
  ): Promise<OperationStatus | undefined> {
    const now = clock.now()
    const operationId = newOperationId()
    const verdict = verdictOf(document.provisioningStatus, body)
    const { registrationId } = claim
    const proof = claim.kind === 'sas' ? digest(claim.token) : undefined
    const opening = {
      idScope: service.idScope,
      registrationId,
      admittedBy,
      credential,
      proof,
      verdict,
      requestPayload,
      operationId,
      now,
    }
    const value = opened(record?.value, opening)
    const expect: Expectation[] = [{ in: registrations, id, version: record?.version ?? 0 }]
    // A record that is part of an enrollment must not outlive it.
    if (enrollment !== undefined) expect.push({ in: enrollments, id, version: enrollment.version })
    if (record === undefined) expect.push(service.presence)
    const dueAt = worker.dueAt(now)
    const result = await store.commit({
      expect,
      put: [{ collection: registrations, id, value }],
      enqueue: [{ queue: assignments, id, dueAt, value: {} }],
    })
    if (!result.ok) {
      requirePresence(service, result.conflicts)
      return undefined
    }
    attempts.admitted(claim, { id, operationId })
    const [version = 0] = result.versions
    const known = { record: { id, version, value }, enrollment: document, service }
    const item = { version: result.queued[0] ?? 0, dueAt }
    // Another node is at work on the operation before: it goes on with this one, or the item falls due.
    if (record?.value.status !== 'assigning' || worker.has(id))
      worker.accept({ id, known, trace: { operationId, ...traceOf(claim, looking) } }, item)
    return assigning(operationId)
  }

  async function status(
    claim: Claim,
    operationId: string,
    apiVersion: string,
    looking: Looking,
  ): Promise<OperationStatus> {
    requireId('registrationId', claim.registrationId)
    const record = await store.get(registrations, storeId(claim.idScope, claim.registrationId))
    if (record === undefined || !isSameProof(claim, record.value, clock.now())) {
      const found = await find(await serviceOf(claim, looking), claim)
      if (record !== undefined) admit(claim, await judge(found, claim, undefined, record.value.openedAt), looking)
    }
    if (record === undefined || !isOperation(record.value, operationId))
      throw new ServiceError(404203, 'There is no such operation for this registration id. Register again.')
    const reader = { apiVersion, hubName }
    const { registrationState, ...answer } = operationStatus(record.value, record.version, operationId, reader)
    return { ...answer, registrationState: withHubKey(registrationState, record.value, random) }
  }

  async function lookup(
    claim: Claim,
    body: RegisterBody,
    apiVersion: string,
    looking: Looking,
  ): Promise<DeviceRegistrationResult> {
    requireId('registrationId', claim.registrationId)
    if (body.csr !== undefined)
      throw new ServiceError(
        400004,
        'body.csr must be absent: a look-up issues no certificate (send it with register).',
      )
    const found = await find(await serviceOf(claim, looking), claim)
    admit(claim, await judge(found, claim, body), looking)
    const { record } = found
    if (record === undefined)
      throw new ServiceError(404201, 'The device has not registered yet, or its registration was deleted.')
    return withHubKey(deviceState(record.value, record.version, { apiVersion, hubName }), record.value, random)
  }

  async function serviceOf(claim: Claim, looking: Looking): Promise<ProvisioningService> {
    const service = await control.provisioningServices.byScope(claim.idScope)
    if (service !== undefined) return service
    const steps = [{ reason: UNKNOWN_ID_SCOPE }]
    return admit(claim, { ok: false, refusal: UNAUTHORIZED, steps }, looking)
  }

  async function find(service: ProvisioningService, { registrationId }: Claim): Promise<Found> {
    const id = storeId(service.idScope, registrationId)
    const [enrollment, record] = await Promise.all([store.get(enrollments, id), store.get(registrations, id)])
    return { service, id, enrollment, record }
  }

  function judge(found: Found, claim: Claim, body?: RegisterBody, openedAt?: number): Promise<Verdict> {
    const by = found.record?.value.admittedBy
    return attest(found.service, claim, {
      enrollment: found.enrollment?.value,
      ...(by?.kind === 'group' && { likelyGroup: by.id }),
      ...(openedAt !== undefined && { openedAt }),
      ...(body !== undefined && { body }),
    })
  }

  /** The admission, or the refusal thrown as Azure words it; why it was refused goes to the log. */
  function admit(claim: Claim, verdict: Extract<Verdict, { ok: false }>, looking: Looking): never
  function admit(claim: Claim, verdict: Verdict, looking: Looking): Admission
  function admit({ registrationId, idScope, trackingId }: Claim, verdict: Verdict, looking: Looking): Admission {
    const { steps, certificates } = verdict
    Object.assign(looking, { steps, certificates })
    const line = { trackingId, idScope, registrationId, reason: steps.at(-1)?.reason, steps }
    if (verdict.ok) {
      log.debug(line, 'attestation accepted')
      return verdict.admission
    }
    looking.isRefused = true
    const { authenticationKey } = verdict.refusal
    if (authenticationKey !== undefined) {
      log.debug(line, 'TPM challenged')
      throw new AuthorizationRequired(authenticationKey)
    }
    log.info(line, 'attestation refused')
    throw new ServiceError(verdict.refusal.code, verdict.refusal.message)
  }

  /** `5.{16 hex}.{guid}`: opaque, and safe in paths and topics, where clients paste it raw (dps.md 1.4). */
  const newOperationId = (): string => `5.${random.bytes(8).toString('hex')}.${random.uuid()}`

  return {
    retryAfterSeconds,
    register: (claim, body, apiVersion) =>
      followed('register', claim, (looking) => register(claim, body, apiVersion, looking)),
    status: (claim, operationId, apiVersion) =>
      followed('status', claim, (looking) => status(claim, operationId, apiVersion, looking)),
    lookup: (claim, body, apiVersion) =>
      followed('lookup', claim, (looking) => lookup(claim, body, apiVersion, looking)),
  }
}

/** A refusal that is not attestation's; its message says what was wrong with the request. */
function refusalStep({ code, status, message }: ServiceError): Step {
  if (status >= 500) return { reason: 'internal-fault' }
  return { reason: code === 429001 ? 'too-many-waiting' : 'request-refused', detail: { message } }
}

const assigning = (operationId: string): OperationStatus => ({ operationId, status: 'assigning' })

const digest = (proof: string | Buffer): string => hash('sha256', proof, 'hex').toUpperCase()

/**
 * What opened the operation, shown again: the same leaf, whose key TLS has proven, or the same token, which was judged
 * then and stays good for the polls of its operation (edge.md 4.2). Nothing else has to be looked at.
 */
function isSameProof(claim: Claim, { credential, proof, openedAt }: Registration, now: number): boolean {
  switch (claim.kind) {
    case 'x509':
      return (
        credential.kind === 'x509' && claim.chain[0] !== undefined && digest(claim.chain[0]) === credential.thumbprint
      )
    case 'sas':
      return proof !== undefined && now - openedAt <= limits.operationHistoryMs && digest(claim.token) === proof
    case 'none':
      return false
  }
}

/**
 * The operation that already does what is asked: opened for the same enrollment with the same credential, not ended.
 * Clients repeat register when an answer is lost or late.
 */
function runningOperation(
  { record }: Found,
  admission: Admission,
  body: RegisterBody,
  requestPayload: Json | undefined,
): Assigning | undefined {
  const value = record?.value
  if (value?.status !== 'assigning') return undefined
  const { admittedBy, credential, document } = admission
  const isSame =
    sameMembers(value.admittedBy, admittedBy) &&
    isSameCredential(value.credential, credential) &&
    sameMembers(value.verdict, verdictOf(document.provisioningStatus, body)) &&
    sameMembers(value.requestPayload, requestPayload)
  return isSame ? value : undefined
}

/** Of a TPM all but the key that every operation makes anew. */
const isSameCredential = (a: Credential, b: Credential): boolean =>
  a.kind === 'tpm' && b.kind === 'tpm'
    ? a.endorsementKey === b.endorsementKey && a.storageRootKey === b.storageRootKey
    : sameMembers(a, b)

const sameMembers = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

/** What a webhook is to be told; without one a payload is accepted and dropped (dps.md 5.4). */
function payloadFor({ document }: Admission, { payload }: RegisterBody): Json | undefined {
  if (payload === undefined || document.allocationPolicy !== 'custom') return undefined
  const json = payload as Json
  if (isWithin(json, limits.payloadDepth)) return json
  throw new ServiceError(400004, `body.payload must be nested ${limits.payloadDepth} levels deep at most, found more.`)
}

/** What is decided before any assignment (dps.md 5.1, 9.1); it shows in the poll, never in the answer to register. */
function verdictOf(status: 'enabled' | 'disabled', { csr }: RegisterBody): Assigning['verdict'] {
  if (status === 'disabled') return 'disabled'
  if (csr === undefined) return undefined
  return { code: 400000, message: 'Device sent CSR but it is not configured in the service.' }
}

/** TPM keys beside another credential: which of the two is meant cannot be told. */
function requireOneAttestation({ kind }: Claim, { credential }: Admission, { tpm }: RegisterBody): void {
  if (tpm === undefined || credential.kind === 'tpm') return
  throw new ServiceError(
    400004,
    `body.tpm must be absent, because the device proves itself by ${kind === 'sas' ? 'a symmetric key' : 'a certificate'} here.`,
  )
}
