import { readdir, stat } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { isObject, type JsonObject } from '../base/json.ts'
import { type Certificate, readCertificates } from '../crypto/certificates.ts'
import { CommandError, type Environment, usage } from './environment.ts'
import { readCertificateFile, readNamed } from './files.ts'
import type { Report } from './import-report.ts'
import { managementPath } from './management.ts'
import { absolute } from './ready-file.ts'
import type { Rest } from './rest.ts'

export interface CertificateImport {
  /** A certificate, a folder of them, or what `az iot dps certificate list` writes. */
  readonly path: string
  /** Certificates of files are taken as verified; lists say it of each. */
  readonly verified: boolean
  readonly dryRun: boolean
  /** Name of the provisioning service. */
  readonly service: string
}

interface Found {
  readonly name: string
  readonly isVerified: boolean
  /** Base64, or PEM. */
  readonly certificate: string
}

/** Uploads CA certificates under the names that groups refer to. One that is there already, the same, is done. */
export async function importCertificates(
  rest: Rest,
  report: Report,
  how: CertificateImport,
  environment: Environment,
): Promise<{ file: string; kind: string; lines: number; succeeded: number; failed: number }> {
  const found = await findCertificates(how, environment)
  let failed = 0
  for (const [at, each] of found.entries())
    try {
      const { sha256 } = onlyOne(each.certificate)
      const path = managementPath('dps', how.service, 'certificates', each.name)
      if ((await thumbprintThere(rest, path)) === sha256) continue
      const { certificate, isVerified } = each
      if (!how.dryRun) await rest({ method: 'PUT', path, body: { properties: { certificate, isVerified } } })
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      failed++
      const failure = { line: at + 1, id: each.name, errorCode: 'ArgumentInvalid', errorStatus: error.message }
      await report.add(failure, how.path)
    }
  return { file: how.path, kind: 'certificates', lines: found.length, succeeded: found.length - failed, failed }
}

async function thumbprintThere(rest: Rest, path: string): Promise<string | undefined> {
  try {
    const { body } = await rest({ method: 'GET', path })
    const properties = isObject(body) ? body['properties'] : undefined
    const certificate = isObject(properties) ? properties['certificate'] : undefined
    return typeof certificate === 'string' ? onlyOne(certificate).sha256 : undefined
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === 3) return undefined
    throw error
  }
}

function onlyOne(text: string): Certificate {
  try {
    const [certificate] = readCertificates(text)
    if (certificate !== undefined) return certificate
  } catch (cause) {
    throw usage(`Expected a certificate, found something else: ${(cause as Error).message}`, cause)
  }
  throw usage('Expected a certificate, found none.')
}

async function findCertificates(how: CertificateImport, environment: Environment): Promise<readonly Found[]> {
  const path = absolute(environment.cwd, how.path)
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw usage(
      `Expected certificates in ${path}, found ${cause.code === 'ENOENT' ? 'no such file' : cause.code}.`,
      cause,
    )
  })
  if (found.isDirectory()) {
    const names = (await readdir(path)).filter((name) => CERTIFICATE_FILES.includes(extname(name).toLowerCase())).sort()
    if (names.length === 0)
      throw usage(`Expected files that end with ${CERTIFICATE_FILES.join(', ')} in ${path}, found none.`)
    return Promise.all(names.map((name) => fileCertificate(join(path, name), how, environment)))
  }
  return extname(path).toLowerCase() === '.json'
    ? listedCertificates(await readNamed(path, 'a list of certificates', environment), path)
    : [await fileCertificate(path, how, environment)]
}

const CERTIFICATE_FILES = ['.pem', '.cer', '.crt', '.der']

/** The name of a file is the name of its certificate. */
async function fileCertificate(
  path: string,
  { verified }: CertificateImport,
  environment: Environment,
): Promise<Found> {
  const name = basename(path).replace(/(\.(cert|pem|cer|crt|der))+$/i, '')
  return { name, isVerified: verified, certificate: await readCertificateFile(path, environment) }
}

/** `az iot dps certificate list`: `{"value": […]}`, or the array alone. */
function listedCertificates(bytes: Buffer, path: string): readonly Found[] {
  const refuse = (found: string): never => {
    throw usage(`Expected what "az iot dps certificate list" writes in ${path}, found ${found}.`)
  }
  let document: unknown
  try {
    document = JSON.parse(bytes.toString('utf8'))
  } catch {
    return refuse('text that is not JSON')
  }
  const items = isObject(document) ? document['value'] : document
  if (!Array.isArray(items)) return refuse('no list')
  return items.map((item: unknown, at) => {
    const { name, properties } = isObject(item) ? (item as JsonObject) : {}
    const certificate = isObject(properties) ? properties['certificate'] : undefined
    if (typeof name !== 'string' || !isObject(properties) || typeof certificate !== 'string' || certificate === '')
      return refuse(`item ${at + 1} without a name or properties.certificate`)
    return { name, certificate, isVerified: properties['isVerified'] === true }
  })
}
