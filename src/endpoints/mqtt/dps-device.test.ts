import type { IConnectPacket, IPublishPacket, Packet } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { symmetricKeys } from '../../../tests/support/enrollments.ts'
import { caller, create, type ProvisioningRoom, provisioningRoom, until } from '../../../tests/support/provisioning.ts'
import { dpsTokens } from '../../../tests/support/tokens.ts'
import { tpmDouble } from '../../../tests/support/tpm-double.ts'
import { bench } from '../../../tests/wire-engine/device.ts'
import { limits } from '../../base/limits.ts'
import { createLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { readCertificates } from '../../crypto/certificates.ts'
import { issueDeviceCertificate } from '../../crypto/issuing.ts'
import { Throttled } from '../../provisioning/provisioning.ts'
import { connectDpsDevice } from './dps-device.ts'

const ANSWERS = '$dps/registrations/res/#'
const REGISTER = '$dps/registrations/PUT/iotdps-register/?$rid='
const OPERATION = '$dps/registrations/GET/iotdps-get-operationstatus/?$rid='
const KEY = Buffer.alloc(32, 1).toString('base64')
const OTHER_KEY = Buffer.alloc(32, 2).toString('base64')

/** One device that dials a provisioning room on a real store; the device `dev-001` is enrolled with `KEY`. */
async function start(options: { chain?: readonly Buffer[]; registrations?: object } = {}) {
  const room = await provisioningRoom({ settings: { retryAfterSeconds: 3 } })
  await room.provisioning.enrollments.put(
    caller,
    room.service,
    'dev-001',
    { registrationId: 'dev-001', ...symmetricKeys(KEY, OTHER_KEY) },
    create,
  )
  const logged: string[] = []
  const log = createLog('debug', { write: (line) => void logged.push(line) })
  const provisioning =
    options.registrations === undefined
      ? room.provisioning
      : { registrations: { ...room.provisioning.registrations, ...options.registrations } }
  const needs = { clock: room.clock, random: seededRandom(3), log, provisioning }
  const peer = { chain: options.chain ?? [], address: '192.0.2.1', proved: () => {} }
  const device = bench({ answer: (_, session) => connectDpsDevice(needs, device.connects[0]!, session, peer) })
  return { ...device, room, logged, ...talking(device, room) }
}

type Bench = ReturnType<typeof bench>
/** Undefined: CONNECT has none. */
type More = { [Field in keyof IConnectPacket]?: IConnectPacket[Field] | undefined }

function talking({ connect, send, received, closed }: Bench, { service, clock }: ProvisioningRoom) {
  let lastId = 0
  const token = (key = KEY, registrationId = 'dev-001'): Buffer =>
    Buffer.from(dpsTokens['node']!(service.idScope, registrationId, key, Math.floor(clock.now() / 1000)))
  const dial = (more: More = {}): Promise<void> =>
    connect({
      clientId: 'dev-001',
      username: `${service.idScope}/registrations/dev-001/api-version=2019-03-31&ClientVersion=1`,
      password: token(),
      ...more,
    } as Partial<IConnectPacket>)
  const next = async <T extends Packet>(cmd: T['cmd']): Promise<T> => {
    await until(() => received.some((packet) => packet.cmd === cmd) || closed())
    const at = received.findIndex((packet) => packet.cmd === cmd)
    if (at === -1) throw new Error(`The connection closed before a ${cmd}.`)
    return received.splice(at, 1)[0] as T
  }
  const subscribe = async (topic = ANSWERS, qos: 0 | 1 | 2 = 1) => {
    send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos }] })
    const { granted } = await next<Packet & { cmd: 'suback' }>('suback')
    return granted
  }
  const publish = (topic: string, payload: string | Buffer = '', qos: 0 | 1 = 1): void =>
    send({
      cmd: 'publish',
      topic,
      payload,
      qos,
      dup: false,
      retain: false,
      ...(qos === 1 && { messageId: ++lastId }),
    })
  const answer = async () => {
    const packet = await next<IPublishPacket>('publish')
    return { ...packet, body: JSON.parse(packet.payload.toString()) as Record<string, unknown> }
  }
  /** Polls until the operation has ended. */
  const settle = async (operationId: string) => {
    for (;;) {
      publish(`${OPERATION}poll&operationId=${operationId}`, ' ')
      const poll = await answer()
      if (!poll.topic.includes('/res/202/')) return poll
    }
  }
  const open = async (more: More = {}): Promise<void> => {
    await dial(more)
    expect(received.shift()).toMatchObject({ cmd: 'connack', returnCode: 0, sessionPresent: false })
    expect(await subscribe()).toEqual([1])
  }
  return { token, dial, next, subscribe, publish, answer, settle, open }
}

test('a registration, from CONNECT to the hub', async () => {
  const { open, publish, answer, settle, provedTimes } = await start()
  await open()
  expect(provedTimes()).toBe(0)
  publish(`${REGISTER}de20f749-1`, '{"registrationId":"dev-001"}')
  const opened = await answer()
  expect(opened).toMatchObject({
    topic: '$dps/registrations/res/202/?$rid=de20f749-1&retry-after=3',
    qos: 1,
    retain: false,
    body: { operationId: expect.stringMatching(/^5\.[0-9a-f]{16}\.[0-9a-f-]{36}$/), status: 'assigning' },
  })
  expect(Object.keys(opened.body)).toEqual(['operationId', 'status'])
  expect(provedTimes()).toBeGreaterThan(0)
  const operationId = opened.body['operationId'] as string
  expect(await settle(operationId)).toMatchObject({
    topic: '$dps/registrations/res/200/?$rid=poll',
    body: {
      operationId,
      status: 'assigned',
      registrationState: { registrationId: 'dev-001', deviceId: 'dev-001', assignedHub: expect.any(String) },
    },
  })
})

test('a poll while assigning is answered with 202 and retry-after', async () => {
  const { open, publish, answer, room } = await start()
  const held = Promise.withResolvers<void>()
  for (const hub of room.hubs.values()) hub.gate = held.promise
  await open()
  publish(`${REGISTER}1`)
  const { body } = await answer()
  publish(`${OPERATION}2&operationId=${body['operationId']}`)
  expect(await answer()).toMatchObject({
    topic: '$dps/registrations/res/202/?$rid=2&retry-after=3',
    body: { status: 'assigning', registrationState: { registrationId: 'dev-001', status: 'assigning' } },
  })
  held.resolve()
})

test('PUBACK precedes the answer, also to requests that came together', async () => {
  const { open, send, received } = await start()
  await open()
  const publish = (messageId: number, rid: string): Packet => ({
    cmd: 'publish',
    topic: `${REGISTER}${rid}`,
    payload: '',
    qos: 1,
    dup: false,
    retain: false,
    messageId,
  })
  send(publish(1, 'a'), publish(2, 'b'))
  await until(() => received.filter(({ cmd }) => cmd === 'publish').length === 2)
  const order = received.map((packet) =>
    packet.cmd === 'publish' ? packet.topic : `${packet.cmd} ${packet.messageId}`,
  )
  expect(order.indexOf('puback 1')).toBeLessThan(order.findIndex((line) => line.includes('$rid=a')))
  expect(order.indexOf('puback 2')).toBeLessThan(order.findIndex((line) => line.includes('$rid=b')))
})

test.each(['7', 'de20f749-3c9f-4c3e-9d2f-000000000000', 'a%20b%2f', 'ü~!*()'])(
  'the request id comes back byte for byte and first: %s',
  async (rid) => {
    const { open, publish, answer } = await start()
    await open()
    publish(`${REGISTER}${rid}`)
    const { topic } = await answer()
    expect(topic).toBe(`$dps/registrations/res/202/?$rid=${rid}&retry-after=3`)
    publish(`$dps/registrations/GET/iotdps-get-operationstatus/?operationId=none&$rid=${rid}`)
    expect((await answer()).topic).toBe(`$dps/registrations/res/404/?$rid=${rid}`)
  },
)

test.each([
  ['nothing, as C# and the pre-release client send', ''],
  ['a space', ' '],
  ['an object without an id', '{"payload":{"a":1}}'],
  ['the id in other letter case', '{"registrationId":"DEV-001"}'],
  ['unknown members', '{"registrationId":"dev-001","later":true}'],
])('a register message of %s', async (_, payload) => {
  const { open, publish, answer } = await start()
  await open()
  publish(`${REGISTER}1`, payload)
  expect((await answer()).topic).toContain('/res/202/')
})

test.each([
  ['another registration id', '{"registrationId":"dev-002"}', 400202],
  ['malformed JSON', '{"registrationId":', 400004],
  ['no object', '[]', 400004],
  ['TPM keys', '{"tpm":{"endorsementKey":"AAAA"}}', 400004],
])('a register message of %s is a 400 on the topic', async (_, payload, errorCode) => {
  const { open, publish, answer, closed } = await start()
  await open()
  publish(`${REGISTER}1`, payload)
  expect(await answer()).toMatchObject({
    topic: '$dps/registrations/res/400/?$rid=1',
    body: {
      errorCode,
      trackingId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      message: expect.any(String),
      timestampUtc: expect.stringMatching(/Z$/),
    },
  })
  expect(closed()).toBe(false)
})

test('a register message above 96 KB is refused, also once the larger limit of proved devices holds', async () => {
  const { open, publish, answer } = await start()
  await open()
  publish(`${REGISTER}1`)
  await answer()
  publish(`${REGISTER}2`, ' '.repeat(limits.dpsBodyBytes + 1))
  expect(await answer()).toMatchObject({
    topic: '$dps/registrations/res/413/?$rid=2',
    body: { errorCode: 413001 },
  })
})

test('a wrong key passes CONNECT and SUBSCRIBE, then is a 401 with 401000; the connection stays a stranger', async () => {
  const { open, token, publish, answer, provedTimes, closed } = await start()
  await open({ password: token(Buffer.alloc(32, 9).toString('base64')) })
  publish(`${REGISTER}1`)
  expect(await answer()).toMatchObject({
    topic: '$dps/registrations/res/401/?$rid=1',
    body: { errorCode: 401000, message: 'Unauthorized' },
  })
  expect([provedTimes(), closed()]).toEqual([0, false])
})

test('a stranger with a name of thousands of characters cannot fill the log by repeating a few bytes', async () => {
  const { open, room, publish, answer, logged } = await start()
  const long = 'x'.repeat(7_000)
  await open({
    clientId: long,
    username: `${room.service.idScope}/registrations/${long}/api-version=2019-03-31`,
    password: undefined,
  })
  logged.length = 0
  publish(`${REGISTER}1`)
  expect((await answer()).topic).toMatch(/res\/4\d\d\//)
  expect(logged).not.toEqual([])
  for (const line of logged) expect(line.length).toBeLessThan(2_000)
})

test('a TPM has no way in: a 401 that tells it no key', async () => {
  const { room, open, publish, answer } = await start()
  const { endorsementKey, storageRootKey } = tpmDouble('ecc')
  const tpm = { registrationId: 'dev-001', attestation: { type: 'tpm', tpm: { endorsementKey } } }
  const { apiVersion } = create
  const options = { ifMatch: { kind: 'any' }, apiVersion } as const
  await room.provisioning.enrollments.put(caller, room.service, 'dev-001', tpm, options)
  await open({ password: undefined })
  publish(`${REGISTER}1`, JSON.stringify({ tpm: { endorsementKey, storageRootKey } }))
  const { topic, body } = await answer()
  expect(topic).toBe('$dps/registrations/res/401/?$rid=1')
  expect(body).toMatchObject({ errorCode: 401000, message: 'Authorization required.' })
  expect(body).not.toHaveProperty('authenticationKey')
})

test('no credential at all is a 401 with 401000', async () => {
  const { open, publish, answer } = await start()
  await open({ password: undefined })
  publish(`${REGISTER}1`)
  expect((await answer()).body).toMatchObject({ errorCode: 401000 })
})

test('a certificate without an enrollment is a 401 with 401002', async () => {
  const issued = await issueDeviceCertificate({
    authority: undefined,
    commonName: 'dev-001',
    keyType: 'ec',
    days: 1,
    now: Date.now(),
  })
  const chain = readCertificates(issued.certificate).map(({ raw }) => raw)
  const { open, publish, answer } = await start({ chain })
  await open({ password: undefined })
  publish(`${REGISTER}1`)
  expect(await answer()).toMatchObject({
    topic: '$dps/registrations/res/401/?$rid=1',
    body: { errorCode: 401002 },
  })
})

test('an unknown operation is a 404, a poll without one a 400', async () => {
  const { open, publish, answer } = await start()
  await open()
  publish(`${OPERATION}1&operationId=5.0000000000000000.none`)
  expect(await answer()).toMatchObject({ topic: '$dps/registrations/res/404/?$rid=1', body: { errorCode: 404203 } })
  publish(`${OPERATION}2`)
  expect(await answer()).toMatchObject({ topic: '$dps/registrations/res/400/?$rid=2', body: { errorCode: 400004 } })
})

test('too many registrations at once are told when to come back', async () => {
  const register = async (): Promise<never> => {
    throw new Throttled(7)
  }
  const { open, publish, answer, provedTimes } = await start({ registrations: { register } })
  await open()
  publish(`${REGISTER}1`)
  expect(await answer()).toMatchObject({
    topic: '$dps/registrations/res/429/?$rid=1&retry-after=7',
    body: { errorCode: 429001 },
  })
  // Or the deadline of strangers would end the connection on which it waits.
  expect(provedTimes()).toBeGreaterThan(0)
})

test('a fault of ours is a 500 that tells nothing, and its cause is in the log', async () => {
  const register = async (): Promise<never> => {
    throw new TypeError('secret detail')
  }
  const { open, publish, answer, logged } = await start({ registrations: { register } })
  await open()
  publish(`${REGISTER}1`)
  const { topic, body } = await answer()
  expect([topic, body['errorCode']]).toEqual(['$dps/registrations/res/500/?$rid=1', 500001])
  expect(JSON.stringify(body)).not.toContain('secret detail')
  expect(logged.join()).toContain('secret detail')
})

test('answers follow the grant: QoS 0 where 0 was asked, 1 for 2, none without a subscription', async () => {
  const { dial, subscribe, publish, answer, next, received, send } = await start()
  await dial()
  publish(`${REGISTER}1`)
  await next('puback')
  expect(await subscribe(ANSWERS, 0)).toEqual([0])
  publish(`${REGISTER}2`)
  expect(await answer()).toMatchObject({ qos: 0, topic: expect.stringContaining('$rid=2&') })
  expect(await subscribe(ANSWERS, 2)).toEqual([1])
  publish(`${REGISTER}3`)
  expect(await answer()).toMatchObject({ qos: 1, topic: expect.stringContaining('$rid=3&') })
  send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: [ANSWERS] })
  await next('unsuback')
  received.length = 0
  publish(`${REGISTER}4`)
  await next('puback')
  expect(received).toEqual([])
})

test('a request at QoS 0 is answered once its client may be waiting: Java misses what comes sooner', async () => {
  const registered = Promise.withResolvers<void>()
  const registrations = {
    register: async () => {
      registered.resolve()
      return { operationId: '5.1', status: 'assigning' }
    },
  }
  const { open, publish, answer, received, room } = await start({ registrations })
  await open()
  publish(`${REGISTER}1`, '{"registrationId":"dev-001"}', 0)
  await registered.promise
  room.clock.advance(limits.dpsAnswerAfterMs - 1)
  await new Promise(setImmediate)
  expect(received).toEqual([])
  room.clock.advance(1)
  expect((await answer()).topic).toContain('/res/202/?$rid=1&')
})

test.each(['#', '$dps/#', '$dps/registrations/res/+', '$dps/registrations/res/200/#', '$iothub/twin/res/#'])(
  'the filter %s is refused, the connection stays',
  async (filter) => {
    const { dial, subscribe, closed } = await start()
    await dial()
    expect(await subscribe(filter)).toEqual([128])
    expect(closed()).toBe(false)
  },
)

test.each([
  '$dps/registrations/PUT/iotdps-register/',
  '$dps/registrations/PUT/iotdps-register/?rid=1',
  '$dps/registrations/PUT/iotdps-register?$rid=1',
  '$dps/registrations/DELETE/iotdps-register/?$rid=1',
  '$dps/registrations/res/202/?$rid=1',
  'devices/dev-001/messages/events/',
])('a message to %s closes the connection', async (topic) => {
  const { open, publish, closed } = await start()
  await open()
  publish(topic)
  await until(closed)
})

test.each([
  ['a client id that differs', { clientId: 'dev-002' }],
  ['no api-version', { username: '0ne00000001/registrations/dev-001/ClientVersion=1' }],
  ['an api-version that is none', { username: '0ne00000001/registrations/dev-001/api-version=latest' }],
  ['a will', { will: { topic: 'a', payload: Buffer.from('b'), qos: 1 as const, retain: false } }],
])('CONNACK 5: %s', async (_, more) => {
  const { dial, received, closed } = await start()
  await dial(more)
  expect(received).toMatchObject([{ cmd: 'connack', returnCode: 5 }])
  await until(closed)
})

test('an unknown ID scope passes CONNECT and is refused at the register message', async () => {
  const { open, publish, answer } = await start()
  await open({ username: '0neFFFFFFFF/registrations/dev-001/api-version=2019-03-31' })
  publish(`${REGISTER}1`)
  expect((await answer()).topic).toBe('$dps/registrations/res/401/?$rid=1')
})
