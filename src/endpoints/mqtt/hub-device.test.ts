import { duplexPair } from 'node:stream'
import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import { expect, test } from 'vitest'
import {
  deviceToken,
  eventually,
  type HubWorld,
  hubWorld,
  operator,
  PRIMARY,
  promptBus,
  sasDevice,
} from '../../../tests/support/hub-world.ts'
import { parseIfMatch } from '../../base/etags.ts'
import { limits } from '../../base/limits.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { createInProcessBus } from '../../bus/in-process.ts'
import { readCertificates } from '../../crypto/certificates.ts'
import { issueDeviceCertificate } from '../../crypto/issuing.ts'
import { createProvisioning } from '../../provisioning/provisioning.ts'
import { createMqttEndpoint } from './server.ts'

const absent = parseIfMatch(undefined)
const any = parseIfMatch('*')

/** A device as the other end of a stream, one packet at a time. */
class Client {
  readonly received: Packet[] = []
  closed = false
  readonly #stream
  readonly #log: string[] = []
  constructor(stream: ReturnType<typeof duplexPair>[0]) {
    this.#stream = stream
    const parser = mqttPacket.parser({ protocolVersion: 4 })
    parser.on('packet', (packet) => {
      this.received.push(packet)
      this.#log.push(packet.cmd === 'publish' ? `publish ${packet.topic}` : packet.cmd)
    })
    stream.on('data', (chunk: Buffer) => parser.parse(chunk))
    stream.on('close', () => (this.closed = true))
    stream.on('end', () => (this.closed = true))
    stream.on('error', () => {})
  }

  send(...packets: Packet[]): void {
    this.#stream.write(Buffer.concat(packets.map((packet) => mqttPacket.generate(packet))))
  }

  /** The next packet of a kind; removes it. */
  async next(cmd: Packet['cmd']): Promise<Record<string, unknown>> {
    await eventually(() => this.received.some((packet) => packet.cmd === cmd) || this.closed, `a ${cmd}`)
    const at = this.received.findIndex((packet) => packet.cmd === cmd)
    if (at === -1) throw new Error(`The connection closed before a ${cmd}.`)
    return this.received.splice(at, 1)[0] as unknown as Record<string, unknown>
  }

  /** Everything that arrived so far, in order. */
  get order(): readonly string[] {
    return this.#log
  }

  get stream() {
    return this.#stream
  }

  lose(): void {
    this.#stream.destroy()
  }

  async gone(): Promise<void> {
    await eventually(() => this.closed, 'the end of the connection')
  }
}

async function start(world?: HubWorld) {
  const its = world ?? (await hubWorld({ bus: promptBus() }))
  await its.hub.registry.putDevice(operator, its.iotHub, 'd1', sasDevice(), absent)
  const needs = { ...its, random: seededRandom(2), log: silentLog }
  const provisioning = createProvisioning({
    ...needs,
    bus: createInProcessBus(),
    linkedHubs: () => undefined,
    postWebhook: () => Promise.reject(new Error('No webhook is called here.')),
  })
  const endpoint = createMqttEndpoint({ ...needs, provisioning })
  const dial = (chain: readonly Buffer[] = []) => {
    const [ours, theirs] = duplexPair()
    endpoint.serve(theirs, { chain, address: '127.0.0.1', proved: () => {} })
    return new Client(ours)
  }
  const open = (more: Partial<IConnectPacket> = {}, chain?: readonly Buffer[]) => {
    const client = dial(chain)
    client.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: false,
      keepalive: 60,
      clientId: 'd1',
      username: 'hub1.example/d1/?api-version=2021-04-12&DeviceClientType=test',
      password: Buffer.from(deviceToken(its.clock, 'd1')),
      ...more,
    })
    return client
  }
  const connected = async (more: Partial<IConnectPacket> = {}) => {
    const client = open(more)
    expect(await client.next('connack')).toMatchObject({ returnCode: 0, sessionPresent: false })
    return client
  }
  const events = async () =>
    (
      await Promise.all(
        Array.from({ length: its.iotHub.partitions }, (_, partition) =>
          its.hub.telemetry.read(its.iotHub, partition, 0, 1000),
        ),
      )
    )
      .flat()
      .map(({ event }) => event)
  return { ...its, endpoint, dial, open, connected, events }
}

const publish = (topic: string, payload: string | Buffer = '', more: object = {}): Packet =>
  ({ cmd: 'publish', topic, payload, qos: 1, messageId: 1, dup: false, retain: false, ...more }) as Packet
const subscribe = (...filters: [topic: string, qos?: 0 | 1 | 2][]): Packet => ({
  cmd: 'subscribe',
  messageId: 9,
  subscriptions: filters.map(([topic, qos = 0]) => ({ topic, qos })),
})

test('telemetry: PUBACKs follow the commits, in order, and the log holds what was sent', async () => {
  const { connected, events } = await start()
  const client = await connected()
  const count = 300
  for (let n = 1; n <= count; n++)
    client.send(publish('devices/d1/messages/events/%24.mid=m%201&%24.ct=text%2Fplain&a=b', `${n}`, { messageId: n }))
  const acks: unknown[] = []
  while (acks.length < count) acks.push((await client.next('puback'))['messageId'])
  expect(acks).toEqual(Array.from({ length: count }, (_, n) => n + 1))
  const logged = await events()
  expect(logged.map(({ body }) => body.toString())).toEqual(Array.from({ length: count }, (_, n) => `${n + 1}`))
  expect(logged[0]).toMatchObject({
    deviceId: 'd1',
    system: { 'message-id': 'm 1', 'content-type': 'text/plain' },
    application: { a: 'b' },
  })
})

test('everything in one segment: CONNECT, SUBSCRIBE, PUBLISH, twin read are answered in order', async () => {
  const { dial, clock } = await start()
  const client = dial()
  client.send(
    {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: false,
      keepalive: 60,
      clientId: 'd1',
      username: 'hub1.example/d1/?api-version=2021-04-12',
      password: Buffer.from(deviceToken(clock, 'd1')),
    },
    subscribe(['$iothub/twin/res/#']),
    publish('devices/d1/messages/events/', 'x', { messageId: 5 }),
    publish('$iothub/twin/GET/?$rid=abc', ' ', { qos: 0 }),
  )
  await client.next('publish')
  expect(client.order).toEqual(['connack', 'suback', 'puback', 'publish $iothub/twin/res/200/?$rid=abc'])
})

const TWIN = { tags: { hidden: true }, desired: { interval: 30 } }

test('the twin is read with versions and nothing else; without a subscription the answer is dropped', async () => {
  const { connected, hub, iotHub, clock } = await start()
  const authentication = { type: 'sas', symmetricKey: { primaryKey: PRIMARY, secondaryKey: PRIMARY } }
  await hub.registry.provision(iotHub, { deviceId: 't1', authentication, iotEdge: false, twin: TWIN }, 'keep')
  const client = await connected({
    clientId: 't1',
    username: 'hub1.example/t1/?api-version=2021-04-12',
    password: Buffer.from(deviceToken(clock, 't1')),
  })
  client.send(publish('$iothub/twin/GET/?$rid=0', '', { messageId: 3 }))
  await client.next('puback')
  client.send(subscribe(['$iothub/twin/res/#', 1]), publish('$iothub/twin/GET/?$rid=1', '', { messageId: 4 }))
  const { topic, payload, qos } = await client.next('publish')
  expect([topic, qos]).toEqual(['$iothub/twin/res/200/?$rid=1', 0])
  expect(JSON.parse(String(payload))).toEqual({ desired: { interval: 30, $version: 1 }, reported: { $version: 1 } })
})

test('reported patches: 204 with the new version; refusals have a JSON body with an errorCode', async () => {
  const { connected } = await start()
  const client = await connected()
  client.send(subscribe(['$iothub/twin/res/#']))
  await client.next('suback')
  const patch = async (body: string, query = '') => {
    client.send(publish(`$iothub/twin/PATCH/properties/reported/?$rid=7${query}`, body, { qos: 0 }))
    const { topic, payload } = await client.next('publish')
    return [topic, String(payload)] as const
  }
  expect(await patch('{"a":{"b":1},"c":[1]}')).toEqual(['$iothub/twin/res/204/?$rid=7&$version=2', ''])
  expect(await patch('{"a":{"b":null},"d":"2023-01-31T10:37:08.4599400"}', '&$version=2')).toEqual([
    '$iothub/twin/res/204/?$rid=7&$version=3',
    '',
  ])
  for (const [body, query, status, code, text] of [
    ['{"$a":1}', '', 400, 400004, 'reported must be names without'],
    ['{', '', 400, 400004, 'not valid JSON'],
    ['[1]', '', 400, 400004, 'must be a JSON object, found an array'],
    ['', '', 400, 400004, 'must be a JSON object, found nothing'],
    [`{"a":"${'x'.repeat(4097)}"}`, '', 400, 400004, 'at most 4096 bytes'],
    ['{"a":1}', '&$version=2', 412, 412001, 'they are at 3'],
    ['{"a":1}', '&$version=x', 400, 400004, '$version must be a whole number'],
  ] as const) {
    const [topic, answer] = await patch(body, query)
    expect(topic).toBe(`$iothub/twin/res/${status}/?$rid=7`)
    const error = JSON.parse(answer) as Record<string, unknown>
    expect(Object.keys(error)).toEqual(['errorCode', 'trackingId', 'message', 'info', 'timestampUtc'])
    expect([error['errorCode'], String(error['message'])]).toEqual([code, expect.stringContaining(text)])
  }
  client.send(publish('$iothub/twin/GET/?$rid=8', '', { qos: 0 }))
  expect(JSON.parse(String((await client.next('publish'))['payload']))).toEqual({
    desired: { $version: 1 },
    reported: { a: {}, c: [1], d: '2023-01-31T10:37:08.4599400', $version: 3 },
  })
})

test('a device that pipelines patches and a read meets itself in order', async () => {
  const { connected } = await start()
  const client = await connected()
  client.send(subscribe(['$iothub/twin/res/#']))
  await client.next('suback')
  const count = 60
  for (let n = 1; n <= count; n++)
    client.send(publish(`$iothub/twin/PATCH/properties/reported/?$rid=${n}`, JSON.stringify({ n }), { messageId: n }))
  client.send(publish('$iothub/twin/GET/?$rid=get', '', { qos: 0 }))
  for (let n = 1; n <= count; n++)
    expect((await client.next('publish'))['topic']).toBe(`$iothub/twin/res/204/?$rid=${n}&$version=${n + 1}`)
  expect(JSON.parse(String((await client.next('publish'))['payload'])).reported).toEqual({
    n: count,
    $version: count + 1,
  })
})

test('the subscriptions of the SDKs are granted, QoS 2 as 1, others are refused without harm', async () => {
  const { connected } = await start()
  const client = await connected()
  client.send(
    subscribe(
      ['devices/d1/messages/devicebound/#', 1],
      ['$iothub/methods/POST/#', 0],
      ['$iothub/twin/PATCH/properties/desired/#', 2],
      ['devices/other/messages/devicebound/#', 1],
      ['#', 0],
    ),
  )
  expect((await client.next('suback'))['granted']).toEqual([1, 0, 1, 128, 128])
  client.send({ cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['devices/d1/messages/devicebound/#', 'never'] })
  await client.next('unsuback')
  client.send(publish('$iothub/methods/res/200/?$rid=1', '{}', { messageId: 6 }))
  await client.next('puback')
  const granted: number[] = []
  for (const half of ['a', 'b']) {
    const filters = Array.from({ length: 30 }, (_, n): [string, 0] => [`$iothub/methods/POST/${half}${n}/#`, 0])
    client.send(subscribe(...filters))
    granted.push(...((await client.next('suback'))['granted'] as number[]))
  }
  expect(granted.filter((each) => each === 128)).toHaveLength(60 + 2 - limits.mqttSubscriptions)
})

test.each([
  [
    'a wrong key',
    { password: Buffer.from('SharedAccessSignature sr=hub1.example%2Fdevices%2Fd1&sig=AAAA&se=9999999999') },
  ],
  ['no password', { password: undefined }],
  ['an unknown device', { clientId: 'nobody', username: 'hub1.example/nobody/?api-version=2021-04-12' }],
  ['a malformed id', { clientId: 'a#b/c', username: 'hub1.example/a b/?api-version=2021-04-12' }],
  ['a client id that differs', { clientId: 'D1' }],
  ['no user name', { username: undefined, password: undefined }],
  ['a user name that names nobody', { username: 'hub1.example' }],
  [
    'a will for a topic that is not its own',
    { will: { topic: 'devices/d2/messages/events', payload: Buffer.from('x'), qos: 1 as const, retain: false } },
  ],
  ['a registration under another name', { username: '0ne00000000/registrations/d2/api-version=2019-03-31' }],
])('CONNACK 5: %s', async (_, more) => {
  const { open } = await start()
  const client = open(more as Partial<IConnectPacket>)
  expect((await client.next('connack'))['returnCode']).toBe(5)
  await client.gone()
})

test('CONNACK 3 when the store is away, so that devices try again', async () => {
  const world = await start()
  await world.store.close()
  const client = world.open()
  expect((await client.next('connack'))['returnCode']).toBe(3)
})

test('a device named registrations is a device of the hub', async () => {
  const { hub, iotHub, connected, clock } = await start()
  await hub.registry.putDevice(operator, iotHub, 'registrations', sasDevice(), absent)
  await hub.registry.putModule(operator, iotHub, 'registrations', 'm', sasDevice(), absent)
  await connected({
    clientId: 'registrations',
    username: 'hub1.example/registrations/?api-version=2021-04-12',
    password: Buffer.from(deviceToken(clock, 'registrations')),
  })
  await connected({
    clientId: 'registrations/m',
    username: 'hub1.example/registrations/m/?api-version=2021-04-12',
    password: Buffer.from(deviceToken(clock, 'registrations/modules/m')),
  })
})

test.each(['d1', 'registrations'])('a registration of %s is the business of the provisioning service', async (id) => {
  const { connected } = await start()
  // Without a look at what it shows: that is judged with the register message.
  const username = `0ne00000000/registrations/${id}/api-version=2019-03-31`
  await connected({ clientId: id, username, password: Buffer.from('no token') })
})

test('X.509: the certificate of the handshake and no password', async () => {
  const { hub, iotHub, open, clock } = await start()
  const issued = await issueDeviceCertificate({
    authority: undefined,
    commonName: 'x1',
    days: 30,
    keyType: 'ec',
    now: clock.now(),
  })
  const chain = readCertificates(issued.certificate).map(({ raw }) => raw)
  const primaryThumbprint = readCertificates(issued.certificate)[0]!.sha1
  await hub.registry.putDevice(
    operator,
    iotHub,
    'x1',
    { authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint } } },
    absent,
  )
  const named = {
    clientId: 'x1',
    username: 'hub1.example/x1/?api-version=2021-04-12',
    password: undefined,
  } as unknown as Partial<IConnectPacket>
  expect((await open(named, chain).next('connack'))['returnCode']).toBe(0)
  expect((await open(named).next('connack'))['returnCode']).toBe(5)
})

test('modules connect beside their device and send as themselves', async () => {
  const { hub, iotHub, connected, clock, events } = await start()
  await hub.registry.putModule(operator, iotHub, 'd1', 'm', sasDevice(), absent)
  const device = await connected()
  const module = await connected({
    clientId: 'd1/m',
    username: 'hub1.example/d1/m/?api-version=2020-09-30&model-id=dtmi:x;1',
    password: Buffer.from(deviceToken(clock, 'd1/modules/m')),
  })
  module.send(publish('devices/d1/modules/m/messages/events/%24.on=out/', 'hello'))
  await module.next('puback')
  device.send(publish('devices/d1/messages/events', 'from the device'))
  await device.next('puback')
  expect((await events()).map(({ moduleId, modelId, system }) => [moduleId, modelId, system])).toEqual([
    ['m', 'dtmi:x;1', { 'iothub-outputname': 'out' }],
    [undefined, undefined, {}],
  ])
  expect((await hub.twins.get(iotHub, 'd1', 'm')).modelId).toBe('dtmi:x;1')
})

test('a second connection takes over: it is accepted, the first is closed', async () => {
  const { connected, hub, iotHub } = await start()
  const first = await connected()
  const second = await connected()
  await first.gone()
  second.send(publish('devices/d1/messages/events', 'still here'))
  await second.next('puback')
  expect((await hub.registry.getDevice(iotHub, 'd1')).connectionState).toBe('Connected')
  second.send({ cmd: 'disconnect' })
  await second.gone()
  await eventually(async () => (await hub.registry.getDevice(iotHub, 'd1')).connectionState === 'Disconnected')
})

test.each([
  [
    'disabling',
    (world: HubWorld) =>
      world.hub.registry.putDevice(operator, world.iotHub, 'd1', sasDevice({ status: 'disabled' }), any),
  ],
  ['deleting', (world: HubWorld) => world.hub.registry.removeDevice(operator, world.iotHub, 'd1', any)],
  ['re-keying', (world: HubWorld) => world.hub.registry.putDevice(operator, world.iotHub, 'd1', {}, any)],
])('%s a device closes its connection, and it is not let in again', async (_, change) => {
  const world = await start()
  const client = await world.connected()
  await change(world)
  await client.gone()
  const again = world.open()
  expect((await again.next('connack'))['returnCode']).toBe(5)
})

test('an expired token ends the connection ten minutes late', async () => {
  const { connected, clock } = await start()
  const client = await connected({ keepalive: 0 })
  // The longest keep-alive is half an hour: the device has to be heard in between.
  const ping = async () => {
    client.send({ cmd: 'pingreq' })
    await client.next('pingresp')
  }
  for (let minutes = 0; minutes < 69; minutes += 23) {
    await ping()
    clock.advance(23 * 60_000)
    await eventually(() => true)
  }
  await ping()
  clock.advance(60_000)
  await eventually(() => {
    clock.advance(limits.sessionRecheckMs)
    return client.closed
  })
})

test.each([
  ['another topic', publish('devices/d2/messages/events', 'x')],
  ['an unknown topic', publish('$iothub/other/?$rid=1', 'x')],
  ['more than 256 KB', publish('devices/d1/messages/events', Buffer.alloc(limits.telemetryMessageBytes + 1))],
  ['a bad creation time', publish('devices/d1/messages/events/%24.ctime=yesterday', 'x')],
])('publishing %s closes the connection, and nothing is logged', async (_, packet) => {
  const { connected, events } = await start()
  const client = await connected()
  client.send(packet)
  await client.gone()
  expect(await events()).toEqual([])
})

const will = { topic: 'devices/d1/messages/events/a=1', payload: Buffer.from('gone'), qos: 1 as const, retain: false }

test('a will is logged when the connection is lost, not when the device leaves or is taken over', async () => {
  const { connected, events } = await start()
  const leaving = await connected({ will })
  leaving.send({ cmd: 'disconnect' })
  await leaving.gone()
  const replaced = await connected({ will })
  const lost = await connected({ will })
  await replaced.gone()
  expect(await events()).toEqual([])
  lost.lose()
  await eventually(async () => (await events()).length > 0)
  expect((await events()).map(({ application, body }) => [application, body.toString()])).toEqual([
    [{ a: '1', 'iothub-MessageType': 'Will' }, 'gone'],
  ])
})

test('a retained message is a message with a property', async () => {
  const { connected, events } = await start()
  const client = await connected()
  client.send(publish('devices/d1/messages/events/', 'x', { retain: true }))
  await client.next('puback')
  expect((await events())[0]?.application).toEqual({ 'mqtt-retain': 'true' })
})

test('closing the endpoint answers what was received and ends every connection', async () => {
  const { connected, endpoint, events } = await start()
  const client = await connected()
  client.send(publish('devices/d1/messages/events', 'last'))
  const closing = endpoint.close()
  await client.gone()
  client.lose()
  await closing
  expect(client.order).toEqual(['connack', ...(await events()).map(() => 'puback')])
})
