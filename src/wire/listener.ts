import { createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type TlsOptions, type Server as TlsServer } from 'node:tls'
import type { Clock, Timer } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { createMetrics, type Metrics } from '../base/metrics.ts'
import { type Peer, presentedChain, rememberPeer } from './peer.ts'
import { presentedChainOptions } from './tls-options.ts'
import { type Ceilings, ceilings, plainAddress, type Stranger, sourceOf } from './unproved.ts'

export { type Peer, peerOf } from './peer.ts'

/** The server certificate exists twice, so that clients without elliptic curves find theirs. PEM chains, leaf first. */
export interface TlsMaterial {
  ec: { cert: string; key: string }
  rsa: { cert: string; key: string }
}

export interface ListenOptions {
  clock: Clock
  log: Log
  /** Address to bind, e.g. `127.0.0.1` or `::`. */
  address: string
  /** 0: any free one. */
  port: number
  /** Several threads or processes share the port; the kernel spreads connections (not on every platform). */
  reusePort?: boolean
  tls: TlsMaterial
  /** Where connections and handshakes are counted, under this name of the listener. */
  counted?: { metrics: Metrics; listener: string }
  /** A connection after its handshake. The socket never emits an unhandled error, whoever takes it. */
  serve(socket: TLSSocket, peer: Peer): void
}

export interface Listening {
  port: number
  /** Stops accepting; cuts strangers at once and everybody else after `limits.closeGraceMs`. Resolves when all are gone. */
  close(): Promise<void>
  /** New server certificates for new connections. */
  reload(tls: TlsMaterial): void
}

/**
 * A TLS listener for devices and services alike: asks for a client certificate, requires and verifies none (the
 * application judges the presented chain), TLS 1.2 and 1.3.
 * @throws Error that says what to do when the port is taken or may not be bound
 */
export async function listen(options: ListenOptions): Promise<Listening> {
  const acceptance = createAcceptance(options)
  // Nothing is read from a connection that waits for a place: it costs its descriptor and little else.
  const server = createTcpServer({ noDelay: true, keepAlive: true, pauseOnConnect: true }, acceptance.accept)
  await bind(server, options)
  // A failing accept (no file descriptors left) must not end the process: the next one may succeed.
  server.on('error', (error) => options.log.warn({ reason: error.message }, 'a connection could not be accepted'))
  const bound = server.address()
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : options.port,
    reload: acceptance.reload,
    async close() {
      const stopped = new Promise<void>((resolve) => server.close(() => resolve()))
      acceptance.cutStrangers()
      const grace = options.clock.after(limits.closeGraceMs, acceptance.cutAll)
      await stopped
      grace.cancel()
    },
  }
}

function tlsOptions(tls: TlsMaterial): TlsOptions {
  return {
    ...presentedChainOptions,
    cert: [tls.ec.cert, tls.rsa.cert],
    key: [tls.ec.key, tls.rsa.key],
  }
}

interface Connection extends Stranger {
  readonly raw: Socket
  readonly address: string
  place: { leave(): void } | undefined
  deadline: Timer | undefined
}

function createAcceptance(options: ListenOptions) {
  const { clock, log } = options
  const places: Ceilings = ceilings({
    perSource: limits.unprovedConnectionsPerSource,
    inAll: limits.unprovedConnections,
    waiting: limits.waitingConnections,
  })
  /** By its addresses: they are all that a TLSSocket and the socket under it have in common. */
  const connections = new Map<string, Connection>()
  const handshake = count(options, () => ({ all: connections.size, ...places.count() }))

  /** Since the event loop last came round. */
  let begun = 0

  /** So many handshakes at a time that those who are in, and ask after what was promised to them, wait for no fleet. */
  const letIn = (): void => {
    const isTurning = begun > 0
    begun += places.letIn(limits.handshakesPerTurn - begun)
    if (isTurning || begun === 0) return
    clock.after(0, () => {
      begun = 0
      letIn()
    })
  }

  const prove = (connection: Connection): void => {
    connection.deadline?.cancel()
    connection.deadline = undefined
    connection.place?.leave()
    connection.place = undefined
    letIn()
  }

  const accept = (raw: Socket): void => {
    raw.on('error', (error) => log.debug({ remote: raw.remoteAddress, reason: error.message }, 'connection failed'))
    const { remoteAddress } = raw
    // Gone before it was accepted.
    if (remoteAddress === undefined) return void raw.destroy()
    const address = plainAddress(remoteAddress)
    let isWaiting = true
    const cut = (): void => {
      if (isWaiting && !raw.destroyed) handshake('refused')
      raw.destroy()
    }
    const connection: Connection = {
      raw,
      address,
      source: sourceOf(address),
      place: undefined,
      deadline: clock.after(limits.waitingMs, cut),
      cut,
      enter() {
        // Cut while it waited: it leaves its place as soon as it is closed.
        if (raw.destroyed) return
        isWaiting = false
        connection.deadline?.cancel()
        connection.deadline = clock.after(limits.handshakeMs, cut)
        tls.emit('connection', raw)
      },
    }
    const id = idOf(raw)
    connections.set(id, connection)
    raw.on('close', () => {
      prove(connection)
      if (connections.get(id) === connection) connections.delete(id)
    })
    connection.place = places.admit(connection)
    letIn()
  }

  const secured = (socket: TLSSocket): void => {
    const connection = connections.get(idOf(socket))
    // An error between here and the protocol that takes the socket, or after it, must not end the process.
    socket.on('error', (error) =>
      log.debug({ remote: connection?.address, reason: error.message }, 'connection failed'),
    )
    if (connection === undefined) return void socket.destroy()
    connection.deadline?.cancel()
    const chain = presentedChain(socket)
    if (chain === undefined) {
      log.debug({ remote: connection.address }, 'closed: more client certificates presented than allowed')
      handshake('failed')
      return void socket.destroy()
    }
    handshake('ok')
    connection.deadline = clock.after(limits.proveMs, () => socket.destroy())
    const peer: Peer = { chain, address: connection.address, proved: () => prove(connection) }
    rememberPeer(socket, peer)
    options.serve(socket, peer)
  }

  const tls: TlsServer = createTlsServer(tlsOptions(options.tls))
  tls.on('secureConnection', secured)
  tls.on('tlsClientError', (error, socket) => {
    log.debug({ remote: socket.remoteAddress, reason: (error as NodeJS.ErrnoException).code }, 'TLS handshake failed')
    handshake('failed')
    socket.destroy()
  })

  return {
    accept,
    reload: (material: TlsMaterial) => tls.setSecureContext(tlsOptions(material)),
    cutStrangers: () => {
      for (const connection of [...connections.values()]) if (connection.place !== undefined) connection.cut()
    },
    cutAll: () => {
      for (const connection of [...connections.values()]) connection.cut()
    },
  }
}

/** Our own address too: a peer may use one port for connections to several of ours. */
const idOf = ({ remoteAddress, remotePort, localAddress }: Socket): string =>
  `${remoteAddress}|${remotePort}|${localAddress}`

type Handshake = 'ok' | 'failed' | 'refused'

function count(
  { counted = { metrics: createMetrics(), listener: '' } }: ListenOptions,
  open: () => { all: number; placed: number; waiting: number },
): (result: Handshake) => void {
  const { metrics, listener } = counted
  const handshakes = metrics.counter(
    'muster_tls_handshakes_total',
    'Connections by how their TLS handshake ended; refused: it found no place among strangers in time, and none began.',
    ['listener', 'result'],
  )
  metrics.gauge(
    'muster_connections',
    'Open connections; unproved: nobody knows yet who it is; waiting: for a place among those.',
    () => {
      const { all, placed, waiting } = open()
      return [
        [all - placed - waiting, listener, 'proved'],
        [placed, listener, 'unproved'],
        [waiting, listener, 'waiting'],
      ]
    },
    ['listener', 'state'],
  )
  return (result) => handshakes.add(1, listener, result)
}

/**
 * Refuses ports that somebody listens on: listeners of threads (`reusePort`) would share them with another program of the
 * same user as well, and each would get connections that are for the other.
 */
export async function requireFreePorts(address: string, ports: readonly number[]): Promise<void> {
  for (const port of ports.filter((each) => each !== 0)) {
    const server = createTcpServer()
    await bind(server, { address, port })
    await new Promise((resolve) => server.close(resolve))
  }
}

function bind(server: TcpServer, options: Pick<ListenOptions, 'address' | 'port' | 'reusePort'>): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => reject(bindError(error, options))
    server.once('error', failed)
    server.listen(
      {
        host: options.address,
        port: options.port,
        backlog: limits.listenBacklog,
        ...(options.reusePort ? { reusePort: true } : {}),
      },
      () => {
        server.off('error', failed)
        resolve()
      },
    )
  })
}

function bindError(error: NodeJS.ErrnoException, { address, port }: Pick<ListenOptions, 'address' | 'port'>): Error {
  const where = `${address} port ${port}`
  const advice: Record<string, string> = {
    EADDRINUSE: `${where} is in use by another program. Stop that program or choose another port; 0 takes any free one.`,
    EACCES:
      `This user may not listen on ${where}. Allow ports below 1024 with "sudo sysctl net.ipv4.ip_unprivileged_port_start=${port}" ` +
      'or "sudo setcap cap_net_bind_service=+ep" on the node binary, or choose a port from 1024 on.',
    EADDRNOTAVAIL: `${address} is not an address of this machine. Choose one that is, 127.0.0.1, or :: for all.`,
    ENOTFOUND: `${address} could not be resolved to an address to listen on.`,
  }
  const text = advice[error.code ?? ''] ?? `Listening on ${where} failed: ${error.message}.`
  return Object.assign(new Error(text, { cause: error }), { code: error.code })
}
