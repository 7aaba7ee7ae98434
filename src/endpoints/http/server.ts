import { createServer, type Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify'
import type { Clock } from '../../base/clock.ts'
import { ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import type { Log } from '../../base/log.ts'
import { createMetrics, type Metrics } from '../../base/metrics.ts'
import type { Random } from '../../base/random.ts'
import { type Peer, peerOf } from '../../wire/listener.ts'
import type { Upgrade } from '../../wire/websocket.ts'
import { readBody } from './body.ts'
import { serverConnections } from './connections.ts'
import { type Render, renderDpsError, renderHubError } from './render.ts'

/** One face of the HTTP endpoint: registers its routes and its error handler on an instance of its own. */
export type Routes = (app: FastifyInstance) => void

export interface HttpNeeds {
  readonly clock: Clock
  /** Times connections out; default `clock`. */
  readonly deadlines?: Clock
  readonly random: Random
  readonly log: Log
  readonly metrics?: Metrics
}

export interface HttpEndpoint {
  /** Speaks HTTP on a connection that the listener accepted. */
  serve(socket: Duplex): void
  /** For tests: a request through the whole stack with no socket. */
  readonly app: FastifyInstance
  /** Answers what is under way, within `limits.closeGraceMs`; every other connection ends at once. */
  close(): Promise<void>
}

/** First path segments of the hub's REST API; everything else belongs to the provisioning service. */
const HUB_PATH = /^\/(devices|twins|statistics|jobs|configurations|digitaltwins|messages|files|modules)\b/i

/**
 * The HTTP endpoint. Order of a request: connection (listener: TLS, ceilings, deadlines) -> rewrite -> route -> body
 * (bounded, kept as bytes) -> the face's handler -> render. Faces throw ServiceError; nothing else makes an error body.
 *
 * @param upgrade takes the connections of requests that ask for a WebSocket; without it they are plain requests
 */
export async function createHttpEndpoint(
  needs: HttpNeeds,
  faces: readonly Routes[],
  upgrade?: Upgrade,
): Promise<HttpEndpoint> {
  /** Of the service that the path belongs to, where no face has taken the request. */
  const renderFor = ({ url }: FastifyRequest): Render => (HUB_PATH.test(url) ? renderHubError : renderDpsError)(needs)
  /** When the head of a request was read, ms. */
  const began = new WeakMap<object, number>()
  const app = fastify({
    logger: false,
    genReqId: () => needs.random.uuid(),
    bodyLimit: limits.hubBodyBytes,
    rewriteUrl: (request) => {
      began.set(request, needs.clock.now())
      if (request.method === 'POST') request.method = overriddenMethod(request.headers['x-http-method-override'])
      return decodeWholePath(request.url ?? '/')
    },
    routerOptions: { caseSensitive: false, ignoreTrailingSlash: true, maxParamLength: 1024 },
    exposeHeadRoutes: false,
    frameworkErrors: (error, request, reply) => {
      void renderFor(request)(error, request, reply)
    },
    serverFactory: (handler) => createPlainServer(handler, upgrade),
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', readBody)
  const took = ({ raw }: FastifyRequest): number => needs.clock.now() - (began.get(raw) ?? 0)
  const countersOf = requestCounters(needs.metrics ?? createMetrics(), took)
  const unknown = countersOf('/none')
  app.addHook('onRoute', (route) => {
    const count = countersOf(route.url)
    route.onSend = (request, reply, _payload, done) => {
      count(request, reply.statusCode)
      done()
    }
  })
  app.setNotFoundHandler((request, reply) => {
    unknown(request, 404)
    return renderFor(request)(notFound(request), request, reply)
  })
  app.setErrorHandler(renderDpsError(needs))
  if (needs.log.isLevelEnabled('debug'))
    app.addHook('onResponse', (request, reply, done) => {
      const { method, url, id } = request
      needs.log.debug({ trackingId: id, method, path: url.split('?')[0], status: reply.statusCode }, 'http')
      done()
    })
  for (const face of faces) app.register(async (scope) => face(scope))
  await app.ready()
  const server = app.server as Server
  const connections = serverConnections(server, needs.deadlines ?? needs.clock)
  return {
    app,
    serve: connections.serve,
    close: async () => {
      await connections.close()
      // Never listened itself, so close() only stops its bookkeeping; the error it reports for that is expected.
      server.close(() => {})
      await app.close()
    },
  }
}

type Count = (request: FastifyRequest, status: number) => void

/**
 * Counts by the first segment of a route's pattern, never of a request's path: those are strangers' words. Before the
 * answer leaves: to wait for its end costs more than to count it.
 *
 * @param took milliseconds since the request began
 */
function requestCounters(metrics: Metrics, took: (request: FastifyRequest) => number): (pattern: string) => Count {
  const requests = metrics.counter('muster_http_requests_total', 'HTTP requests that were answered.', [
    'route',
    'status',
  ])
  const seconds = metrics.histogram('muster_http_request_seconds', 'From the head of a request to its answer.', [
    'route',
  ])
  return (pattern) => {
    const route = pattern.split('/')[1]!.toLowerCase()
    const byStatus: ((amount: number) => void)[] = []
    let observe: ((seconds: number) => void) | undefined
    return (request, status) => {
      const kind = Math.floor(status / 100)
      byStatus[kind] ??= requests.of(route, `${kind}xx`)
      byStatus[kind](1)
      observe ??= seconds.of(route)
      observe(Math.max(0, took(request)) / 1000)
    }
  }
}

/**
 * An http.Server that is handed its connections. It never listens, so the sweep that enforces header and request
 * time-outs is started by hand: Node starts it on 'listening'.
 */
function createPlainServer(handler: Parameters<typeof createServer>[1], upgrade: Upgrade | undefined): Server {
  const server = createServer(
    {
      maxHeaderSize: limits.httpHeaderBytes,
      headersTimeout: limits.httpHeadersMs,
      requestTimeout: limits.httpRequestMs,
      keepAliveTimeout: limits.httpKeepAliveMs,
      connectionsCheckingInterval: limits.httpHeadersMs / 2,
      noDelay: true,
      // Other protocols that a client would upgrade to (h2c) are no reason to refuse what it asks.
      shouldUpgradeCallback: ({ headers }) => upgrade !== undefined && headers.upgrade?.toLowerCase() === 'websocket',
    },
    handler,
  )
  if (upgrade !== undefined) server.on('upgrade', upgrade)
  server.emit('listening')
  return server
}

/** Java sends PATCH as POST with an override header (hub-service.md 1.4); no other method is ever overridden. */
const overriddenMethod = (header: string | string[] | undefined): string =>
  typeof header === 'string' && header.toUpperCase() === 'PATCH' ? 'PATCH' : 'POST'

/** Azure IoT Explorer encodes the slashes of the path too: `/devices%2Fquery` (hub-service.md 0). */
function decodeWholePath(url: string): string {
  const at = url.indexOf('?')
  const path = at === -1 ? url : url.slice(0, at)
  if (path.indexOf('/', 1) !== -1 || !/%2f/i.test(path)) return url
  try {
    return decodeURIComponent(path).replaceAll('?', '%3F').replaceAll('#', '%23') + (at === -1 ? '' : url.slice(at))
  } catch {
    return url
  }
}

const notFound = (request: FastifyRequest): ServiceError =>
  new ServiceError(
    404000,
    `There is no operation ${request.method} ${request.url.split('?')[0]}. Check the path and the method against COVERAGE.md.`,
  )

/** The connection's peer: its presented certificates and source address. A request without one is not from our listener. */
export function peerOfRequest(request: FastifyRequest): Peer {
  return peerOf(request.raw.socket) ?? { chain: [], address: request.ip, proved: () => {} }
}

/** The request's body as bytes; empty when there is none. */
export const bodyOf = (request: FastifyRequest): Buffer =>
  Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)

/** One value of a header that may be repeated. */
export function headerOf(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

/** One value of the query string, its name compared without regard to case. */
export function queryOf(request: FastifyRequest, name: string): string | undefined {
  const query = request.query as Record<string, string | string[] | undefined>
  const found = Object.keys(query).find((key) => key.toLowerCase() === name.toLowerCase())
  const value = found === undefined ? undefined : query[found]
  return Array.isArray(value) ? value[0] : value
}
