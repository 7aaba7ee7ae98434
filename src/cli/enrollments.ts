import { isObject, type JsonObject } from '../base/json.ts'
import { deviceKey } from './device-keys.ts'
import { type CreateOptions, type Kind, kinds, newEnrollment } from './enrollment-documents.ts'
import { changedEnrollment, readGiven, type UpdateOptions } from './enrollment-updates.ts'
import { type Environment, notice, refused, typed, usage } from './environment.ts'
import { type Answering, asksForKeys, type Columns, print } from './output.ts'
import { ifMatch, listAll, pathOf, type Rest } from './rest.ts'
import { type DpsOptions, dpsRest } from './services.ts'

interface Printed extends DpsOptions, Answering {}

interface One extends Printed {
  readonly enrollmentId: string
}

const VERSION = '?api-version=2021-10-01'

const pathTo = (kind: Kind, enrollmentId: string): string => pathOf(kinds[kind].path, enrollmentId)

const columnsOf = (kind: Kind): Columns => ({
  [kind === 'individual' ? 'Registration ID' : 'Enrollment group']: kinds[kind].id,
  Attestation: 'attestation.type',
  Status: 'provisioningStatus',
  Edge: 'capabilities.iotEdge',
  ...(kind === 'individual' && { Registration: 'registrationState.status', Hub: 'registrationState.assignedHub' }),
})

export async function listEnrollments(
  kind: Kind,
  options: Printed & { readonly top?: number },
  environment: Environment,
): Promise<void> {
  const rest = await dpsRest(options, environment)
  const path = `${pathOf(kinds[kind].path, 'query')}${VERSION}`
  const items = await listAll(rest, { method: 'POST', path, body: { query: 'SELECT *' } }, options.top)
  await print(environment, options, items, columnsOf(kind))
}

export async function showEnrollment(kind: Kind, options: One, environment: Environment): Promise<void> {
  const rest = await dpsRest(options, environment)
  const enrollment = await read(rest, kind, options.enrollmentId)
  const shown = asksForKeys(options) ? await withKeys(rest, kind, options.enrollmentId, enrollment) : enrollment
  await print(environment, options, shown, columnsOf(kind))
}

export async function createEnrollment(kind: Kind, options: CreateOptions, environment: Environment): Promise<void> {
  const enrollment = await newEnrollment(kind, options, environment)
  const rest = await dpsRest(options, environment)
  const path = `${pathTo(kind, options.enrollmentId)}${VERSION}`
  const { body } = await rest({ method: 'PUT', path, body: enrollment })
  const { dpsName } = options
  const where = dpsName === undefined ? '' : `-n ${typed(dpsName)} `
  if (!asksForKeys(options) && attestationTypeOf(body) === 'symmetricKey')
    notice(
      environment,
      `its keys are not shown; muster dps ${kinds[kind].command} show ${where}--eid ${typed(options.enrollmentId)} --show-keys shows them`,
    )
  await print(environment, options, body, columnsOf(kind))
}

/** Reads, changes, puts, as the az CLI; but only over what was read, unless `--etag` says otherwise. */
export async function updateEnrollment(kind: Kind, options: UpdateOptions, environment: Environment): Promise<void> {
  const given = await readGiven(options, environment)
  const rest = await dpsRest(options, environment)
  const { enrollmentId } = options
  const found = await read(rest, kind, enrollmentId)
  const current = attestationTypeOf(found) === 'symmetricKey' ? await withKeys(rest, kind, enrollmentId, found) : found
  const body = changedEnrollment(kind, current, options, given)
  const etag = options.etag ?? (typeof current['etag'] === 'string' ? current['etag'] : undefined)
  const path = `${pathTo(kind, enrollmentId)}${VERSION}`
  const answer = await rest({ method: 'PUT', path, headers: ifMatch(etag), body })
  await print(environment, options, answer.body, columnsOf(kind))
}

export async function deleteEnrollment(
  kind: Kind,
  options: One & { readonly etag?: string },
  environment: Environment,
): Promise<void> {
  const rest = await dpsRest(options, environment)
  const path = `${pathTo(kind, options.enrollmentId)}${VERSION}`
  await rest({ method: 'DELETE', path, headers: ifMatch(options.etag) })
}

interface DeviceKeyOptions extends Printed {
  readonly registrationId: string
  readonly enrollmentId?: string
  readonly symmetricKey?: string
}

/** The key of one device of a group, from the group's key or from the group (dps.md 1.8). Whoever asks for it gets it. */
export async function computeDeviceKey(options: DeviceKeyOptions, environment: Environment): Promise<void> {
  const { registrationId, enrollmentId, symmetricKey } = options
  if ((symmetricKey === undefined) === (enrollmentId === undefined))
    throw usage('Expected one of --enrollment-id and --symmetric-key, found both or neither.')
  const key = symmetricKey ?? (await primaryKeyOf(enrollmentId!, options, environment))
  await print(environment, options, deviceKey(key, registrationId), {})
}

async function primaryKeyOf(enrollmentId: string, options: DpsOptions, environment: Environment): Promise<string> {
  const { type, symmetricKey } = await attestationOf(await dpsRest(options, environment), 'group', enrollmentId)
  const key = isObject(symmetricKey) ? symmetricKey['primaryKey'] : undefined
  if (typeof key === 'string') return key
  throw refused(
    `Expected a group with symmetric keys, found one of ${String(type)}. Its devices prove themselves by it.`,
  )
}

/** The keys of an enrollment, or what else it attests by (dps.md 6.2). */
async function attestationOf(rest: Rest, kind: Kind, enrollmentId: string): Promise<JsonObject> {
  const path = `${pathTo(kind, enrollmentId)}/attestationmechanism${VERSION}`
  return objectOf((await rest({ method: 'POST', path })).body)
}

const read = async (rest: Rest, kind: Kind, enrollmentId: string): Promise<JsonObject> =>
  objectOf((await rest({ method: 'GET', path: `${pathTo(kind, enrollmentId)}${VERSION}` })).body)

const withKeys = async (rest: Rest, kind: Kind, enrollmentId: string, enrollment: JsonObject): Promise<JsonObject> => ({
  ...enrollment,
  attestation: await attestationOf(rest, kind, enrollmentId),
})

function objectOf(body: unknown): JsonObject {
  if (isObject(body)) return body as JsonObject
  throw refused('Expected an enrollment as the answer, found something else. Is this the service?')
}

const attestationTypeOf = (enrollment: unknown): unknown =>
  isObject(enrollment) && isObject(enrollment['attestation']) ? enrollment['attestation']['type'] : undefined
