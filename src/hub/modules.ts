import { ServiceError } from '../base/errors.ts'
import { identityEtag } from '../base/etags.ts'
import { Fields } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import type { Stored } from '../store/store.ts'
import { authenticationDocument, parseAuthentication } from './authentication.ts'
import { requireSameId, timeOrNever } from './devices.ts'
import type { Authentication, ModuleRecord } from './records.ts'
import type { ConnectionState } from './session-directory.ts'

/** What a client may set on a module. */
export interface ModuleInput {
  readonly authentication: Authentication
  /** Absent in an update: unchanged, because identityd never sends it (edge.md 4.5). */
  readonly managedBy: string | undefined
}

export function parseModule(body: unknown, deviceId: string, moduleId: string, random: Random): ModuleInput {
  const fields = new Fields(body, 'module')
  requireSameId(fields, 'deviceId', deviceId)
  requireSameId(fields, 'moduleId', moduleId)
  return moduleInput(fields, random)
}

export function moduleInput(fields: Fields, random: Random): ModuleInput {
  const managedBy = fields.string('managedBy')
  if (managedBy !== undefined && managedBy.length > limits.idLength)
    fields.fail('managedBy', `at most ${limits.idLength} characters`, String(managedBy.length))
  return { authentication: parseAuthentication(fields, random, 'modules'), managedBy: managedBy || undefined }
}

export const moduleNotFound = (deviceId: string, moduleId: string): ServiceError =>
  new ServiceError(404010, `${deviceId}/${moduleId}`)

export const moduleExists = (deviceId: string, moduleId: string): ServiceError =>
  new ServiceError(409301, `A module with ID '${moduleId}' is already registered on device '${deviceId}'.`)

/** The module document of hub-service.md 2.2. */
export const moduleDocument = ({ value, version }: Stored<ModuleRecord>, state: ConnectionState) => ({
  moduleId: value.moduleId,
  managedBy: value.managedBy ?? null,
  deviceId: value.deviceId,
  generationId: value.generationId,
  etag: identityEtag(version),
  connectionState: state.connected ? 'Connected' : 'Disconnected',
  connectionStateUpdatedTime: timeOrNever(state.connectionStateUpdatedTime),
  lastActivityTime: timeOrNever(state.lastActivityTime),
  cloudToDeviceMessageCount: 0,
  authentication: authenticationDocument(value.authentication),
})

export type ModuleDocument = ReturnType<typeof moduleDocument>
