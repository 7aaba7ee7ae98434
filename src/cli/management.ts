import { Fields, isObject, type JsonObject } from '../base/json.ts'
import { refused, usage } from './environment.ts'
import { dialledAs, type ReadyFile } from './ready-file.ts'
import { pathOf, type Rest } from './rest.ts'

/** The management API mirrors the resource paths of Azure's control plane below the subscription (dps.md 7, hub-service.md 11). */
const resources = { dps: 'provisioningServices', hub: 'IotHubs' } as const

export type Resource = keyof typeof resources

/** Path of an instance, or with more segments of something that belongs to it. */
export const managementPath = (kind: Resource, ...segments: readonly string[]): string =>
  pathOf(resources[kind], ...segments)

/** All instances of a kind, as resources `{name, properties, …}`. */
export async function listDocuments(rest: Rest, kind: Resource): Promise<readonly JsonObject[]> {
  const { body } = await rest({ method: 'GET', path: managementPath(kind) })
  return valuesOf(body)
}

/** An instance as people and scripts read it: its host names as clients must dial them. */
export const dialledDocument = (document: JsonObject, ready: ReadyFile): JsonObject => ({
  ...document,
  properties: Object.fromEntries(
    Object.entries((document['properties'] ?? {}) as JsonObject).map(([name, value]) => [
      name,
      DIALLED.has(name) ? dialledAs(String(value), ready) : value,
    ]),
  ),
})

const DIALLED = new Set(['serviceOperationsHostName', 'deviceProvisioningHostName', 'hostName'])

/** The names of all instances of a kind. */
export async function namesOf(rest: Rest, kind: Resource): Promise<readonly string[]> {
  const fields = (await listDocuments(rest, kind)).map((document) => new Fields(document, 'resource'))
  return fields.map((resource) => resource.required('name', resource.string('name')))
}

/** The name of the instance meant: the one given, else the only one. */
export async function onlyName(rest: Rest, kind: Resource, given: string | undefined): Promise<string> {
  if (given !== undefined) return given
  const names = await namesOf(rest, kind)
  const [name] = names
  if (name === undefined || names.length > 1)
    throw usage(`Expected --${kind}-name, because there is more than one or none: ${names.join(', ') || 'none'}.`)
  return name
}

/** A PUT alone would change the instance that has the name already; names do not differ by letter case. */
export async function requireNew(rest: Rest, kind: Resource, name: string): Promise<void> {
  const taken = (await namesOf(rest, kind)).find((each) => each.toLowerCase() === name.toLowerCase())
  if (taken !== undefined)
    throw usage(`Expected the name of a new ${NOUNS[kind]}, found ${taken}, which exists already.`)
}

const NOUNS = { dps: 'provisioning service', hub: 'hub' } as const

/** A shared access policy as `listkeys` answers it; `rights` are joined by `, `. */
export interface PolicyKeys {
  readonly keyName: string
  readonly primaryKey: string
  readonly secondaryKey: string
  readonly rights: string
}

/** The shared access policies of an instance, with their keys. */
export async function policiesOf(rest: Rest, kind: Resource, name: string): Promise<readonly PolicyKeys[]> {
  const { body } = await rest({ method: 'POST', path: managementPath(kind, name, 'listkeys') })
  return valuesOf(body).map((value) => {
    const item = new Fields(value, 'policy')
    const text = (member: string): string => item.required(member, item.string(member))
    const [keyName, primaryKey, secondaryKey] = [text('keyName'), text('primaryKey'), text('secondaryKey')]
    return { keyName, primaryKey, secondaryKey, rights: text('rights') }
  })
}

const OWNERS_RIGHTS = { dps: ['ServiceConfig', 'EnrollmentWrite'], hub: ['RegistryWrite', 'ServiceConnect'] } as const

/** The policy to work with: the first that has the rights for everything, as the az CLI looks for it, else the first. */
export function ownerOf(kind: Resource, policies: readonly PolicyKeys[]): PolicyKeys | undefined {
  const has = ({ rights }: PolicyKeys): boolean =>
    OWNERS_RIGHTS[kind].every((right) => rights.split(/,\s*/).includes(right))
  return policies.find(has) ?? policies[0]
}

/** An instance as the management API shows it. */
export interface InstanceResource {
  readonly name: string
  readonly etag: string | undefined
  readonly properties: JsonObject
  /** All of it, to be put back. */
  readonly document: JsonObject
}

export async function readInstance(rest: Rest, kind: Resource, name: string): Promise<InstanceResource> {
  const { body } = await rest({ method: 'GET', path: managementPath(kind, name) })
  if (!isObject(body) || !isObject(body['properties']))
    throw refused(`Expected the resource ${name} with its properties as the answer, found something else.`)
  const { etag, properties } = body as JsonObject
  return {
    name,
    etag: typeof etag === 'string' ? etag : undefined,
    properties: properties as JsonObject,
    document: body as JsonObject,
  }
}

/** Puts a changed instance back; refused when somebody else has changed it since it was read. Answers with the new one. */
export async function replaceInstance(
  rest: Rest,
  kind: Resource,
  { name, etag, document }: InstanceResource,
  changes: JsonObject,
): Promise<JsonObject> {
  const headers: Record<string, string> = etag === undefined ? {} : { 'If-Match': etag }
  const { body } = await rest({
    method: 'PUT',
    path: managementPath(kind, name),
    headers,
    body: { ...document, ...changes },
  })
  return body as JsonObject
}

/** The members of a list answer, `{value: […]}`. */
export function valuesOf(body: unknown): readonly JsonObject[] {
  const values = isObject(body) ? body['value'] : undefined
  if (!Array.isArray(values) || !values.every(isObject))
    throw refused('Expected {"value": […]} as the answer, found something else. Is this the management API?')
  return values as JsonObject[]
}
