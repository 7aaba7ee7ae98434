import { unknownVariant } from '../base/errors.ts'
import { compact } from '../base/json.ts'
import { type Environment, usage } from './environment.ts'
import { readCertificateFile } from './files.ts'
import { readJsonObject } from './json-argument.ts'
import type { Answering } from './output.ts'
import type { DpsOptions } from './services.ts'

export type Kind = 'individual' | 'group'

/** The two kinds differ in their path and in the name of their ID only (dps.md 6.2). */
export const kinds = {
  individual: { path: 'enrollments', id: 'registrationId', command: 'enrollment' },
  group: { path: 'enrollmentGroups', id: 'enrollmentGroupId', command: 'enrollment-group' },
} as const

/** The options of `create` and `update`, under the names of `az iot dps`; a kind that lacks one has it undefined. */
export interface EnrollmentOptions extends DpsOptions, Answering {
  readonly enrollmentId: string
  readonly deviceId?: string
  readonly deviceInformation?: string
  readonly endorsementKey?: string
  readonly storageRootKey?: string
  readonly rootCaName?: string
  readonly secondaryRootCaName?: string
  readonly certificatePath?: string
  readonly secondaryCertificatePath?: string
  readonly primaryKey?: string
  readonly secondaryKey?: string
  readonly edgeEnabled?: boolean
  readonly initialTwinTags?: string
  readonly initialTwinProperties?: string
  readonly provisioningStatus?: string
  readonly reprovisionPolicy?: keyof typeof reprovisionPolicies
  readonly allocationPolicy?: string
  readonly iotHubHostName?: string
  readonly iotHubs?: readonly string[]
  readonly webhookUrl?: string
  readonly apiVersion?: string
}

export interface CreateOptions extends EnrollmentOptions {
  readonly attestationType?: AttestationType
}

export type AttestationType = 'x509' | 'symmetricKey' | 'tpm'

export const reprovisionPolicies = {
  reprovisionandmigratedata: { updateHubAssignment: true, migrateDeviceData: true },
  reprovisionandresetdata: { updateHubAssignment: true, migrateDeviceData: false },
  never: { updateHubAssignment: false, migrateDeviceData: false },
} as const

/** The enrollment document that the options of `create` describe (dps.md 6.3). */
export async function newEnrollment(kind: Kind, options: CreateOptions, environment: Environment): Promise<object> {
  const { tags, desired } = await twinOf(options, environment)
  const initialTwin = compact({ tags, properties: desired && { desired } })
  return compact({
    [kinds[kind].id]: options.enrollmentId,
    deviceId: options.deviceId,
    attestation:
      kind === 'group' ? await groupAttestation(options, environment) : await attestation(options, environment),
    capabilities: { iotEdge: options.edgeEnabled ?? false },
    initialTwin: Object.keys(initialTwin).length === 0 ? undefined : initialTwin,
    provisioningStatus: options.provisioningStatus,
    reprovisionPolicy: options.reprovisionPolicy && reprovisionPolicies[options.reprovisionPolicy],
    ...allocationOf(options),
    customAllocationDefinition: customAllocation(options),
    optionalDeviceInformation: await deviceInformation(options, environment),
  })
}

export async function twinOf(options: EnrollmentOptions, environment: Environment) {
  const read = async (text: string | undefined, option: string) =>
    text === undefined ? undefined : await readJsonObject(text, option, environment)
  return {
    tags: await read(options.initialTwinTags, '--initial-twin-tags'),
    desired: await read(options.initialTwinProperties, '--initial-twin-properties'),
  }
}

export const deviceInformation = async ({ deviceInformation: text }: EnrollmentOptions, environment: Environment) =>
  text === undefined ? undefined : await readJsonObject(text, '--device-information', environment)

/** `--iot-hub-host-name` is the older way to say "static, this hub" (dps.md 6.3). */
export function allocationOf({ allocationPolicy, iotHubHostName, iotHubs }: EnrollmentOptions): {
  readonly allocationPolicy?: string | undefined
  readonly iotHubs?: readonly string[] | undefined
} {
  if (iotHubHostName === undefined)
    // The az CLI also takes all of them as one argument with blanks between.
    return compact({
      allocationPolicy,
      iotHubs: iotHubs?.flatMap((hosts) => hosts.split(' ')).filter((host) => host !== ''),
    })
  if (allocationPolicy !== undefined || iotHubs !== undefined)
    throw usage(
      'Expected --iot-hub-host-name alone, found --allocation-policy or --iot-hubs beside it. It means --allocation-policy static --iot-hubs HOST.',
    )
  return { allocationPolicy: 'static', iotHubs: [iotHubHostName] }
}

/** Both or neither, and only for the policy that uses them, as in the az CLI. */
function customAllocation({ allocationPolicy, webhookUrl, apiVersion }: CreateOptions): object | undefined {
  const isCustom = allocationPolicy === 'custom'
  if ((webhookUrl !== undefined) === isCustom && (apiVersion !== undefined) === isCustom)
    return isCustom ? { webhookUrl, apiVersion } : undefined
  throw usage('Expected --allocation-policy custom, --webhook-url and --api-version together, found not all of them.')
}

async function attestation(options: CreateOptions, environment: Environment): Promise<object> {
  const type = options.attestationType ?? 'symmetricKey'
  refuseForeign(type, options)
  switch (type) {
    case 'x509':
      return { type, x509: { clientCertificates: await certificatesOf(options, environment) } }
    case 'tpm': {
      const { endorsementKey, storageRootKey } = options
      if (endorsementKey === undefined)
        throw usage('Expected --endorsement-key with --attestation-type tpm, found none. "muster tpm" prints it.')
      return { type, tpm: compact({ endorsementKey, storageRootKey }) }
    }
    case 'symmetricKey':
      return symmetricKey(options)
    default:
      return unknownVariant('attestation type', type)
  }
}

const OPTIONS_OF = {
  x509: [
    'certificatePath',
    'secondaryCertificatePath',
    'rootCaName',
    'secondaryRootCaName',
    'removeCertificate',
    'removeSecondaryCertificate',
  ],
  symmetricKey: ['primaryKey', 'secondaryKey'],
  tpm: ['endorsementKey', 'storageRootKey'],
} as const

/** An option of another attestation would say something that nobody does. */
export function refuseForeign(type: string, options: object): void {
  const given = options as Readonly<Record<string, unknown>>
  const foreign = Object.entries(OPTIONS_OF).flatMap(([each, names]) => (each === type ? [] : names))
  const stray = foreign.find((name) => given[name] !== undefined)
  if (stray !== undefined) throw usage(`Expected only options of --attestation-type ${type}, found ${flagOf(stray)}.`)
}

const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

/** A group's kind of attestation follows from what is given, as in the az CLI. */
async function groupAttestation(options: CreateOptions, environment: Environment): Promise<object> {
  const { rootCaName: primary, secondaryRootCaName: secondary } = options
  switch (groupEvidence(options)) {
    case 'caReferences':
      return { type: 'x509', x509: { caReferences: compact({ primary, secondary }) } }
    case 'signingCertificates':
      return { type: 'x509', x509: { signingCertificates: await certificatesOf(options, environment) } }
    default:
      return symmetricKey(options)
  }
}

/** What the options of a group speak of; undefined: of none. */
export function groupEvidence(
  options: EnrollmentOptions,
): 'caReferences' | 'signingCertificates' | 'symmetricKey' | undefined {
  const byName = options.rootCaName !== undefined || options.secondaryRootCaName !== undefined
  const byFile = options.certificatePath !== undefined || options.secondaryCertificatePath !== undefined
  const byKey = options.primaryKey !== undefined || options.secondaryKey !== undefined
  if (Number(byName) + Number(byFile) + Number(byKey) > 1)
    throw usage(
      'Expected one of --root-ca-name, --certificate-path and --primary-key, found several. A group has one attestation.',
    )
  return byName ? 'caReferences' : byFile ? 'signingCertificates' : byKey ? 'symmetricKey' : undefined
}

const symmetricKey = ({ primaryKey, secondaryKey }: EnrollmentOptions): object => ({
  type: 'symmetricKey',
  symmetricKey: compact({ primaryKey, secondaryKey }),
})

async function certificatesOf(options: EnrollmentOptions, environment: Environment): Promise<object> {
  const slots = await certificateSlots(options, environment)
  if (Object.keys(slots).length > 0) return slots
  throw usage(
    'Expected --certificate-path (or --secondary-certificate-path) with --attestation-type x509, found neither.',
  )
}

/** The certificates of the two files, each in its slot; a slot without a file is absent. */
export async function certificateSlots(options: EnrollmentOptions, environment: Environment): Promise<object> {
  const { certificatePath, secondaryCertificatePath } = options
  const slot = async (path: string | undefined) =>
    path === undefined ? undefined : { certificate: await readCertificateFile(path, environment) }
  return compact({ primary: await slot(certificatePath), secondary: await slot(secondaryCertificatePath) })
}
