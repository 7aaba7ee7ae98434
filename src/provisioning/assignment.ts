import type { Clock } from '../base/clock.ts'
import { asServiceError, ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Control, ProvisioningService } from '../control/control.ts'
import type { CommitResult, Store, Stored } from '../store/store.ts'
import type { Step } from './attestation/verdict.ts'
import type { EnrollmentGroup, IndividualEnrollment } from './enrollment-document.ts'
import { hubDevice } from './hub-device.ts'
import { sameId, storeId } from './ids.ts'
import type { Belongings, LinkedHub, LinkedHubs } from './linked-hub.ts'
import type { ProvisioningMetrics } from './metrics.ts'
import {
  type AdmittedBy,
  type Assigning,
  type Assignment,
  assigned,
  decided,
  departing,
  disabled,
  type Failure,
  failed,
  isLeftIn,
  moved,
  type Registration,
  type Substatus,
} from './registration-record.ts'
import { type Plan, planAssignment, planSteps } from './reprovisioning.ts'
import { assignments, enrollmentGroups, enrollments, registrations, traces } from './schema.ts'
import { type OperationTrace, traced, traceFor } from './trace.ts'
import type { AskWebhook } from './webhook.ts'

export interface AssignmentNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly control: Pick<Control, 'provisioningServices'>
  readonly linkedHubs: LinkedHubs
  readonly askWebhook: AskWebhook
  readonly latencyOrder: readonly string[]
  readonly count: Pick<ProvisioningMetrics, 'settled'>
}

export type Enrollment = IndividualEnrollment | EnrollmentGroup

/** One registration to be assigned. */
export interface Job {
  /** Store id of the registration. */
  readonly id: string
  /** What the one who opened the operation has just read and written; absent after a crash. */
  readonly known?: Known
  /** How the device proved itself. */
  readonly trace?: OperationTrace
}

export interface Known {
  readonly record: Stored<Registration>
  readonly enrollment: Enrollment
  readonly service: ProvisioningService
}

/** Where this run stands: the record as last read or written. */
interface Current {
  readonly id: string
  readonly version: number
  readonly record: Assigning
  readonly enrollment: Enrollment
  readonly service: ProvisioningService | undefined
  readonly trace: OperationTrace
  /** Hubs in which this run made the device for an operation that was replaced meanwhile. */
  readonly strays: Set<string>
}

type Placed = ({ readonly assignment: Assignment } | { readonly failure: Failure }) & { readonly step: Step }

type Ending = Pick<Current, 'id' | 'version' | 'trace'>

/** A webhook chose the hub, or a move goes on: the next round begins here. */
interface OnTheWay {
  readonly record: Stored<Registration>
  readonly trace: OperationTrace
}

/**
 * Brings a registration from `assigning` to its end: allocation, the hub, then one commit that settles the record and
 * takes the work item away. Every part can be repeated: a crash between the hub's commit and ours leaves the record
 * assigning, and the next run makes the same device again.
 *
 * A run that lost the race against a newer operation of the same device may have written older credentials to the hub
 * after the newer one; it therefore looks again and applies what is recorded now, until it ends with nothing changed.
 * Whoever opened that one on another node leaves it to this run, and what this run made elsewhere goes again.
 *
 * A webhook's decision is committed before anything is done with it, so a hub that does not answer makes no second
 * call; only a crash between the webhook's answer and that commit repeats the call.
 *
 * Before a move the record names the new hub as one that may hold the device, so that it goes from there again if the
 * move is interrupted and the allocation changes. A first assignment saves that commit: where it is interrupted after
 * a hub made the device and the allocation changes, the device stays in that hub unused; deleting what is not known to
 * be ours would be worse.
 *
 * Answers when nothing is left to do. Throws when a hub or the store does not answer; with `last`, a hub that does not
 * answer makes the registration fail instead.
 */
export function createAssigner(needs: AssignmentNeeds) {
  const { store, clock, log, control, linkedHubs, askWebhook, latencyOrder, count } = needs

  return async function assign({ id, known, trace: carried }: Job, last: boolean): Promise<void> {
    let next: Partial<Known> | undefined = known
    let soFar = carried
    let wroteHub = false
    const strays = new Set<string>()
    for (let round = 0; round < limits.commitAttempts; round++) {
      const stored = next?.record ?? (await store.get(registrations, id))
      if (stored === undefined) return
      const { value: record, version } = stored
      if (record.status !== 'assigning') return wroteHub ? refresh(stored, last) : forget(stored)
      const trace = traceFor(record, soFar)
      const enrollment = next?.enrollment ?? (await enrollmentOf(record))?.value
      const service = next?.service ?? (await control.provisioningServices.byScope(record.idScope))
      next = undefined
      const ended = endedEarly(record, enrollment)
      if (ended !== undefined) {
        if ((await settle({ id, version, trace: traced(trace, [ended.step]) }, ended.value)).ok) return
        continue
      }
      wroteHub = true
      const result = await advance({ id, version, record, enrollment: enrollment!, service, trace, strays }, last)
      if (result === 'done') return
      if (result === 'superseded') continue
      next = { record: result.record, enrollment: enrollment! }
      soFar = result.trace
    }
    throw new ServiceError(409203, 'The registration changes faster than it can be assigned.')
  }

  /** What needs no hub: decided when the operation was opened, or by a change of the enrollment since then. */
  function endedEarly(
    record: Assigning,
    enrollment: Enrollment | undefined,
  ): { readonly value: Registration; readonly step: Step } | undefined {
    const now = clock.now()
    const { kind, id } = record.admittedBy
    const because = (reason: string): Step => ({ reason, detail: { kind, enrollment: id } })
    const { verdict } = record
    if (verdict === 'disabled') return { value: disabled(record, now), step: because('enrollment-disabled') }
    if (verdict !== undefined) return { value: failed(record, verdict, now), step: because('no-certificate-issuance') }
    if (enrollment === undefined)
      return { value: failed(record, enrollmentGone(record.admittedBy), now), step: because('enrollment-deleted') }
    if (enrollment.provisioningStatus === 'disabled')
      return { value: disabled(record, now), step: because('enrollment-disabled') }
    return undefined
  }

  /** One step: a decision is made, a move arrives, and the next round goes on; everything else settles now. */
  async function advance(given: Current, last: boolean): Promise<'done' | 'superseded' | OnTheWay> {
    const { id, version, record } = given
    const plan = await withoutMovingHome(planFor(given), record)
    if (plan.kind === 'move' && !isLeftIn(record, plan.assignment.hub))
      return proceed(given, departing(record, plan.assignment.hub, clock.now()))
    const planned = { ...given, trace: traced(given.trace, planSteps(given, plan)) }
    if (plan.kind === 'failed') return fail(planned, plan.failure)
    if (plan.kind === 'ask') return decide(planned, plan.hubs)
    const placed = await place(given, plan, last)
    if (placed === 'superseded') return placed
    const current = { ...planned, trace: traced(planned.trace, [placed.step]) }
    if ('failure' in placed) return fail(current, placed.failure)
    if (plan.kind === 'move') return proceed(current, moved(record, placed.assignment, clock.now()))
    const known = [...(record.leftover ?? []), ...given.strays]
    const leftover = await cleanUp({ ...record, leftover: known }, placed.assignment, last)
    const done = assigned(record, placed.assignment, leftover, clock.now())
    if (!(await settle({ id, version, trace: current.trace }, done)).ok) {
      if (placed.step.detail?.['answer'] === 'created') given.strays.add(placed.assignment.hub)
      return 'superseded'
    }
    const { hub, deviceId, substatus } = placed.assignment
    const { registrationId, operationId } = record
    log.info({ registrationId, operationId, hub, deviceId, substatus }, 'device assigned')
    return 'done'
  }

  /** A hub that goes by another name now is still the same: nothing moves, and the record learns the name. */
  async function withoutMovingHome(plan: Plan, { idScope }: Assigning): Promise<Plan> {
    if (plan.kind !== 'move' || !(await isSameHub(plan.assignment.hub, plan.from.hub, idScope))) return plan
    return { kind: 'settle', assignment: { ...plan.assignment, substatus: 'reprovisionedToInitialAssignment' } }
  }

  async function isSameHub(hub: string, other: string, idScope: string): Promise<boolean> {
    return sameId(hub, other) || ((await linkedHubs(hub, idScope)?.isAlso(other)) ?? false)
  }

  async function decide(current: Current, hubs: readonly string[]) {
    const { record } = current
    const enrollment = await enrollmentOf(record)
    const because = (step: Step): Current => ({ ...current, trace: traced(current.trace, [step]) })
    if (enrollment === undefined) {
      const { kind, id } = record.admittedBy
      const gone = because({ reason: 'enrollment-deleted', detail: { kind, enrollment: id } })
      return fail(gone, enrollmentGone(record.admittedBy))
    }
    const answer = await askWebhook({ record, enrollment, hubs })
    if ('failure' in answer) {
      const { code, message } = answer.failure
      return fail(because({ reason: 'webhook-failed', detail: { code, message } }), answer.failure)
    }
    const chosen = because({ reason: 'webhook-answered', detail: { hub: answer.hub } })
    return proceed(chosen, decided(record, answer, clock.now()))
  }

  /** Commits a state on the way; the next round begins with it. */
  async function proceed({ id, version, trace }: Current, value: Assigning): Promise<'superseded' | OnTheWay> {
    const result = await store.commit({
      expect: [{ in: registrations, id, version }],
      put: [{ collection: registrations, id, value }],
    })
    return result.ok ? { record: { id, version: result.versions[0] ?? 0, value }, trace } : 'superseded'
  }

  function planFor({ record, enrollment, service }: Current): Plan {
    if (service !== undefined) return planAssignment(service, enrollment, record, latencyOrder)
    return { kind: 'failed', failure: { code: 404000, message: 'The provisioning service does not exist any more.' } }
  }

  async function fail({ id, version, record, trace }: Current, failure: Failure): Promise<'done' | 'superseded'> {
    const { registrationId, operationId } = record
    log.warn({ registrationId, operationId, ...failure }, 'assignment failed')
    return (await settle({ id, version, trace }, failed(record, failure, clock.now()))).ok ? 'done' : 'superseded'
  }

  /**
   * Makes the device where the plan says, or tells what makes the registration fail for good. A move that another node
   * brought to its end meanwhile is superseded: what the old hub said last may be that the device is gone from there.
   */
  async function place(
    { id, version, record, enrollment }: Pick<Current, 'id' | 'version' | 'record' | 'enrollment'>,
    plan: Extract<Plan, { assignment: Assignment }>,
    last: boolean,
  ): Promise<Placed | 'superseded'> {
    const { assignment } = plan
    const { hub, deviceId } = assignment
    const { idScope, credential, decision } = record
    const initialTwin = decision?.initialTwin ?? enrollment.initialTwin
    let asked = hub
    try {
      let own: Belongings | undefined
      if (plan.kind === 'move' && plan.takeData && decision?.initialTwin === undefined) {
        asked = plan.from.hub
        own = await belongings(plan.from, idScope)
        asked = hub
      }
      if (plan.kind === 'move' && (await store.get(registrations, id))?.version !== version) return 'superseded'
      const twin = initialTwin === undefined ? enrollment : { ...enrollment, initialTwin }
      const device = hubDevice(assignment.deviceId, credential, twin, own)
      if (device === undefined)
        return {
          failure: { code: 401002, message: 'The enrollment has another kind of attestation now.' },
          step: { reason: 'attestation-changed', detail: { enrolled: enrollment.attestation.type } },
        }
      const returning = record.assignment?.hub === hub
      const answer = await reachable(hub, idScope).provision(device, plan.kind === 'move' ? 'reset' : 'keep', returning)
      const substatus = plan.kind === 'move' ? substatusOfMove(own) : substatusOfStay(assignment, answer)
      return {
        assignment: { ...assignment, substatus },
        step: { reason: 'hub-answered', detail: { hub, deviceId, answer } },
      }
    } catch (thrown) {
      const { code, message, status } = asServiceError(thrown)
      if ((status >= 500 || status === 429) && !last) throw thrown
      const what = asked === hub ? 'did not take the device' : 'did not give what the device has there'
      return {
        failure: { code, message: `The hub ${asked} ${what}: ${message}` },
        step: { reason: 'hub-refused', detail: { hub: asked, deviceId, code, message } },
      }
    }
  }

  /** What the device has in the hub that it leaves; nothing where the device or the hub is gone. */
  async function belongings({ hub, deviceId }: Assignment, idScope: string): Promise<Belongings | undefined> {
    try {
      return await reachable(hub, idScope).read(deviceId)
    } catch (thrown) {
      if (isUnlinked(thrown)) return undefined
      throw thrown
    }
  }

  function reachable(hub: string, idScope: string): LinkedHub {
    const linked = linkedHubs(hub, idScope)
    if (linked !== undefined) return linked
    throw new ServiceError(400208, 'it cannot be reached from here. Link it again.')
  }

  /**
   * Deletes the device where it is not assigned. Answers with the hubs where that has to be tried another time. Only a
   * device that has just moved waits for a hub that does not answer; it tries again before it is told.
   */
  async function cleanUp(
    { leftover = [], idScope, untold }: Assigning,
    { hub, deviceId }: Assignment,
    last: boolean,
  ): Promise<string[]> {
    const remaining: string[] = []
    for (const old of leftover) {
      if (await isSameHub(hub, old, idScope)) continue
      try {
        await reachable(old, idScope).remove(deviceId)
      } catch (thrown) {
        if (untold && !last && !isUnlinked(thrown)) throw thrown
        log.warn({ deviceId, hub: old, reason: asServiceError(thrown).message }, 'a moved device stays in its old hub')
        if (isUnlinked(thrown)) continue
        remaining.push(old)
      }
    }
    return remaining
  }

  async function settle({ id, version, trace }: Ending, value: Registration): Promise<CommitResult> {
    const result = await store.commit({
      expect: [{ in: registrations, id, version }],
      put: [
        { collection: registrations, id, value },
        { collection: traces, id, value: trace },
      ],
      delete: [{ in: assignments, id }],
    })
    if (result.ok) count.settled(value)
    return result
  }

  /** A work item whose registration has already ended; another operation would have changed the record. */
  async function forget({ id, version }: Stored<Registration>): Promise<void> {
    await store.commit({ expect: [{ in: registrations, id, version }], delete: [{ in: assignments, id }] })
  }

  /** The credentials of the operation that won, written again because ours may have come after them. */
  async function refresh({ id, version, value }: Stored<Registration>, last: boolean): Promise<void> {
    const enrollment = (await enrollmentOf(value))?.value
    if (value.status !== 'assigned' || enrollment === undefined) return
    const { payload: _, ...rest } = value
    const assigning: Assigning = { ...rest, status: 'assigning' }
    await place({ id, version, record: assigning, enrollment }, { kind: 'settle', assignment: value.assignment }, last)
    const now = await store.get(registrations, id)
    if (now !== undefined && now.version !== version && now.value.status === 'assigned') await refresh(now, last)
  }

  async function enrollmentOf({ idScope, admittedBy }: Registration): Promise<Stored<Enrollment> | undefined> {
    const id = storeId(idScope, admittedBy.id)
    return admittedBy.kind === 'group' ? store.get(enrollmentGroups, id) : store.get(enrollments, id)
  }
}

/** By what the device brought along (dps.md 5.3); a webhook's twin, a lost device or a lost hub leave nothing. */
const substatusOfMove = (own: Belongings | undefined): Substatus =>
  own === undefined ? 'deviceDataReset' : 'deviceDataMigrated'

/**
 * A hub that had lost the device made it anew, so its data and modules begin again: that is no return to what the
 * device had (dps.md 5.3), and an Edge device of 1.1 must not keep its modules (edge.md 1.6.2).
 */
const substatusOfStay = ({ substatus }: Assignment, answer: 'created' | 'refreshed'): Substatus =>
  answer === 'created' && substatus === 'reprovisionedToInitialAssignment' ? 'initialAssignment' : substatus

/** No try will reach such a hub: it is not known here any more. */
const isUnlinked = (thrown: unknown): boolean => thrown instanceof ServiceError && thrown.code === 400208

const enrollmentGone = ({ kind, id }: AdmittedBy): Failure => ({
  code: kind === 'group' ? 404204 : 404201,
  message: `The enrollment ${id} was deleted while the device was being assigned.`,
})
