import { expect } from 'vitest'
import type { MusterProcess } from '../support/process.ts'
import { type Answer, ask, sas, serviceToken, type Target } from '../support/raw-client.ts'
import type { TpmDouble } from '../support/tpm-double.ts'

/** Calls of a Muster that is killed under them, or whose disk fills up; shared by the fault tests. */

export const VERSION = 'api-version=2021-06-01'

export const target = ({ ready, ca }: MusterProcess, port: 'https' | 'mqtts' = 'https'): Target => ({
  host: ready.address,
  port: ready.ports[port],
  ca,
})

/** The network's word that the service is gone; anything else is a finding. */
export const isBroken = (error: unknown): boolean =>
  error instanceof Error &&
  /ECONNRESET|ECONNREFUSED|EPIPE|socket hang up|cut off|connection ended|Closed before|disconnected before secure/i.test(
    `${(error as NodeJS.ErrnoException).code} ${error.message}`,
  )

/** The service API of the provisioning service. */
export const dpsService = (
  muster: MusterProcess,
  method: string,
  path: string,
  body?: object,
  headers = {},
): Promise<Answer> =>
  ask(target(muster), {
    method,
    path: `${path}?api-version=2021-10-01`,
    headers: { authorization: serviceToken(muster.ready.dps.connectionString), ...headers },
    ...(body === undefined ? {} : { body }),
  })

/** The service API of a hub, by default of the one that every Muster has, asked at `at`. */
export const hubService = (
  at: Target,
  connectionString: string,
  method: string,
  path: string,
  body?: object,
): Promise<Answer> =>
  ask(at, {
    method,
    path: `${path}?api-version=2021-04-12`,
    headers: {
      authorization: serviceToken(connectionString),
      host: /HostName=([^;]+)/.exec(connectionString)?.[1] ?? '',
    },
    ...(body === undefined ? {} : { body }),
  })

/** The management API; only success will do. */
export async function manage(muster: MusterProcess, method: string, path: string, body?: object): Promise<unknown> {
  const management = `/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices`
  const response = await fetch(`${muster.ready.management.url}${management}${path}?api-version=2021-10-15`, {
    method,
    headers: { authorization: `Bearer ${muster.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  expect(response.ok, text).toBe(true)
  return JSON.parse(text)
}

/** `/{scope}/registrations/{id}/{rest}` of the device API. */
export const devicePath = ({ ready }: MusterProcess, id: string, rest: string): string =>
  `/${ready.idScope}/registrations/${id}/${rest}?${VERSION}`

/** What a device signs with towards the provisioning service. */
export const dpsToken = ({ ready }: MusterProcess, id: string, key: string): string =>
  sas(`${ready.idScope}/registrations/${id}`, key, 'registration')

/** A TPM device shows its keys and unwraps what it is to sign with: the token made with that. */
export async function challenged(muster: MusterProcess, id: string, tpm: TpmDouble): Promise<string> {
  const body = { registrationId: id, tpm: tpm.ids }
  const answer = await ask(target(muster), { method: 'PUT', path: devicePath(muster, id, 'register'), body })
  expect(answer.status, JSON.stringify(answer.body)).toBe(401)
  const { authenticationKey } = answer.body as { authenticationKey: string }
  return dpsToken(muster, id, tpm.activate(authenticationKey).toString('base64'))
}
