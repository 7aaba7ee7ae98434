import type { FastifyRequest } from 'fastify'
import { ServiceError } from '../../base/errors.ts'
import { parseJson } from '../../base/json.ts'
import { type Caller, type Control, type HubRight, hubRefusals, type IotHub } from '../../control/control.ts'
import type { Hub } from '../../hub/hub.ts'
import { decodePercent } from '../../wire/topics.ts'
import { bodyOf, headerOf, peerOfRequest } from './server.ts'

/** How the hub's REST faces read a request: which hub, who asks, with which right. */

export interface HubFaceNeeds {
  readonly control: Control
  readonly hub: Hub
}

/** A request whose caller was judged. */
export interface Admitted {
  readonly hub: IotHub
  readonly caller: Caller
}

/** The hub is chosen by the Host header. */
export async function hubOf({ control }: HubFaceNeeds, request: FastifyRequest): Promise<IotHub> {
  const host = headerOf(request, 'host') ?? ''
  const hub = await control.hubs.byHost(host)
  if (hub === undefined) throw new ServiceError(401001, `There is no hub ${JSON.stringify(host.slice(0, 300))}.`)
  return hub
}

/** Service calls carry a token of a shared access policy (hub-service.md 1). */
export async function admitService(needs: HubFaceNeeds, request: FastifyRequest, right: HubRight): Promise<Admitted> {
  const hub = await hubOf(needs, request)
  return { hub, caller: policyCaller(needs, request, hub, right) }
}

/**
 * The modules of a device are managed by services, and by the device itself with its own credentials, token or
 * certificate (edge.md 4.5); a module's own credentials reach that module.
 */
export async function admitToModules(
  needs: HubFaceNeeds,
  request: FastifyRequest,
  deviceId: string,
  right: HubRight,
): Promise<Admitted> {
  const hub = await hubOf(needs, request)
  const token = headerOf(request, 'authorization')
  const { chain } = peerOfRequest(request)
  const { deviceAuth } = needs.hub
  const named = token === undefined ? undefined : deviceAuth.namedBy(hub, token)
  if (token !== undefined && named === undefined) return { hub, caller: policyCaller(needs, request, hub, right) }
  if (token === undefined && chain.length === 0) return { hub, caller: policyCaller(needs, request, hub, right) }
  const moduleId = ownSpelling(named?.moduleId, paramOf(request, 'moduleId'))
  const credential = token === undefined ? ({ kind: 'x509', chain } as const) : ({ kind: 'sas', token } as const)
  // The token must name the device of the path: authentication compares the two.
  await deviceAuth.authenticate({ hub, deviceId, moduleId, credential })
  peerOfRequest(request).proved()
  return { hub, caller: { kind: 'device', name: moduleId === undefined ? deviceId : `${deviceId}/${moduleId}` } }
}

/** The Edge daemons write tokens in lower case; the id of the path is the one that is meant. */
const ownSpelling = (inToken: string | undefined, inPath: string): string | undefined =>
  inToken?.toLowerCase() === inPath.toLowerCase() ? inPath : inToken

function policyCaller({ control }: HubFaceNeeds, request: FastifyRequest, hub: IotHub, right: HubRight): Caller {
  const path = (request.url.split('?')[0] ?? '').split('/').map(decodePercent).join('/')
  const token = headerOf(request, 'authorization')
  const resource = `${hub.hostNames[0]}${path}`
  const caller = control.authorize(hub.policies, hub.hostNames, token, right, resource, hubRefusals)
  peerOfRequest(request).proved()
  return caller
}

/** A segment of the path, decoded; '' where the route has none of that name. */
export const paramOf = (request: FastifyRequest, name: string): string =>
  (request.params as Readonly<Record<string, string | undefined>>)[name] ?? ''

/** The body as JSON; undefined where it is empty. */
export const jsonOf = (request: FastifyRequest): unknown => parseJson(bodyOf(request))

/** An operation of the real hub that this release does not have is named and refused, never imitated. */
export function refuseUnbuilt(request: FastifyRequest, known: RegExp): never {
  // A message need not repeat sixteen thousand characters of somebody's path.
  const path = (request.url.split('?')[0] ?? '').slice(0, 200)
  if (known.test(path))
    throw new ServiceError(
      405000,
      `${request.method} is not available on ${path}; nothing was changed. COVERAGE.md lists the operations and their limits.`,
    )
  throw new ServiceError(
    404013,
    `The operation ${request.method} ${path} is not available in this release; nothing was changed. COVERAGE.md lists what is.`,
  )
}
