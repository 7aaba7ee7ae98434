import type { FastifyRequest } from 'fastify'
import { ServiceError } from '../../base/errors.ts'
import { type IfMatch, parseIfMatch } from '../../base/etags.ts'
import { parseJson } from '../../base/json.ts'
import type { Located } from './management-documents.ts'
import { bodyOf, headerOf } from './server.ts'

/** How the routes of the management API read a request. */

/** Any subscription and resource group will do: there is one installation. */
export const subscriptionBase = '/subscriptions/:subscription/providers/Microsoft.Devices'
const groupBase = '/subscriptions/:subscription/resourceGroups/:resourceGroup/providers/Microsoft.Devices'

/** In front of a resource: nothing, or Azure's long form. */
export const bases = ['', groupBase] as const

/** A segment of the path, decoded; absent where the route has none of that name. */
export const segmentOf = (request: FastifyRequest, name: string): string | undefined =>
  (request.params as Readonly<Record<string, string | undefined>>)[name]

/** A segment that the route has. */
export const paramOf = (request: FastifyRequest, name: string): string => segmentOf(request, name) ?? ''

/** The body as JSON; undefined where it is empty. */
export const jsonOf = (request: FastifyRequest): unknown => parseJson(bodyOf(request))

/** If-None-Match would make a PUT create-only; it is refused rather than ignored. */
export function ifMatchOf(request: FastifyRequest): IfMatch {
  if (headerOf(request, 'if-none-match') !== undefined)
    throw new ServiceError(400004, 'If-None-Match is not available here: leave it out, or send If-Match with an etag.')
  return parseIfMatch(headerOf(request, 'if-match'))
}

/** Where a resource of this request lies: a document's `id` repeats the caller's own spelling of the path. */
export function located(request: FastifyRequest, segment: string, name: string): Located {
  const [subscription, resourceGroup] = [segmentOf(request, 'subscription'), segmentOf(request, 'resourceGroup')]
  const group = resourceGroup === undefined ? '' : `/resourceGroups/${resourceGroup}`
  const base = subscription === undefined ? '' : `/subscriptions/${subscription}${group}/providers/Microsoft.Devices`
  return { id: `${base}/${segment}/${name}`, subscription, resourceGroup }
}

/** The path as it was asked for. */
export const idOf = (request: FastifyRequest): string => request.url.split('?')[0] ?? ''
