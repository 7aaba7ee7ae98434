import { isoTime } from '../base/clock.ts'
import { Fields, isObject, type Json, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import type { ProvisioningService } from '../control/control.ts'
import { findByHost } from '../control/hosts.ts'
import { IDENTITY_ID_RULE, isIdentityId } from '../documents/identity-ids.ts'
import { requireTwinContent, requireTwinSize, SERVICE_MEMBERS } from '../documents/twin-rules.ts'
import { isApiVersion, isSince } from './api-version.ts'
import { type Attestation, attestationDocument, parseAttestation, type Secrecy } from './attestation-document.ts'
import { sameId, shown } from './ids.ts'

/** What individual enrollments and enrollment groups have in common, with the vendor's names (dps.md 6.3). */
export interface EnrollmentCommon {
  readonly attestation: Attestation
  readonly capabilities: { readonly iotEdge: boolean }
  /** Older style of naming the only hub. */
  readonly iotHubHostName?: string
  readonly initialTwin?: InitialTwin
  readonly provisioningStatus: 'enabled' | 'disabled'
  readonly reprovisionPolicy: ReprovisionPolicy
  /** Absent: the service's. */
  readonly allocationPolicy?: EnrollmentAllocation
  /** Absent: all linked hubs. */
  readonly iotHubs?: readonly string[]
  /** Present with `custom`; kept, and not used, with another policy. */
  readonly customAllocationDefinition?: CustomAllocationDefinition
  readonly createdDateTimeUtc: string
  readonly lastUpdatedDateTimeUtc: string
}

export interface ReprovisionPolicy {
  readonly updateHubAssignment: boolean
  readonly migrateDeviceData: boolean
}

export interface IndividualEnrollment extends EnrollmentCommon {
  readonly registrationId: string
  readonly deviceId?: string
  readonly optionalDeviceInformation?: JsonObject
}

export interface EnrollmentGroup extends EnrollmentCommon {
  readonly enrollmentGroupId: string
}

const ALLOCATIONS = ['hashed', 'geoLatency', 'static', 'custom'] as const
export type EnrollmentAllocation = (typeof ALLOCATIONS)[number]

export interface InitialTwin {
  readonly tags: JsonObject
  readonly properties: { readonly desired: JsonObject }
}

/** The webhook that chooses the hub (dps.md 5.5). */
export interface CustomAllocationDefinition {
  /** http or https; its query may hold a key. */
  readonly webhookUrl: string
  readonly apiVersion: string
}

export interface EnrollmentContext<T extends EnrollmentCommon> {
  /** The id in the path. */
  readonly id: string
  readonly service: ProvisioningService
  readonly apiVersion: string
  /** What is stored now; undefined when the enrollment is being created. */
  readonly stored: T | undefined
  /** Milliseconds since 1970. */
  readonly now: number
  readonly random: Random
  /** A certificate may be given by its `info` alone, as another service shows it. */
  readonly byThumbprint?: boolean
}

/** Reads the body of `PUT /enrollments/{id}`. Read-only members and unknown ones are left aside. */
export function parseIndividualEnrollment(
  document: unknown,
  context: EnrollmentContext<IndividualEnrollment>,
): IndividualEnrollment {
  const fields = new Fields(document, 'enrollment')
  const registrationId = parseOwnId(fields, 'registrationId', context)
  const deviceId = textOf(fields, 'deviceId')
  if (deviceId !== undefined && !isIdentityId(deviceId)) fields.fail('deviceId', IDENTITY_ID_RULE, shown(deviceId))
  const information = fields.object('optionalDeviceInformation')
  if (information !== undefined && !isWithin(information, limits.twinDepth))
    fields.fail('optionalDeviceInformation', `nested ${limits.twinDepth} levels deep at most`, 'more')
  return {
    registrationId,
    ...(deviceId !== undefined && { deviceId }),
    ...parseCommon(fields, 'individual', context),
    ...(information !== undefined && { optionalDeviceInformation: information }),
  }
}

/** Reads the body of `PUT /enrollmentGroups/{id}`. */
export function parseEnrollmentGroup(document: unknown, context: EnrollmentContext<EnrollmentGroup>): EnrollmentGroup {
  const fields = new Fields(document, 'enrollmentGroup')
  return {
    enrollmentGroupId: parseOwnId(fields, 'enrollmentGroupId', context),
    ...parseCommon(fields, 'group', context),
  }
}

/** The id as it was first written: ids do not differ by case alone, and a record keeps its own spelling. */
function parseOwnId(
  fields: Fields,
  name: 'registrationId' | 'enrollmentGroupId',
  { id, stored }: EnrollmentContext<EnrollmentCommon>,
): string {
  const given = fields.required(name, fields.string(name))
  if (!sameId(given, id)) fields.fail(name, `the id in the path, ${shown(id)}`, shown(given))
  return (stored as Partial<Record<typeof name, string>> | undefined)?.[name] ?? given
}

function parseCommon(
  fields: Fields,
  kind: 'individual' | 'group',
  context: EnrollmentContext<EnrollmentCommon>,
): EnrollmentCommon {
  const { stored, random, now } = context
  requireSupported(fields)
  const attestation = fields.required('attestation', fields.fields('attestation'))
  const initialTwin = parseInitialTwin(fields)
  return {
    attestation: parseAttestation(attestation, {
      kind,
      stored: stored?.attestation,
      random,
      byThumbprint: context.byThumbprint ?? false,
    }),
    capabilities: { iotEdge: fields.fields('capabilities')?.boolean('iotEdge') ?? false },
    ...(initialTwin !== undefined && { initialTwin }),
    provisioningStatus: fields.oneOf('provisioningStatus', ['enabled', 'disabled']) ?? 'enabled',
    reprovisionPolicy: parseReprovisionPolicy(fields, context.apiVersion),
    ...parseHubs(fields, context.service),
    ...parseCustomAllocation(fields),
    createdDateTimeUtc: stored?.createdDateTimeUtc ?? isoTime(now),
    lastUpdatedDateTimeUtc: isoTime(now),
  }
}

/** What Azure knows and this version does not: refused, because ignoring it would promise something. */
function requireSupported(fields: Fields): void {
  for (const name of ['credentialPolicyName', 'clientCertificateIssuancePolicy'])
    if (fields.get(name) !== undefined)
      fields.fail(name, 'absent: this version of the service does not support it yet', 'a value')
}

/**
 * An enrollment without a policy that came through an api-version that did not know policies never moves a device
 * (dps.md 6.1, 8.5).
 */
function parseReprovisionPolicy(fields: Fields, apiVersion: string): ReprovisionPolicy {
  const policy = fields.fields('reprovisionPolicy')
  const unsaid = policy !== undefined || isSince(apiVersion, '2018-04-02')
  return {
    updateHubAssignment: policy?.boolean('updateHubAssignment') ?? unsaid,
    migrateDeviceData: policy?.boolean('migrateDeviceData') ?? unsaid,
  }
}

function parseHubs(
  fields: Fields,
  service: ProvisioningService,
): Pick<EnrollmentCommon, 'allocationPolicy' | 'iotHubs' | 'iotHubHostName'> {
  const allocationPolicy = fields.oneOf('allocationPolicy', ALLOCATIONS)
  const given = fields.strings('iotHubs') ?? []
  if (given.length > limits.linkedHubs)
    fields.fail('iotHubs', `at most ${limits.linkedHubs} host names`, String(given.length))
  const iotHubs = given.filter((host, at) => given.findIndex((other) => sameId(other, host)) === at)
  const iotHubHostName = textOf(fields, 'iotHubHostName')
  for (const host of iotHubs) requireLinked(fields, 'iotHubs', host, service)
  if (iotHubHostName !== undefined) requireLinked(fields, 'iotHubHostName', iotHubHostName, service)
  if (iotHubHostName !== undefined && iotHubs.some((host) => !sameId(host, iotHubHostName)))
    fields.fail('iotHubs', 'absent or the hub that iotHubHostName names', iotHubs.join(', '))
  const named = iotHubs.length > 0 || iotHubHostName === undefined ? iotHubs.length : 1
  if (allocationPolicy === 'static' && named !== 1)
    fields.fail('iotHubs', 'exactly one hub, because allocationPolicy is static', `${named}`)
  return {
    ...(allocationPolicy !== undefined && { allocationPolicy }),
    ...(iotHubs.length > 0 && { iotHubs }),
    ...(iotHubHostName !== undefined && { iotHubHostName }),
  }
}

/** Both members are required (dps.md 6.6). Complaints never repeat the URL: it may hold a key. */
function parseCustomAllocation(fields: Fields): Pick<EnrollmentCommon, 'customAllocationDefinition'> {
  const definition = fields.fields('customAllocationDefinition')
  if (definition === undefined) {
    if (fields.string('allocationPolicy')?.toLowerCase() === 'custom')
      fields.fail(
        'customAllocationDefinition',
        'webhookUrl and apiVersion, because allocationPolicy is custom',
        'nothing',
      )
    return {}
  }
  const webhookUrl = definition.required('webhookUrl', definition.string('webhookUrl'))
  const apiVersion = definition.required('apiVersion', definition.string('apiVersion'))
  const url = webhookUrl.length > limits.webhookUrlLength ? null : URL.parse(webhookUrl)
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '')
    definition.fail(
      'webhookUrl',
      `an http or https URL of at most ${limits.webhookUrlLength} characters without user name and password`,
      `a text of ${webhookUrl.length} characters that is not`,
    )
  if (!isApiVersion(apiVersion) || !isSince(apiVersion, '2018-09-01'))
    definition.fail('apiVersion', '2018-09-01-preview or a later version', shown(apiVersion))
  return { customAllocationDefinition: { webhookUrl, apiVersion } }
}

function requireLinked(fields: Fields, name: string, host: string, { linkedHubs }: ProvisioningService): void {
  if (findByHost(linkedHubs, (hub) => [hub.hostName], host) !== undefined) return
  const linked = linkedHubs.map((hub) => hub.hostName).join(', ')
  fields.fail(name, `host names of linked hubs (${linked === '' ? 'none is linked' : linked})`, shown(host))
}

/** Judged now, so that no registration fails on it later. A fresh twin has nothing that null could delete. */
export function parseInitialTwin(fields: Fields): InitialTwin | undefined {
  const twin = fields.fields('initialTwin')
  if (twin === undefined) return undefined
  const tags = twinPart('tags', twin.object('tags'))
  const desired = twinPart('desired', twin.fields('properties')?.object('desired'))
  return { tags, properties: { desired } }
}

function twinPart(part: 'tags' | 'desired', content: JsonObject | undefined): JsonObject {
  const own = withoutNulls(content ?? {})
  for (const member of SERVICE_MEMBERS) delete own[member]
  requireTwinContent(part, own, 'refused')
  requireTwinSize(part, own)
  return own
}

/** Clients send null for "not set". Levels that are too deep stay as they are, for the rules to refuse. */
function withoutNulls(value: JsonObject, level = 1): JsonObject {
  const kept = Object.entries(value).filter(([, member]) => member !== null)
  if (level > limits.twinDepth) return value
  return Object.fromEntries(
    kept.map(([name, member]): [string, Json] => [
      name,
      isObject(member) ? withoutNulls(member as JsonObject, level + 1) : member,
    ]),
  )
}

/** Whether objects and arrays nest `levels` deep at most. */
export const isWithin = (value: Json, levels: number): boolean =>
  typeof value !== 'object' ||
  value === null ||
  (levels > 0 && Object.values(value).every((member) => isWithin(member, levels - 1)))

/** Clients send an empty text for "not set". */
function textOf(fields: Fields, name: string): string | undefined {
  const text = fields.string(name)
  return text === '' ? undefined : text
}

/** The hubs that an enrollment names; undefined: none, so all linked hubs are meant. */
export const namedHubs = ({ iotHubs, iotHubHostName }: EnrollmentCommon): readonly string[] | undefined =>
  iotHubs ?? (iotHubHostName === undefined ? undefined : [iotHubHostName])

/** An enrollment on the wire. `etag` includes its quotes (dps.md 6.3). */
export function enrollmentDocument(
  { attestation, ...rest }: IndividualEnrollment | EnrollmentGroup,
  etag: string,
  secrecy: Secrecy,
): JsonObject {
  return { ...(rest as unknown as JsonObject), attestation: attestationDocument(attestation, secrecy), etag }
}
