import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { clientCertificates, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { deviceCertificate, leafOnly } from '../support/pki.ts'
import {
  connectMqtt,
  DISCONNECT,
  type RawMessage,
  type RawMqtt,
  rawConnect,
  rawPuback,
  rawPublish,
  rawSubscribe,
  rawUnsubscribe,
  readMessage,
} from '../support/raw-mqtt.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { dpsTokens, unixNow } from '../support/tokens.ts'

// The MQTT packets of the clients that cannot run here, as their sources write them (dps.md 2), byte for byte, and what
// each of them insists on in the answers.

let muster: TestMuster
let dps: Enrolling

beforeAll(async () => {
  muster = await startMuster({ config: { registration: { assigningMs: 0, retryAfterSeconds: 3 } } })
  dps = enrolling(muster)
})
afterAll(() => stopClean(muster))

interface Client {
  /** Behind `api-version=`. */
  readonly tail: string
  readonly clean: boolean
  readonly keepAlive: number
  /** Of its requests. */
  readonly qos: 0 | 1
  readonly subscribeQos: number
  /** The client's request identifiers, in order. */
  readonly rids: readonly string[]
  readonly registerBody: (registrationId: string) => string
  readonly pollBody: (registrationId: string) => string
  readonly token: (scope: string, registrationId: string, key: string, now: number) => string
  /** The upgrade of its WebSocket transport. */
  readonly webSocket: { readonly path: string; readonly protocol: string }
  readonly maxVersion?: 'TLSv1.2'
  /** Throws unless the client would find in the topic what it looks for: status, seconds to wait. */
  readonly readTopic: (topic: string, rid: string) => { status: number; retryAfter: number | undefined }
  readonly goodbye: readonly Buffer[]
}

const json = (registrationId: string): string => JSON.stringify({ registrationId })
const nothing = (): string => ''
const tokenOf = (client: string): Client['token'] => {
  const token = dpsTokens[client]
  if (token === undefined) throw new Error(`No token spelling of ${client}.`)
  return token
}
const ANSWERS = '$dps/registrations/res/#'

/** What all of them can read: `$rid` is the first parameter behind `/?`, names appear once. */
function readTopic(topic: string, rid: string): { status: number; retryAfter: number | undefined } {
  const [, status, found, retryAfter] =
    /^\$dps\/registrations\/res\/(\d{3})\/\?\$rid=([^&]*)(?:&retry-after=(\d+))?$/.exec(topic) ?? []
  expect(found, topic).toBe(rid)
  return { status: Number(status), retryAfter: retryAfter === undefined ? undefined : Number(retryAfter) }
}

const clients: Readonly<Record<string, Client>> = {
  C: {
    tail: '2021-06-01&ClientVersion=1.15.0',
    clean: true,
    keepAlive: 0,
    qos: 0,
    subscribeQos: 1,
    rids: ['1', '2', '3'],
    registerBody: (id) => `{"registrationId":"${id}"}`,
    // The whole register message again.
    pollBody: (id) => `{"registrationId":"${id}"}`,
    token: tokenOf('c'),
    webSocket: { path: '/$iothub/websocket', protocol: 'MQTT' },
    // Counts to the status by its slashes, then looks for the parameter's name.
    readTopic: (topic, rid) => {
      expect(topic.split('/')[3]).toMatch(/^\d{3}$/)
      return readTopic(topic, rid)
    },
    goodbye: [DISCONNECT],
  },
  'C#': {
    tail: '2019-03-31&ClientVersion=.NET%2F1.19.4%20%28.NET%208.0.1%3B%20Linux%3B%20X64%29',
    clean: true,
    keepAlive: 0,
    qos: 1,
    subscribeQos: 1,
    rids: ['1', '2', '3'],
    registerBody: nothing,
    pollBody: nothing,
    token: tokenOf('csharp'),
    webSocket: { path: '/', protocol: 'mqtt' },
    readTopic: (topic, rid) => {
      expect(topic).toMatch(/\/\?\$rid=/)
      return readTopic(topic, rid)
    },
    goodbye: [DISCONNECT],
  },
  Java: {
    tail: '2019-03-31&ClientVersion=2019-03-31',
    clean: false,
    keepAlive: 230,
    qos: 0,
    subscribeQos: 1,
    rids: ['1234567', '1234568', '1234569'],
    registerBody: json,
    pollBody: nothing,
    token: tokenOf('java'),
    webSocket: { path: '/mqtt', protocol: 'mqtt' },
    maxVersion: 'TLSv1.2',
    readTopic,
    goodbye: [DISCONNECT],
  },
  'azure-sdk-for-c': {
    tail: '2019-03-31',
    clean: true,
    keepAlive: 240,
    qos: 1,
    subscribeQos: 1,
    rids: ['1', '1', '1'],
    registerBody: json,
    pollBody: nothing,
    token: tokenOf('c'),
    webSocket: { path: '/$iothub/websocket', protocol: 'mqtt' },
    readTopic,
    goodbye: [DISCONNECT],
  },
  'the pre-release client': {
    tail: '2026-11-02-preview',
    clean: true,
    keepAlive: 60,
    qos: 1,
    subscribeQos: 1,
    rids: ['5c1f0f1e', '5c1f0f1f', '5c1f0f20'],
    registerBody: nothing,
    pollBody: nothing,
    token: tokenOf('csharp'),
    webSocket: { path: '/$iothub/websocket', protocol: 'mqtt' },
    readTopic,
    goodbye: [rawUnsubscribe(9, ANSWERS), DISCONNECT],
  },
}

type Transport = 'MQTT' | 'MQTT in a WebSocket'
interface Device {
  readonly client: Client
  readonly transport: Transport
  readonly registrationId: string
  readonly key?: string
  readonly credential?: { readonly cert: string; readonly key: string }
}

async function dial({ client, transport, registrationId, key, credential }: Device): Promise<RawMqtt> {
  const { address, ports, idScope } = muster.addresses
  const connection = await connectMqtt({
    address,
    port: transport === 'MQTT' ? ports.mqtts : ports.https,
    ca: muster.ca,
    credential,
    ...(transport === 'MQTT' ? {} : { webSocket: client.webSocket }),
    ...(client.maxVersion !== undefined && { maxVersion: client.maxVersion }),
  })
  connection.write(
    rawConnect({
      clientId: registrationId,
      username: `${idScope}/registrations/${registrationId}/api-version=${client.tail}`,
      ...(key !== undefined && { password: client.token(idScope, registrationId, key, unixNow()) }),
      clean: client.clean,
      keepAlive: client.keepAlive,
    }),
  )
  // Session present is 0 always, also where the client asked for its old session.
  expect(await connection.next()).toEqual(Buffer.from([0x20, 0x02, 0x00, 0x00]))
  connection.write(rawSubscribe(1, ANSWERS, client.subscribeQos))
  expect(await connection.next()).toEqual(Buffer.from([0x90, 0x03, 0x00, 0x01, 0x01]))
  return connection
}

/** One request and its answer: PUBACK, if one is due, strictly before; the answer acknowledged. */
async function request(
  connection: RawMqtt,
  client: Client,
  topic: string,
  body: string,
  id: number,
): Promise<RawMessage> {
  connection.write(client.qos === 1 ? rawPublish(topic, body, id) : rawPublish(topic, body))
  if (client.qos === 1) expect(await connection.next()).toEqual(Buffer.from([0x40, 0x02, 0x00, id]))
  const packet = await connection.next()
  // PUBLISH with QoS 1, neither a duplicate nor retained.
  expect(packet[0]).toBe(0x32)
  const message = readMessage(packet)
  connection.write(rawPuback(message.id!))
  return message
}

const register = (connection: RawMqtt, { client, registrationId }: Device): Promise<RawMessage> => {
  const topic = `$dps/registrations/PUT/iotdps-register/?$rid=${client.rids[0]}`
  return request(connection, client, topic, client.registerBody(registrationId), 2)
}

async function provisioned(device: Device): Promise<Record<string, unknown>> {
  const { client, registrationId } = device
  const connection = await dial(device)
  const opened = await register(connection, device)
  expect(client.readTopic(opened.topic, client.rids[0]!)).toEqual({ status: 202, retryAfter: 3 })
  const { operationId, ...rest } = JSON.parse(opened.payload) as Record<string, unknown>
  // .NET's next client and Rust want exactly this first (users-and-lessons.md 6).
  expect([typeof operationId, rest]).toEqual(['string', { status: 'assigning' }])
  for (let id = 3; ; id++) {
    const rid = client.rids[id % 2 === 1 ? 1 : 2]!
    const topic = `$dps/registrations/GET/iotdps-get-operationstatus/?$rid=${rid}&operationId=${operationId}`
    const poll = await request(connection, client, topic, client.pollBody(registrationId), id)
    const { status, retryAfter } = client.readTopic(poll.topic, rid)
    if (status === 202 && id < 50) {
      expect(retryAfter).toBe(3)
      continue
    }
    expect([status, retryAfter]).toEqual([200, undefined])
    connection.write(...client.goodbye)
    await connection.ended()
    // A null anywhere breaks Java.
    expect(poll.payload).not.toContain('null')
    return JSON.parse(poll.payload) as Record<string, unknown>
  }
}

describe.each(['MQTT', 'MQTT in a WebSocket'] as const)('%s', (transport) => {
  test.each(Object.entries(clients))('%s registers by symmetric key', async (name, client) => {
    const registrationId = `${transport}-${name}-key`.toLowerCase().replaceAll(/[^a-z-]/g, '-')
    const key = newKey()
    await dps.enroll(registrationId, symmetricKeys(key, newKey()))
    expect(await provisioned({ client, transport, registrationId, key })).toMatchObject({
      status: 'assigned',
      registrationState: {
        registrationId,
        deviceId: registrationId,
        status: 'assigned',
        substatus: 'initialAssignment',
      },
    })
  })

  test.each(Object.entries(clients))('%s registers by certificate', async (name, client) => {
    const registrationId = `${transport}-${name}-cert`.toLowerCase().replaceAll(/[^a-z-]/g, '-')
    const issued = await deviceCertificate(registrationId, undefined, { keyType: 'rsa' })
    await dps.enroll(registrationId, clientCertificates(issued.certificate))
    const device = { client, transport, registrationId, credential: leafOnly(issued) }
    expect(await provisioned(device)).toMatchObject({
      status: 'assigned',
      registrationState: { registrationId, deviceId: registrationId, x509: {} },
    })
  })

  test.each(Object.entries(clients))('%s with a wrong key hears 401 on the topic', async (_, client) => {
    const registrationId = `nobody-${transport.length}`
    const device = { client, transport, registrationId, key: newKey() }
    const connection = await dial(device)
    const answer = await register(connection, device)
    expect(client.readTopic(answer.topic, client.rids[0]!).status).toBe(401)
    expect(JSON.parse(answer.payload)).toEqual({
      errorCode: 401000,
      trackingId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      message: 'Unauthorized',
      timestampUtc: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/),
    })
    connection.close()
  })

  test('an unknown certificate hears 401 with 401002', async () => {
    const client = clients['C#']!
    const issued = await deviceCertificate('stranger')
    const device = { client, transport, registrationId: 'stranger', credential: leafOnly(issued) }
    const connection = await dial(device)
    const answer = await register(connection, device)
    expect(JSON.parse(answer.payload)).toMatchObject({ errorCode: 401002 })
    connection.close()
  })

  test('a client id other than the registration id is refused with CONNACK 5', async () => {
    const { address, ports, idScope } = muster.addresses
    const connection = await connectMqtt({
      address,
      port: transport === 'MQTT' ? ports.mqtts : ports.https,
      ca: muster.ca,
      ...(transport === 'MQTT' ? {} : { webSocket: { path: '/', protocol: 'mqtt' } }),
    })
    const username = `${idScope}/registrations/one/api-version=2019-03-31`
    connection.write(rawConnect({ clientId: 'two', username, clean: true, keepAlive: 60 }))
    expect(await connection.next()).toEqual(Buffer.from([0x20, 0x02, 0x00, 0x05]))
    await connection.ended()
  })
})

test('nothing is kept for a device that returns', async () => {
  const client = clients['Java']!
  const registrationId = 'returns'
  const key = newKey()
  await dps.enroll(registrationId, symmetricKeys(key, newKey()))
  const device = { client, transport: 'MQTT' as const, registrationId, key }
  const first = await dial(device)
  const { operationId } = JSON.parse((await register(first, device)).payload) as { operationId: string }
  first.close()
  // The operation goes on; a new connection asks after it, with a token of its own.
  const second = await dial(device)
  const topic = `$dps/registrations/GET/iotdps-get-operationstatus/?$rid=9&operationId=${operationId}`
  const poll = await request(second, client, topic, '', 2)
  expect(JSON.parse(poll.payload)).toMatchObject({ operationId })
  second.write(DISCONNECT)
  await second.ended()
})
