import type { IncomingHttpHeaders } from 'node:http'
import { Agent, request } from 'node:https'
import type { Running } from './hub.ts'
import { sasToken, unixNow } from './tokens.ts'

export interface Call {
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON; `text` is sent as it is instead. */
  readonly body?: unknown
  readonly text?: string
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** The parsed JSON; undefined for an empty body. */
  readonly body: unknown
}

/** A plain HTTPS client for one service, its requests signed with a shared access policy. */
export type Rest = (method: string, path: string, call?: Call) => Promise<Answer>

export interface ConnectionString {
  readonly hostName: string
  readonly keyName: string
  readonly key: string
}

export function parseConnectionString(text: string): ConnectionString {
  const parts = new Map(
    text.split(';').map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]),
  )
  const read = (name: string): string => parts.get(name) ?? ''
  return { hostName: read('HostName'), keyName: read('SharedAccessKeyName'), key: read('SharedAccessKey') }
}

/** As the az CLI signs: `quote_plus(host)`, port included, valid for ten minutes (dps.md 6.4, 6.7). */
export const policyToken = ({ hostName, keyName, key }: ConnectionString, seconds = 600): string =>
  sasToken({ sr: encodeURIComponent(hostName), key, se: unixNow() + seconds, skn: keyName })

export function restOf(muster: Running, connectionString: string): Rest {
  const connection = parseConnectionString(connectionString)
  return signedRest(muster, connection.hostName, () => policyToken(connection))
}

/** The same with any credential; undefined: none. */
export function signedRest(muster: Running, hostName: string, token: () => string | undefined): Rest {
  const { address, ports } = muster.addresses
  const agent = new Agent({ keepAlive: true, ca: muster.ca })
  return (method, path, call = {}) =>
    new Promise((resolve, reject) => {
      const text = call.text ?? (call.body === undefined ? undefined : JSON.stringify(call.body))
      const authorization = token()
      const headers = {
        Host: hostName,
        Accept: 'application/json',
        ...(authorization !== undefined && { Authorization: authorization }),
        ...(text !== undefined && { 'Content-Type': 'application/json; charset=utf-8' }),
        'Content-Length': String(Buffer.byteLength(text ?? '')),
        ...call.headers,
      }
      // The certificate is checked against the address that is dialled, not against whatever Host says.
      const target = { host: address, servername: '', port: ports.https, agent } as const
      const outgoing = request({ ...target, method, path, headers }, (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.on('error', reject)
        incoming.on('end', () => {
          const received = Buffer.concat(chunks).toString('utf8')
          const body = received === '' ? undefined : (JSON.parse(received) as unknown)
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text: received, body })
        })
      })
      outgoing.on('error', reject)
      outgoing.end(text)
    })
}
