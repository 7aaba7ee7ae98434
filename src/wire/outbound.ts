import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'

export interface OutboundCall {
  readonly method: string
  /** http or https. */
  readonly url: URL
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
  /** A longer answer is refused. */
  readonly answerBytes: number
}

export interface OutboundAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Why a call has no answer. The message names address and path, never the query: it may hold a key. */
export class OutboundError extends Error {
  override readonly name = 'OutboundError'
  readonly kind: 'forbidden' | 'unreachable' | 'late' | 'oversized' | 'closed'

  constructor(kind: OutboundError['kind'], message: string, cause?: unknown) {
    super(message, { cause })
    this.kind = kind
  }
}

export interface OutboundNeeds {
  readonly clock: Clock
  /** Port of the management listener on loopback, which no call may reach; calls wait until it is known. */
  readonly managementPort: Promise<number>
  /** Hosts that may be called: `host`, `host:port`, `*.domain`. Empty: any. */
  readonly allowed: readonly string[]
  /** PEM of authorities that are trusted besides the public ones. */
  readonly ca: string | undefined
}

/** The way out: what the service calls by itself goes through here (webhooks, linked hubs). */
export interface Outbound {
  /**
   * One request, one connection. Follows no redirect, repeats nothing, verifies TLS, ends within
   * `limits.outboundMs`. Rejects with an OutboundError.
   */
  send(call: OutboundCall): Promise<OutboundAnswer>
  /** Ends what is running and refuses what comes. */
  close(): void
}

export function createOutbound({ clock, managementPort, allowed, ca }: OutboundNeeds): Outbound {
  const running = new Set<(error: OutboundError) => void>()
  let closed = false
  // Node replaces its own authorities by those that are named, so both are.
  const secureContext: SecureContext | undefined =
    ca === undefined ? undefined : createSecureContext({ ca: [...getCACertificates('default'), ca] })

  const closedError = () => new OutboundError('closed', 'The service is stopping.')

  async function exchange(call: OutboundCall, own: (socket: Socket) => void): Promise<OutboundAnswer> {
    const management = await managementPort
    const { url } = call
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const tcp = connectTcp({ host, port: portOf(url) })
    own(tcp)
    await opened(tcp, 'connect')
    // The address that answers, whatever name or notation led to it; nothing was sent yet.
    if (tcp.remotePort === management && isLoopback(tcp.remoteAddress ?? ''))
      throw new OutboundError('forbidden', `${shownUrl(url)} leads to the management API, which is never called.`)
    if (url.protocol === 'http:') return request(tcp, call)
    const names = isIP(host) === 0 ? { servername: host } : {}
    const tls = connectTls({
      socket: tcp,
      host,
      ...names,
      ...(secureContext !== undefined && { secureContext }),
      rejectUnauthorized: true,
    })
    own(tls)
    await opened(tls, 'secureConnect')
    return request(tls, call)
  }

  async function send(call: OutboundCall): Promise<OutboundAnswer> {
    const { url } = call
    if (closed) throw closedError()
    requireAllowed(allowed, url)
    const sockets: Socket[] = []
    const aborted = Promise.withResolvers<never>()
    const late = () =>
      aborted.reject(
        new OutboundError('late', `${shownUrl(url)} gave no answer within ${limits.outboundMs / 1000} seconds.`),
      )
    const timer = clock.after(limits.outboundMs, late)
    running.add(aborted.reject)
    try {
      return await Promise.race([aborted.promise, exchange(call, (socket) => void sockets.push(socket))])
    } catch (thrown) {
      if (thrown instanceof OutboundError) throw thrown
      throw new OutboundError('unreachable', `${shownUrl(url)} could not be reached: ${reasonOf(thrown)}.`, thrown)
    } finally {
      timer.cancel()
      running.delete(aborted.reject)
      for (const socket of sockets) socket.destroy()
    }
  }

  return {
    send,
    close() {
      closed = true
      for (const abort of running) abort(closedError())
    },
  }
}

/** Where a call goes, as people may see it. */
export const shownUrl = ({ origin, pathname }: URL): string => `${origin}${pathname}`

const portOf = ({ protocol, port }: URL): number => (port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port))

const isLoopback = (address: string): boolean => address === '::1' || /^(::ffff:)?127\./i.test(address)

function requireAllowed(allowed: readonly string[], url: URL): void {
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new OutboundError('forbidden', `Only http and https are called, found ${url.protocol}`)
  if (allowed.length === 0) return
  const fits = allowed.some((pattern) => {
    const [, name = '', port] = /^(.*?)(?::(\d+))?$/.exec(pattern.toLowerCase()) ?? []
    if (port !== undefined && Number(port) !== portOf(url)) return false
    return name.startsWith('*.') ? url.hostname.endsWith(name.slice(1)) : url.hostname === name
  })
  if (!fits)
    throw new OutboundError(
      'forbidden',
      `${url.host} is not among the hosts that may be called (setting outbound-allow).`,
    )
}

const opened = (socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.once(event, () => resolve())
    // Stays: a socket that fails later, while nobody listens, must not end the process.
    socket.on('error', reject)
    socket.once('close', () => reject(new Error('the connection was closed')))
  })

const request = (socket: Socket, { method, url, headers, body, answerBytes }: OutboundCall): Promise<OutboundAnswer> =>
  new Promise((resolve, reject) => {
    const outgoing = httpRequest({
      createConnection: () => socket,
      method,
      path: `${url.pathname}${url.search}`,
      setHost: false,
      headers: { Host: url.host, 'Content-Length': Buffer.byteLength(body ?? ''), ...headers },
      maxHeaderSize: limits.httpHeaderBytes,
    })
    outgoing.on('error', reject)
    outgoing.on('response', (incoming) => {
      const { statusCode: status = 0, headers: answered } = incoming
      read(incoming, url, answerBytes).then((read) => resolve({ status, headers: answered, body: read }), reject)
    })
    outgoing.end(body)
  })

async function read(incoming: IncomingMessage, url: URL, most: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > most) throw new OutboundError('oversized', `${shownUrl(url)} answered with more than ${most} bytes.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const UNTRUSTED = /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_\w+)$/

/** Node's words; an AggregateError (several addresses were tried) has only a code. */
function reasonOf(thrown: unknown): string {
  const { message = '', code } = thrown as { message?: string; code?: string }
  const advice = UNTRUSTED.test(code ?? '') ? ' (its CA can be named with the setting outbound-ca)' : ''
  return `${message === '' ? (code ?? 'unknown cause') : message}${advice}`
}
