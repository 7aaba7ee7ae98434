import { Fields } from '../base/json.ts'
import type { Environment } from './environment.ts'
import { readCertificateFile } from './files.ts'
import { managementPath, onlyName, type Resource } from './management.ts'
import { type Answering, type Columns, print } from './output.ts'
import type { Rest } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

interface Printed extends ManagementOptions, Answering {
  readonly dpsName?: string
  readonly hubName?: string
}

interface One extends Printed {
  readonly certificateName: string
  readonly etag?: string
}

const columns: Columns = {
  Name: 'name',
  Subject: 'properties.subject',
  Verified: 'properties.isVerified',
  Expires: 'properties.expiry',
  Thumbprint: 'properties.thumbprint',
  'Verification code': 'properties.verificationCode',
}

/** CA certificates of a provisioning service or a hub, over the management API (dps.md 7.3, hub-service.md 11). */
export async function listCertificates(kind: Resource, options: Printed, environment: Environment): Promise<void> {
  const rest = await managementRest(options, environment)
  const owner = await ownerOf(rest, kind, options)
  const { body } = await rest({ method: 'GET', path: managementPath(kind, owner, 'certificates') })
  await print(environment, options, new Fields(body, 'answer').array('value'), columns)
}

export async function showCertificate(kind: Resource, options: One, environment: Environment): Promise<void> {
  const { rest, path } = await locate(kind, options, environment)
  await print(environment, options, (await rest({ method: 'GET', path })).body, columns)
}

interface Upload extends One {
  readonly path: string
  readonly verified?: boolean
}

/** The service refuses a name that is taken, unless `--etag` says what to replace. */
export async function createCertificate(kind: Resource, options: Upload, environment: Environment): Promise<void> {
  const certificate = base64(await readCertificateFile(options.path, environment))
  const { rest, path } = await locate(kind, options, environment)
  const headers = options.etag === undefined ? {} : { 'If-Match': options.etag }
  await upload(rest, { path, headers, certificate }, options, environment)
}

export async function updateCertificate(kind: Resource, options: Upload, environment: Environment): Promise<void> {
  const certificate = base64(await readCertificateFile(options.path, environment))
  const { rest, path } = await locate(kind, options, environment)
  const headers = await currentEtag(rest, path, options.etag)
  await upload(rest, { path, headers, certificate }, options, environment)
}

async function upload(
  rest: Rest,
  { path, headers, certificate }: { path: string; headers: Record<string, string>; certificate: string },
  options: Upload,
  environment: Environment,
): Promise<void> {
  const properties = { certificate, isVerified: options.verified ?? false }
  const { body } = await rest({ method: 'PUT', path, headers, body: { properties } })
  await print(environment, options, body, columns)
}

export async function deleteCertificate(kind: Resource, options: One, environment: Environment): Promise<void> {
  const { rest, path } = await locate(kind, options, environment)
  await rest({ method: 'DELETE', path, headers: await currentEtag(rest, path, options.etag) })
}

export async function generateVerificationCode(kind: Resource, options: One, environment: Environment): Promise<void> {
  const { rest, path } = await locate(kind, options, environment)
  const headers = await currentEtag(rest, path, options.etag)
  const { body } = await rest({ method: 'POST', path: `${path}/generateVerificationCode`, headers })
  await print(environment, options, body, columns)
}

export async function verifyCertificate(
  kind: Resource,
  options: One & { readonly path: string },
  environment: Environment,
): Promise<void> {
  const certificate = base64(await readCertificateFile(options.path, environment))
  const { rest, path } = await locate(kind, options, environment)
  const headers = await currentEtag(rest, path, options.etag)
  const { body } = await rest({ method: 'POST', path: `${path}/verify`, headers, body: { certificate } })
  await print(environment, options, body, columns)
}

async function locate(kind: Resource, options: One, environment: Environment): Promise<{ rest: Rest; path: string }> {
  const rest = await managementRest(options, environment)
  const owner = await ownerOf(rest, kind, options)
  return { rest, path: managementPath(kind, owner, 'certificates', options.certificateName) }
}

const ownerOf = (rest: Rest, kind: Resource, { dpsName, hubName }: Printed): Promise<string> =>
  onlyName(rest, kind, kind === 'dps' ? dpsName : hubName)

/** These operations must name an etag (dps.md 7.3); a user who names none means the certificate as it is now. */
async function currentEtag(rest: Rest, path: string, given: string | undefined): Promise<Record<string, string>> {
  if (given !== undefined) return { 'If-Match': given }
  const current = new Fields((await rest({ method: 'GET', path })).body, 'certificate')
  return { 'If-Match': current.required('etag', current.string('etag')) }
}

/** The control plane takes base64, of DER or of PEM (dps.md 7.3). */
const base64 = (pem: string): string => pem.replace(/-----[^-]+-----|\s/g, '')
