import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../base/clock.ts'
import { asServiceError, codes, ServiceError } from '../../base/errors.ts'
import { type Log, redactText } from '../../base/log.ts'
import { errorBody } from '../../provisioning/provisioning.ts'

interface RenderNeeds {
  readonly clock: Clock
  readonly log: Log
}

export type Render = (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => FastifyReply

/** `{errorCode, trackingId, message, timestampUtc}` with `x-ms-error-code` (dps.md 1.6). */
export const renderDpsError =
  (needs: RenderNeeds): Render =>
  (thrown, request, reply) => {
    const error = prepare(needs, thrown, request, reply)
    return reply
      .header('x-ms-error-code', String(error.code))
      .header('x-ms-request-id', request.id)
      .send(errorBody(error, request.id, needs.clock.now()))
  }

/**
 * Form (a) of hub-service.md 2.7: `{Message: "ErrorCode:<Name>;<text>", ExceptionMessage}` with the same name in
 * `iothub-errorcode`; the C# client drops the code when header and body disagree.
 */
export const renderHubError =
  (needs: RenderNeeds): Render =>
  (thrown, request, reply) => {
    const error = prepare(needs, thrown, request, reply)
    const name = codes[error.code]
    return reply
      .header('iothub-errorcode', name)
      .header('x-ms-request-id', request.id)
      .send({
        Message: `ErrorCode:${name};${error.message}`,
        ExceptionMessage: `Tracking ID:${hubTrackingId(request.id, needs.clock.now())}`,
      })
  }

/** `<32 hex>-G:0-TimeStamp:10/12/2024 09:41:12` */
export function hubTrackingId(id: string, now: number): string {
  const [date = '', time = ''] = new Date(now).toISOString().split('T')
  const [year, month, day] = date.split('-')
  return `${id.replaceAll('-', '')}-G:0-TimeStamp:${month}/${day}/${year} ${time.slice(0, 8)}`
}

/** Logs the cause in full, tells the caller the message only. */
function prepare(needs: RenderNeeds, thrown: unknown, request: FastifyRequest, reply: FastifyReply): ServiceError {
  const error = fromFramework(thrown) ?? asServiceError(thrown)
  const line = {
    trackingId: request.id,
    code: error.code,
    method: request.method,
    path: request.url.split('?')[0],
    reason: redactText(error.message),
  }
  if (error.status >= 500) needs.log.error({ ...line, cause: error.cause }, 'request failed')
  else needs.log.info(line, 'request refused')
  if (error.retryAfter !== undefined) reply.header('Retry-After', String(error.retryAfter))
  reply.code(error.status).header('content-type', 'application/json; charset=utf-8')
  return error
}

/** What fastify itself refuses, in our words and with the real services' codes. */
function fromFramework(thrown: unknown): ServiceError | undefined {
  const { code, statusCode } = (thrown ?? {}) as { code?: unknown; statusCode?: unknown }
  switch (code) {
    case 'FST_ERR_BAD_URL':
      return new ServiceError(400004, 'The path holds a malformed percent-encoding.', { cause: thrown })
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new ServiceError(400004, 'A segment of the path is longer than any id may be.', { cause: thrown })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ServiceError(415000, 'The Content-Type header is malformed; expected application/json.', {
        cause: thrown,
      })
    default:
      // Whatever else the framework refuses is the sender's fault, never ours.
      return typeof code === 'string' && code.startsWith('FST_') && Number(statusCode) < 500
        ? new ServiceError(400000, 'The request is malformed.', { cause: thrown })
        : undefined
  }
}
