import { isoTime, NEVER } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { identityEtag } from '../base/etags.ts'
import { compact, Fields } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import { edgeScopeOf, IDENTITY_ID_RULE, isIdentityId } from '../documents/identity-ids.ts'
import type { Stored } from '../store/store.ts'
import { authenticationDocument, parseAuthentication } from './authentication.ts'
import type { Authentication, DeviceRecord } from './records.ts'
import type { ConnectionState } from './session-directory.ts'

/** What a client may set on a device; everything else in its document is read-only and ignored (hub-service.md 0). */
export interface DeviceInput {
  readonly authentication: Authentication
  readonly status: 'enabled' | 'disabled'
  readonly statusReason: string | undefined
  /** Absent in an update: unchanged. */
  readonly iotEdge: boolean | undefined
  readonly deviceScope: string | undefined
  readonly parentScopes: readonly string[] | undefined
}

export function parseDevice(body: unknown, deviceId: string, random: Random): DeviceInput {
  const fields = new Fields(body, 'device')
  requireSameId(fields, 'deviceId', deviceId)
  return deviceInput(fields, random)
}

/** The settable members, as a device document and an item of a bulk request both carry them. */
export function deviceInput(fields: Fields, random: Random): DeviceInput {
  const statusReason = fields.string('statusReason')
  if (statusReason !== undefined && [...statusReason].length > limits.statusReasonLength)
    fields.fail('statusReason', `at most ${limits.statusReasonLength} characters`, `${[...statusReason].length}`)
  return {
    authentication: parseAuthentication(fields, random, 'refused'),
    status: fields.oneOf('status', ['enabled', 'disabled']) ?? 'enabled',
    statusReason: statusReason === '' ? undefined : statusReason,
    iotEdge: fields.fields('capabilities')?.boolean('iotEdge'),
    deviceScope: fields.string('deviceScope'),
    parentScopes: fields.strings('parentScopes'),
  }
}

/** An id in the body must be the one of the path (hub-service.md 2.4); it may be left out. */
export function requireSameId(fields: Fields, name: string, id: string): void {
  const inBody = fields.string(name)
  if (inBody !== undefined && inBody !== id)
    fields.fail(name, `the id in the path, ${JSON.stringify(id)}`, JSON.stringify(inBody.slice(0, limits.idLength)))
}

export function requireId(what: string, id: string): void {
  if (!isIdentityId(id))
    throw new ServiceError(
      400004,
      `The ${what} must be ${IDENTITY_ID_RULE}, found ${JSON.stringify(id.slice(0, limits.idLength))}.`,
    )
}

export const deviceNotFound = (deviceId: string): ServiceError => new ServiceError(404001, deviceId)

export const deviceExists = (deviceId: string): ServiceError =>
  new ServiceError(409001, `A device with ID '${deviceId}' is already registered.`)

/** Its own scope if it is an Edge device, else its parent's (hub-service.md 2.5). */
export const deviceScopeOf = (device: DeviceRecord): string | undefined =>
  device.iotEdge ? edgeScopeOf(device.deviceId, device.generationId) : device.parentScopes?.[0]

/** The device document of hub-service.md 2.2, in the real service's order. */
export function deviceDocument({ value, version }: Stored<DeviceRecord>, state: ConnectionState) {
  return compact({
    deviceId: value.deviceId,
    generationId: value.generationId,
    etag: identityEtag(version),
    connectionState: state.connected ? 'Connected' : 'Disconnected',
    status: value.status,
    statusReason: value.statusReason ?? null,
    connectionStateUpdatedTime: timeOrNever(state.connectionStateUpdatedTime),
    statusUpdatedTime: timeOrNever(value.statusUpdatedTime),
    lastActivityTime: timeOrNever(state.lastActivityTime),
    // No cloud-to-device queue exists yet, so nothing can be in it.
    cloudToDeviceMessageCount: 0,
    authentication: authenticationDocument(value.authentication),
    capabilities: { iotEdge: value.iotEdge },
    deviceScope: deviceScopeOf(value),
    parentScopes: value.parentScopes ?? (value.iotEdge ? [] : undefined),
  })
}

export type DeviceDocument = ReturnType<typeof deviceDocument>

export const timeOrNever = (ms: number | undefined): string => (ms === undefined ? NEVER : isoTime(ms))
