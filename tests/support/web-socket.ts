import { createHash } from 'node:crypto'

/** Frames as a client writes and reads them (RFC 6455, 5), made without the product's library. */

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface Frame {
  readonly fin: boolean
  readonly opcode: number
  readonly payload: Buffer
}

const MASK = Buffer.from([0x12, 0x34, 0x56, 0x78])

/** A masked frame. */
export function clientFrame(payload: Buffer | string, opcode: number = opcodes.binary, fin = true): Buffer {
  const body = Buffer.from(payload)
  for (let at = 0; at < body.length; at++) body[at]! ^= MASK[at % 4]!
  const first = Buffer.from([(fin ? 0x80 : 0) | opcode])
  return Buffer.concat([first, lengthOf(body.length), MASK, body])
}

function lengthOf(length: number): Buffer {
  if (length < 126) return Buffer.from([0x80 | length])
  const bytes = Buffer.alloc(length < 65_536 ? 3 : 9)
  bytes[0] = 0x80 | (length < 65_536 ? 126 : 127)
  if (length < 65_536) bytes.writeUInt16BE(length, 1)
  else bytes.writeBigUInt64BE(BigInt(length), 1)
  return bytes
}

/** The first frame of a server's bytes, and what follows it; undefined: it is not whole yet. */
export function readFrame(bytes: Buffer): { frame: Frame; rest: Buffer } | undefined {
  if (bytes.length < 2) return undefined
  const short = bytes[1]! & 0x7f
  if ((bytes[1]! & 0x80) !== 0) throw new Error('A server may not mask its frames.')
  const start = short < 126 ? 2 : short === 126 ? 4 : 10
  if (bytes.length < start) return undefined
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  if (bytes.length < start + length) return undefined
  const frame = {
    fin: (bytes[0]! & 0x80) !== 0,
    opcode: bytes[0]! & 0x0f,
    payload: bytes.subarray(start, start + length),
  }
  return { frame, rest: bytes.subarray(start + length) }
}

export const UPGRADE_KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

/** What the server must answer to `UPGRADE_KEY`. */
export const UPGRADE_ACCEPT = createHash('sha1')
  .update(`${UPGRADE_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
  .digest('base64')

/** Lines of a handshake; `more` replaces or adds headers, undefined leaves one out. */
export function handshake(
  path = '/$iothub/websocket',
  more: Readonly<Record<string, string | undefined>> = {},
  method = 'GET',
): string {
  const headers: Record<string, string | undefined> = {
    Host: 'hub.example.net:443',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': UPGRADE_KEY,
    'Sec-WebSocket-Protocol': 'mqtt',
    ...more,
  }
  const lines = Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]))
  return `${[`${method} ${path} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`
}
