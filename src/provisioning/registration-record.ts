import { isoTime } from '../base/clock.ts'
import type { Code } from '../base/errors.ts'
import { registrationEtag } from '../base/etags.ts'
import type { Json, JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { isSince } from './api-version.ts'
import type { InitialTwin } from './enrollment-document.ts'
import { sameId, storeId } from './ids.ts'

/** The states of a registration (dps.md 5.1). `unassigned` is never stored: a record begins with its first operation. */
export type RegistrationStatus = 'unassigned' | Registration['status']

export type Substatus =
  | 'initialAssignment'
  | 'deviceDataMigrated'
  | 'deviceDataReset'
  | 'reprovisionedToInitialAssignment'

/** How the device proved itself in the current operation: what its hub identity is made from. */
export type Credential =
  | {
      readonly kind: 'x509'
      /** SHA-256 of the leaf presented, upper-case hex. */
      readonly thumbprint: string
    }
  | {
      readonly kind: 'symmetricKey'
      /** Groups: the spelling of the registration id under which the device's key was derived (dps.md 1.8). */
      readonly derivedFrom?: string
    }
  | {
      readonly kind: 'tpm'
      /** Base64 of TPM2B_PUBLIC: what `hubKey` is wrapped for, whatever the enrollment says by then. */
      readonly endorsementKey: string
      /** Of the challenge that the device answered; the device may have another one next time. */
      readonly storageRootKey: string
      /** What the hub knows the device by: base64 of 32 bytes, new with every operation (dps.md 4.1). */
      readonly hubKey: string
    }

/** The enrollment that admitted the device. */
export interface AdmittedBy {
  readonly kind: 'individual' | 'group'
  readonly id: string
}

export interface Assignment {
  /** Host name as the linked hub is known; what devices are told. */
  readonly hub: string
  readonly deviceId: string
  readonly substatus: Substatus
}

export interface Failure {
  readonly code: Code
  readonly message: string
}

interface Common {
  readonly idScope: string
  /** As the device wrote it first. */
  readonly registrationId: string
  readonly admittedBy: AdmittedBy
  /** Store id of the group; absent for individual enrollments. Indexed. */
  readonly group?: string
  readonly credential: Credential
  /** SHA-256 of the token that opened the current operation; absent for certificates. */
  readonly proof?: string
  /** The current operation. */
  readonly operationId: string
  /** Milliseconds since 1970. */
  readonly openedAt: number
  /** Operations that this one replaced and that may still be asked after, newest first. */
  readonly earlier: readonly string[]
  /** Where the device lives; survives later failures and disabling. */
  readonly assignment?: Assignment
  /** Hubs that hold the device, or may hold it, although it is not assigned there: it has to go from them. */
  readonly leftover?: readonly string[]
  /** The device was not told of `assignment` yet: its move was interrupted after it arrived. */
  readonly untold?: true
  readonly createdAt: number
  readonly updatedAt: number
}

/** What a webhook decided (dps.md 5.5). */
export interface Decision {
  readonly hub: string
  /** In place of the enrollment's, and of what a move would take along. */
  readonly initialTwin?: InitialTwin
  /** For the device. */
  readonly payload?: Json
}

export type Assigning = Common & {
  readonly status: 'assigning'
  /** What the device sent along, for the webhook; kept only where there is one, and while the operation runs. */
  readonly requestPayload?: Json
  /** Made in this operation: it is not asked for again, whatever happens after. */
  readonly decision?: Decision
  /** Decided when the operation was opened: it ends so without an assignment. */
  readonly verdict?: 'disabled' | Failure
}
export type Assigned = Common & {
  readonly status: 'assigned'
  readonly assignment: Assignment
  /** From the webhook, for the device. */
  readonly payload?: Json
}
export type Failed = Common & { readonly status: 'failed'; readonly failure: Failure }
export type Disabled = Common & { readonly status: 'disabled' }

/** What the service knows of one registration id: one document, one state. Transitions are the functions below. */
export type Registration = Assigning | Assigned | Failed | Disabled

export interface Opening {
  readonly idScope: string
  readonly registrationId: string
  readonly admittedBy: AdmittedBy
  readonly credential: Credential
  readonly proof: string | undefined
  readonly verdict: Assigning['verdict']
  readonly requestPayload: Json | undefined
  readonly operationId: string
  readonly now: number
}

/** any state -> assigning: a new operation. */
export function opened(before: Registration | undefined, opening: Opening): Assigning {
  const { idScope, registrationId, admittedBy, credential, proof, verdict, requestPayload, operationId, now } = opening
  const earlier = before === undefined ? [] : [before.operationId, ...before.earlier]
  return {
    status: 'assigning',
    ...(verdict !== undefined && { verdict }),
    ...(requestPayload !== undefined && { requestPayload }),
    idScope,
    registrationId: before?.registrationId ?? registrationId,
    admittedBy,
    ...(admittedBy.kind === 'group' && { group: storeId(idScope, admittedBy.id) }),
    credential,
    ...(proof !== undefined && { proof }),
    operationId,
    openedAt: now,
    earlier: earlier.slice(0, limits.earlierOperations),
    ...(before?.assignment !== undefined && { assignment: before.assignment }),
    ...(before?.leftover !== undefined && { leftover: before.leftover }),
    ...(before?.untold !== undefined && { untold: before.untold }),
    createdAt: before?.createdAt ?? now,
    updatedAt: now,
  }
}

/** What every state has, without what belongs to `assigning`. */
function settled(record: Assigning, now: number): Common {
  const { verdict: _, status: __, requestPayload: ___, decision: ____, ...common } = record
  return { ...common, updatedAt: now }
}

/** assigning -> assigning: the webhook has decided. */
export const decided = (record: Assigning, decision: Decision, now: number): Assigning => ({
  ...record,
  decision,
  updatedAt: now,
})

/** assigning -> assigning: the device is about to be made in another hub; whatever happens, it is not forgotten there. */
export const departing = (record: Assigning, hub: string, now: number): Assigning => ({
  ...record,
  leftover: [...(record.leftover ?? []), hub],
  updatedAt: now,
})

/** Whether the device may be in a hub where it is not assigned. */
export const isLeftIn = ({ leftover = [] }: Common, hub: string): boolean => leftover.some((each) => sameId(each, hub))

/** assigning -> assigning: the device arrived in its new hub, and has to go from the old ones. */
export function moved(record: Assigning, assignment: Assignment, now: number): Assigning {
  const old = record.assignment === undefined ? [] : [record.assignment.hub]
  const leftover = [...(record.leftover ?? []), ...old].filter((hub) => !sameId(hub, assignment.hub))
  return { ...record, assignment, leftover: [...new Set(leftover)], untold: true, updatedAt: now }
}

/** assigning -> assigned. `leftover`: hubs that could not be cleaned up and are tried again next time. */
export function assigned(
  record: Assigning,
  assignment: Assignment,
  leftover: readonly string[],
  now: number,
): Assigned {
  const { leftover: _, untold: __, ...common } = settled(record, now)
  const payload = record.decision?.payload
  return {
    ...common,
    status: 'assigned',
    assignment,
    ...(leftover.length > 0 && { leftover }),
    ...(payload !== undefined && { payload }),
  }
}

/** assigning -> failed. */
export const failed = (record: Assigning, failure: Failure, now: number): Failed => ({
  ...settled(record, now),
  status: 'failed',
  failure,
})

/** assigning -> disabled. */
export const disabled = (record: Assigning, now: number): Disabled => ({ ...settled(record, now), status: 'disabled' })

/** Whether `operationId` was given out for this registration and is still answered for. */
export const isOperation = (record: Registration, operationId: string): boolean =>
  record.operationId === operationId || record.earlier.includes(operationId)

/** `registrationState` of dps.md 1.5, and the registration record of 6.3. Absent members are absent, never null. */
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
  /** TPM, when assigned: the key towards the hub, for this TPM alone (dps.md 4.1). */
  readonly tpm?: { readonly authenticationKey: string }
  /** What a webhook has for the device (dps.md 5.4). */
  readonly payload?: Json
}

/** Answer to register and to a poll (dps.md 1.4, 1.5): 202 with Retry-After while `assigning`, else 200. */
export interface OperationStatus {
  readonly operationId: string
  readonly status: RegistrationStatus
  readonly registrationState?: DeviceRegistrationResult
}

/** For whom a record is written out. */
export interface Reader {
  readonly apiVersion: string
  /** Under which name a linked hub is dialled: its own, with `:port` where that is not the standard one. */
  readonly hubName: (hub: string) => string
}

/** What a device gets when it asks after its operation (dps.md 1.5). */
export function operationStatus(
  record: Registration,
  version: number,
  operationId: string,
  reader: Reader,
): Required<OperationStatus> {
  const registrationState = deviceState(record, version, reader)
  // The real service's answer for a disabled enrollment names no operation (dps.md 1.5).
  return { operationId: record.status === 'disabled' ? '' : operationId, status: record.status, registrationState }
}

/** As a device sees it: while nothing is final, and when disabled, only the id and the status. */
export function deviceState(record: Registration, version: number, reader: Reader): DeviceRegistrationResult {
  const { registrationId, status, credential } = record
  if (status === 'assigning' || status === 'disabled') return { registrationId, status }
  const state = serviceState(record, version, reader)
  return status === 'assigned' && credential.kind === 'x509' ? { ...state, x509: {} } : state
}

/** As the service API sees it (dps.md 6.3, DeviceRegistrationState). */
export function serviceState(record: Registration, version: number, reader: Reader): DeviceRegistrationResult {
  return {
    registrationId: record.registrationId,
    createdDateTimeUtc: isoTime(record.createdAt),
    ...(record.status === 'assigned' && {
      assignedHub: reader.hubName(record.assignment.hub),
      deviceId: record.assignment.deviceId,
    }),
    status: record.status,
    ...(record.status === 'assigned' && { substatus: substatusFor(reader.apiVersion, record.assignment.substatus) }),
    ...(record.status === 'failed' && { errorCode: record.failure.code, errorMessage: record.failure.message }),
    lastUpdatedDateTimeUtc: isoTime(record.updatedAt),
    etag: registrationEtag(version),
    ...(record.status === 'assigned' && record.payload !== undefined && { payload: record.payload }),
  }
}

/** Readers before 2019-04-15 do not know `reprovisionedToInitialAssignment` (dps.md 5.3). */
const substatusFor = (apiVersion: string, substatus: Substatus): Substatus =>
  substatus === 'reprovisionedToInitialAssignment' && !isSince(apiVersion, '2019-04-15')
    ? 'initialAssignment'
    : substatus
