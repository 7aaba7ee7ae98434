import { unknownVariant } from '../base/errors.ts'
import { compact, isObject, type JsonObject } from '../base/json.ts'
import { type Environment, notice, usage } from './environment.ts'
import { readCertificateFile, readJsonObject } from './files.ts'
import { type Answering, type Columns, print, withoutKeys } from './output.ts'
import { ifMatch, listAll, pathOf } from './rest.ts'
import { type DpsOptions, dpsRest } from './services.ts'

export type Kind = 'individual' | 'group'

interface Printed extends DpsOptions, Answering {}

interface One extends Printed {
  readonly enrollmentId: string
}

export interface CreateOptions extends One {
  readonly attestationType?: 'x509' | 'symmetricKey' | 'tpm'
  readonly deviceId?: string
  readonly endorsementKey?: string
  readonly rootCaName?: string
  readonly caName?: string
  readonly secondaryRootCaName?: string
  readonly secondaryCaName?: string
  readonly certificatePath?: string
  readonly secondaryCertificatePath?: string
  readonly primaryKey?: string
  readonly secondaryKey?: string
  readonly edgeEnabled?: boolean
  readonly initialTwinTags?: string
  readonly initialTwinProperties?: string
  readonly provisioningStatus?: string
  readonly reprovisionPolicy?: 'reprovisionandmigratedata' | 'reprovisionandresetdata' | 'never'
  readonly allocationPolicy?: string
  readonly iotHubs?: readonly string[]
  readonly webhookUrl?: string
  readonly apiVersion?: string
  readonly showKeys?: boolean
}

/** The two kinds differ in their path and in the name of their ID only (dps.md 6.2). */
const kinds = {
  individual: { path: 'enrollments', id: 'registrationId', command: 'enrollment' },
  group: { path: 'enrollmentGroups', id: 'enrollmentGroupId', command: 'enrollment-group' },
} as const

const VERSION = '?api-version=2021-10-01'

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
  await print(environment, options, withoutKeys(items), columnsOf(kind))
}

export async function showEnrollment(
  kind: Kind,
  options: One & { readonly showKeys?: boolean },
  environment: Environment,
): Promise<void> {
  const rest = await dpsRest(options, environment)
  const path = pathOf(kinds[kind].path, options.enrollmentId)
  const { body: enrollment } = await rest({ method: 'GET', path: `${path}${VERSION}` })
  if (options.showKeys !== true) return print(environment, options, withoutKeys(enrollment), columnsOf(kind))
  const { body: attestation } = await rest({ method: 'POST', path: `${path}/attestationmechanism${VERSION}` })
  await print(environment, options, { ...(enrollment as JsonObject), attestation }, columnsOf(kind))
}

export async function createEnrollment(kind: Kind, options: CreateOptions, environment: Environment): Promise<void> {
  const enrollment = await enrollmentOf(kind, options, environment)
  const rest = await dpsRest(options, environment)
  const path = `${pathOf(kinds[kind].path, options.enrollmentId)}${VERSION}`
  const { body } = await rest({ method: 'PUT', path, body: enrollment })
  if (options.showKeys === true) return print(environment, options, body, columnsOf(kind))
  if (isObject(body) && isObject(body['attestation']) && body['attestation']['type'] === 'symmetricKey')
    notice(
      environment,
      `its keys are not shown; muster dps ${kinds[kind].command} show --eid ${options.enrollmentId} --show-keys shows them`,
    )
  await print(environment, options, withoutKeys(body), columnsOf(kind))
}

export async function deleteEnrollment(
  kind: Kind,
  options: One & { readonly etag?: string },
  environment: Environment,
): Promise<void> {
  const rest = await dpsRest(options, environment)
  const path = `${pathOf(kinds[kind].path, options.enrollmentId)}${VERSION}`
  await rest({ method: 'DELETE', path, headers: ifMatch(options.etag) })
}

/** The enrollment document that the options describe (dps.md 6.3). */
async function enrollmentOf(kind: Kind, options: CreateOptions, environment: Environment): Promise<object> {
  const tags = options.initialTwinTags
  const desired = options.initialTwinProperties
  const initialTwin = compact({
    tags: tags === undefined ? undefined : await readJsonObject(tags, '--initial-twin-tags', environment),
    properties:
      desired === undefined
        ? undefined
        : { desired: await readJsonObject(desired, '--initial-twin-properties', environment) },
  })
  return compact({
    [kinds[kind].id]: options.enrollmentId,
    deviceId: options.deviceId,
    attestation:
      kind === 'group' ? await groupAttestation(options, environment) : await attestation(options, environment),
    capabilities: { iotEdge: options.edgeEnabled ?? false },
    initialTwin: Object.keys(initialTwin).length === 0 ? undefined : initialTwin,
    provisioningStatus: options.provisioningStatus,
    reprovisionPolicy: options.reprovisionPolicy && reprovisionPolicies[options.reprovisionPolicy],
    allocationPolicy: options.allocationPolicy,
    customAllocationDefinition: customAllocation(options),
    // The az CLI also takes all of them as one argument with blanks between.
    iotHubs: options.iotHubs?.flatMap((hosts) => hosts.split(' ')).filter((host) => host !== ''),
  })
}

/** Both or neither, and only for the policy that uses them, as in the az CLI. */
function customAllocation({ allocationPolicy, webhookUrl, apiVersion }: CreateOptions): object | undefined {
  const isCustom = allocationPolicy === 'custom'
  if ((webhookUrl !== undefined) === isCustom && (apiVersion !== undefined) === isCustom)
    return isCustom ? { webhookUrl, apiVersion } : undefined
  throw usage('Expected --allocation-policy custom, --webhook-url and --api-version together, found not all of them.')
}

const reprovisionPolicies = {
  reprovisionandmigratedata: { updateHubAssignment: true, migrateDeviceData: true },
  reprovisionandresetdata: { updateHubAssignment: true, migrateDeviceData: false },
  never: { updateHubAssignment: false, migrateDeviceData: false },
} as const

async function attestation(options: CreateOptions, environment: Environment): Promise<object> {
  const type = options.attestationType ?? 'symmetricKey'
  const foreign = Object.entries(OPTIONS_OF).flatMap(([each, names]) => (each === type ? [] : names))
  const stray = foreign.find((name) => options[name] !== undefined)
  if (stray !== undefined) throw usage(`Expected only options of --attestation-type ${type}, found ${flagOf(stray)}.`)
  switch (type) {
    case 'x509':
      return { type, x509: { clientCertificates: await certificatesOf(options, environment) } }
    case 'tpm':
      if (options.endorsementKey === undefined)
        throw usage('Expected --endorsement-key with --attestation-type tpm, found none. "muster tpm" prints it.')
      return { type, tpm: { endorsementKey: options.endorsementKey } }
    case 'symmetricKey':
      return symmetricKey(options)
    default:
      return unknownVariant('attestation type', type)
  }
}

const OPTIONS_OF = {
  x509: ['certificatePath', 'secondaryCertificatePath'],
  symmetricKey: ['primaryKey', 'secondaryKey'],
  tpm: ['endorsementKey'],
} as const

const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

/** A group's kind of attestation follows from what is given, as in the az CLI. */
async function groupAttestation(options: CreateOptions, environment: Environment): Promise<object> {
  const primary = options.rootCaName ?? options.caName
  const secondary = options.secondaryRootCaName ?? options.secondaryCaName
  const byName = primary !== undefined || secondary !== undefined
  const byFile = options.certificatePath !== undefined || options.secondaryCertificatePath !== undefined
  const byKey = options.primaryKey !== undefined || options.secondaryKey !== undefined
  if (Number(byName) + Number(byFile) + Number(byKey) > 1)
    throw usage(
      'Expected one of --root-ca-name, --certificate-path and --primary-key, found several. A group has one attestation.',
    )
  if (byName) return { type: 'x509', x509: { caReferences: compact({ primary, secondary }) } }
  if (byFile) return { type: 'x509', x509: { signingCertificates: await certificatesOf(options, environment) } }
  return symmetricKey(options)
}

const symmetricKey = ({ primaryKey, secondaryKey }: CreateOptions): object => ({
  type: 'symmetricKey',
  symmetricKey: compact({ primaryKey, secondaryKey }),
})

async function certificatesOf(options: CreateOptions, environment: Environment): Promise<object> {
  const { certificatePath, secondaryCertificatePath } = options
  if (certificatePath === undefined && secondaryCertificatePath === undefined)
    throw usage(
      'Expected --certificate-path (or --secondary-certificate-path) with --attestation-type x509, found neither.',
    )
  const slot = async (path: string | undefined) =>
    path === undefined ? undefined : { certificate: await readCertificateFile(path, environment) }
  return compact({ primary: await slot(certificatePath), secondary: await slot(secondaryCertificatePath) })
}
