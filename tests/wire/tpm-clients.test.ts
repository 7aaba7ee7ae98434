import { afterAll, beforeAll, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { connectRaw, exchangeRaw, type RawAnswer, type RawTarget, requestText } from '../support/raw-https.ts'
import { type Enrolling, enrolling, succeeded } from '../support/service-client.ts'
import { dpsTokens, lowerHex, sasToken, unixNow } from '../support/tokens.ts'
import { type TpmDouble, tpmDouble } from '../support/tpm-double.ts'

// TPM attestation as the clients write it that cannot run here (dps.md 4.1, edge.md 4.1), and what each of them insists
// on in the answers (dps.md 1.10, attestation-crypto.md A5).

let muster: TestMuster
let dps: Enrolling
const tpm = tpmDouble()

beforeAll(async () => {
  muster = await startMuster()
  dps = enrolling(muster)
})
afterAll(() => stopClean(muster))

const target = (): RawTarget => ({
  address: muster.addresses.address,
  port: muster.addresses.ports.https,
  ca: muster.ca,
})

const enroll = (registrationId: string, { endorsementKey }: TpmDouble = tpm) =>
  dps.enroll(registrationId, { attestation: { type: 'tpm', tpm: { endorsementKey } } })

interface Client {
  readonly apiVersion: string
  readonly inPath: (registrationId: string) => string
  readonly headers: string
  readonly authorization: string
  readonly first: (registrationId: string, tpm: TpmDouble) => string
  /** Body of the signed PUT. */
  readonly second: (registrationId: string, tpm: TpmDouble) => string
  readonly pollBody?: string
  /** C signs every request anew. */
  readonly signsEveryTime?: boolean
  readonly token: (scope: string, registrationId: string, key: string, now: number) => string
  /** The wrapped key, where the client would go on with the challenge. */
  readonly challenge: (answer: RawAnswer) => string
}

const tpmOf = ({ endorsementKey, storageRootKey }: TpmDouble) => ({ endorsementKey, storageRootKey })
const withTpm = (registrationId: string, device: TpmDouble): string =>
  JSON.stringify({ registrationId, tpm: tpmOf(device) })
const raw = (text: string): string => text
const spelling = (client: string): Client['token'] => dpsTokens[client] ?? (() => client)

type Challenge = { authenticationKey: string; keyName?: unknown; status?: unknown }

const typical = (answer: RawAnswer): string => {
  expect(answer.status).toBe(401)
  return (answer.json() as Challenge).authenticationKey
}

const clients: Readonly<Record<string, Client>> = {
  Node: {
    apiVersion: '2019-03-31',
    inPath: raw,
    headers: `Accept: application/json
      Content-Type: application/json; charset=utf-8
      Request-Id: 7d8a3fbd-3b45-4f43-a3cb-8a4dc7bd8c01
      User-Agent: azure-iot-provisioning-device/1.9.1
      Content-Length: {length}
      Host: global.azure-devices-provisioning.net
      Connection: keep-alive`,
    authorization: 'Authorization',
    first: withTpm,
    second: withTpm,
    pollBody: '{}',
    token: (scope, id, key, now) =>
      sasToken({ sr: encodeURIComponent(`${scope}/registrations/${id}`), key, se: now + 3600, skn: 'registration' }),
    challenge: typical,
  },
  C: {
    apiVersion: '2021-06-01',
    inPath: lowerHex,
    headers: `UserAgent: prov_device_client/1.0
      Accept: application/json
      Connection: keep-alive
      Content-Type: application/json; charset=utf-8
      Host: global.azure-devices-provisioning.net:443
      Content-Length: {length}`,
    authorization: 'Authorization',
    first: (registrationId, device) =>
      `{"registrationId":"${registrationId}","tpm":{"endorsementKey":"${device.endorsementKey}", "storageRootKey":"${device.storageRootKey}"}}`,
    second: (registrationId, device) =>
      `{"registrationId":"${registrationId}","tpm":{"endorsementKey":"${device.endorsementKey}", "storageRootKey":"${device.storageRootKey}"}}`,
    signsEveryTime: true,
    token: spelling('c'),
    challenge: (answer) => {
      const body = answer.json() as Challenge
      expect(body).not.toHaveProperty('status')
      expect(typeof body.keyName).toBe('string')
      return body.authenticationKey
    },
  },
  'C#': {
    apiVersion: '2019-03-31',
    inPath: encodeURIComponent,
    headers: `Host: global.azure-devices-provisioning.net
      Accept: application/json
      User-Agent: Microsoft.Azure.Devices.Provisioning.Client/1.19.4
      Content-Type: application/json; charset=utf-8
      Content-Length: {length}`,
    authorization: 'Authorization',
    first: withTpm,
    second: withTpm,
    token: spelling('csharp'),
    challenge: (answer) => {
      expect((answer.json() as Challenge).keyName ?? 'registration').toBe('registration')
      return typical(answer)
    },
  },
  Java: {
    apiVersion: '2019-03-31',
    inPath: raw,
    headers: `User-Agent: com.microsoft.azure.sdk.iot.provisioning.device/2.1.3
      Accept: application/json
      Content-Type: application/json; charset=utf-8
      Host: global.azure-devices-provisioning.net
      Connection: keep-alive
      Content-Length: {length}`,
    authorization: 'authorization',
    first: (registrationId, device) => JSON.stringify({ tpm: tpmOf(device), registrationId }),
    second: (registrationId, device) => JSON.stringify({ tpm: tpmOf(device), registrationId }),
    token: spelling('java'),
    challenge: typical,
  },
  Rust: {
    apiVersion: '2021-06-01',
    inPath: raw,
    headers: `content-type: application/json
      host: global.azure-devices-provisioning.net
      content-length: {length}`,
    authorization: 'authorization',
    first: (registrationId, device) => JSON.stringify({ registrationId, tpm: tpmOf(device) }),
    second: (registrationId) => JSON.stringify({ registrationId }),
    token: spelling('rust'),
    challenge: (answer) => {
      expect(answer.header('content-type')).toContain('application/json')
      expect(answer.json()).not.toHaveProperty('code')
      return typical(answer)
    },
  },
}

/** One registration on one connection, byte for byte; answers with the key that the TPM holds in the end. */
async function travel(client: Client, registrationId: string): Promise<{ final: RawAnswer; hubKey: string }> {
  const scope = muster.addresses.idScope
  const path = `/${scope}/registrations/${client.inPath(registrationId)}`
  const version = `api-version=${client.apiVersion}`
  const connection = await connectRaw(target())
  try {
    const send = (line: string, body: string | undefined, token?: string): Promise<RawAnswer> => {
      const credential = token === undefined ? '' : `\n${client.authorization}: ${token}`
      return connection.exchange(requestText(`${line} HTTP/1.1\n${client.headers}${credential}`, body))
    }
    const register = `PUT ${path}/register?${version}`
    const key = tpm
      .activate(client.challenge(await send(register, client.first(registrationId, tpm))))
      .toString('base64')
    const sign = (): string => client.token(scope, registrationId, key, unixNow())
    const token = sign()
    const registered = await send(register, client.second(registrationId, tpm), token)
    expect(registered.statusLine).toBe('HTTP/1.1 202 Accepted')
    const { operationId } = registered.json() as { operationId: string }
    for (const deadline = Date.now() + 5_000; ; ) {
      const poll = `GET ${path}/operations/${operationId}?${version}`
      const final = await send(poll, client.pollBody, client.signsEveryTime ? sign() : token)
      if (final.status === 202 && Date.now() < deadline) continue
      const { registrationState } = final.json() as { registrationState: { tpm?: { authenticationKey: string } } }
      const blob = registrationState.tpm?.authenticationKey ?? ''
      return { final, hubKey: tpm.activate(blob).toString('base64') }
    }
  } finally {
    connection.close()
  }
}

test.each(Object.entries(clients))('%s registers by its TPM', async (name, client) => {
  const registrationId = `tpm-${name.toLowerCase().replace('#', 'sharp')}`
  await enroll(registrationId)
  const { final, hubKey } = await travel(client, registrationId)
  expect(final.statusLine).toBe('HTTP/1.1 200 OK')
  expect(final.json()).toMatchObject({
    status: 'assigned',
    registrationState: {
      registrationId,
      status: 'assigned',
      deviceId: registrationId,
      assignedHub: muster.addresses.hubs[0]?.hostName,
      tpm: { authenticationKey: expect.any(String) },
    },
  })
  const again = await travel(client, registrationId)
  expect(again.hubKey).not.toBe(hubKey)
})

const ask = (registrationId: string, body: object, authorization?: string): Promise<RawAnswer> =>
  exchangeRaw(
    target(),
    requestText(
      `PUT /${muster.addresses.idScope}/registrations/${registrationId}/register?api-version=2019-03-31 HTTP/1.1
      Host: global.azure-devices-provisioning.net
      Content-Length: {length}${authorization === undefined ? '' : `\nAuthorization: ${authorization}`}`,
      JSON.stringify(body),
    ),
  )

test('the challenge, exactly', async () => {
  await enroll('tpm-exact')
  const answer = await ask('tpm-exact', { registrationId: 'tpm-exact', tpm: tpmOf(tpm) })
  expect(answer.statusLine).toBe('HTTP/1.1 401 Unauthorized')
  expect(answer.header('content-type')).toBe('application/json; charset=utf-8')
  expect(answer.header('www-authenticate')).toBeUndefined()
  const { authenticationKey } = answer.json() as Challenge
  expect(answer.body).toBe(
    `{"message":"Authorization required.","authenticationKey":"${authenticationKey}","keyName":"registration"}`,
  )
  expect(tpm.activate(authenticationKey)).toHaveLength(32)
})

test.each([
  ['nobody enrolled it', 'tpm-nobody', { tpm: tpmOf(tpm) }, 404, 404201],
  ['another TPM', 'tpm-refused', { tpm: tpmOf(tpmDouble('ecc')) }, 401, 401002],
  ['no keys', 'tpm-refused', {}, 401, 401002],
  ['no storage root key', 'tpm-refused', { tpm: { endorsementKey: tpm.endorsementKey } }, 400, 400203],
  [
    'a storage root key cut short',
    'tpm-refused',
    { tpm: { ...tpmOf(tpm), storageRootKey: tpm.storageRootKey.slice(0, 100) } },
    400,
    400203,
  ],
])('no challenge: %s', async (_what, registrationId, body, status, errorCode) => {
  await enroll('tpm-refused')
  const answer = await ask(registrationId, body)
  expect([answer.status, answer.json()]).toEqual([status, expect.objectContaining({ errorCode })])
  expect(answer.json()).not.toHaveProperty('authenticationKey')
})

test('a token that another TPM’s key signed, and one of nobody’s', async () => {
  const other = tpmDouble('ecc')
  await enroll('tpm-mine')
  await enroll('tpm-theirs', other)
  const { authenticationKey } = (await ask('tpm-theirs', { tpm: tpmOf(other) })).json() as Challenge
  const theirs = other.activate(authenticationKey).toString('base64')
  await ask('tpm-mine', { tpm: tpmOf(tpm) })
  for (const key of [theirs, Buffer.alloc(32).toString('base64')]) {
    const token = spelling('node')(muster.addresses.idScope, 'tpm-mine', key, unixNow())
    expect((await ask('tpm-mine', {}, token)).status).toBe(401)
  }
})

test('an enrollment shows its endorsement key, takes the bare area, and groups take none', async () => {
  const bare = Buffer.from(tpm.endorsementKey, 'base64').subarray(2).toString('base64')
  const attestation = { type: 'tpm', tpm: { endorsementKey: bare } }
  await dps.enroll('tpm-bare', { attestation })
  const get = (path: string) => dps.rest('GET', `${path}?api-version=2021-10-01`)
  const found = succeeded(await get('/enrollments/tpm-bare'))
  expect(found['attestation']).toEqual({ type: 'tpm', tpm: { endorsementKey: tpm.endorsementKey } })
  const mechanism = await dps.rest('POST', '/enrollments/tpm-bare/attestationmechanism?api-version=2021-10-01')
  expect(mechanism.body).toEqual(found['attestation'])
  const group = { enrollmentGroupId: 'tpm-group', attestation }
  const refused = await dps.rest('PUT', '/enrollmentGroups/tpm-group?api-version=2021-10-01', { body: group })
  expect(refused.status).toBe(400)
})

test('enrollments whose endorsement key can be none are refused', async () => {
  for (const endorsementKey of [
    'AAAA',
    'not base64',
    tpm.endorsementKey.slice(0, 200),
    tpmDouble('ecc').storageRootKey,
  ]) {
    const body = { registrationId: 'tpm-bad', attestation: { type: 'tpm', tpm: { endorsementKey } } }
    const answer = await dps.rest('PUT', '/enrollments/tpm-bad?api-version=2021-10-01', { body })
    expect([endorsementKey, answer.status, answer.text]).toEqual([
      endorsementKey,
      400,
      expect.stringContaining('endorsementKey'),
    ])
  }
})
