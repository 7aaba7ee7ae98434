import type { Clock } from '../base/clock.ts'
import { isObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { signSas } from '../crypto/sas.ts'
import type { Outbound } from './outbound.ts'

/** A hub somewhere else, and the policy under which it is asked. */
export interface HubAddress {
  /** May carry `:port`. */
  readonly hostName: string
  readonly keyName: string
  /** Decoded. */
  readonly key: Buffer
}

export interface HubCall {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** Segments; each is percent-encoded. */
  readonly path: readonly string[]
  readonly ifMatch?: string
  /** Sent as JSON. */
  readonly body?: unknown
}

export interface HubAnswer {
  readonly status: number
  /** Name of the error, such as `DeviceNotFound`; undefined where there is none (hub-service.md 2.7). */
  readonly error: string | undefined
  /** What the hub says about it. */
  readonly message: string
  /** The parsed JSON; undefined where the body is empty or something else. */
  readonly body: unknown
}

/** One call of a hub's service API (hub-service.md 1.3, 1.4), whatever it is answered. Rejects with an OutboundError. */
export type HubClient = (call: HubCall) => Promise<HubAnswer>

const API_VERSION = '2021-04-12'

export function createHubClient(
  { outbound, clock }: { readonly outbound: Outbound; readonly clock: Clock },
  { hostName, keyName, key }: HubAddress,
): HubClient {
  return async ({ method, path, ifMatch, body }) => {
    const expiresAt = clock.now() / 1000 + limits.linkedHubTokenSeconds
    const answer = await outbound.send({
      method,
      url: new URL(`https://${hostName}/${path.map(encodeURIComponent).join('/')}?api-version=${API_VERSION}`),
      headers: {
        Accept: 'application/json',
        Authorization: signSas({ resource: hostName, key, expiresAt, policy: keyName }),
        ...(ifMatch !== undefined && { 'If-Match': ifMatch }),
        ...(body !== undefined && { 'Content-Type': 'application/json; charset=utf-8' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      answerBytes: limits.linkedHubAnswerBytes,
    })
    const parsed = parse(answer.body.toString('utf8'))
    const header = answer.headers['iothub-errorcode']
    return { status: answer.status, ...errorOf(parsed, typeof header === 'string' ? header : undefined), body: parsed }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `{"Message": "ErrorCode:<Name>;<text>"}`; the name also stands in a header. */
function errorOf(body: unknown, header: string | undefined): { error: string | undefined; message: string } {
  const told = isObject(body) && typeof body['Message'] === 'string' ? body['Message'] : ''
  const [, name, text = told] = /^ErrorCode:(\w+);?(.*)$/s.exec(told) ?? []
  return { error: header ?? name, message: text.slice(0, limits.answerExcerpt) }
}
