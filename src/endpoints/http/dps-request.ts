import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import type { Clock } from '../../base/clock.ts'
import { ServiceError } from '../../base/errors.ts'
import { type IfMatch, parseIfMatch } from '../../base/etags.ts'
import { parseJson } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import type { Log } from '../../base/log.ts'
import { type Page, type PageRequest, parsePageRequest } from '../../base/pages.ts'
import {
  type Caller,
  type Control,
  type DpsRight,
  dpsRefusals,
  type ProvisioningService,
} from '../../control/control.ts'
import { type Provisioning, requireApiVersion } from '../../provisioning/provisioning.ts'
import { type Render, renderDpsError } from './render.ts'
import { bodyOf, headerOf, peerOfRequest, queryOf } from './server.ts'

/** What the three DPS faces share: how a request is read and what every answer carries (dps.md 1.4, 6). */

export interface DpsFaceNeeds {
  readonly clock: Clock
  readonly log: Log
  readonly control: Control
  readonly provisioning: Provisioning
}

/** 96 KB a message (dps.md 8.6). */
export const dpsRoute: RouteShorthandOptions = { bodyLimit: limits.dpsBodyBytes }

/** Error bodies of dps.md 1.6, and the headers of the real service on every answer, errors included. */
export function asDps(app: FastifyInstance, needs: DpsFaceNeeds, render: Render = renderDpsError(needs)): void {
  app.setErrorHandler(render)
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-ms-request-id', request.id)
    reply.header('Strict-Transport-Security', 'max-age=31536000; includeSubDomains')
    done()
  })
}

export const apiVersionOf = (request: FastifyRequest): string => requireApiVersion(queryOf(request, 'api-version'))

/** A segment of the path, decoded. */
export const segment = (request: FastifyRequest, name: string): string =>
  (request.params as Readonly<Record<string, string | undefined>>)[name] ?? ''

/** The body as JSON; undefined where it is empty. Whatever Content-Type and Content-Encoding say (dps.md 1.3). */
export const jsonBody = (request: FastifyRequest): unknown => parseJson(bodyOf(request))

export const ifMatch = (request: FastifyRequest): IfMatch => parseIfMatch(headerOf(request, 'if-match'))

export interface ServiceCall {
  readonly caller: Caller
  readonly service: ProvisioningService
  readonly apiVersion: string
}

/** Who calls which service: the service by its host name, the caller by a policy of it that has `right` (dps.md 6.7). */
export async function serviceCall(
  { control }: DpsFaceNeeds,
  request: FastifyRequest,
  right: DpsRight,
): Promise<ServiceCall> {
  const host = request.headers.host ?? ''
  const service = await control.provisioningServices.byHost(host)
  if (service === undefined)
    throw new ServiceError(
      404000,
      `No provisioning service answers to the host name ${JSON.stringify(host.slice(0, limits.hostNameLength))}. Use one of its own (see its overview).`,
    )
  const { policies, serviceHostNames } = service
  const token = headerOf(request, 'authorization')
  const resource = `${host}${pathOf(request)}`
  const caller = control.authorize(policies, serviceHostNames, token, right, resource, dpsRefusals)
  peerOfRequest(request).proved()
  return { caller, service, apiVersion: apiVersionOf(request) }
}

/** Decoded, without query and trailing slash. */
function pathOf({ url }: FastifyRequest): string {
  const path = url.split('?')[0] ?? ''
  try {
    return decodeURIComponent(path).replace(/\/$/, '')
  } catch {
    return path
  }
}

export type ItemType = 'Enrollment' | 'EnrollmentGroup' | 'DeviceRegistration'

export const pageRequest = (request: FastifyRequest): PageRequest =>
  parsePageRequest(
    { maxItemCount: headerOf(request, 'x-ms-max-item-count'), continuation: headerOf(request, 'x-ms-continuation') },
    limits.enrollmentPage,
  )

/** A JSON array; the type header is required by C# and Java, the continuation is absent on the last page (dps.md 6.4). */
export function sendPage(
  reply: FastifyReply,
  itemType: ItemType,
  { size }: PageRequest,
  { items, continuation }: Page<object>,
): FastifyReply {
  reply.header('x-ms-item-type', itemType).header('x-ms-max-item-count', String(size))
  if (continuation !== undefined) reply.header('x-ms-continuation', continuation)
  return reply.send(items)
}

/** For a path that lacks its id (dps.md 1.6). */
export const idMissing = (what: string) => async (): Promise<never> => {
  throw new ServiceError(405000, `The path must end with the ${what}, found none.`)
}
