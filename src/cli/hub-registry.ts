import { isObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { IDENTITY_ID_RULE, isIdentityId } from '../documents/identity-ids.ts'
import { type Environment, refused, usage } from './environment.ts'
import { createRest, listAll, pathOf, type Rest, refusal } from './rest.ts'
import { type HubOptions, hubManagement, hubTarget } from './services.ts'

/** A device, or one of its modules. */
export interface IdentityName {
  readonly deviceId: string
  readonly moduleId?: string
}

/** The document of an identity as the registry shows it (hub-service.md 2.2). */
export type IdentityDocument = Readonly<Record<string, unknown>>

/** What `POST /devices/keys/regenerate` answers (hub-service.md 2.8). */
export interface KeyRenewal {
  readonly policyKey: string
  readonly rotatedKeys: readonly unknown[]
  readonly errors: readonly unknown[]
}

/** The identity registry of one hub, over its REST API (hub-service.md 2). */
export interface HubRegistry {
  /** As clients are told it, with `:port` where there is one. */
  readonly hostName: string
  get(name: IdentityName): Promise<IdentityDocument>
  create(name: IdentityName, document: object): Promise<IdentityDocument>
  /** Only if the identity still has the etag. */
  replace(name: IdentityName, document: object, etag: string): Promise<IdentityDocument>
  /** `*`: whatever its etag. */
  remove(name: IdentityName, etag: string): Promise<void>
  /** Up to `top` devices that `admits` lets through, of any fleet where the management API is within reach. */
  devices(top: number, admits?: (device: IdentityDocument) => boolean): Promise<readonly IdentityDocument[]>
  /** The devices whose parent has this scope. */
  childrenOf(scope: string): Promise<readonly IdentityDocument[]>
  modules(deviceId: string): Promise<readonly IdentityDocument[]>
  /** Of any number of identities, so many in a call as the hub takes. */
  renewKeys(policyKey: string, names: readonly IdentityName[]): Promise<KeyRenewal>
}

const VERSION = 'api-version=2021-04-12'

export async function openRegistry(options: HubOptions, environment: Environment): Promise<HubRegistry> {
  const target = await hubTarget(options, environment)
  const rest = createRest(target, environment)
  const put = async (name: IdentityName, document: object, headers: Record<string, string>) => {
    const { body } = await rest({ method: 'PUT', path: identityPath(name), body: document, headers })
    return documentOf(body)
  }
  const list = async (
    top: number,
    scope: string | undefined,
    admits: ((device: IdentityDocument) => boolean) | undefined,
  ) => {
    const management = await hubManagement(options, environment)
    if (management === undefined) return bounded(rest, top, admits)
    const query = scope === undefined ? '' : `?parentScope=${encodeURIComponent(scope)}`
    const path = `${pathOf('muster', 'hubs', management.name, 'devices')}${query}`
    const admitted = admits && ((item: unknown) => admits(documentOf(item)))
    return (await listAll(management.rest, { method: 'GET', path }, top, admitted)).map(documentOf)
  }
  return {
    hostName: target.hostName,
    get: async (name) => documentOf((await rest({ method: 'GET', path: identityPath(name) })).body),
    create: (name, document) => put(name, document, {}),
    replace: (name, document, etag) => put(name, document, { 'If-Match': quoted(etag) }),
    remove: async (name, etag) => {
      await rest({ method: 'DELETE', path: identityPath(name), headers: { 'If-Match': quoted(etag) } })
    },
    devices: (top, admits) => list(top, undefined, admits),
    childrenOf: (scope) => list(Number.POSITIVE_INFINITY, scope, (device) => parentScopesOf(device).includes(scope)),
    modules: async (deviceId) => {
      const path = `${pathOf('devices', checkedId('--device-id', deviceId), 'modules')}?${VERSION}`
      return listOf((await rest({ method: 'GET', path })).body)
    },
    renewKeys: (policyKey, names) => renewInTurns(rest, policyKey, names),
  }
}

/** The scopes of an identity's parents; a device has one at most. */
export function parentScopesOf(device: IdentityDocument): readonly string[] {
  const scopes = device['parentScopes']
  return Array.isArray(scopes) ? scopes.filter((scope) => typeof scope === 'string') : []
}

export const isEdge = ({ capabilities }: IdentityDocument): boolean =>
  isObject(capabilities) && capabilities['iotEdge'] === true

/** A member that the registry always sends. */
export function textOf(document: IdentityDocument, member: string): string {
  const value = document[member]
  if (typeof value !== 'string')
    throw refused(`Expected ${member} in the hub's answer, found none. Is this an IoT hub of a known version?`)
  return value
}

/** An id from the command line; an empty one would name the whole collection. */
export function checkedId(option: string, id: string): string {
  if (isIdentityId(id)) return id
  throw usage(`Expected ${option} to be ${IDENTITY_ID_RULE}, found ${JSON.stringify(id.slice(0, limits.idLength))}.`)
}

function identityPath({ deviceId, moduleId }: IdentityName): string {
  const module = moduleId === undefined ? [] : ['modules', checkedId('--module-id', moduleId)]
  return `${pathOf('devices', checkedId('--device-id', deviceId), ...module)}?${VERSION}`
}

/** `"<etag>"` and `"*"`, as the az CLI writes them (hub-service.md 2.4). */
const quoted = (etag: string): string => (etag.includes('"') ? etag : `"${etag}"`)

/** The registry's own list, which ends at 1,000: right while the hub has no more, refused where it would be guesswork. */
async function bounded(
  rest: Rest,
  top: number,
  admits: ((device: IdentityDocument) => boolean) | undefined,
): Promise<IdentityDocument[]> {
  const all = listOf((await rest({ method: 'GET', path: `/devices?top=${limits.deviceList}&${VERSION}` })).body)
  const wanted = all.filter(admits ?? (() => true)).slice(0, top)
  if (all.length < limits.deviceList || wanted.length === top) return wanted
  throw refused(
    `Expected a hub of fewer than ${limits.deviceList} devices for this list with --login, found ${limits.deviceList} or more: ` +
      `a hub's own REST API lists no further. Use the ready file, which leads to the management API, or a smaller --top.`,
  )
}

async function renewInTurns(rest: Rest, policyKey: string, names: readonly IdentityName[]): Promise<KeyRenewal> {
  const rotatedKeys: unknown[] = []
  const errors: unknown[] = []
  for (let at = 0; at < names.length; at += limits.deviceBulk) {
    const devices = names.slice(at, at + limits.deviceBulk).map(({ deviceId, moduleId = null }) => ({
      id: checkedId('--device-id', deviceId),
      moduleId: moduleId === null ? null : checkedId('--module-id', moduleId),
    }))
    const call = { method: 'POST', path: `/devices/keys/regenerate?${VERSION}`, body: { policyKey, devices } } as const
    // 400 is the answer when nothing was renewed, with the same body; and of a request that is malformed, without.
    const answer = await rest({ ...call, answered: [400] }).catch((cause: Error) => {
      if (at === 0) throw cause
      throw refused(
        `${cause.message} Before that, ${rotatedKeys.length} of ${names.length} identities got new keys.`,
        cause,
      )
    })
    const { body } = answer
    if (!isObject(body) || !Array.isArray(body['rotatedKeys']) || !Array.isArray(body['errors'])) {
      if (answer.status === 400) throw refusal(call, answer)
      throw refused('Expected renewed keys as the answer, found something else. Is this a hub?')
    }
    rotatedKeys.push(...body['rotatedKeys'])
    errors.push(...body['errors'])
  }
  return { policyKey, rotatedKeys, errors }
}

function documentOf(body: unknown): IdentityDocument {
  if (!isObject(body)) throw refused('Expected an identity as the answer, found something else. Is this a hub?')
  return body
}

function listOf(body: unknown): IdentityDocument[] {
  if (!Array.isArray(body))
    throw refused('Expected a list of identities as the answer, found something else. Is this a hub?')
  return body.map(documentOf)
}
