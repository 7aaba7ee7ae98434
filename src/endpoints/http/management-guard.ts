import { createHash } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { asServiceError, ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { type Log, redactText } from '../../base/log.ts'
import type { Caller } from '../../control/control.ts'
import { isNamed } from '../../control/hosts.ts'
import { sameBytes } from '../../crypto/keys.ts'
import { headerOf, type Routes } from './server.ts'

/** What every face of the management listener needs to know who may ask. */
export interface ManagementGuard {
  readonly log: Log
  /** The bearer token; only who can read its file may manage. */
  readonly token: Buffer | string
  /** Names under which the listener may be addressed, with or without port. */
  readonly hosts: readonly string[]
}

/** Who asks: the token is one, and so is its holder. */
export const manager: Caller = { kind: 'management', name: 'management token' }

/**
 * Wraps a face of the management listener: every request names an allowed host (a page that rebinds its own name to
 * loopback does not) and carries the token; no CORS header is ever sent. Refusals are rendered as Azure's control
 * plane does (dps.md 7.2).
 */
export const guarded = (needs: ManagementGuard, face: Routes): Routes => {
  const admitted = bearerCheck(needs.token)
  return (app) => {
    app.addHook('onRoute', (route) => {
      route.bodyLimit ??= limits.managementBodyBytes
    })
    app.addHook('onRequest', async (request, reply) => {
      requireHost(request, needs.hosts)
      if (admitted(headerOf(request, 'authorization'))) {
        // Answers hold keys: no cache on the way may keep one.
        reply.header('cache-control', 'no-store')
        return
      }
      reply.header('www-authenticate', 'Bearer')
      throw new ServiceError(
        401000,
        'Expected "Authorization: Bearer <token>" with the token of the file that the ready file names, found another or none.',
      )
    })
    app.setErrorHandler(renderManagementError(needs.log))
    face(app)
  }
}

function requireHost(request: FastifyRequest, hosts: readonly string[]): void {
  const host = headerOf(request, 'host')
  if (host !== undefined && isNamed(hosts, host)) return
  throw new ServiceError(
    403000,
    `The management API answers to the Host ${hosts.join(', ')} only. Address it by one of these.`,
  )
}

/** Compares digests, so that neither the length nor the first wrong byte shows in the time it takes. */
function bearerCheck(token: Buffer | string): (header: string | undefined) => boolean {
  if (token.length === 0) throw new Error('The management API must have a token.')
  const expected = digest(token)
  return (header) => {
    const [, given] = /^Bearer +(\S+) *$/i.exec(header ?? '') ?? []
    return given !== undefined && sameBytes(digest(given), expected)
  }
}

const digest = (text: Buffer | string): Buffer => createHash('sha256').update(text).digest()

/** `{code, httpStatusCode, message, details}`: the code is a number, the status .NET's word for it (dps.md 7.2). */
const renderManagementError =
  (log: Log): Parameters<FastifyInstance['setErrorHandler']>[0] =>
  (thrown, request, reply) => {
    const error = fromFramework(thrown) ?? asServiceError(thrown)
    const line = {
      trackingId: request.id,
      code: error.code,
      method: request.method,
      path: request.url.split('?')[0],
      reason: redactText(error.message),
    }
    if (error.status >= 500) log.error({ ...line, cause: error.cause }, 'management request failed')
    else log.info(line, 'management request refused')
    void reply
      .code(error.status)
      .header('content-type', 'application/json; charset=utf-8')
      .header('x-ms-request-id', request.id)
      .send({
        code: error.code,
        httpStatusCode: (STATUS_CODES[error.status] ?? '').replaceAll(/[^A-Za-z]/g, ''),
        message: error.message,
        details: `Tracking ID: ${request.id}`,
      })
  }

/** What fastify itself refuses before a handler runs. */
function fromFramework(thrown: unknown): ServiceError | undefined {
  const { statusCode } = (thrown ?? {}) as { statusCode?: unknown }
  if (thrown instanceof ServiceError) return undefined
  if (statusCode === 400) return new ServiceError(400000, 'The request is malformed.', { cause: thrown })
  return undefined
}
