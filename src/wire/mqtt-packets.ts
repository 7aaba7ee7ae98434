import mqttPacket, { type IConnectPacket, type IPublishPacket, type Packet } from 'mqtt-packet'
import { limits } from '../base/limits.ts'
import type { MqttConnect, MqttPublish } from './mqtt.ts'

/** What a client may say to a server, checked. `id` is the packet identifier, 1 to 65535. */
export type ClientPacket =
  | { type: 'connect'; connect: MqttConnect }
  /** A CONNECT of another protocol version: all that is understood of it is its level. */
  | { type: 'other-version'; level: number }
  | { type: 'publish'; id: number; message: MqttPublish }
  | { type: 'puback'; id: number }
  | { type: 'subscribe'; id: number; filters: { topic: string; qos: 0 | 1 | 2 }[] }
  | { type: 'unsubscribe'; id: number; filters: string[] }
  | { type: 'pingreq' }
  | { type: 'disconnect' }

/** The connection must be closed (MQTT 3.1.1, 4.8). The message never quotes what was received. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation'
}

const violation = (what: string): never => {
  throw new ProtocolViolation(what)
}

export type DecodePacket = (bytes: Buffer) => ClientPacket

/**
 * A decoder of packets for one connection. It is given exactly one complete packet at a time, because `mqtt-packet`
 * reads beyond the end of a short packet into the next one, and it checks what `mqtt-packet` lets pass: identifiers 0
 * and missing, empty lists, bytes left over, text that is no UTF-8, reserved flags (each with its clause below).
 * Payloads are views of `bytes`.
 */
export function packetDecoder(): DecodePacket {
  let parser: ReturnType<typeof mqttPacket.parser> | undefined
  const outcome: { packet: Packet | undefined; failure: Error | undefined } = { packet: undefined, failure: undefined }

  const parse = (bytes: Buffer): Packet => {
    parser ??= mqttPacket
      .parser({ protocolVersion: 4 })
      .on('packet', (packet) => {
        outcome.packet = packet
      })
      .on('error', (error) => {
        outcome.failure = error
      })
    parser.parse(bytes)
    // The library keeps the CONNECT packet, password included, as its settings: such a parser is not kept.
    if (bytes[0] === CONNECT_TYPE) parser = undefined
    const { packet, failure } = outcome
    outcome.packet = undefined
    outcome.failure = undefined
    if (failure !== undefined) return violation(`Malformed packet: ${failure.message}.`)
    return packet ?? violation('Malformed packet.')
  }

  return (bytes) => {
    if (bytes[0] === CONNECT_TYPE) {
      const level = connectLevel(bytes)
      if (level !== undefined && level !== 4) return { type: 'other-version', level }
    }
    return check(parse(bytes), bytes)
  }
}

/** First byte of a CONNECT: its type and its reserved flags. */
export const CONNECT_TYPE = 0x10

/** Bytes of the fixed header of a complete packet. */
function headerLength(bytes: Buffer): number {
  let at = 1
  while ((bytes[at]! & 0x80) !== 0) at += 1
  return at + 1
}

/** The protocol level of a CONNECT, if it begins with a protocol name of MQTT at all (3.1.2.1). */
function connectLevel(bytes: Buffer): number | undefined {
  const start = headerLength(bytes)
  const nameLength = bytes.length >= start + 2 ? bytes.readUInt16BE(start) : 0
  const name = bytes.toString('latin1', start + 2, start + 2 + nameLength)
  return name === 'MQTT' || name === 'MQIsdp' ? bytes[start + 2 + nameLength] : undefined
}

function check(packet: Packet, bytes: Buffer): ClientPacket {
  switch (packet.cmd) {
    case 'publish':
      return checkPublish(packet, bytes)
    case 'puback':
      if (bytes.length !== 4) violation('PUBACK of a wrong length.')
      return { type: 'puback', id: identifier(packet) }
    case 'connect':
      return { type: 'connect', connect: checkConnect(packet, bytes) }
    case 'subscribe': {
      const filters = packet.subscriptions.map(({ topic, qos }) => ({ topic: checkFilter(topic, bytes), qos }))
      checkCount(filters)
      return { type: 'subscribe', id: identifier(packet), filters }
    }
    case 'unsubscribe': {
      const filters = packet.unsubscriptions.map((topic) => checkFilter(topic, bytes))
      checkCount(filters)
      return { type: 'unsubscribe', id: identifier(packet), filters }
    }
    case 'pingreq':
    case 'disconnect':
      if (bytes.length !== 2) violation(`${packet.cmd.toUpperCase()} of a wrong length.`)
      return { type: packet.cmd }
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return violation('QoS 2 is not supported.')
    default:
      return violation(`A client may not send ${packet.cmd.toUpperCase()}.`)
  }
}

function checkPublish(packet: IPublishPacket, bytes: Buffer): ClientPacket {
  const { qos, topic, payload, retain, dup } = packet
  if (qos === 2) return violation('QoS 2 is not supported.')
  // [MQTT-3.3.1-2]
  if (qos === 0 && dup) violation('PUBLISH with DUP at QoS 0.')
  // [MQTT-4.7.3-1], [MQTT-3.3.2-2]; DotNetty, which the real hub was built on, refuses wildcards here too.
  if (topic === '' || topic.includes('+') || topic.includes('#')) violation('PUBLISH to an empty topic or to a filter.')
  checkText(topic, bytes)
  const id = qos === 0 ? 0 : identifier(packet)
  return { type: 'publish', id, message: { topic, payload: payload as Buffer, qos, retain, dup } }
}

function checkConnect(packet: IConnectPacket, bytes: Buffer): MqttConnect {
  const { clientId, username, password, will } = packet
  const flags = bytes[headerLength(bytes) + 7]!
  // [MQTT-3.1.2-22], [MQTT-3.1.2-14]
  if (password !== undefined && username === undefined) violation('CONNECT with a password and no user name.')
  if (((flags >> 3) & 3) === 3) violation('CONNECT with a will of QoS 3.')
  for (const text of [clientId, username, will?.topic]) if (text !== undefined) checkText(text, bytes)
  // Every field has a length of its own, so whatever they do not cover is not part of CONNECT.
  const texts = [clientId, username, will?.topic].filter((text) => text !== undefined)
  const blobs = [password, will?.payload as Buffer | undefined].filter((blob) => blob !== undefined)
  const length =
    texts.reduce((sum, text) => sum + 2 + Buffer.byteLength(text), 0) +
    blobs.reduce((sum, blob) => sum + 2 + blob.length, 0)
  if (headerLength(bytes) + 10 + length !== bytes.length) violation('CONNECT with bytes left over.')
  return {
    clientId,
    username,
    // A copy: the packet's own bytes must not be kept alive by it.
    password: password === undefined ? undefined : Buffer.from(password),
    clean: packet.clean === true,
    keepAlive: packet.keepalive ?? 0,
    will:
      will === undefined
        ? undefined
        : { topic: will.topic, payload: Buffer.from(will.payload), qos: will.qos ?? 0, retain: will.retain === true },
    protocolLevel: 4,
  }
}

/** [MQTT-2.3.1-1]: not zero; `mqtt-packet` gives -1 where it is missing. */
function identifier(packet: Packet): number {
  const id = packet.messageId
  return id !== undefined && id > 0 ? id : violation('Packet identifier 0 or none.')
}

/** [MQTT-3.8.3-3], [MQTT-3.10.3-2]: at least one; and no more than a session may hold. */
function checkCount(filters: readonly unknown[]): void {
  if (filters.length === 0) violation('A subscription packet without topic filters.')
  if (filters.length > limits.mqttSubscriptions) violation('A subscription packet with too many topic filters.')
}

/** [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1]: `#` last and alone in its level, `+` alone in its level. */
function checkFilter(filter: string, bytes: Buffer): string {
  const levels = filter.split('/')
  const fits = (level: string, at: number): boolean =>
    level === '+' || (level === '#' && at === levels.length - 1) || !/[+#]/.test(level)
  if (filter === '' || !levels.every(fits)) violation('A topic filter that is empty or has a misplaced wildcard.')
  checkText(filter, bytes)
  return filter
}

/**
 * [MQTT-1.5.3-1], [MQTT-1.5.3-2]: well-formed UTF-8 without U+0000. Ill-formed bytes were decoded to U+FFFD; a client
 * that really sent U+FFFD has its encoding among the bytes.
 */
function checkText(text: string, bytes: Buffer): void {
  if (text.includes('\u0000')) violation('Text with U+0000.')
  if (text.includes('\ufffd') && bytes.indexOf(text, 0, 'utf8') < 0) violation('Text that is not valid UTF-8.')
}

/** Most bytes of a topic (MQTT 3.1.1, 1.5.3). */
export const TOPIC_BYTES = 65_535

// Written by hand: `mqtt-packet` keeps 65,536 ready-made numbers in every thread for it.

export const connack = (code: number, sessionPresent = false): Buffer =>
  Buffer.from([0x20, 2, sessionPresent ? 1 : 0, code])

export const puback = (id: number): Buffer => Buffer.from([0x40, 2, id >> 8, id & 0xff])

export const suback = (id: number, grants: readonly number[]): Buffer =>
  Buffer.concat([Buffer.from([0x90, ...lengthBytes(2 + grants.length), id >> 8, id & 0xff]), Buffer.from(grants)])

export const unsuback = (id: number): Buffer => Buffer.from([0xb0, 2, id >> 8, id & 0xff])

export const PINGRESP = Buffer.from([0xd0, 0])

/** A PUBLISH; `id` undefined makes it QoS 0. Throws RangeError for a topic that no packet can carry. */
export function publishPacket(topic: string, payload: Buffer | string, id: number | undefined): Buffer {
  const topicLength = Buffer.byteLength(topic)
  if (topicLength === 0 || topicLength > TOPIC_BYTES) {
    throw new RangeError(`A topic must have 1 to ${TOPIC_BYTES} bytes, found ${topicLength}.`)
  }
  const payloadLength = Buffer.byteLength(payload)
  const rest = 2 + topicLength + (id === undefined ? 0 : 2) + payloadLength
  const header = lengthBytes(rest)
  const packet = Buffer.allocUnsafe(1 + header.length + rest)
  packet[0] = id === undefined ? 0x30 : 0x32
  packet.set(header, 1)
  let at = packet.writeUInt16BE(topicLength, 1 + header.length)
  at += packet.write(topic, at)
  if (id !== undefined) at = packet.writeUInt16BE(id, at)
  if (typeof payload === 'string') packet.write(payload, at)
  else packet.set(payload, at)
  return packet
}

/** Remaining length, base 128, least first (MQTT 3.1.1, 2.2.3). */
function lengthBytes(length: number): number[] {
  const bytes: number[] = []
  let left = length
  do {
    const rest = left >> 7
    bytes.push((left & 0x7f) | (rest > 0 ? 0x80 : 0))
    left = rest
  } while (left > 0)
  return bytes
}
