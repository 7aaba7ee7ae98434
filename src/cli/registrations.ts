import type { Environment } from './environment.ts'
import { type Answering, type Columns, print } from './output.ts'
import { ifMatch, listAll, pathOf } from './rest.ts'
import { type DpsOptions, dpsRest } from './services.ts'

interface Printed extends DpsOptions, Answering {}

const VERSION = '?api-version=2021-10-01'

const columns: Columns = {
  'Registration ID': 'registrationId',
  Status: 'status',
  Substatus: 'substatus',
  Hub: 'assignedHub',
  'Device ID': 'deviceId',
  'Last updated': 'lastUpdatedDateTimeUtc',
}

/** The registration records of an enrollment group (dps.md 6.2). */
export async function listRegistrations(
  options: Printed & { readonly enrollmentId: string; readonly top?: number },
  environment: Environment,
): Promise<void> {
  const rest = await dpsRest(options, environment)
  const path = `${pathOf('registrations', options.enrollmentId, 'query')}${VERSION}`
  await print(environment, options, await listAll(rest, { method: 'POST', path }, options.top), columns)
}

export async function showRegistration(
  options: Printed & { readonly registrationId: string },
  environment: Environment,
): Promise<void> {
  const rest = await dpsRest(options, environment)
  const path = `${pathOf('registrations', options.registrationId)}${VERSION}`
  await print(environment, options, (await rest({ method: 'GET', path })).body, columns)
}

export async function deleteRegistration(
  options: Printed & { readonly registrationId: string; readonly etag?: string },
  environment: Environment,
): Promise<void> {
  const rest = await dpsRest(options, environment)
  const path = `${pathOf('registrations', options.registrationId)}${VERSION}`
  await rest({ method: 'DELETE', path, headers: ifMatch(options.etag) })
}
