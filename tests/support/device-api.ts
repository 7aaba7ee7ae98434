import { newKey, symmetricKeys } from './enrollments.ts'
import type { Running } from './hub.ts'
import { exchangeRaw, type RawAnswer, type RawTarget, requestText } from './raw-https.ts'
import { enrolling } from './service-client.ts'
import { dpsTokens, unixNow } from './tokens.ts'

export interface Asking {
  readonly registrationId: string
  readonly idScope?: string
  /** The whole header; absent: none. */
  readonly authorization?: string
  readonly certificate?: RawTarget['credential']
  readonly apiVersion?: string
  readonly body?: string
}

/** The Host header of every request: the device endpoint is chosen by ID scope, not by name. */
export const DEVICE_HOST = 'dps.example.net'
export const DEVICE_VERSION = '2019-03-31'

/** The device API over HTTPS as a plain client speaks it, one connection per request (dps.md 1). */
export interface DeviceApi {
  ask(method: string, path: string, asking: Asking): Promise<RawAnswer>
  /** `/{scope}/registrations/{id}` */
  path(asking: Asking): string
  register(asking: Asking): Promise<RawAnswer>
  poll(asking: Asking, operationId: string): Promise<RawAnswer>
  /** Polls until the answer is final. */
  settle(asking: Asking, operationId: string): Promise<RawAnswer>
  /** Registers and polls until the answer is final. */
  settled(asking: Asking): Promise<RawAnswer>
  token(registrationId: string, key: string, idScope?: string): string
  /** A device of its own enrollment, with a fresh key. */
  enrolled(registrationId: string, document?: object): Promise<Asking>
}

export const operationOf = (answer: RawAnswer): string => (answer.json() as { operationId: string }).operationId

export const headersOf = (answer: RawAnswer): Record<string, string> =>
  Object.fromEntries(answer.headers.map(([name, value]) => [name.toLowerCase(), value]))

export const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** Seven fraction digits, as in every trace of the real service (dps.md 1.5). */
export const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/

export function deviceApi(muster: Running): DeviceApi {
  const { address, ports, idScope: ownScope } = muster.addresses

  const ask = (method: string, path: string, asking: Asking): Promise<RawAnswer> => {
    const { authorization, certificate, body = '' } = asking
    const head = [
      `${method} ${path} HTTP/1.1`,
      `Host: ${DEVICE_HOST}`,
      'Content-Type: application/json; charset=utf-8',
      'Content-Length: {length}',
      ...(authorization === undefined ? [] : [`Authorization: ${authorization}`]),
    ]
    const target = { address, port: ports.https, ca: muster.ca, credential: certificate }
    return exchangeRaw(target, requestText(head.join('\n'), body))
  }
  const path = ({ registrationId, idScope = ownScope }: Asking): string =>
    `/${idScope}/registrations/${encodeURIComponent(registrationId)}`
  const version = ({ apiVersion = DEVICE_VERSION }: Asking): string => `api-version=${apiVersion}`
  const register = (asking: Asking): Promise<RawAnswer> =>
    ask('PUT', `${path(asking)}/register?${version(asking)}`, {
      body: JSON.stringify({ registrationId: asking.registrationId }),
      ...asking,
    })
  const poll = (asking: Asking, operationId: string): Promise<RawAnswer> =>
    ask('GET', `${path(asking)}/operations/${operationId}?${version(asking)}`, { ...asking, body: '' })
  const settle = async (asking: Asking, operationId: string): Promise<RawAnswer> => {
    for (const deadline = Date.now() + 10_000; ; ) {
      const answer = await poll(asking, operationId)
      if (answer.status !== 202 || Date.now() > deadline) return answer
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const token = (registrationId: string, key: string, idScope = ownScope): string =>
    dpsTokens['node']?.(idScope, registrationId, key, unixNow()) ?? ''
  return {
    ask,
    path,
    register,
    poll,
    settle,
    settled: async (asking) => settle(asking, operationOf(await register(asking))),
    token,
    enrolled: async (registrationId, document = {}) => {
      const key = newKey()
      await enrolling(muster).enroll(registrationId, { ...symmetricKeys(key, newKey()), ...document })
      return { registrationId, authorization: token(registrationId, key) }
    },
  }
}
