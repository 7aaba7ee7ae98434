import { collection, queue, type Schema } from '../store/store.ts'
import type { EnrollmentGroup, IndividualEnrollment } from './enrollment-document.ts'
import type { Registration } from './registration-record.ts'
import type { TpmChallenge } from './tpm-challenge.ts'
import type { OperationTrace } from './trace.ts'

/** Ids of all collections: `storeId` of ids.ts, so that one service's documents stand together. */
export const enrollments = collection<IndividualEnrollment>('enrollments')
export const enrollmentGroups = collection<EnrollmentGroup>('enrollmentGroups')
export const registrations = collection<Registration>('registrations', { group: '$.group' })

/** What enrolled TPM devices may sign with; one document per device, deleted when it has run out. */
export const tpmChallenges = collection<TpmChallenge>('tpmChallenges', { until: '$.until' })

/**
 * One document per service, written anew by every commit that changes an enrollment group: what caches of groups
 * compare, and what a commit expects that must not overlook a group being made.
 */
export const groupEpochs = collection<{ readonly changedAt: number }>('enrollmentGroupEpochs')

/**
 * How the last operation of each registration came to its end; the id is the registration's. Written with the outcome,
 * beside the record, because a record is read at every poll and this hardly ever.
 */
export const traces = collection<OperationTrace>('registrationTraces')

/** Registrations that are to be assigned; the item's id is the registration's. */
export const assignments = queue<Record<string, never>>('assignments')

export const provisioningSchema: Schema = {
  collections: [enrollments, enrollmentGroups, registrations, traces, groupEpochs, tpmChallenges],
  queues: [assignments],
}
