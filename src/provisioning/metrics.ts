import type { Clock } from '../base/clock.ts'
import type { ServiceError } from '../base/errors.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Operation } from './attempts.ts'
import type { Claim } from './claims.ts'
import type { Registration } from './registration-record.ts'

/** What an operator watches: the real service's names are AttestationAttempts, RegistrationAttempts, DeviceAssignments (dps.md 8.6). */
export interface ProvisioningMetrics {
  /** A request of a device that was answered. */
  answered(operation: Operation, claim: Claim): void
  /** One that was refused. `reason`: the word of the trace's step that decided. */
  refused(operation: Operation, claim: Claim, error: ServiceError, reason: string): void
  /** A registration that came to its end. */
  settled(record: Registration): void
}

/** `waiting`: registrations that this node is busy with. */
export function createProvisioningMetrics(metrics: Metrics, clock: Clock, waiting: () => number): ProvisioningMetrics {
  const requests = metrics.counter(
    'muster_dps_device_requests_total',
    'Requests of devices; credential is what they showed, code the six digits of a refusal or ok.',
    ['operation', 'transport', 'credential', 'code'],
  )
  const refusals = metrics.counter('muster_dps_refusals_total', 'Refused requests, by the reason of their trace.', [
    'operation',
    'reason',
  ])
  const assignments = metrics.counter('muster_dps_assignments_total', 'Registrations that came to their end.', [
    'attestation',
    'result',
  ])
  const seconds = metrics.histogram('muster_dps_assignment_seconds', 'From register to the end of the registration.')
  metrics.gauge('muster_dps_assignments_waiting', 'Registrations that are being assigned or wait for it.', waiting)
  const request = (operation: Operation, { transport, kind }: Claim, code: string): void =>
    requests.add(1, operation, transport ?? 'none', kind, code)
  return {
    answered: (operation, claim) => request(operation, claim, 'ok'),
    refused(operation, claim, { code }, reason) {
      request(operation, claim, String(code))
      refusals.add(1, operation, reason)
    },
    settled({ credential, status, openedAt }) {
      assignments.add(1, credential.kind, status)
      seconds.observe(Math.max(0, clock.now() - openedAt) / 1000)
    },
  }
}
