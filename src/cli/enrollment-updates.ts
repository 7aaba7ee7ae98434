import { compact, isObject, type JsonObject } from '../base/json.ts'
import {
  allocationOf,
  certificateSlots,
  deviceInformation,
  type EnrollmentOptions,
  groupEvidence,
  type Kind,
  refuseForeign,
  reprovisionPolicies,
  twinOf,
} from './enrollment-documents.ts'
import { type Environment, refused, usage } from './environment.ts'

export interface UpdateOptions extends EnrollmentOptions {
  readonly etag?: string
  readonly removeCertificate?: boolean
  readonly removeSecondaryCertificate?: boolean
}

/** What the options name files for: read before anything is asked of the service. */
export interface Given {
  readonly tags: JsonObject | undefined
  readonly desired: JsonObject | undefined
  readonly information: JsonObject | undefined
  /** Certificates by slot. */
  readonly slots: object
}

export const readGiven = async (options: UpdateOptions, environment: Environment): Promise<Given> => ({
  ...(await twinOf(options, environment)),
  information: await deviceInformation(options, environment),
  slots: await certificateSlots(options, environment),
})

/**
 * The enrollment as it is, with what the options say in its place: what the az CLI's update puts (dps.md 6.3). An X.509
 * slot that keeps its `info` and has no certificate keeps the stored one.
 * @param current the enrollment; of a symmetric key with its keys, so that the one that is not named stays
 */
export function changedEnrollment(kind: Kind, current: JsonObject, options: UpdateOptions, given: Given): object {
  const { registrationState: _readOnly, ...record } = current
  const allocation = allocationOf(options)
  const changed = compact({
    ...record,
    ...compact({
      deviceId: options.deviceId,
      attestation: changedAttestation(kind, record, options, given),
      capabilities: options.edgeEnabled === undefined ? undefined : { iotEdge: options.edgeEnabled },
      initialTwin: changedTwin(record['initialTwin'], given),
      provisioningStatus: options.provisioningStatus,
      reprovisionPolicy: options.reprovisionPolicy && reprovisionPolicies[options.reprovisionPolicy],
      ...allocation,
      optionalDeviceInformation: given.information,
    }),
    // The older member of the same meaning would stand against what was just said.
    iotHubHostName: allocation.iotHubs === undefined ? record['iotHubHostName'] : undefined,
  })
  return compact({ ...changed, customAllocationDefinition: changedCustomAllocation(changed, options) })
}

function changedTwin(current: unknown, { tags, desired }: Given): object {
  const twin = isObject(current) ? current : {}
  return { ...twin, ...compact({ tags, properties: desired && { desired } }) }
}

function changedCustomAllocation(
  { allocationPolicy, customAllocationDefinition: current }: Readonly<Record<string, unknown>>,
  { webhookUrl, apiVersion }: UpdateOptions,
): unknown {
  if (allocationPolicy !== 'custom') {
    if (webhookUrl === undefined && apiVersion === undefined) return current
    throw usage('Expected --webhook-url and --api-version with --allocation-policy custom only, found another policy.')
  }
  const definition: Readonly<Record<string, unknown>> = {
    ...(isObject(current) ? current : {}),
    ...compact({ webhookUrl, apiVersion }),
  }
  if (definition['webhookUrl'] !== undefined && definition['apiVersion'] !== undefined) return definition
  throw usage('Expected --webhook-url and --api-version with --allocation-policy custom, found not both.')
}

function changedAttestation(kind: Kind, record: JsonObject, options: UpdateOptions, { slots }: Given): unknown {
  const { attestation } = record
  if (!isObject(attestation))
    throw refused('Expected an attestation in the enrollment, found none. Is this the service?')
  const type = String(attestation['type'])
  refuseForeign(type, options)
  const { primaryKey, secondaryKey, endorsementKey, storageRootKey } = options
  switch (type) {
    case 'symmetricKey':
      return { ...attestation, symmetricKey: merged(attestation['symmetricKey'], { primaryKey, secondaryKey }) }
    case 'tpm':
      return { ...attestation, tpm: merged(attestation['tpm'], { endorsementKey, storageRootKey }) }
    case 'x509':
      return { ...attestation, x509: changedX509(kind, attestation['x509'], options, slots) }
    default:
      throw refused(`Expected an attestation of x509, symmetricKey or tpm in the enrollment, found ${type}.`)
  }
}

const merged = (current: unknown, changes: object): object => ({
  ...(isObject(current) ? current : {}),
  ...compact(changes),
})

/** A group may go from certificates of its own to a CA of the service, and back; its devices keep one of the three kinds. */
function changedX509(kind: Kind, current: unknown, options: UpdateOptions, certificates: object): object {
  const x509 = isObject(current) ? current : {}
  const stored = Object.keys(x509).find((name) => isObject(x509[name]))
  const evidence = (kind === 'group' ? groupEvidence(options) : undefined) ?? stored ?? 'clientCertificates'
  const { rootCaName: primary, secondaryRootCaName: secondary } = options
  const given = evidence === 'caReferences' ? compact({ primary, secondary }) : certificates
  const kept: Record<string, unknown> = evidence === stored ? { ...(x509[stored] as object) } : {}
  if (options.removeCertificate === true) delete kept['primary']
  if (options.removeSecondaryCertificate === true) delete kept['secondary']
  const slots = { ...kept, ...given }
  if (Object.keys(slots).length > 0) return { [evidence]: slots }
  throw usage(
    'Expected a certificate to be left, found the only one removed. Name the new one with --certificate-path or --root-ca-name.',
  )
}
