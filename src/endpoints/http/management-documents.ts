import { isDeepStrictEqual } from 'node:util'
import { ServiceError } from '../../base/errors.ts'
import { Fields, isObject, type Json, type JsonObject } from '../../base/json.ts'
import {
  type CaCertificate,
  type Instance,
  type IotHub,
  MASK,
  maskedConnectionString,
  type Policy,
  type ProvisioningService,
  rightsText,
} from '../../control/control.ts'

/** The resources of Azure's control plane (dps.md 7.1, 7.3, hub-service.md 11), out of the control room's values and into its input. */

/** The path of an instance, as callers address it: also its `id`. */
export interface Located {
  readonly id: string
  readonly subscription: string | undefined
  readonly resourceGroup: string | undefined
}

const resource = (view: Instance, type: string, { id, subscription, resourceGroup }: Located): JsonObject => ({
  id,
  name: view.name,
  type: `Microsoft.Devices/${type}`,
  location: view.location,
  tags: { ...view.tags },
  etag: view.etag,
  ...(subscription === undefined ? {} : { subscriptionid: subscription }),
  ...(resourceGroup === undefined ? {} : { resourcegroup: resourceGroup }),
})

/** Keys leave the service through listkeys only. */
const maskedPolicies = (policies: readonly Policy<string>[]): JsonObject[] =>
  policies.map((policy) => ({ ...policyDocument(policy), primaryKey: MASK, secondaryKey: MASK }))

/** A policy as listkeys answers it. */
export const policyDocument = (policy: Policy<string>): JsonObject => ({
  keyName: policy.keyName,
  primaryKey: policy.primaryKey,
  secondaryKey: policy.secondaryKey,
  rights: rightsText(policy),
})

/** Members that say the same of every instance here; a PUT may repeat them. */
const fixed: JsonObject = {
  state: 'Active',
  provisioningState: 'Succeeded',
  publicNetworkAccess: 'Enabled',
  minTlsVersion: '1.2',
}
const dpsFixed: JsonObject = { ...fixed, enableDataResidency: false }
const hubFixed: JsonObject = { ...fixed, features: 'None' }
const dpsSku: JsonObject = { name: 'S1', tier: 'Standard', capacity: 1 }

export const provisioningServiceDocument = (service: ProvisioningService, located: Located): JsonObject => ({
  ...resource(service, 'provisioningServices', located),
  sku: dpsSku,
  properties: {
    ...dpsFixed,
    iotHubs: service.linkedHubs.map((hub) => ({
      name: hub.hostName,
      hostName: hub.hostName,
      applyAllocationPolicy: hub.applyAllocationPolicy,
      allocationWeight: hub.allocationWeight,
      ...(hub.connectionString === undefined ? {} : { connectionString: maskedConnectionString(hub.connectionString) }),
      ...(hub.location === undefined ? {} : { location: hub.location }),
      authenticationType: 'KeyBased',
    })),
    allocationPolicy: service.allocationPolicy,
    serviceOperationsHostName: service.serviceHostNames[0] ?? '',
    deviceProvisioningHostName: service.deviceHostName,
    serviceHostNames: [...service.serviceHostNames],
    idScope: service.idScope,
    authorizationPolicies: maskedPolicies(service.policies),
  },
})

export const iotHubDocument = (hub: IotHub, located: Located): JsonObject => ({
  ...resource(hub, 'IotHubs', located),
  sku: { ...hub.sku, tier: tierOf(hub.sku.name) },
  properties: {
    ...hubFixed,
    hostName: hub.hostNames[0] ?? '',
    hostNames: [...hub.hostNames],
    locations: [{ location: hub.location, role: 'primary' }],
    authorizationPolicies: maskedPolicies(hub.policies),
    eventHubEndpoints: {
      events: {
        retentionTimeInDays: hub.retentionDays,
        partitionCount: hub.partitions,
        partitionIds: Array.from({ length: hub.partitions }, (_, partition) => String(partition)),
      },
    },
  },
})

const tierOf = (sku: string): string => (sku === 'F1' ? 'Free' : sku.startsWith('B') ? 'Basic' : 'Standard')

/** RFC 1123 times, as the page shows them (dps.md 7.3). */
const httpDate = (ms: number): string => new Date(ms).toUTCString()

export const certificateDocument = (certificate: CaCertificate, type: string, id: string): JsonObject => ({
  id,
  name: certificate.name,
  type: `Microsoft.Devices/${type}/Certificates`,
  etag: certificate.etag,
  properties: {
    subject: certificate.certificate.subject,
    expiry: httpDate(certificate.certificate.notAfter),
    thumbprint: certificate.certificate.sha1,
    isVerified: certificate.isVerified,
    created: httpDate(certificate.createdAt),
    updated: httpDate(certificate.updatedAt),
    certificate: certificate.certificate.raw.toString('base64'),
    ...(certificate.verificationCode === undefined ? {} : { verificationCode: certificate.verificationCode }),
  },
})

/** Members of a PUT document that count, level by level; `[]` after a name means each item of the list. */
interface Understood {
  readonly [path: string]: readonly string[]
}

const policyMembers = ['keyName', 'primaryKey', 'secondaryKey', 'rights']

const dpsUnderstood: Understood = {
  resource: ['location', 'tags', 'properties'],
  properties: ['allocationPolicy', 'iotHubs', 'authorizationPolicies', 'serviceHostNames'],
  'properties.iotHubs[]': [
    'connectionString',
    'name',
    'hostName',
    'allocationWeight',
    'applyAllocationPolicy',
    'location',
    'authenticationType',
  ],
  'properties.authorizationPolicies[]': policyMembers,
}

const hubUnderstood: Understood = {
  resource: ['location', 'tags', 'sku', 'properties'],
  sku: ['name', 'tier', 'capacity'],
  properties: ['authorizationPolicies', 'eventHubEndpoints', 'hostNames'],
  'properties.eventHubEndpoints': ['events'],
  'properties.eventHubEndpoints.events': ['partitionCount', 'retentionTimeInDays'],
  'properties.authorizationPolicies[]': policyMembers,
}

/** The control room's input from a PUT of a provisioning service; `shown`: what a GET shows now, if it exists. */
export function readProvisioningService(body: unknown, shown: JsonObject | undefined): JsonObject {
  const document = readDocument(body, dpsUnderstood, shown ?? { sku: dpsSku, properties: dpsFixed })
  for (const [at, item] of (document.fields('properties')?.array('iotHubs') ?? []).entries())
    requireKeyBased(new Fields(item, `properties.iotHubs[${at}]`))
  return flattened(document, ['location', 'tags'])
}

/** The control room's input from a PUT of a hub. */
export function readIotHub(body: unknown, shown: JsonObject | undefined): JsonObject {
  const document = readDocument(body, hubUnderstood, shown ?? { properties: hubFixed })
  const sku = document.fields('sku')
  const name = sku?.string('name')
  const tier = sku?.string('tier')
  if (name !== undefined && tier !== undefined && tier.toLowerCase() !== tierOf(name.toUpperCase()).toLowerCase())
    sku?.fail('tier', tierOf(name.toUpperCase()), JSON.stringify(tier))
  return flattened(document, ['location', 'tags', 'sku'])
}

/** A PATCH changes the tags; every other member is refused by name (dps.md 7.2). */
export function readTagsPatch(body: unknown): JsonObject {
  const document = new Fields(body, 'resource')
  const other = Object.keys(body as object).find((member) => member.toLowerCase() !== 'tags')
  if (other !== undefined) document.fail(other, 'left out: PATCH changes tags only', 'a value')
  return { tags: document.required('tags', document.object('tags')) }
}

/** `{properties: {…}}` of a certificate (dps.md 7.3), its read-only members left aside. */
export function readCertificateInput(body: unknown): JsonObject {
  const document = new Fields(body, 'resource')
  return document.required('properties', document.object('properties'))
}

function requireKeyBased(hub: Fields): void {
  const type = hub.string('authenticationType')
  if (type !== undefined && type.toLowerCase() !== 'keybased')
    hub.fail('authenticationType', 'KeyBased: managed identities do not exist here', JSON.stringify(type))
  const [host, name] = [hub.string('hostName'), hub.string('name')]
  if (host !== undefined && name !== undefined && host.toLowerCase() !== name.toLowerCase())
    hub.fail('hostName', `the same as name (${name})`, JSON.stringify(host))
}

function readDocument(body: unknown, understood: Understood, shown: JsonObject): Fields {
  const document = new Fields(body, 'resource')
  requireUnderstood(body as JsonObject, 'resource', '', understood, shown)
  return document
}

/** Members of `properties` beside the ones of the resource itself, which is how the control room takes them. */
function flattened(document: Fields, members: readonly string[]): JsonObject {
  const outer = members.flatMap((member) => {
    const value = document.get(member)
    return value === undefined ? [] : [[member, value as Json]]
  })
  return { ...document.object('properties'), ...(Object.fromEntries(outer) as JsonObject) }
}

/**
 * Refuses what would otherwise be ignored. A member that does not count here may stand in a PUT when it repeats what a
 * GET shows (clients send back whole documents), or when it asks for nothing: false, empty, null.
 */
function requireUnderstood(value: JsonObject, level: string, path: string, understood: Understood, shown: Json): void {
  const counting = understood[level] ?? []
  for (const [name, member] of Object.entries(value)) {
    const inner = path === '' ? name : `${path}.${name}`
    const spelled = counting.find((each) => each.toLowerCase() === name.toLowerCase())
    const known = memberOf(shown, name)
    if (spelled !== undefined) descend(member, level === 'resource' ? spelled : `${level}.${spelled}`, inner, known)
    else if (!asksNothing(member) && !isDeepStrictEqual(member, known) && !isReadOnly(level, name))
      throw new ServiceError(
        400004,
        `${inner} must be left out${known === undefined ? '' : ', or as a GET shows it'}: it cannot be set here. What counts is ${counting.join(', ')}.`,
      )
  }
  function descend(member: Json, next: string, at: string, known: Json | undefined): void {
    if (understood[next] !== undefined && isObject(member))
      requireUnderstood(member as JsonObject, next, at, understood, known ?? {})
    if (understood[`${next}[]`] !== undefined && Array.isArray(member))
      for (const [index, item] of member.entries())
        if (isObject(item)) requireUnderstood(item as JsonObject, `${next}[]`, `${at}[${index}]`, understood, {})
  }
}

/** Where the resource lies is told by its path; what it is called there, by a whole document from elsewhere, is not asked. */
const isReadOnly = (level: string, name: string): boolean =>
  level === 'resource' && ['id', 'name', 'type', 'etag', 'subscriptionid', 'resourcegroup'].includes(name.toLowerCase())

function memberOf(shown: Json | undefined, name: string): Json | undefined {
  if (!isObject(shown)) return undefined
  return (Object.entries(shown).find(([each]) => each.toLowerCase() === name.toLowerCase()) ?? [])[1] as
    | Json
    | undefined
}

const asksNothing = (value: Json): boolean =>
  value === null ||
  value === false ||
  value === '' ||
  (typeof value === 'object' && Object.values(value).every(asksNothing))
