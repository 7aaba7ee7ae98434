import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ServiceError } from '../../base/errors.ts'
import { Fields, type JsonObject } from '../../base/json.ts'
import {
  type Control,
  hubNameRule,
  type Instance,
  type InstanceRoom,
  type IotHub,
  isHubName,
  isServiceName,
  type Owner,
  type Policy,
  type ProvisioningService,
  requirePolicy,
  serviceNameRule,
} from '../../control/control.ts'
import {
  iotHubDocument,
  type Located,
  policyDocument,
  provisioningServiceDocument,
  readIotHub,
  readProvisioningService,
  readTagsPatch,
} from './management-documents.ts'
import { manager } from './management-guard.ts'
import { bases, ifMatchOf, jsonOf, located, paramOf, subscriptionBase } from './management-request.ts'

/** What of an instance the routes of both kinds look at. */
type Managed = Instance & { readonly policies: readonly Policy<string>[] }

/** One of the two resource types: its words in paths, its room, its documents. */
export interface ResourceKind<V extends Managed> {
  readonly kind: Owner['kind']
  readonly segment: 'provisioningServices' | 'IotHubs'
  readonly noun: string
  /** Segment before the name of a policy. */
  readonly keys: 'keys' | 'IotHubKeys'
  readonly availability: string
  readonly room: Pick<InstanceRoom<V, JsonObject>, Exclude<keyof InstanceRoom<V, JsonObject>, 'byHost'>>
  document(view: V, at: Located): JsonObject
  read(body: unknown, shown: JsonObject | undefined): JsonObject
  isName(name: string): boolean
  readonly nameRule: string
}

export const provisioningServicesKind = (control: Control): ResourceKind<ProvisioningService> => ({
  kind: 'dps',
  segment: 'provisioningServices',
  noun: 'provisioning service',
  keys: 'keys',
  availability: 'checkProvisioningServiceNameAvailability',
  room: control.provisioningServices,
  document: provisioningServiceDocument,
  read: readProvisioningService,
  isName: isServiceName,
  nameRule: serviceNameRule,
})

export const iotHubsKind = (control: Control): ResourceKind<IotHub> => ({
  kind: 'hub',
  segment: 'IotHubs',
  noun: 'hub',
  keys: 'IotHubKeys',
  availability: 'checkNameAvailability',
  room: control.hubs,
  document: iotHubDocument,
  read: readIotHub,
  isName: isHubName,
  nameRule: hubNameRule,
})

/** Instances and their keys (dps.md 7.2, hub-service.md 11). */
export function instanceRoutes<V extends Managed>(app: FastifyInstance, kind: ResourceKind<V>): void {
  const { room, segment } = kind
  const shown = (request: FastifyRequest, view: V) => kind.document(view, located(request, segment, view.name))
  const list = async (request: FastifyRequest) => ({ value: (await room.list()).map((view) => shown(request, view)) })
  for (const base of bases) {
    const path = `${base}/${segment}/:name`
    app.get(`${base}/${segment}`, list)
    app.get(path, async (request) => shown(request, await required(kind, request)))
    app.put(path, async (request, reply) => {
      const name = paramOf(request, 'name')
      const before = await room.get(name)
      const input = kind.read(jsonOf(request), before && shown(request, before))
      const view = await room.put(manager, name, input, ifMatchOf(request))
      reply.code(before === undefined ? 201 : 200)
      return shown(request, view)
    })
    app.patch(path, async (request) =>
      shown(
        request,
        await room.setTags(manager, paramOf(request, 'name'), readTagsPatch(jsonOf(request)), ifMatchOf(request)),
      ),
    )
    app.delete(path, async (request, reply) => {
      await room.remove(manager, paramOf(request, 'name'), ifMatchOf(request))
      return reply.code(200).send()
    })
    keyRoutes(app, kind, path)
  }
  app.get(`${subscriptionBase}/${segment}`, list)
  for (const base of ['', subscriptionBase]) availabilityRoute(app, kind, base)
}

/** listkeys is the only way by which a key leaves; the three other ones are ours: Azure changes policies by a PUT of the whole. */
function keyRoutes<V extends Managed>(app: FastifyInstance, kind: ResourceKind<V>, path: string): void {
  const { room } = kind
  const policy = `${path}/${kind.keys}/:keyName`
  const names = (request: FastifyRequest) => [paramOf(request, 'name'), paramOf(request, 'keyName')] as const
  app.post(`${path}/listkeys`, async (request) => ({
    value: (await required(kind, request)).policies.map(policyDocument),
  }))
  app.post(`${policy}/listkeys`, async (request) => {
    const { policies } = await required(kind, request)
    return policyDocument(requirePolicy(policies, paramOf(request, 'keyName')))
  })
  app.put(policy, async (request) => {
    const [name, keyName] = names(request)
    const input = policyInput(jsonOf(request), keyName)
    const view = await room.putPolicy(manager, name, input, ifMatchOf(request))
    return policyDocument(requirePolicy(view.policies, keyName))
  })
  app.delete(policy, async (request, reply) => {
    await room.removePolicy(manager, ...names(request), ifMatchOf(request))
    return reply.code(200).send()
  })
  app.post(`${policy}/regenerate`, async (request) => {
    const [name, keyName] = names(request)
    const fields = new Fields(jsonOf(request), 'body')
    const key = fields.required('key', fields.oneOf('key', ['primary', 'secondary'] as const))
    const view = await room.regenerateKey(manager, name, keyName, key, ifMatchOf(request))
    return policyDocument(requirePolicy(view.policies, keyName))
  })
}

function policyInput(body: unknown, keyName: string): JsonObject {
  const fields = new Fields(body, 'policy')
  const named = fields.string('keyName')
  if (named !== undefined && named.toLowerCase() !== keyName.toLowerCase())
    fields.fail('keyName', `the one of the path (${keyName})`, JSON.stringify(named))
  return { ...(body as JsonObject), keyName: named ?? keyName }
}

/** `{name, type}` -> `{nameAvailable, reason, message}` (dps.md 7.2). */
function availabilityRoute<V extends Managed>(app: FastifyInstance, kind: ResourceKind<V>, base: string): void {
  app.post(`${base}/${kind.availability}`, async (request) => {
    const fields = new Fields(jsonOf(request), 'body')
    const name = fields.required('name', fields.string('name'))
    const type = `Microsoft.Devices/${kind.segment}`
    const asked = fields.string('type')
    if (asked !== undefined && asked.toLowerCase() !== type.toLowerCase())
      fields.fail('type', type, JSON.stringify(asked))
    if (!kind.isName(name))
      return { nameAvailable: false, reason: 'Invalid', message: `The name must be ${kind.nameRule}.` }
    if ((await kind.room.get(name)) !== undefined)
      return { nameAvailable: false, reason: 'AlreadyExists', message: `There is a ${kind.noun} ${name} already.` }
    return { nameAvailable: true }
  })
}

/** The instance that the path names, or a 404 that says which there are. */
export async function required<V extends Managed>(kind: ResourceKind<V>, request: FastifyRequest): Promise<V> {
  const name = paramOf(request, 'name')
  const found = await kind.room.get(name)
  if (found !== undefined) return found
  const known = (await kind.room.list()).map((view) => view.name).join(', ') || 'none'
  throw new ServiceError(
    404000,
    `Expected the name of a ${kind.noun} (${known}), found ${JSON.stringify(name.slice(0, 80))}.`,
  )
}
