import { expect, test } from 'vitest'
import { dpsFaces, HOST } from '../../../tests/support/dps-faces.ts'
import { caller, certificateClaim, create, HUB_A, until } from '../../../tests/support/provisioning.ts'
import { dpsTokens } from '../../../tests/support/tokens.ts'
import { limits } from '../../base/limits.ts'
import { silentLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { issueDeviceCertificate } from '../../crypto/issuing.ts'
import { Throttled } from '../../provisioning/provisioning.ts'
import { rememberPeer } from '../../wire/peer.ts'
import { dpsDevice } from './dps-device.ts'
import { createHttpEndpoint, type Routes } from './server.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const { room, ask, connection } = await dpsFaces({ linked: [HUB_A], settings: { retryAfterSeconds: 5 } })
const { idScope } = room.service
const V = 'api-version=2021-06-01'
const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } }
await room.provisioning.enrollments.put(caller, room.service, 'dev', { registrationId: 'dev', attestation }, create)
const token = dpsTokens['rust']!(idScope, 'dev', KEY, room.clock.now() / 1000)
const registration = `/${idScope}/registrations/dev`

test('register, poll, look up: codes, headers and bodies', async () => {
  const accepted = await ask('PUT', `${registration}/register?${V}`, { token, body: { registrationId: 'dev' } })
  expect(accepted.status).toBe(202)
  expect(accepted.headers).toMatchObject({
    'retry-after': '5',
    location: `https://${HOST}${registration}/register`,
    'content-type': 'application/json; charset=utf-8',
    'strict-transport-security': 'max-age=31536000; includeSubDomains',
    'x-ms-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
  })
  const { operationId } = accepted.json()
  expect(accepted.json()).toEqual({ operationId: expect.any(String), status: 'assigning' })
  const poll = () => ask('GET', `${registration}/operations/${operationId}?${V}`, { token })
  await until(async () => (await poll()).status === 200)
  const final = await poll()
  expect(final.headers).not.toHaveProperty('retry-after')
  expect(final.json()).toMatchObject({
    operationId,
    status: 'assigned',
    registrationState: { assignedHub: HUB_A, deviceId: 'dev', substatus: 'initialAssignment' },
  })
  expect(final.text).not.toContain('null')
  const state = await ask('POST', `${registration}?${V}`, { token, body: { registrationId: 'dev' } })
  expect([state.status, state.json()]).toEqual([200, final.json()['registrationState']])
})

test('a poll that is still running: 202 with Retry-After and the id in registrationState', async () => {
  const slow = await dpsFaces({ settings: { assigningMs: 60_000 } })
  const scope = slow.room.service.idScope
  const document = { registrationId: 'dev', attestation }
  await slow.room.provisioning.enrollments.put(caller, slow.room.service, 'dev', document, create)
  const own = dpsTokens['node']!(scope, 'dev', KEY, slow.room.clock.now() / 1000)
  const { operationId } = (await slow.ask('PUT', `/${scope}/registrations/dev/register?${V}`, { token: own })).json()
  const poll = await slow.ask('GET', `/${scope}/registrations/dev/operations/${operationId}?${V}`, { token: own })
  expect([poll.status, poll.headers['retry-after'], poll.json()]).toEqual([
    202,
    '3',
    { operationId, status: 'assigning', registrationState: { registrationId: 'dev', status: 'assigning' } },
  ])
})

test('a certificate of the connection, when there is no token; proof lifts the deadline', async () => {
  const now = room.clock.now()
  const { certificate } = await issueDeviceCertificate({ commonName: 'x509', days: 1, keyType: 'ec', now })
  const x509 = { type: 'x509', x509: { clientCertificates: { primary: { certificate } } } }
  const document = { registrationId: 'x509', attestation: x509 }
  await room.provisioning.enrollments.put(caller, room.service, 'x509', document, create)
  const claim = certificateClaim(room, 'x509', certificate)
  if (claim.kind !== 'x509') throw new Error('expected a certificate')
  const path = `/${idScope}/registrations/x509/register?${V}`
  connection.proofs = 0
  expect((await ask('PUT', path, { token: undefined })).status).toBe(401)
  expect((await ask('PUT', path, { chain: claim.chain, token })).status).toBe(401)
  expect(connection.proofs).toBe(0)
  expect((await ask('PUT', path, { chain: claim.chain, token: undefined })).status).toBe(202)
  expect(connection.proofs).toBe(1)
})

test.each([
  ['an empty body', undefined],
  ['null', 'null'],
  ['unknown members', { registrationId: 'DEV', more: { deep: [1] } }],
  ['a payload that is a text', { payload: '{"a":1}' }],
])('a register body may be %s', async (_what, body) => {
  expect((await ask('PUT', `${registration}/register?${V}`, { token, body })).status).toBe(202)
})

test('whatever the headers say about the body', async () => {
  const headers = { 'content-type': 'text/plain', 'content-encoding': 'utf-8', accept: 'application/xml' }
  const body = { registrationId: 'dev' }
  expect((await ask('PUT', `${registration}/register?${V}`, { token, headers, body })).status).toBe(202)
})

test.each([
  ['no JSON', { body: '{"registrationId":' }, 400004],
  ['an array', { body: [] }, 400004],
  ['another id', { body: { registrationId: 'other' } }, 400202],
  ['TPM keys beside a token', { body: { tpm: { endorsementKey: 'AAAA' } } }, 400004],
  ['too large', { body: { payload: 'x'.repeat(limits.dpsBodyBytes) } }, 413001],
  ['nobody', { token: undefined }, 401002],
])('a register is refused: %s', async (_what, asked, code) => {
  const answer = await ask('PUT', `${registration}/register?${V}`, { token, ...asked })
  expect(answer.status).toBe(Math.floor(code / 1000))
  expect(answer.headers).toMatchObject({
    'x-ms-error-code': String(code),
    'content-type': 'application/json; charset=utf-8',
    'strict-transport-security': expect.any(String),
  })
  expect(answer.json()).toEqual({
    errorCode: code,
    trackingId: answer.headers['x-ms-request-id'],
    message: expect.any(String),
    timestampUtc: '2026-01-01T00:00:00.0000000Z',
  })
})

test.each(['', '?api-version=', '?api-version=2021', '?api-version=2021-06-01-beta'])(
  'api-version is needed everywhere: %j',
  async (query) => {
    for (const answer of [
      await ask('PUT', `${registration}/register${query}`, { token }),
      await ask('GET', `${registration}/operations/5.0.x${query}`, { token }),
      await ask('POST', `${registration}${query}`, { token }),
    ])
      expect([answer.status, answer.json()['errorCode']]).toEqual([400, 400001])
  },
)

test('96 KB are taken, letter case of the path and a trailing slash do not matter, ids are percent-decoded', async () => {
  const body = { payload: 'x'.repeat(limits.dpsBodyBytes - 20) }
  const path = `/${idScope.toLowerCase()}/Registrations/%64ev/REGISTER/?API-Version=2021-06-01&forceRegistration=true`
  expect((await ask('PUT', path, { token, body })).status).toBe(202)
})

test('an id that can be none', async () => {
  const answer = await ask('PUT', `/${idScope}/registrations/a%20b/register?${V}`, { token })
  expect([answer.status, answer.json()['errorCode']]).toEqual([400, 400202])
})

test('too many waiting: 429 with Retry-After, and the connection is no stranger to be cut', async () => {
  const { registrations } = room.provisioning
  const full = { ...room.provisioning, registrations: { ...registrations, register: refuse } }
  const needs = { ...room, provisioning: full, log: silentLog, random: systemRandom }
  let proved = 0
  const face: Routes = (scope) => {
    scope.addHook('onRequest', async ({ raw }) =>
      rememberPeer(raw.socket, { chain: [], address: 'test', proved: () => void proved++ }),
    )
    dpsDevice(needs)(scope)
  }
  const { app } = await createHttpEndpoint(needs, [face])
  const answer = await app.inject({
    method: 'PUT',
    url: `${registration}/register?${V}`,
    headers: { authorization: token },
  })
  expect([answer.statusCode, answer.headers['retry-after'], answer.json().errorCode]).toEqual([429, '7', 429001])
  expect(proved).toBe(1)

  async function refuse(): Promise<never> {
    throw new Throttled(7)
  }
})
