import { type IncomingMessage, STATUS_CODES } from 'node:http'
import { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { type Peer, peerOf } from './peer.ts'

/** Takes over the connection of an HTTP request that asks for another protocol. `head`: what was read beyond it. */
export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Speaks one protocol on the bytes of a WebSocket. */
export type ServeStream = (stream: Duplex, peer: Peer) => void

/**
 * WebSockets for the protocols that also have a port of their own (dps.md 2.1, hub-device.md 2.1). The path means
 * nothing, because every SDK has its own. The subprotocol chooses: names are compared without regard to case and
 * answered in the client's spelling (C writes `MQTT`); a client that offers none of them is refused.
 *
 * @param protocols by subprotocol, in lower case. What each gets is a stream of the payloads of binary messages, and
 *   the peer of the listener's connection, certificates included.
 */
export function acceptWebSockets(log: Log, protocols: Readonly<Record<string, ServeStream>>): Upgrade {
  const chosen = (offered: Iterable<string>): string | undefined =>
    [...offered].find((each) => Object.hasOwn(protocols, each.toLowerCase()))

  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    // Compression costs memory for each connection, and the size of its output cannot be known before.
    perMessageDeflate: false,
    maxPayload: limits.webSocketMessageBytes,
    maxFragments: limits.webSocketPieces,
    maxBufferedChunks: limits.webSocketPieces,
    autoPong: false,
    handleProtocols: (offered) => chosen(offered) ?? false,
  })
  server.on('wsClientError', (error, socket) => refuse(socket, 400, `${error.message}.`))

  return (request, socket, head) => {
    const peer = peerOf(request.socket)
    // Not a connection of our listeners.
    if (peer === undefined) return void socket.destroy()
    const { address } = peer
    const offered = request.headers['sec-websocket-protocol']
    if (chosen((offered ?? '').split(',').map((each) => each.trim())) === undefined) {
      log.debug({ remote: address }, 'WebSocket refused: no subprotocol of ours was offered')
      const known = Object.keys(protocols).join(', ')
      return refuse(
        socket,
        400,
        `Sec-WebSocket-Protocol must offer one of: ${known}. Found ${offered === undefined ? 'none' : 'others only'}.`,
      )
    }
    server.handleUpgrade(request, socket, head, (ws) => {
      // Not before `ws` listens: what comes with the handshake would be counted and lost.
      const unproved = boundStranger(socket, () => log.debug({ remote: address }, 'WebSocket cut: unproved flood'))
      const serve = protocols[ws.protocol.toLowerCase()]!
      serve(streamOf(ws, socket), {
        ...peer,
        inWebSocket: true,
        proved: () => {
          unproved.lift()
          peer.proved()
        },
      })
    })
  }
}

/** Nothing is spoken here that has error answers of its own yet, so the text is for people. */
function refuse(socket: Duplex, status: number, message: string): void {
  const text = `${message}\n`
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(text)}`,
  ]
  socket.on('error', () => {})
  socket.once('finish', () => socket.destroy())
  socket.end(`${head.join('\r\n')}\r\n\r\n${text}`)
}

/**
 * Counts what a stranger sends and cuts it above its bound: `ws` keeps a message until it is whole, so the limits of
 * the protocol inside would come too late.
 */
function boundStranger(socket: Duplex, cut: () => void): { lift(): void } {
  let bytes = 0
  const count = (chunk: Buffer): void => {
    bytes += chunk.length
    if (bytes <= limits.webSocketUnprovedBytes) return
    cut()
    socket.destroy()
  }
  socket.on('data', count)
  return { lift: () => void socket.off('data', count) }
}

const NORMAL = 1000
const UNSUPPORTED_DATA = 1003

/** The payloads of binary messages in both directions; one message need not be one packet. */
function streamOf(ws: WebSocket, socket: Duplex): Duplex {
  let over = false
  const stream = new Duplex({
    // Nothing is asked for beyond what waits: in bytes alone, 64 KiB of crumbs would be as many objects.
    readableHighWaterMark: 1,
    read: () => ws.resume(),
    // The callback comes once the bytes left for the network: that is what makes a slow reader felt.
    write: (chunk: Buffer, _encoding, done) => ws.send(chunk, (error) => done(error ?? null)),
    final: (done) => {
      if (ws.readyState === ws.CLOSED) return done()
      ws.once('close', () => done())
      ws.close(NORMAL)
    },
    destroy: (error, done) => {
      over = true
      ws.terminate()
      done(error)
    },
  })
  const end = (): void => {
    if (over) return
    over = true
    stream.push(null)
  }
  ws.on('message', (data, isBinary) => {
    if (over) return
    if (isBinary) {
      if (!stream.push(data as Buffer)) ws.pause()
      return
    }
    // [MQTT-6.0.0-1], and AMQP's binding likewise.
    ws.close(UNSUPPORTED_DATA, 'binary messages only')
    end()
  })
  // A client that asks and does not read would fill our memory with answers.
  ws.on('ping', (data) => {
    if (socket.writableLength > limits.mqttOutgoingBytes) ws.terminate()
    else ws.pong(data)
  })
  // Malformed or too large: `ws` has said so to the client, and reads no more.
  ws.on('error', end)
  ws.on('close', end)
  return stream
}
