import { expect } from 'vitest'
import { hubOf } from './hub.ts'
import type { TestMuster } from './muster.ts'
import { exchangeRaw, type RawAnswer, type RawTarget, requestText } from './raw-https.ts'
import { sasToken, unixNow } from './tokens.ts'

/** The hub calls of the Edge daemons, with the device's own credentials (edge.md 1.6.3, 4.5 and 9). */

/** A daemon: how it proves who it is. */
export type Daemon = { readonly token: () => string } | { readonly certificate: NonNullable<RawTarget['credential']> }

/** identityd: the whole resource in lower case, slashes as they are, 30 seconds, no skn. */
export const identityd = (hostName: string, deviceId: string, key: string): Daemon => ({
  token: () => sasToken({ sr: `${hostName}/devices/${deviceId}`.toLowerCase(), key, se: unixNow() + 30 }),
})
/** The daemon of 1.1: the same, its slashes encoded, an hour. */
export const edge11 = (hostName: string, deviceId: string, key: string): Daemon => ({
  token: () =>
    sasToken({
      sr: `${hostName}/devices/${deviceId}`.toLowerCase().replaceAll('/', '%2F').replaceAll('=', '%3D'),
      key,
      se: unixNow() + 3600,
    }),
})

export interface Sending {
  readonly body?: object
  readonly ifMatch?: string
  readonly hostName?: string
}

/** One call of a hub of this Muster; the hub is the first one unless told otherwise. */
export function sendAs(
  muster: TestMuster,
  daemon: Daemon,
  method: string,
  path: string,
  { body, ifMatch, hostName = hubOf(muster).hostName }: Sending = {},
): Promise<RawAnswer> {
  const { address, ports } = muster.addresses
  const text = body === undefined ? '' : JSON.stringify(body)
  const head = [
    `${method} ${path}?api-version=2017-11-08-preview HTTP/1.1`,
    `host: ${hostName}`,
    ...('token' in daemon ? [`authorization: ${daemon.token()}`] : []),
    ...(ifMatch === undefined ? [] : [`if-match: ${ifMatch}`]),
    ...(body === undefined ? [] : ['content-type: application/json', 'content-length: {length}']),
  ]
  const credential = 'certificate' in daemon ? daemon.certificate : undefined
  return exchangeRaw({ address, port: ports.https, ca: muster.ca, credential }, requestText(head.join('\n'), text))
}

export type Module = Record<string, unknown> & { readonly generationId: string }

/** What identityd makes of an answer: JSON with the right type, or an error with a Message. */
export function module(answer: RawAnswer): Module {
  expect(answer.statusLine, answer.body).toBe('HTTP/1.1 200 OK')
  expect(answer.header('content-type')).toContain('application/json')
  const found = answer.json() as Module
  expect(found).toMatchObject({
    moduleId: expect.any(String),
    deviceId: expect.any(String),
    generationId: expect.any(String),
  })
  return found
}

export function modules(answer: RawAnswer): Module[] {
  expect(answer.statusLine, answer.body).toBe('HTTP/1.1 200 OK')
  const found = answer.json() as Module[]
  for (const each of found) expect(['none', 'sas', 'x509']).toContain((each['authentication'] as { type: string }).type)
  return found
}
