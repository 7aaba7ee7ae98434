import { type Duplex, duplexPair } from 'node:stream'
import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'
import { TestClock } from '../../src/base/clock.ts'
import { type Log, silentLog } from '../../src/base/log.ts'
import {
  type ConnectAnswer,
  type MqttConnect,
  type MqttConnection,
  type MqttFace,
  type MqttPublish,
  type MqttSession,
  serveMqtt,
} from '../../src/wire/mqtt.ts'

/** Lets every promise and every stream of this thread come to rest, without any clock. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** What a face was asked, and the keys to its answers. */
export interface RecordedFace extends MqttFace {
  readonly published: MqttPublish[]
  readonly confirmed: string[]
  readonly unsubscribed: string[]
  readonly endings: string[]
}

/** A face that accepts everything at once; `overrides` replace single operations. */
export function recordingFace(overrides: Partial<MqttFace> = {}): RecordedFace {
  const face: RecordedFace = {
    published: [],
    confirmed: [],
    unsubscribed: [],
    endings: [],
    subscribe: async (filters) => filters.map(({ qos }) => (qos === 0 ? 0 : 1)),
    subscribed: (filters) => void face.confirmed.push(...filters),
    unsubscribe: async (filters) => void face.unsubscribed.push(...filters),
    publish: async (message) => void face.published.push(message),
    ended: (how) => void face.endings.push(how),
  }
  return Object.assign(face, overrides)
}

/** A device and the engine, joined in memory; `sent` are the packets that the device received. */
export interface Bench {
  readonly clock: TestClock
  readonly face: RecordedFace
  readonly device: Duplex
  readonly server: Duplex
  readonly connection: MqttConnection
  readonly received: Packet[]
  /** Raw writes of the engine, to see what left together. */
  readonly writes: Buffer[]
  readonly connects: MqttConnect[]
  readonly session: () => MqttSession
  readonly provedTimes: () => number
  write(bytes: Buffer): void
  send(...packets: Packet[]): void
  /** CONNECT, and waits for CONNACK. */
  connect(packet?: Partial<IConnectPacket>): Promise<void>
  closed(): boolean
}

export interface BenchOptions {
  face?: Partial<MqttFace>
  /** Instead of accepting with the recording face. */
  answer?: (face: RecordedFace, session: MqttSession) => Promise<ConnectAnswer> | ConnectAnswer
  log?: Log
}

export function bench(options: BenchOptions = {}): Bench {
  const clock = new TestClock()
  const face = recordingFace(options.face)
  const [device, server] = duplexPair()
  const received: Packet[] = []
  const writes: Buffer[] = []
  const connects: MqttConnect[] = []
  const sessions: MqttSession[] = []
  let provedTimes = 0
  const parser = mqttPacket.parser({ protocolVersion: 4 }).on('packet', (packet) => received.push(packet))
  device.on('data', (chunk: Buffer) => {
    writes.push(chunk)
    parser.parse(chunk)
  })
  device.on('error', () => undefined)
  const connection = serveMqtt(server, {
    clock,
    log: options.log ?? silentLog,
    remote: '192.0.2.1',
    proved: () => {
      provedTimes += 1
    },
    connect: async (packet, session) => {
      connects.push(packet)
      sessions.push(session)
      return options.answer === undefined ? { face } : options.answer(face, session)
    },
  })
  const write = (bytes: Buffer): void => void device.write(bytes)
  return {
    clock,
    face,
    device,
    server,
    connection,
    received,
    writes,
    connects,
    session: () => sessions[0]!,
    provedTimes: () => provedTimes,
    write,
    send: (...packets) => write(Buffer.concat(packets.map((packet) => mqttPacket.generate(packet)))),
    async connect(packet = {}) {
      write(mqttPacket.generate(connectPacket(packet)))
      await settle()
    },
    closed: () => server.destroyed || server.writableEnded,
  }
}

export const connectPacket = (packet: Partial<IConnectPacket> = {}): IConnectPacket => ({
  cmd: 'connect',
  protocolId: 'MQTT',
  protocolVersion: 4,
  clean: false,
  clientId: 'd1',
  username: 'hub.example/d1/?api-version=2021-04-12',
  keepalive: 60,
  ...packet,
})

export const publishPacket = (messageId: number, payload = `m${messageId}`, topic = 'a/b'): Packet =>
  messageId === 0
    ? { cmd: 'publish', qos: 0, dup: false, retain: false, topic, payload }
    : { cmd: 'publish', qos: 1, dup: false, retain: false, topic, payload, messageId }

/** A promise and its keys. */
export interface Gate<T> {
  promise: Promise<T>
  open(value: T): void
  fail(error: unknown): void
}

export function gate<T = void>(): Gate<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  return { promise, open: resolve, fail: reject }
}
