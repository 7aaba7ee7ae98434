import type { Running } from './hub.ts'
import { type Rest, signedRest } from './rest.ts'
import { succeeded } from './service-client.ts'
import { sasToken, unixNow } from './tokens.ts'

/** `registrationState` of dps.md 1.5. */
export interface State {
  readonly status: string
  readonly substatus?: string
  readonly assignedHub?: string
  readonly deviceId?: string
  readonly errorCode?: number
  readonly errorMessage?: string
  readonly createdDateTimeUtc?: string
  readonly lastUpdatedDateTimeUtc?: string
  readonly etag?: string
  readonly payload?: unknown
}

export interface Registering {
  readonly registrationId: string
  /** Base64; the device's own. */
  readonly key: string
  readonly body?: object
  /** Runs between two polls. */
  readonly pause?: () => Promise<void>
}

/** One device that registers by its symmetric key over HTTPS. */
export interface RegisteringDevice {
  /** Registers and polls until the answer is final. */
  register(): Promise<State>
  /** Asks after the last operation again, as a client of this api-version. */
  asked(apiVersion: string): Promise<State>
}

const VERSION = '2021-06-01'

export function registeringDevice(muster: Running, registering: Registering): RegisteringDevice {
  const { registrationId, key, body = {}, pause = async () => {} } = registering
  const scope = muster.addresses.idScope
  const sr = `${scope}/registrations/${registrationId}`
  const token = sasToken({ sr, key, se: unixNow() + 600 })
  const device: Rest = signedRest(muster, 'dps.example.net', () => token)
  let operationId: unknown

  const poll = (apiVersion: string) => device('GET', `/${sr}/operations/${operationId}?api-version=${apiVersion}`)
  return {
    async register() {
      const answer = succeeded(await device('PUT', `/${sr}/register?api-version=${VERSION}`, { body }))
      operationId = answer['operationId']
      for (;;) {
        const polled = await poll(VERSION)
        if (polled.status !== 202) return succeeded(polled)['registrationState'] as State
        await pause()
      }
    },
    asked: async (apiVersion) => succeeded(await poll(apiVersion))['registrationState'] as State,
  }
}

/** Registers a device once. */
export const register = (muster: Running, registrationId: string, key: string, body: object = {}): Promise<State> =>
  registeringDevice(muster, { registrationId, key, body }).register()
