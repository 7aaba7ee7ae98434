import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { unknownVariant } from '../base/errors.ts'
import { compact, isObject } from '../base/json.ts'
import { type Environment, notice, usage } from './environment.ts'
import { writeNew } from './files.ts'
import type { IdentityDocument } from './hub-registry.ts'
import { absolute } from './ready-file.ts'

export type AuthMethod = 'shared_private_key' | 'x509_thumbprint' | 'x509_ca'

/** How an identity is to prove who it is, under the option names of the az CLI. */
export interface CredentialOptions {
  readonly authMethod?: AuthMethod
  readonly primaryKey?: string
  readonly secondaryKey?: string
  readonly primaryThumbprint?: string
  readonly secondaryThumbprint?: string
}

/** The same for a new identity, whose certificate may be made here as well. */
export interface NewCredentialOptions extends CredentialOptions {
  readonly authMethod: AuthMethod
  readonly validDays?: number
  readonly outputDir?: string
}

/** The `authentication` member of a new identity (hub-service.md 2.3); makes its certificate where that was asked for. */
export async function newAuthentication(
  subject: string,
  options: NewCredentialOptions,
  environment: Environment,
): Promise<object> {
  const { authMethod: method } = options
  requireFitting(method, options)
  const making = options.validDays !== undefined || options.outputDir !== undefined
  if (!making) return authentication(method, options)
  if (method !== 'x509_thumbprint')
    throw usage(`Expected --valid-days and --output-dir only with --auth-method x509_thumbprint, found ${method}.`)
  if (options.primaryThumbprint !== undefined)
    throw usage(
      'Expected either --primary-thumbprint or a certificate to be made (--valid-days, --output-dir), found both.',
    )
  const primaryThumbprint = await makeCertificate(subject, options, environment)
  return authentication(method, { ...options, primaryThumbprint })
}

/** The `authentication` member of an identity after an update; undefined: the options say nothing of it. */
export function changedAuthentication(current: IdentityDocument, options: CredentialOptions): object | undefined {
  const before = isObject(current['authentication']) ? current['authentication'] : {}
  const methodBefore = METHOD_OF[String(before['type'])]
  const method = options.authMethod ?? methodBefore
  const { authMethod, primaryKey, secondaryKey, primaryThumbprint, secondaryThumbprint } = options
  const given = primaryKey ?? secondaryKey ?? primaryThumbprint ?? secondaryThumbprint
  if (authMethod === undefined && given === undefined) return undefined
  if (method === undefined)
    throw usage(`Expected --auth-method too: the identity has the authentication ${String(before['type'])} now.`)
  requireFitting(method, options)
  if (method !== methodBefore) return authentication(method, options)
  // Of the same kind: what is not named stays.
  const keys = isObject(before['symmetricKey']) ? before['symmetricKey'] : {}
  const thumbprints = isObject(before['x509Thumbprint']) ? before['x509Thumbprint'] : {}
  return {
    ...before,
    symmetricKey: { ...keys, ...compact({ primaryKey, secondaryKey }) },
    x509Thumbprint: { ...thumbprints, ...compact({ primaryThumbprint, secondaryThumbprint }) },
  }
}

const METHOD_OF: Readonly<Record<string, AuthMethod>> = {
  sas: 'shared_private_key',
  selfSigned: 'x509_thumbprint',
  certificateAuthority: 'x509_ca',
}

function requireFitting(method: AuthMethod, options: CredentialOptions): void {
  const { primaryKey, secondaryKey, primaryThumbprint, secondaryThumbprint } = options
  if (method !== 'shared_private_key' && (primaryKey ?? secondaryKey) !== undefined)
    throw usage(
      `Expected --primary-key and --secondary-key only with --auth-method shared_private_key, found ${method}.`,
    )
  if (method !== 'x509_thumbprint' && (primaryThumbprint ?? secondaryThumbprint) !== undefined)
    throw usage(
      `Expected --primary-thumbprint and --secondary-thumbprint only with --auth-method x509_thumbprint, found ${method}.`,
    )
}

function authentication(method: AuthMethod, options: CredentialOptions): object {
  const { primaryKey, secondaryKey, primaryThumbprint, secondaryThumbprint } = options
  switch (method) {
    case 'shared_private_key':
      if ((primaryKey === undefined) !== (secondaryKey === undefined))
        throw usage('Expected both --primary-key and --secondary-key, or neither (the hub makes them), found one.')
      return { type: 'sas', ...(primaryKey !== undefined && { symmetricKey: { primaryKey, secondaryKey } }) }
    case 'x509_thumbprint':
      if (primaryThumbprint === undefined)
        throw usage(
          'Expected --primary-thumbprint with --auth-method x509_thumbprint, found none. --output-dir FOLDER makes a certificate.',
        )
      return { type: 'selfSigned', x509Thumbprint: compact({ primaryThumbprint, secondaryThumbprint }) }
    case 'x509_ca':
      return { type: 'certificateAuthority' }
    default:
      return unknownVariant('authentication method', method)
  }
}

/** Days of validity when none are said, as with the az CLI. */
const VALID_DAYS = 365

/**
 * Writes `<subject>-cert.pem` and `<subject>-key.pem`, the az CLI's names, before the identity exists: a key that could
 * not be kept would be of no use. Answers with the thumbprint, SHA-256.
 */
async function makeCertificate(
  subject: string,
  { validDays = VALID_DAYS, outputDir = '.' }: NewCredentialOptions,
  environment: Environment,
): Promise<string> {
  const folder = absolute(environment.cwd, outputDir)
  if (!(await stat(folder).catch(() => undefined))?.isDirectory())
    throw usage(`Expected --output-dir to be a folder, found none at ${folder}. Make it first.`)
  const { CertificateError, readCertificates } = await import('../crypto/certificates.ts')
  const { issueDeviceCertificate } = await import('../crypto/issuing.ts')
  const { clock = systemClock } = environment
  const order = { commonName: subject, days: validDays, keyType: 'rsa', now: clock.now() } as const
  const issued = await issueDeviceCertificate(order).catch((cause: unknown) => {
    if (cause instanceof CertificateError)
      throw usage(`No certificate can be made for this identity: ${cause.message}`, cause)
    throw cause
  })
  const paths = { key: join(folder, `${subject}-key.pem`), certificate: join(folder, `${subject}-cert.pem`) }
  const found = Object.values(paths).find((path) => existsSync(path))
  if (found !== undefined)
    throw usage(`Expected no file ${found} yet, found one. Choose another --output-dir, or move it away.`)
  await writeNew(paths.key, issued.key, 0o600)
  await writeNew(paths.certificate, issued.certificate, 0o644)
  notice(environment, `made a certificate for ${validDays} days: ${paths.certificate}, its key in ${paths.key}`)
  return readCertificates(issued.certificate)[0]!.sha256
}
