import { createServer } from 'node:http'
import { type Duplex, duplexPair } from 'node:stream'
import { afterAll, expect, test } from 'vitest'
import {
  clientFrame,
  type Frame,
  handshake,
  opcodes,
  readFrame,
  UPGRADE_ACCEPT,
} from '../../tests/support/web-socket.ts'
import { settle } from '../../tests/wire-engine/device.ts'
import { limits } from '../base/limits.ts'
import { silentLog } from '../base/log.ts'
import { type Peer, rememberPeer } from './peer.ts'
import { acceptWebSockets } from './websocket.ts'

const servers: { closeAllConnections(): void }[] = []
afterAll(() => {
  for (const server of servers) server.closeAllConnections()
})

/** A client that writes bytes to an HTTP server in memory, and the stream that the server made of its WebSocket. */
async function dial(request: string | Buffer = handshake(), chain: readonly Buffer[] = []) {
  const served: { stream: Duplex; peer: Peer; by: string }[] = []
  let proofs = 0
  const server = createServer((_, response) => response.end('plain'))
  servers.push(server)
  server.on(
    'upgrade',
    acceptWebSockets(silentLog, {
      mqtt: (stream, peer) => void served.push({ stream, peer, by: 'mqtt' }),
      other: (stream, peer) => void served.push({ stream, peer, by: 'other' }),
    }),
  )
  const [client, socket] = duplexPair()
  rememberPeer(socket, { chain, address: '192.0.2.1', proved: () => void proofs++ })
  server.emit('connection', socket)
  let bytes = Buffer.alloc(0)
  let ended = false
  client.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
  })
  client.on('end', () => {
    ended = true
  })
  client.on('error', () => {})
  client.write(request)
  await settle()
  const end = bytes.indexOf('\r\n\r\n')
  const head = bytes.toString('latin1', 0, end)
  bytes = bytes.subarray(end + 4)
  const frames = (): Frame[] => {
    const found: Frame[] = []
    for (let next = readFrame(bytes); next !== undefined; next = readFrame(bytes)) {
      found.push(next.frame)
      bytes = Buffer.from(next.rest)
    }
    return found
  }
  const received: Buffer[] = []
  const stream = served[0]?.stream
  const closed = { ended: false, gone: false }
  stream?.on('end', () => {
    closed.ended = true
  })
  stream?.on('close', () => {
    closed.gone = true
  })
  stream?.on('error', () => {})
  return {
    client,
    socket,
    served,
    head,
    rest: () => bytes.toString(),
    frames,
    closed,
    proofs: () => proofs,
    ended: () => ended || socket.destroyed,
    stream: stream!,
    /** Starts reading. */
    reading: () => {
      stream?.on('data', (chunk: Buffer) => received.push(chunk))
      return received
    },
    send: async (...parts: Buffer[]) => {
      for (const part of parts) client.write(part)
      await settle()
    },
  }
}

const headersOf = (head: string): Record<string, string> =>
  Object.fromEntries(
    head
      .split('\r\n')
      .slice(1)
      .map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  )

test.each([
  ['Node', '/$iothub/websocket', 'mqtt', {}],
  ['Python', '/$iothub/websocket', 'mqtt', { Origin: 'https://hub.example.net:443' }],
  ['C', '/$iothub/websocket', 'MQTT', {}],
  ['C#', '/', 'mqtt', {}],
  ['Java', '/mqtt', 'mqtt', {}],
  ['Java to a hub', '/$iothub/websocket?iothub-no-client-cert=true', 'mqtt', {}],
  ['a client that offers several', '/', 'wamp, mqtt', {}],
  ['a client that would compress', '/', 'mqtt', { 'Sec-WebSocket-Extensions': 'permessage-deflate' }],
] as const)('the handshake of %s', async (_, path, offered, more) => {
  const { head, served } = await dial(handshake(path, { 'Sec-WebSocket-Protocol': offered, ...more }))
  expect(head.split('\r\n')[0]).toBe('HTTP/1.1 101 Switching Protocols')
  // Paho wants this spelling, and a colon in every line (dps.md 2.1).
  expect(head).toContain('\r\nConnection: Upgrade\r\n')
  expect(
    head
      .split('\r\n')
      .slice(1)
      .every((line) => line.includes(': ')),
  ).toBe(true)
  const headers = headersOf(head)
  expect(headers['sec-websocket-accept']).toBe(UPGRADE_ACCEPT)
  expect(headers['sec-websocket-protocol']).toBe(offered === 'wamp, mqtt' ? 'mqtt' : offered)
  expect(headers).not.toHaveProperty('sec-websocket-extensions')
  expect(served.map(({ by }) => by)).toEqual(['mqtt'])
})

test('the subprotocol chooses who speaks', async () => {
  const { served } = await dial(handshake('/', { 'Sec-WebSocket-Protocol': 'Other' }))
  expect(served.map(({ by }) => by)).toEqual(['other'])
})

test.each([
  [
    'no subprotocol',
    handshake('/', { 'Sec-WebSocket-Protocol': undefined }),
    400,
    /must offer one of: mqtt, other\. Found none/,
  ],
  ['another subprotocol', handshake('/', { 'Sec-WebSocket-Protocol': 'mqttv3.1' }), 400, /Found others only/],
  ['a name of every object', handshake('/', { 'Sec-WebSocket-Protocol': 'constructor' }), 400, /must offer/],
  ['a malformed list', handshake('/', { 'Sec-WebSocket-Protocol': 'mqtt,,' }), 400, /Sec-WebSocket-Protocol/],
  ['no key', handshake('/', { 'Sec-WebSocket-Key': undefined }), 400, /Sec-WebSocket-Key/],
  ['another version', handshake('/', { 'Sec-WebSocket-Version': '7' }), 400, /Sec-WebSocket-Version/],
  ['another method', handshake('/', {}, 'POST'), 400, /method/],
] as const)('refused: %s', async (_, request, status, text) => {
  const { head, rest, served, ended } = await dial(request)
  expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
  expect(headersOf(head)).toMatchObject({ connection: 'close', 'content-length': String(rest().length) })
  expect(rest()).toMatch(text)
  expect([served, ended()]).toEqual([[], true])
})

test('the peer is that of the connection, its certificates included; proof is passed on', async () => {
  const chain = [Buffer.from('leaf'), Buffer.from('issuer')]
  const { served, proofs } = await dial(handshake(), chain)
  expect(served[0]!.peer).toMatchObject({ chain, address: '192.0.2.1' })
  expect(proofs()).toBe(0)
  served[0]!.peer.proved()
  expect(proofs()).toBe(1)
})

test('messages are bytes, however they are cut', async () => {
  const { send, reading } = await dial()
  const received = reading()
  await send(
    clientFrame('one'),
    Buffer.concat([clientFrame('two'), clientFrame('')]),
    clientFrame('thr', opcodes.binary, false),
    clientFrame('', opcodes.ping),
    clientFrame('ee', opcodes.continuation),
  )
  expect(Buffer.concat(received).toString()).toBe('onetwothree')
})

test('what comes with the handshake is not lost', async () => {
  const { reading } = await dial(Buffer.concat([Buffer.from(handshake()), clientFrame('early')]))
  const received = reading()
  await settle()
  expect(Buffer.concat(received).toString()).toBe('early')
})

test('what is written leaves as binary messages', async () => {
  const { stream, frames } = await dial()
  stream.write('hello')
  stream.write(Buffer.alloc(70_000, 1))
  await settle()
  const [first, second] = frames()
  expect(first).toEqual({ fin: true, opcode: opcodes.binary, payload: Buffer.from('hello') })
  expect(second).toMatchObject({ fin: true, opcode: opcodes.binary })
  expect(second!.payload).toHaveLength(70_000)
})

test('a text message ends the connection', async () => {
  const { reading, send, frames, closed } = await dial()
  const received = reading()
  await send(clientFrame('text', opcodes.text), clientFrame('later'))
  const [close] = frames()
  expect(close).toMatchObject({ opcode: opcodes.close })
  expect(close!.payload.readUInt16BE()).toBe(1003)
  expect([received, closed.ended]).toEqual([[], true])
})

test('an unmasked frame ends the connection', async () => {
  const { reading, send, frames, closed } = await dial()
  reading()
  await send(Buffer.from([0x82, 0x01, 0x00]))
  expect(frames()[0]!.payload.readUInt16BE()).toBe(1002)
  expect(closed.ended).toBe(true)
})

test('a message above the limit ends the connection before it is read', async () => {
  const { served, reading, send, frames, closed } = await dial()
  const received = reading()
  served[0]!.peer.proved()
  await send(clientFrame(Buffer.alloc(limits.webSocketMessageBytes + 1)).subarray(0, 100))
  expect(frames()[0]!.payload.readUInt16BE()).toBe(1009)
  expect([received, closed.ended]).toEqual([[], true])
})

test.each([
  ['frames', (count: number) => Array.from({ length: count }, () => clientFrame('x', opcodes.continuation, false))],
  ['network packets', (count: number) => Array.from({ length: count }, () => Buffer.from('x'))],
] as const)(
  'a message in crumbs ends the connection, each would cost far more than it holds: %s',
  async (kind, crumbs) => {
    const { reading, send, frames, closed } = await dial()
    const received = reading()
    const begun =
      kind === 'frames' ? clientFrame('x', opcodes.binary, false) : clientFrame('x'.repeat(5_000)).subarray(0, 8)
    await send(begun, ...crumbs(limits.webSocketPieces / 2))
    expect([frames(), closed.ended]).toEqual([[], false])
    await send(...crumbs(limits.webSocketPieces))
    expect(frames()[0]!.payload.readUInt16BE()).toBe(1008)
    expect([received, closed.ended]).toEqual([[], true])
  },
)

test('the largest packet fits into a message of a proved client', async () => {
  const { served, reading, send, ended } = await dial()
  const received = reading()
  served[0]!.peer.proved()
  const packet = Buffer.alloc(limits.mqttPacketBytes, 7)
  await send(clientFrame(packet))
  await send(clientFrame(packet))
  expect(Buffer.concat(received)).toHaveLength(2 * packet.length)
  expect(ended()).toBe(false)
})

test('a stranger may send so much and no more, in one message or in many', async () => {
  const least = limits.mqttConnectBytes + limits.mqttUnprovedPacketBytes
  expect(limits.webSocketUnprovedBytes).toBeGreaterThan(least)
  for (const [bytes, times] of [
    [limits.webSocketUnprovedBytes, 1],
    [1_000, Math.ceil(limits.webSocketUnprovedBytes / 1_000)],
  ] as const) {
    const { reading, send, ended, closed } = await dial()
    reading()
    await send(clientFrame(Buffer.alloc(least)))
    expect(ended()).toBe(false)
    await send(...Array.from({ length: times }, () => clientFrame(Buffer.alloc(bytes))))
    expect([ended(), closed.ended]).toEqual([true, true])
  }
})

test('a ping is answered, also before anything else was said', async () => {
  const { send, frames } = await dial()
  await send(clientFrame('alive?', opcodes.ping))
  expect(frames()).toEqual([{ fin: true, opcode: opcodes.pong, payload: Buffer.from('alive?') }])
})

test('a client that pings and does not read is cut', async () => {
  const { client, send, served, ended } = await dial()
  served[0]!.peer.proved()
  client.pause()
  const pings = Buffer.concat(Array.from({ length: 1_000 }, () => clientFrame(Buffer.alloc(125), opcodes.ping)))
  for (let times = 0; times < 20 && !ended(); times++) await send(pings)
  expect(ended()).toBe(true)
})

test('the client closes: its close is answered, the stream ends', async () => {
  const { reading, send, frames, closed, client } = await dial()
  reading()
  await send(clientFrame(Buffer.from([0x03, 0xe8]), opcodes.close))
  expect(frames()).toMatchObject([{ opcode: opcodes.close }])
  client.end()
  await settle()
  expect(closed.ended).toBe(true)
})

test('the client is gone without a word: the stream ends', async () => {
  const { reading, socket, closed } = await dial()
  reading()
  socket.destroy()
  await settle()
  expect(closed.ended).toBe(true)
})

test('the server ends: what it wrote leaves, then a close', async () => {
  const { stream, frames, send, client, closed, reading } = await dial()
  reading()
  stream.write('bye')
  stream.end()
  await settle()
  const [last, close] = frames()
  expect(last!.payload.toString()).toBe('bye')
  expect(close).toMatchObject({ opcode: opcodes.close })
  expect(close!.payload.readUInt16BE()).toBe(1000)
  await send(clientFrame(Buffer.from([0x03, 0xe8]), opcodes.close))
  client.end()
  await settle()
  expect(closed).toEqual({ ended: true, gone: true })
})

test('the server destroys: the connection is gone', async () => {
  const { stream, ended, closed } = await dial()
  stream.destroy()
  await settle()
  expect([ended(), closed.gone]).toEqual([true, true])
})

test('a stream that nobody reads stops the client', async () => {
  const { served, stream, client, send } = await dial()
  served[0]!.peer.proved()
  const chunk = clientFrame(Buffer.alloc(16 * 1024))
  let taken = 0
  for (let times = 0; times < 200 && !client.writableNeedDrain; times++) {
    await send(chunk)
    taken += chunk.length
  }
  expect(client.writableNeedDrain).toBe(true)
  expect(stream.readableLength).toBeLessThan(256 * 1024)
  let read = 0
  stream.on('data', (bytes: Buffer) => {
    read += bytes.length
  })
  for (let times = 0; times < 50 && client.writableNeedDrain; times++) await settle()
  expect(client.writableNeedDrain).toBe(false)
  expect(read).toBeGreaterThan(taken / 2)
})

test('a stream that nobody reads stops a client of crumbs as soon', async () => {
  const { served, stream, send } = await dial()
  served[0]!.peer.proved()
  const crumbs = Buffer.concat(Array.from({ length: 100 }, () => clientFrame('x')))
  for (let times = 0; times < 50; times++) await send(crumbs)
  expect(stream.readableLength).toBeLessThanOrEqual(200)
  let read = 0
  stream.on('data', (bytes: Buffer) => {
    read += bytes.length
  })
  for (let times = 0; times < 200 && read < 5_000; times++) await settle()
  expect(read).toBe(5_000)
})

test('a client that does not read stops the stream', async () => {
  const { stream, client } = await dial()
  client.pause()
  for (let times = 0; times < 200 && !stream.writableNeedDrain; times++) {
    stream.write(Buffer.alloc(16 * 1024))
    await settle()
  }
  expect(stream.writableNeedDrain).toBe(true)
  client.resume()
  for (let times = 0; times < 50 && stream.writableNeedDrain; times++) await settle()
  expect(stream.writableNeedDrain).toBe(false)
})
