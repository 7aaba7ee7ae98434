import mqttPacket, { type Packet } from 'mqtt-packet'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { rememberPeer } from '../../src/wire/peer.ts'
import { derivedKey, sas, serviceToken } from '../support/raw-client.ts'
import { clientFrame, handshake, opcodes, readFrame } from '../support/web-socket.ts'
import { fuzz, inputs, seed } from './fuzz.ts'
import { type InProcess, startInProcess } from './in-process.ts'
import { checkMqttOutput } from './mqtt-inputs.ts'
import { mutated } from './mutations.ts'

const MQTT_INPUTS = inputs(50_000)
const WEB_SOCKET_INPUTS = inputs(50_000)
const GROUP_KEY = Buffer.alloc(64, 7).toString('base64')
const REGISTRATION = 'fuzz-device'

let service: InProcess
beforeAll(async () => {
  service = await startInProcess()
  const { hostName, connectionString } = service.addresses.dps
  const answer = await service.http.app.inject({
    method: 'PUT',
    url: '/enrollmentGroups/fuzz?api-version=2021-10-01',
    headers: { host: hostName, authorization: serviceToken(connectionString) },
    payload: {
      enrollmentGroupId: 'fuzz',
      attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY } },
    },
  })
  expect(answer.statusCode, answer.body).toBe(200)
})
afterAll(() => service.stop())

/** Registrations as clients hold them, packet by packet. */
function sessions(): Buffer[][] {
  const { idScope } = service.addresses
  const connect = (more: object = {}): Packet => ({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    keepalive: 60,
    clientId: REGISTRATION,
    username: `${idScope}/registrations/${REGISTRATION}/api-version=2019-03-31&ClientVersion=1`,
    password: Buffer.from(sas(`${idScope}/registrations/${REGISTRATION}`, derivedKey(GROUP_KEY, REGISTRATION))),
    ...more,
  })
  const subscribe: Packet = {
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: '$dps/registrations/res/#', qos: 1 }],
  }
  const publish = (topic: string, payload: string, messageId: number): Packet => ({
    cmd: 'publish',
    qos: 1,
    dup: false,
    retain: false,
    topic,
    payload,
    messageId,
  })
  const register = (payload: string): Packet => publish('$dps/registrations/PUT/iotdps-register/?$rid=1', payload, 2)
  const poll = publish('$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.0.0', ' ', 3)
  return [
    [connect(), subscribe, register(`{"registrationId":"${REGISTRATION}","payload":{"a":[1,null,"b"]}}`), poll],
    [connect({ password: Buffer.from('SharedAccessSignature sr=a&sig=b&se=1') }), subscribe, register(''), poll],
    [connect({ password: undefined }), register('{"tpm":{"endorsementKey":"AAAA"}}'), { cmd: 'disconnect' } as const],
  ].map((packets) => packets.map((packet) => mqttPacket.generate(packet as Packet)))
}

const peer = { chain: [], address: 'memory', proved: () => undefined }

test(`the service survives ${MQTT_INPUTS} mutated registrations over MQTT (seed ${seed})`, async () => {
  const { mqtt, faults } = service
  let answered = 0
  await fuzz({
    seed,
    inputs: MQTT_INPUTS,
    corpus: sessions().map((packets) => Buffer.concat(packets)),
    batch: 20,
    serve: (stream) => mqtt.serve(stream, peer),
    check: ({ output }) => {
      const packets = checkMqttOutput(output)
      for (const packet of packets) {
        if (packet.cmd !== 'publish') continue
        expect(packet.topic).toMatch(/^\$dps\/registrations\/res\/[24]\d\d\/\?\$rid=/)
        answered += 1
      }
      expect(faults).toEqual([])
    },
  })
  console.info(`${answered} requests of ${MQTT_INPUTS} sessions were answered before the client vanished`)
  expect(answered).toBeGreaterThan(MQTT_INPUTS / 100)
})

/** Whole frames of a server behind the head of its answer; the last may have been cut when the client vanished. */
function framesOf(output: Buffer): { opcode: number; payload: Buffer }[] {
  const found: { opcode: number; payload: Buffer }[] = []
  let rest = output.subarray(output.indexOf('\r\n\r\n') + 4)
  for (let next = readFrame(rest); next !== undefined; next = readFrame(rest)) {
    found.push(next.frame)
    rest = next.rest
  }
  return found
}

test(`the service survives ${WEB_SOCKET_INPUTS} mutated WebSockets (seed ${seed})`, async () => {
  const { http, faults } = service
  const opening = Buffer.from(handshake())
  const framed = sessions().map((packets) =>
    Buffer.concat([opening, ...packets.map((packet) => clientFrame(packet)), clientFrame('', opcodes.close)]),
  )
  const plain = sessions().map((packets) => Buffer.concat(packets))
  const whole = plain[0]!
  const cut = Buffer.concat([
    opening,
    clientFrame(whole.subarray(0, 50), opcodes.binary, false),
    clientFrame('ping', opcodes.ping),
    clientFrame(whole.subarray(50), opcodes.continuation),
    clientFrame('text', opcodes.text),
  ])
  let upgraded = 0
  let connected = 0
  await fuzz({
    seed,
    inputs: WEB_SOCKET_INPUTS,
    corpus: [...framed, cut],
    // Half of them whole frames around mutated sessions, half mutated frames and handshakes.
    make: (random, corpus) =>
      random.fraction() < 0.5 ? Buffer.concat([opening, clientFrame(mutated(random, plain))]) : mutated(random, corpus),
    batch: 20,
    serve: (stream) => {
      rememberPeer(stream, peer)
      http.serve(stream)
    },
    check: ({ output }) => {
      expect(faults).toEqual([])
      if (!output.toString('latin1', 0, 12).startsWith('HTTP/1.1 101')) return
      upgraded += 1
      const frames = framesOf(output)
      const binary = frames.filter(({ opcode }) => opcode === opcodes.binary).map(({ payload }) => payload)
      const [connack] = checkMqttOutput(Buffer.concat(binary))
      if (connack?.cmd === 'connack' && connack.returnCode === 0) connected += 1
    },
  })
  console.info(`${upgraded} of ${WEB_SOCKET_INPUTS} were upgraded, ${connected} connected`)
  expect(upgraded).toBeGreaterThan(WEB_SOCKET_INPUTS / 20)
  expect(connected).toBeGreaterThan(WEB_SOCKET_INPUTS / 100)
})
