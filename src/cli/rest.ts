import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import { type Clock, systemClock } from '../base/clock.ts'
import { isObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { decodeKey } from '../crypto/keys.ts'
import { signSas } from '../crypto/sas.ts'
import { type CommandError, type Environment, notFound, refused, usage } from './environment.ts'
import { splitHost } from './host-names.ts'
import { withoutKeys } from './output.ts'
import type { ServiceTarget, Target } from './target.ts'
import { traceExchange } from './trace.ts'

export interface Call {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** Path and query, already percent-encoded. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: unknown
  /** Sent as they are, in place of `body`: JSON lines. Never traced: they hold keys. */
  readonly lines?: Uint8Array
  /** Statuses besides 2xx that are answers to this call and not refusals. */
  readonly answered?: readonly number[]
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Parsed JSON; undefined when the answer had no body. */
  readonly body: unknown
}

/** Sends one request and answers with its 2xx reply; everything else is a `CommandError` that says what to do. */
export type Rest = (call: Call) => Promise<Answer>

/** A REST client for `target`. It never follows redirects and never repeats a request. */
export function createRest(target: Target, environment: Environment): Rest {
  const { clock = systemClock } = environment
  return async (call) => {
    const startedAt = clock.now()
    const answer = await send(target, call, clock)
    traceExchange(environment, addressOf(target), call, answer, clock.now() - startedAt)
    if ((answer.status >= 200 && answer.status < 300) || call.answered?.includes(answer.status)) return answer
    throw refusal(call, answer)
  }
}

/**
 * Every page of a list: follows `x-ms-continuation` until it is absent or `top` items are there. With `admits` only
 * those that it lets through are kept and counted, so that nothing else of a large list is held.
 */
export async function listAll(
  rest: Rest,
  call: Call,
  top = Number.POSITIVE_INFINITY,
  admits?: (item: unknown) => boolean,
): Promise<unknown[]> {
  const items: unknown[] = []
  let continuation: string | undefined
  do {
    const few = admits === undefined && Number.isFinite(top)
    const page = few ? { 'x-ms-max-item-count': String(top - items.length) } : {}
    const next = continuation === undefined ? {} : { 'x-ms-continuation': continuation }
    const { body, headers } = await rest({ ...call, headers: { ...call.headers, ...page, ...next } })
    if (!Array.isArray(body)) throw refused('Expected a list as the answer, found something else. Is this the service?')
    items.push(...(admits === undefined ? body : body.filter(admits)))
    continuation = headers['x-ms-continuation'] as string | undefined
  } while (continuation !== undefined && items.length < top)
  return items.slice(0, top)
}

/** A path from literal segments and ids; each is percent-encoded. An empty one would name another resource. */
export function pathOf(...segments: readonly string[]): string {
  if (segments.includes('')) throw usage('Expected an ID or a name, found an empty text.')
  return `/${segments.map((segment) => encodeURIComponent(segment.toWellFormed())).join('/')}`
}

/** `If-Match` for a change: the etag given, else any. */
export const ifMatch = (etag: string | undefined): Record<string, string> => ({ 'If-Match': etag ?? '*' })

function send(target: Target, call: Call, clock: Clock): Promise<Answer> {
  const body = call.lines ?? (call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body)))
  return new Promise((resolve, reject) => {
    const outgoing = open(target, call, {
      Accept: 'application/json',
      Authorization: authorization(target, clock),
      ...(body && { 'Content-Type': 'application/json; charset=utf-8' }),
      'Content-Length': String(body?.length ?? 0),
      ...call.headers,
    })
    const fail = (cause: Error) => {
      outgoing.destroy()
      reject(unreachable(target, cause))
    }
    outgoing.setTimeout(limits.cliRequestMs, () => fail(new Error(`no answer within ${limits.cliRequestMs / 1000} s`)))
    outgoing.on('error', fail)
    outgoing.on('response', (incoming) => void read(incoming).then(resolve, fail))
    outgoing.end(body)
  })
}

async function read(incoming: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    length += chunk.length
    if (length > limits.cliAnswerBytes) throw new Error(`an answer of more than ${limits.cliAnswerBytes} bytes`)
  }
  const body = parse(Buffer.concat(chunks).toString('utf8'))
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, body }
}

/** Opens the connection of one request; commands are short, so none is kept alive. */
function open(target: Target, { method, path }: Call, headers: Record<string, string>): ClientRequest {
  if (target.kind === 'bearer') {
    const { protocol, hostname, port, pathname } = target.url
    const request = protocol === 'https:' ? httpsRequest : httpRequest
    const host = hostname.replace(/^\[|\]$/g, '')
    return request({ host, port, path: pathname.replace(/\/$/, '') + path, method, headers, agent: false })
  }
  const { dial, hostName, ca } = target
  // The certificate must name the host of the connection string, whatever address is dialled.
  const name = splitHost(hostName).host
  const tls = { ca, agent: false, ...(isIP(name) === 0 && { servername: name }) } as const
  return httpsRequest({ ...dial, ...tls, path, method, setHost: false, headers: { Host: hostName, ...headers } })
}

function authorization(target: Target, clock: Clock): string {
  if (target.kind === 'bearer') return `Bearer ${target.token}`
  return sasOf(target, Math.floor(clock.now() / 1000) + limits.cliTokenSeconds)
}

function sasOf({ hostName, policy, key: encoded }: ServiceTarget, expiresAt: number): string {
  const key = decodeKey(encoded)
  if (key === undefined)
    throw usage('Expected SharedAccessKey to be base64 of 16 to 64 bytes, found something else. Copy it again, whole.')
  return signSas({ resource: hostName, key, expiresAt, policy, encode: true })
}

function parse(text: string): unknown {
  if (text.trim() === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** What the service said no to, in its own words: DPS, hub and management bodies (dps.md 1.6, hub-service.md 2.7, dps.md 7.2). */
export function refusal({ method, path }: Call, { status, body }: Answer): CommandError {
  const { code, message, trackingId } = errorOf(body)
  const codeText = code === undefined || code === String(status) ? '' : ` ${code}`
  const tracking = trackingId === undefined ? '' : ` (tracking ID ${trackingId})`
  const text = `the service refused ${method} ${path.split('?')[0]} with ${status}${codeText}: ${message}${tracking}`
  return status === 404 ? notFound(text) : refused(text)
}

function errorOf(body: unknown): { code?: string; message: string; trackingId?: string } {
  if (!isObject(body))
    return { message: typeof body === 'string' && body !== '' ? body.slice(0, 500) : 'no reason given' }
  if (typeof body['Message'] === 'string') {
    const [, code, text] = /^ErrorCode:(\w+);?(.*)$/s.exec(body['Message']) ?? []
    const [, trackingId] = /Tracking ID:(\S+)/.exec(String(body['ExceptionMessage'] ?? '')) ?? []
    return { message: text ?? body['Message'], ...(code && { code }), ...(trackingId && { trackingId }) }
  }
  const inner = isObject(body['error']) ? body['error'] : body
  const code = inner['errorCode'] ?? inner['code']
  const { message, trackingId } = inner
  return {
    message: typeof message === 'string' ? message : JSON.stringify(withoutKeys(body)).slice(0, 500),
    ...(code !== undefined && { code: String(code) }),
    ...(typeof trackingId === 'string' && trackingId !== '' && { trackingId }),
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Nothing listens there: start "muster up", or check that the ready file is not of an earlier run.',
  ENOTFOUND: 'The name does not resolve: use --ready-file, which also tells the address, or add it to /etc/hosts.',
  SELF_SIGNED_CERT_IN_CHAIN: 'Its CA is not trusted here: name it with --ca FILE (the ready file calls it caFile).',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'Its CA is not trusted here: name it with --ca FILE (the ready file calls it caFile).',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    'Its CA is not trusted here: name it with --ca FILE (the ready file calls it caFile).',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'The certificate is for other names: use one of them, or give "muster up" this one with --host.',
}

const addressOf = (target: Target): string =>
  target.kind === 'bearer' ? target.url.origin : `https://${target.dial.host}:${target.dial.port}`

function unreachable(target: Target, cause: Error): CommandError {
  const where = addressOf(target)
  const code = (cause as NodeJS.ErrnoException).code ?? ''
  const advice = ADVICE[code]
  // A certificate may be for hundreds of names, and Node tells all of them.
  const found = cause.message.length > 300 ? `${cause.message.slice(0, 300)} …` : cause.message
  return refused(`Expected an answer from ${where}, found ${found}.${advice ? ` ${advice}` : ''}`, cause)
}
