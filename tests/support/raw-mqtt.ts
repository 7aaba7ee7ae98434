import { once } from 'node:events'
import tls from 'node:tls'
import type { RawTarget } from './raw-https.ts'
import { clientFrame, handshake, opcodes, readFrame } from './web-socket.ts'

/** MQTT 3.1.1 packets put together by hand, so that a test writes exactly what a client that cannot run here writes. */

const text = (value: string | Buffer): Buffer => {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}

const identifier = (id: number): Buffer => Buffer.from([id >> 8, id & 0xff])

export function rawPacket(first: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const length: number[] = []
  let left = body.length
  do {
    length.push((left % 128) | (left >= 128 ? 0x80 : 0))
    left = Math.floor(left / 128)
  } while (left > 0)
  return Buffer.concat([Buffer.from([first, ...length]), body])
}

export interface RawConnect {
  readonly clientId: string
  readonly username: string
  readonly password?: string
  readonly clean: boolean
  readonly keepAlive: number
}

export function rawConnect({ clientId, username, password, clean, keepAlive }: RawConnect): Buffer {
  const flags = 0x80 | (password === undefined ? 0 : 0x40) | (clean ? 2 : 0)
  const head = Buffer.concat([text('MQTT'), Buffer.from([4, flags]), identifier(keepAlive)])
  return rawPacket(0x10, head, text(clientId), text(username), ...(password === undefined ? [] : [text(password)]))
}

export const rawSubscribe = (id: number, filter: string, qos: number): Buffer =>
  rawPacket(0x82, identifier(id), text(filter), Buffer.from([qos]))

export const rawUnsubscribe = (id: number, filter: string): Buffer => rawPacket(0xa2, identifier(id), text(filter))

/** QoS 0 without an identifier, QoS 1 with one. */
export const rawPublish = (topic: string, payload: string | Buffer, id?: number): Buffer =>
  rawPacket(
    id === undefined ? 0x30 : 0x32,
    text(topic),
    ...(id === undefined ? [] : [identifier(id)]),
    Buffer.from(payload),
  )

export const rawPuback = (id: number): Buffer => rawPacket(0x40, identifier(id))

export const DISCONNECT = Buffer.from([0xe0, 0x00])

/** A PUBLISH of the server, taken apart. */
export interface RawMessage {
  readonly qos: number
  readonly id: number | undefined
  readonly topic: string
  readonly payload: string
}

export function readMessage(packet: Buffer): RawMessage {
  if (packet[0]! >> 4 !== 3) throw new Error(`Expected a PUBLISH, found ${packet.toString('hex', 0, 4)}…`)
  const qos = (packet[0]! >> 1) & 3
  let at = headerLength(packet)!
  const length = packet.readUInt16BE(at)
  const topic = packet.toString('utf8', at + 2, at + 2 + length)
  at += 2 + length
  const id = qos === 0 ? undefined : packet.readUInt16BE(at)
  return { qos, id, topic, payload: packet.toString('utf8', qos === 0 ? at : at + 2) }
}

/** Bytes of the fixed header; undefined: it is not whole yet. */
function headerLength(bytes: Buffer): number | undefined {
  for (let at = 1; at < Math.min(bytes.length, 5); at++) if ((bytes[at]! & 0x80) === 0) return at + 1
  return undefined
}

function packetLength(bytes: Buffer): number | undefined {
  const header = headerLength(bytes)
  if (header === undefined) return undefined
  let length = 0
  for (let at = header - 1; at > 0; at--) length = length * 128 + (bytes[at]! & 0x7f)
  return bytes.length < header + length ? undefined : header + length
}

export interface RawMqtt {
  write(...packets: readonly Buffer[]): void
  /** The next packet of the server, as it stood on the wire; rejects when the connection ends before. */
  next(): Promise<Buffer>
  /** Resolves with what came before the end. */
  ended(): Promise<Buffer>
  close(): void
}

export interface RawMqttTarget extends RawTarget {
  /** The upgrade request's path and subprotocol; absent: MQTT at once. */
  readonly webSocket?: { readonly path: string; readonly protocol: string }
  /** Some clients know TLS 1.2 only. */
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3'
}

/** A TLS connection on which the test writes MQTT itself. */
export async function connectMqtt(target: RawMqttTarget): Promise<RawMqtt> {
  const { address, port, ca, credential, webSocket, maxVersion = 'TLSv1.3' } = target
  const socket = tls.connect({ host: address, port, ca, maxVersion, ...credential })
  await once(socket, 'secureConnect')
  let raw = Buffer.alloc(0)
  let received = Buffer.alloc(0)
  let upgrading = webSocket !== undefined
  let wake = (): void => {}
  let over: Error | undefined

  const unframe = (): void => {
    if (upgrading) {
      const end = raw.indexOf('\r\n\r\n')
      if (end === -1) return
      const head = raw.toString('latin1', 0, end)
      if (!head.startsWith('HTTP/1.1 101 ')) throw new Error(head)
      if (!head.includes(`Sec-WebSocket-Protocol: ${webSocket?.protocol}`)) throw new Error(head)
      upgrading = false
      raw = raw.subarray(end + 4)
    }
    for (let next = readFrame(raw); next !== undefined; next = readFrame(raw)) {
      raw = Buffer.from(next.rest)
      const { opcode, payload } = next.frame
      if (opcode === opcodes.binary) received = Buffer.concat([received, payload])
      else if (opcode === opcodes.close) socket.end(clientFrame(payload, opcodes.close))
      else throw new Error(`Unexpected frame ${opcode}.`)
    }
  }
  const end = (reason: Error): void => {
    over ??= reason
    wake()
  }
  socket.on('data', (bytes: Buffer) => {
    if (webSocket === undefined) received = Buffer.concat([received, bytes])
    else {
      raw = Buffer.concat([raw, bytes])
      try {
        unframe()
      } catch (error) {
        end(error as Error)
      }
    }
    wake()
  })
  socket.on('error', end)
  socket.on('close', () => end(new Error('The server closed the connection.')))
  const more = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve
    })
  if (webSocket !== undefined)
    socket.write(handshake(webSocket.path, { 'Sec-WebSocket-Protocol': webSocket.protocol, Host: `${address}:443` }))
  while (upgrading) {
    if (over !== undefined) throw over
    await more()
  }
  return {
    write: (...packets) => {
      for (const packet of packets) socket.write(webSocket === undefined ? packet : clientFrame(packet))
    },
    async next() {
      for (;;) {
        const length = packetLength(received)
        if (length !== undefined) {
          const packet = received.subarray(0, length)
          received = received.subarray(length)
          return packet
        }
        if (over !== undefined) throw over
        await more()
      }
    },
    async ended() {
      while (over === undefined) await more()
      return received
    },
    close: () => socket.destroy(),
  }
}
