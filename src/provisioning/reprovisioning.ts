import type { ProvisioningService } from '../control/control.ts'
import { allocate, candidatesOf, policyOf } from './allocation.ts'
import type { Step } from './attestation/verdict.ts'
import type { EnrollmentCommon } from './enrollment-document.ts'
import { sameId } from './ids.ts'
import type { Assigning, Assignment, Failure } from './registration-record.ts'

/** What has to be done so that the device is where it belongs. */
export type Plan =
  | { readonly kind: 'failed'; readonly failure: Failure }
  /** The enrollment's webhook chooses among these hubs; its decision goes into the record, and the plan is made again. */
  | { readonly kind: 'ask'; readonly hubs: readonly string[] }
  /** Make it, or refresh its credentials where it is; its twin stays as it is. */
  | { readonly kind: 'settle'; readonly assignment: Assignment }
  /** Make it in the new hub, with its data or with the enrollment's, then delete it from the old one. */
  | { readonly kind: 'move'; readonly assignment: Assignment; readonly from: Assignment; readonly takeData: boolean }

/**
 * Decides by the reprovisioning policy (dps.md 8.5). A device that was never assigned is allocated; one that was stays
 * for good (`updateHubAssignment` false), or is allocated again and moves when that gives another hub.
 */
export function planAssignment(
  service: ProvisioningService,
  enrollment: EnrollmentCommon & { readonly deviceId?: string },
  record: Assigning,
  latencyOrder: readonly string[],
): Plan {
  const { registrationId, assignment: current } = record
  const { updateHubAssignment, migrateDeviceData } = enrollment.reprovisionPolicy
  if (current !== undefined && !updateHubAssignment) return stay(current, record)
  const allocation = record.decision ?? allocate(service, enrollment, registrationId, latencyOrder)
  if ('failure' in allocation) return { kind: 'failed', failure: allocation.failure }
  if ('ask' in allocation) return { kind: 'ask', hubs: allocation.ask }
  const { hub } = allocation
  // The device id is fixed by the first assignment; another one in the enrollment waits until the record is deleted (8.4).
  if (current === undefined) {
    const deviceId = enrollment.deviceId ?? registrationId
    return { kind: 'settle', assignment: { hub, deviceId, substatus: 'initialAssignment' } }
  }
  if (sameId(hub, current.hub)) return stay(current, record)
  const substatus = migrateDeviceData ? 'deviceDataMigrated' : 'deviceDataReset'
  const assignment: Assignment = { hub, deviceId: current.deviceId, substatus }
  return { kind: 'move', assignment, from: current, takeData: migrateDeviceData }
}

/** Where a move was interrupted after the device arrived, it still has to be told of the move. */
function stay(current: Assignment, { untold }: Assigning): Plan {
  const substatus = untold ? current.substatus : 'reprovisionedToInitialAssignment'
  return { kind: 'settle', assignment: { ...current, substatus } }
}

interface PlannedFrom {
  readonly service: ProvisioningService | undefined
  readonly enrollment: EnrollmentCommon
  readonly record: Assigning
}

/** For the trace: whom the allocation had to choose from, and what came of it. */
export function planSteps({ service, enrollment, record }: PlannedFrom, plan: Plan): readonly Step[] {
  if (service === undefined) return [{ reason: 'service-gone' }]
  const { assignment: current } = record
  if (current !== undefined && !enrollment.reprovisionPolicy.updateHubAssignment)
    return [{ reason: 'stays-by-policy', detail: { hub: current.hub } }]
  const candidates = candidatesOf(service, enrollment)
  const choice = {
    policy: policyOf(service, enrollment),
    candidates: candidates.map(({ hostName }) => hostName).join(', ') || 'none',
  }
  if (plan.kind === 'failed')
    return [{ reason: candidates.length === 0 ? 'no-hub-to-choose' : 'allocation-failed', detail: choice }]
  if (plan.kind === 'ask') return [{ reason: 'webhook-asked', detail: choice }]
  const moved = plan.kind === 'move' ? { from: plan.from.hub, takesData: plan.takeData } : {}
  return [{ reason: 'hub-chosen', detail: { ...choice, hub: plan.assignment.hub, ...moved } }]
}
