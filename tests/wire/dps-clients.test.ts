import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
import { caReferences, clientCertificates, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, fullChain, leafOnly } from '../support/pki.ts'
import { connectRaw, type RawAnswer, type RawTarget, requestText } from '../support/raw-https.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey, dpsTokens, lowerHex, unixNow } from '../support/tokens.ts'

// The requests of the clients that cannot run here, as their sources write them (dps.md 1, edge.md 1.6.1 and 4), and
// what each of them insists on in the answers (dps.md 1.10).

let muster: TestMuster
let dps: Enrolling

beforeAll(async () => {
  muster = await startMuster()
  dps = enrolling(muster)
})
afterAll(() => stopClean(muster))

const target = (credential?: RawTarget['credential']): RawTarget => ({
  address: muster.addresses.address,
  port: muster.addresses.ports.https,
  ca: muster.ca,
  credential,
})

/** How one client writes its requests; `{length}` stands for the body's length. */
interface Client {
  readonly apiVersion: string
  /** As the client puts the registration id into a path. */
  readonly inPath: (registrationId: string) => string
  readonly register: { readonly headers: string; readonly body: (registrationId: string) => string }
  readonly poll: { readonly headers: string; readonly body?: string }
  /** The client's name for the header that carries its token. */
  readonly authorization: string
  readonly token: (scope: string, registrationId: string, key: string, now: number) => string
  /** Throws unless the client would go on with the answer. */
  readonly accepts: (answer: RawAnswer) => void
}

const raw = (text: string): string => text
const json = (registrationId: string): string => JSON.stringify({ registrationId })
const tokenOf = (client: string): Client['token'] => {
  const token = dpsTokens[client]
  if (token === undefined) throw new Error(`No token spelling of ${client}.`)
  return token
}

const host = 'Host: global.azure-devices-provisioning.net'

const clients: Readonly<Record<string, Client>> = {
  Node: {
    apiVersion: '2019-03-31',
    inPath: raw,
    register: {
      headers: `Accept: application/json
        Content-Type: application/json; charset=utf-8
        Request-Id: 7d8a3fbd-3b45-4f43-a3cb-8a4dc7bd8c01
        User-Agent: azure-iot-provisioning-device/1.9.1
        Content-Length: {length}
        ${host}
        Connection: keep-alive`,
      body: json,
    },
    poll: {
      headers: `Accept: application/json
        Content-Type: application/json; charset=utf-8
        Request-Id: 7d8a3fbd-3b45-4f43-a3cb-8a4dc7bd8c02
        User-Agent: azure-iot-provisioning-device/1.9.1
        Content-Length: 2
        ${host}
        Connection: keep-alive`,
      body: '{}',
    },
    authorization: 'Authorization',
    token: tokenOf('node'),
    accepts: (answer) => {
      expect(answer.status).toBeLessThan(300)
      expect(answer.json()).toMatchObject({ status: expect.stringMatching(/^(assigning|assigned|failed)$/) })
    },
  },
  C: {
    apiVersion: '2021-06-01',
    inPath: lowerHex,
    register: {
      headers: `UserAgent: prov_device_client/1.0
        Accept: application/json
        Content-Type: application/json; charset=utf-8
        Connection: keep-alive
        ${host}:443
        Content-Length: {length}`,
      body: json,
    },
    poll: {
      headers: `UserAgent: prov_device_client/1.0
        Accept: application/json
        Content-Type: application/json; charset=utf-8
        Connection: keep-alive
        ${host}:443
        Content-Length: 0`,
    },
    authorization: 'Authorization',
    token: tokenOf('c'),
    accepts: (answer) => {
      expect(answer.status).toBeLessThanOrEqual(226)
      const retryAfter = answer.header('retry-after')
      if (answer.status === 202) expect(Number(retryAfter)).toSatisfy((each: number) => each >= 1 && each <= 300)
      const body = answer.json() as { status: string; registrationState?: object }
      if (body.status === 'assigned')
        expect(body.registrationState).toMatchObject({ assignedHub: expect.any(String), deviceId: expect.any(String) })
    },
  },
  Java: {
    apiVersion: '2019-03-31',
    inPath: raw,
    register: {
      headers: `User-Agent: com.microsoft.azure.sdk.iot.provisioning.device/2.1.3
        Accept: application/json
        Content-Type: application/json; charset=utf-8
        ${host}
        Connection: keep-alive
        Content-Length: {length}`,
      // The text that the application supplied, quoted once more (dps.md 1.3).
      body: (registrationId) => JSON.stringify({ registrationId, payload: '{"model":"x1"}' }),
    },
    poll: {
      headers: `User-Agent: com.microsoft.azure.sdk.iot.provisioning.device/2.1.3
        Accept: application/json
        Content-Type: application/json; charset=utf-8
        ${host}
        Connection: keep-alive`,
    },
    authorization: 'authorization',
    token: tokenOf('java'),
    accepts: (answer) => {
      const body = answer.json() as { registrationState?: { payload?: unknown } }
      expect(body).toMatchObject({ operationId: expect.any(String), status: expect.any(String) })
      if (body.registrationState === undefined) return
      expect(body.registrationState).toMatchObject({ registrationId: expect.any(String), status: expect.any(String) })
      expect(body.registrationState).not.toHaveProperty('payload')
    },
  },
  'C#': {
    apiVersion: '2019-03-31',
    inPath: encodeURIComponent,
    register: {
      headers: `${host}
        Accept: application/json
        User-Agent: Microsoft.Azure.Devices.Provisioning.Client/1.19.4
        Content-Type: application/json; charset=utf-8
        Content-Length: {length}`,
      body: json,
    },
    poll: {
      headers: `${host}
        Accept: application/json
        User-Agent: Microsoft.Azure.Devices.Provisioning.Client/1.19.4`,
    },
    authorization: 'Authorization',
    token: tokenOf('csharp'),
    accepts: (answer) => expect([200, 202]).toContain(answer.status),
  },
  Rust: {
    apiVersion: '2021-06-01',
    inPath: raw,
    register: {
      headers: `content-type: application/json
        host: global.azure-devices-provisioning.net
        content-length: {length}`,
      body: json,
    },
    poll: { headers: 'host: global.azure-devices-provisioning.net' },
    authorization: 'authorization',
    token: tokenOf('rust'),
    accepts: (answer) => {
      expect([200, 202]).toContain(answer.status)
      expect(answer.header('content-type')).toContain('application/json')
      const body = answer.json() as { status: string; registrationState?: Record<string, unknown> }
      if (body.registrationState === undefined) return expect(body).toMatchObject({ operationId: expect.any(String) })
      const needed = {
        assigning: ['registrationId'],
        assigned: ['assignedHub', 'deviceId'],
        failed: ['errorCode', 'errorMessage'],
      }[body.status]
      expect(needed, `Rust does not know the status ${body.status}`).toBeDefined()
      for (const member of needed ?? []) expect(body.registrationState).toHaveProperty(member)
    },
  },
  'IoT Edge 1.1': {
    apiVersion: '2019-04-15',
    inPath: raw,
    register: {
      headers: `content-type: application/json
        content-length: {length}
        host: global.azure-devices-provisioning.net`,
      body: json,
    },
    poll: { headers: 'host: global.azure-devices-provisioning.net' },
    authorization: 'authorization',
    token: tokenOf('edge11'),
    accepts: (answer) => expect(Math.floor(answer.status / 100)).toBe(2),
  },
  'curl of the documentation': {
    apiVersion: '2019-03-31',
    inPath: raw,
    register: {
      headers: `${host}
        User-Agent: curl/8.5.0
        Accept: */*
        Content-Type: application/json
        Content-Encoding:  utf-8
        Content-Length: {length}`,
      body: json,
    },
    poll: {
      headers: `${host}
        User-Agent: curl/8.5.0
        Accept: */*
        Content-Type: application/json
        Content-Encoding: utf-8`,
    },
    authorization: 'Authorization',
    token: tokenOf('cli'),
    accepts: (answer) => expect([200, 202]).toContain(answer.status),
  },
  'a device without an HTTP library': {
    apiVersion: '2019-03-31',
    inPath: raw,
    register: {
      headers: `${host}
        Content-Length: {length}`,
      body: json,
    },
    poll: { headers: host },
    authorization: 'AUTHORIZATION',
    token: tokenOf('python'),
    accepts: (answer) => expect([200, 202]).toContain(answer.status),
  },
}

interface Journey {
  readonly register: RawAnswer
  readonly final: RawAnswer
}

/** Registers and polls at once and again on one connection until the answer is final, as the client writes it. */
async function travel(
  client: Client,
  registrationId: string,
  { key, certificate }: { key?: string; certificate?: RawTarget['credential'] },
): Promise<Journey> {
  const scope = muster.addresses.idScope
  const path = `/${scope}/registrations/${client.inPath(registrationId)}`
  // Made once and used for every request, as the identity service does with its 30 seconds (edge.md 4.2).
  const credential =
    key === undefined ? '' : `\n${client.authorization}: ${client.token(scope, registrationId, key, unixNow())}`
  const connection = await connectRaw(target(certificate))
  try {
    const register = await connection.exchange(
      requestText(
        `PUT ${path}/register?api-version=${client.apiVersion} HTTP/1.1\n${client.register.headers}${credential}`,
        client.register.body(registrationId),
      ),
    )
    client.accepts(register)
    const { operationId } = register.json() as { operationId: string }
    for (const deadline = Date.now() + 5_000; ; ) {
      const answer = await connection.exchange(
        requestText(
          `GET ${path}/operations/${operationId}?api-version=${client.apiVersion} HTTP/1.1\n${client.poll.headers}${credential}`,
          client.poll.body,
        ),
      )
      client.accepts(answer)
      if (answer.status !== 202 || Date.now() > deadline) return { register, final: answer }
    }
  } finally {
    connection.close()
  }
}

function expectAssigned({ register, final }: Journey, deviceId: string): void {
  expect(register.statusLine).toBe('HTTP/1.1 202 Accepted')
  expect(register.json()).toEqual({ operationId: expect.any(String), status: 'assigning' })
  expect(final.statusLine).toBe('HTTP/1.1 200 OK')
  expect(final.json()).toMatchObject({
    status: 'assigned',
    registrationState: { status: 'assigned', deviceId, assignedHub: muster.addresses.hubs[0]?.hostName },
  })
}

describe.for(Object.entries(clients))('%s', ([name, client]) => {
  const slug = name
    .toLowerCase()
    .replaceAll('#', 'sharp')
    .replaceAll(/[^a-z0-9]/g, '-')

  test('symmetric key of an individual enrollment', async () => {
    const key = newKey()
    const registrationId = `${slug}:Key.1`
    await dps.enroll(registrationId, symmetricKeys(newKey(), key))
    expectAssigned(await travel(client, registrationId, { key }), registrationId)
  })

  test('symmetric key derived for a group', async () => {
    const groupKey = newKey()
    const registrationId = `${slug}_Derived-1`
    await dps.enrollGroup(`group-${slug}`, symmetricKeys(groupKey, newKey()))
    expectAssigned(await travel(client, registrationId, { key: derivedKey(groupKey, registrationId) }), registrationId)
  })

  test('X.509 certificate', async () => {
    const registrationId = `${slug}-certificate`
    const issued = await deviceCertificate(registrationId)
    await dps.enroll(registrationId, clientCertificates(issued.certificate))
    expectAssigned(await travel(client, registrationId, { certificate: leafOnly(issued) }), registrationId)
  })
})

test('Rust presents its whole chain file, root included, with an RSA key', async () => {
  const pki = await createPki('Rust', 'rsa')
  await uploadCa(muster, 'rust', pki.root.certificate)
  await dps.enrollGroup('rust-chain', caReferences('rust'))
  const issued = await deviceCertificate('Rust-Chain', pki.second, { keyType: 'rsa' })
  const rust = clients['Rust'] as Client
  expectAssigned(await travel(rust, 'Rust-Chain', { certificate: fullChain(issued) }), 'Rust-Chain')
})
