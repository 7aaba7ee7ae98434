import type { LightMyRequestResponse } from 'fastify'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { dpsDevice } from '../../src/endpoints/http/dps-device.ts'
import { dpsEnrollments } from '../../src/endpoints/http/dps-enrollments.ts'
import { dpsRegistrations } from '../../src/endpoints/http/dps-registrations.ts'
import { createHttpEndpoint, type Routes } from '../../src/endpoints/http/server.ts'
import { rememberPeer } from '../../src/wire/peer.ts'
import { type ProvisioningRoom, provisioningRoom, type RoomOptions } from './provisioning.ts'
import { sasToken } from './tokens.ts'

export const HOST = 'dps.dps.localhost'

export interface Asked {
  readonly headers?: Record<string, string>
  /** Sent as JSON; a text or bytes as they are. */
  readonly body?: unknown
  /** Default: of the policy that may do everything; undefined: none. */
  readonly token?: string | undefined
  /** Presented in TLS: DER, leaf first. */
  readonly chain?: readonly Buffer[]
}

export interface Answered {
  readonly status: number
  readonly headers: LightMyRequestResponse['headers']
  readonly text: string
  json(): Record<string, unknown>
}

/** The DPS faces on the pretended world of `provisioningRoom`: requests go through the whole HTTP stack, no sockets. */
export async function dpsFaces(options: RoomOptions = {}) {
  const room = await provisioningRoom(options)
  const needs = { ...room, random: seededRandom(5), log: silentLog }
  const connection: { chain: readonly Buffer[]; proofs: number } = { chain: [], proofs: 0 }
  const onConnection: Routes = (scope) => {
    scope.addHook('onRequest', async ({ raw }) => {
      const proved = () => void connection.proofs++
      rememberPeer(raw.socket, { chain: connection.chain, address: 'test', proved })
    })
    dpsDevice(needs)(scope)
  }
  const { app } = await createHttpEndpoint(needs, [onConnection, dpsEnrollments(needs), dpsRegistrations(needs)])

  const policyToken = (keyName = 'provisioningserviceowner', sr = HOST, of = room.service): string => {
    const key = of.policies.find((policy) => policy.keyName === keyName)!.primaryKey
    return sasToken({ sr: encodeURIComponent(sr), skn: keyName, key, se: Math.floor(room.clock.now() / 1000) + 3600 })
  }

  async function ask(method: Method, url: string, asked: Asked = {}): Promise<Answered> {
    const token = 'token' in asked ? asked.token : policyToken()
    connection.chain = asked.chain ?? []
    const raw = typeof asked.body === 'string' || Buffer.isBuffer(asked.body)
    const { statusCode, headers, body } = await app.inject({
      method,
      url,
      headers: {
        host: HOST,
        'content-type': 'application/json; charset=utf-8',
        ...(token !== undefined && { authorization: token }),
        ...asked.headers,
      },
      ...(asked.body !== undefined && {
        payload: raw ? (asked.body as string | Buffer) : JSON.stringify(asked.body),
      }),
    })
    return { status: statusCode, headers, text: body, json: () => JSON.parse(body) as Record<string, unknown> }
  }

  return { room: room as ProvisioningRoom, ask, policyToken, connection }
}

type Method = 'GET' | 'PUT' | 'POST' | 'DELETE' | 'PATCH'
