// What MQTT itself costs: QoS 1 messages of 256 bytes over TLS to the engine with a face that resolves at once, and
// memory per idle connection. Beside it a bare server: Node's TLS and `mqtt-packet`, no bounds, no order, no deadlines.
// Each server runs in a process of its own, so its CPU is measured apart from the clients'.
// `node bench/mqtt.ts [seconds] [idle connections]`
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import mqttPacket from 'mqtt-packet'
import { systemClock } from '../src/base/clock.ts'
import { silentLog } from '../src/base/log.ts'
import { createAuthority, issueServerCertificate } from '../src/crypto/issuing.ts'
import { listen, type TlsMaterial } from '../src/wire/listener.ts'
import { type MqttFace, serveMqtt } from '../src/wire/mqtt.ts'
import { presentedChainOptions } from '../src/wire/tls-options.ts'

interface Usage {
  /** Microseconds of user and system time. */
  cpu: number
  rss: number
  published: number
}

type Counted = { published: number }

async function serveEngine(tls: TlsMaterial, counted: Counted): Promise<number> {
  const face: MqttFace = {
    subscribe: async (filters) => filters.map(() => 0),
    unsubscribe: async () => {},
    publish: async () => {
      counted.published += 1
    },
    ended: () => {},
  }
  const { port } = await listen({
    clock: systemClock,
    log: silentLog,
    address: '127.0.0.1',
    port: 0,
    tls,
    serve: (socket, peer) =>
      void serveMqtt(socket, {
        clock: systemClock,
        log: silentLog,
        remote: peer.address,
        proved: peer.proved,
        connect: async () => ({ face }),
      }),
  })
  return port
}

async function serveBare({ ec, rsa }: TlsMaterial, counted: Counted): Promise<number> {
  const options = { ...presentedChainOptions, cert: [ec.cert, rsa.cert], key: [ec.key, rsa.key] }
  const server = createServer(options, (socket) => {
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    let acknowledgements: Buffer[] = []
    const flush = (): void => {
      socket.write(Buffer.concat(acknowledgements))
      acknowledgements = []
    }
    const parser = mqttPacket.parser({ protocolVersion: 4 })
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connect') return void socket.write(Buffer.from([0x20, 2, 0, 0]))
      counted.published += 1
      if (acknowledgements.push(Buffer.from([0x40, 2, 0, 1])) === 1) process.nextTick(flush)
    })
    socket.on('data', (chunk) => void parser.parse(chunk as Buffer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function serve(kind: string, tls: TlsMaterial): Promise<void> {
  const counted = { published: 0 }
  const port = await (kind === 'bare' ? serveBare : serveEngine)(tls, counted)
  process.on('message', () => {
    globalThis.gc?.()
    const { user, system } = process.cpuUsage()
    process.send?.({ cpu: user + system, rss: process.memoryUsage().rss, ...counted } satisfies Usage)
  })
  process.send?.(port)
}

const usageOf = async (server: ChildProcess): Promise<Usage> => {
  server.send('usage')
  const [usage] = (await once(server, 'message')) as [Usage]
  return usage
}

async function device(port: number, ca: string, at: number): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, ca, servername: 'localhost' })
  socket.on('error', (error) => {
    throw error
  })
  await once(socket, 'secureConnect')
  socket.setNoDelay(true)
  const clientId = `d${at}`
  socket.write(
    mqttPacket.generate({ cmd: 'connect', clientId, clean: true, keepalive: 240, username: `h/${clientId}` }),
  )
  await once(socket, 'data')
  return socket
}

/** Keeps `window` messages under way; a PUBACK has four bytes, however many of them a chunk holds. */
function pump(socket: TLSSocket, window: number, going: () => boolean): void {
  const message = mqttPacket.generate({
    cmd: 'publish',
    topic: 'devices/d1/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8',
    payload: Buffer.alloc(256, 'x'),
    qos: 1,
    messageId: 1,
    dup: false,
    retain: false,
  })
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
    const answered = Math.floor(bytes / 4)
    bytes %= 4
    if (going() && answered > 0) socket.write(answered === 1 ? message : Buffer.concat(Array(answered).fill(message)))
  })
  socket.write(Buffer.concat(Array(window).fill(message)))
}

async function throughput(
  server: ChildProcess,
  port: number,
  ca: string,
  window: number,
  seconds: number,
): Promise<void> {
  const sockets = await Promise.all(Array.from({ length: 100 }, (_, at) => device(port, ca, at)))
  let going = true
  for (const socket of sockets) pump(socket, window, () => going)
  await pause(500)
  const before = await usageOf(server)
  const started = performance.now()
  await pause(seconds * 1_000)
  const after = await usageOf(server)
  const elapsed = (performance.now() - started) / 1_000
  going = false
  const messages = after.published - before.published
  const perMessage = (after.cpu - before.cpu) / messages
  console.log(
    `${window} in flight: ${Math.round(messages / elapsed)} messages/s seen, ${perMessage.toFixed(2)} us of server CPU ` +
      `each = ${Math.round(1e6 / perMessage)}/s and core`,
  )
  for (const socket of sockets) socket.destroy()
  await pause(200)
}

async function idle(server: ChildProcess, port: number, ca: string, count: number): Promise<void> {
  const before = await usageOf(server)
  const sockets: TLSSocket[] = []
  for (let at = 0; at < count; at += 50) {
    sockets.push(...(await Promise.all(Array.from({ length: 50 }, (_, each) => device(port, ca, at + each)))))
  }
  await pause(500)
  const after = await usageOf(server)
  console.log(`${count} idle connections: ${((after.rss - before.rss) / count / 1024).toFixed(1)} KiB of RSS each`)
  for (const socket of sockets) socket.destroy()
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function main(seconds: number, connections: number): Promise<void> {
  const now = Date.now()
  const authority = await createAuthority({ commonName: 'bench root', days: 2, keyType: 'ec', now })
  const issue = async (keyType: 'ec' | 'rsa') => {
    const { chain, key } = await issueServerCertificate({ authority, names: ['localhost'], keyType, days: 1, now })
    return { cert: chain, key }
  }
  const tls: TlsMaterial = { ec: await issue('ec'), rsa: await issue('rsa') }
  for (const kind of ['bare', 'engine']) {
    const server = fork(import.meta.filename, ['serve', kind, JSON.stringify(tls)], { execArgv: ['--expose-gc'] })
    const [port] = (await once(server, 'message')) as [number]
    console.log(kind)
    await throughput(server, port, authority.certificate, 1, seconds)
    await throughput(server, port, authority.certificate, 20, seconds)
    await idle(server, port, authority.certificate, connections)
    server.kill()
  }
}

const [first, second, third] = process.argv.slice(2)
if (first === 'serve') await serve(second ?? '', JSON.parse(third ?? '') as TlsMaterial)
else await main(Number(first ?? 5), Number(second ?? 2_000))
