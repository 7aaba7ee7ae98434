import { type Clock, every, type Timer } from '../base/clock.ts'
import { asServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { createMetrics, type Metrics } from '../base/metrics.ts'
import type { Random } from '../base/random.ts'
import type { Bus } from '../bus/bus.ts'
import type { Control, ProvisioningService } from '../control/control.ts'
import type { Store } from '../store/store.ts'
import { createAssigner } from './assignment.ts'
import { createAssignmentWorker } from './assignment-worker.ts'
import { type Attempts, createAttempts } from './attempts.ts'
import { createAttestation } from './attestation/attestation.ts'
import { createEnrollmentGroups } from './enrollment-groups.ts'
import type { Enrollments } from './enrollment-records.ts'
import { createEnrollments } from './enrollments.ts'
import { prefixOf } from './ids.ts'
import type { LinkedHubs } from './linked-hub.ts'
import { createProvisioningMetrics } from './metrics.ts'
import { createRegistrationRecords, type RegistrationRecords } from './registration-records.ts'
import { createDeviceRegistrations, type DeviceRegistrations } from './registrations.ts'
import { enrollmentGroups, enrollments, registrations } from './schema.ts'
import { defaultSettings, type ProvisioningSettings } from './settings.ts'
import { createThrottle } from './throttle.ts'
import { createTpmChallenges } from './tpm-challenge.ts'
import { createAskWebhook, type PostWebhook } from './webhook.ts'

export { isSince, requireApiVersion } from './api-version.ts'
export type { Attempt, AttemptQuery } from './attempts.ts'
export { type Claim, parseRegisterBody, type RegisterBody } from './claims.ts'
export type { BulkResult, Enrollments } from './enrollment-records.ts'
export { type ErrorBody, errorBody } from './error-body.ts'
export type { DeviceRegistrationResult, OperationStatus, RegistrationStatus } from './registration-record.ts'
export { provisioningSchema } from './schema.ts'
export type { ProvisioningSettings } from './settings.ts'
export { Throttled } from './throttle.ts'
export { AuthorizationRequired } from './tpm-challenge.ts'
export type { PostWebhook } from './webhook.ts'

export interface ProvisioningNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly bus: Bus
  readonly control: Pick<Control, 'provisioningServices' | 'certificates'>
  readonly linkedHubs: LinkedHubs
  readonly postWebhook: PostWebhook
  readonly settings?: Partial<ProvisioningSettings>
  readonly metrics?: Metrics
}

/** Devices prove who they are and are given a hub; what the service and the devices see of it. */
export interface Provisioning {
  readonly enrollments: Enrollments
  readonly enrollmentGroups: Enrollments
  readonly registrations: Registrations
  /** Why devices were refused, and how they came to their hubs. */
  readonly attempts: Pick<Attempts, 'find'>
  /** What lives in a service, in words (`2 enrollments, 1 enrollment group`); undefined: nothing. */
  contents(service: ProvisioningService): Promise<string | undefined>
}

export interface Registrations extends DeviceRegistrations, RegistrationRecords {
  /**
   * Takes up what a crash left behind, and looks again from time to time. Registering works without, too.
   * @param since ms since 1970, when the nodes that begin together began; by default now: nobody else is at work
   */
  start(since?: number): void
  /** Waits for what is being assigned; the rest stays in the store for the next start. */
  stop(): Promise<void>
}

export function createProvisioning(needs: ProvisioningNeeds): Provisioning {
  const { store, control, clock, log } = needs
  const settings = { ...defaultSettings, ...needs.settings }
  const askWebhook = createAskWebhook(needs)
  const count = createProvisioningMetrics(needs.metrics ?? createMetrics(), clock, () => worker.waiting())
  const assign = createAssigner({ ...needs, count, askWebhook, latencyOrder: settings.latencyOrder })
  const { retryAfterSeconds, hubName, assigningMs, assignmentBacklog } = settings
  const throttle = createThrottle({ ...needs, retryAfterSeconds })
  const worker = createAssignmentWorker({
    ...needs,
    assign: async (job, last) => {
      await assign(job, last)
      throttle.ended()
    },
    assigningMs,
    backlog: assignmentBacklog,
  })
  const challenges = createTpmChallenges(needs)
  const attest = createAttestation({ ...needs, challenges, clockSkewMs: settings.clockSkewMs })
  const attempts = createAttempts({ ...needs, hubName })
  let sweeping: Timer | undefined
  return {
    enrollments: createEnrollments({ ...needs, hubName }),
    enrollmentGroups: createEnrollmentGroups({ ...needs, control }),
    registrations: {
      ...createDeviceRegistrations({ ...needs, count, attest, attempts, worker, throttle, retryAfterSeconds, hubName }),
      ...createRegistrationRecords({ ...needs, hubName }),
      start(since = clock.now()) {
        attempts.start()
        worker.start(since)
        sweeping = every(clock, limits.tpmChallengeSweepMs, challenges.sweep, (error) =>
          log.error({ reason: asServiceError(error).message, cause: error }, 'deleting old TPM challenges failed'),
        )
      },
      async stop() {
        attempts.stop()
        sweeping?.cancel()
        await worker.stop()
      },
    },
    attempts,
    contents: ({ idScope }) => contentsOf(store, idScope),
  }
}

async function contentsOf(store: Store, idScope: string): Promise<string | undefined> {
  const range = { prefix: prefixOf(idScope) }
  const counts = await Promise.all(
    (
      [
        [enrollments, 'enrollment'],
        [enrollmentGroups, 'enrollment group'],
        [registrations, 'registration'],
      ] as const
    ).map(async ([collection, noun]) => ({ noun, count: await store.count(collection, range) })),
  )
  const found = counts.filter(({ count }) => count > 0)
  if (found.length === 0) return undefined
  return found.map(({ noun, count }) => `${count} ${noun}${count === 1 ? '' : 's'}`).join(', ')
}
