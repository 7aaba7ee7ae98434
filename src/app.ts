import { createServer, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { createBackups } from './backups.ts'
import { type Clock, systemClock } from './base/clock.ts'
import { limits } from './base/limits.ts'
import { type Log, silentLog } from './base/log.ts'
import { createMetrics, type Family, type Metrics } from './base/metrics.ts'
import { processMetrics, threadMetrics } from './base/process-metrics.ts'
import { type Random, systemRandom } from './base/random.ts'
import type { Bus } from './bus/bus.ts'
import { createInProcessBus } from './bus/in-process.ts'
import type { Config } from './config.ts'
import { openDataFolder } from './data-folder.ts'
import { management } from './endpoints/http/management.ts'
import { managementAttempts } from './endpoints/http/management-attempts.ts'
import { managementDevices } from './endpoints/http/management-devices.ts'
import { managementEvents } from './endpoints/http/management-events.ts'
import { managementOperations, type Operations } from './endpoints/http/management-operations.ts'
import { createHttpEndpoint } from './endpoints/http/server.ts'
import { createHealth, freeBytes, type Health } from './health.ts'
import type { Addresses, DevicePorts } from './instances.ts'
import { answerMetrics, createMetricsCollector } from './metrics-collector.ts'
import { deviceEndpoints, type RoomNeeds, type Rooms, wireRooms } from './rooms.ts'
import { prepareSeeded, readConfiguredSeed } from './seeding.ts'
import { openStores, type Stores } from './stores.ts'
import { byFirstByte, MQTT_CONNECT } from './wire/first-byte.ts'
import { type Listening, listen, type Peer, type TlsMaterial } from './wire/listener.ts'
import { proveChainVisible } from './wire/self-test.ts'

/** Time, chance and where messages for people go. */
export interface World {
  readonly clock: Clock
  /** Times connections out, default `clock`; apart from it where a test moves the clock under live connections. */
  readonly deadlines?: Clock
  readonly random: Random
  readonly log: Log
}

/** What a node is made of, whoever owns the threads. */
export interface NodeNeeds extends World, Stores {
  readonly bus: Bus
  readonly config: Config
  /** Of this thread. */
  readonly metrics: Metrics
}

/** A node that serves devices and services. */
export interface RunningNode {
  readonly ports: DevicePorts
  readonly rooms: Rooms
  stop(): Promise<void>
}

export interface StartNode extends RoomNeeds {
  readonly tls: TlsMaterial
  /** Other nodes share the ports. */
  readonly reusePort: boolean
  /** When the first of the nodes that begin together began, ms since 1970. */
  readonly startedAt: number
}

/** The rooms and endpoints of a node, without listeners. */
export interface NodeInside {
  readonly rooms: Rooms
  serveHttps(socket: TLSSocket, peer: Peer): void
  serveMqtts(socket: TLSSocket, peer: Peer): void
  /** Once it can be reached. @param startedAt as in `StartNode` */
  start(startedAt: number): void
  /** Ends the connections, beside the listeners that close. */
  close(): Promise<void>
  /** After that: no connection is left. */
  stop(): Promise<void>
}

/** @param httpsPort the one that clients dial; asked for once the listener is bound */
export async function openNode(needs: RoomNeeds, httpsPort: () => number): Promise<NodeInside> {
  const rooms = wireRooms(needs, httpsPort)
  const { http, mqtt } = await deviceEndpoints(needs, rooms)
  await rooms.hub.start()
  const silence = answerMetrics(needs.bus, needs.metrics, needs.random.uuid())
  // SDKs that can be told a port know one only: off the standard port it speaks both protocols.
  const serveBoth = (socket: TLSSocket, peer: Peer): void =>
    byFirstByte(socket, (first) => (first === MQTT_CONNECT ? mqtt.serve(socket, peer) : http.serve(socket)))
  return {
    rooms,
    serveHttps: needs.config.ports.https === 443 ? (socket) => http.serve(socket) : serveBoth,
    serveMqtts: mqtt.serve,
    start: rooms.provisioning.registrations.start,
    close: async () => {
      silence()
      await Promise.all([http.close(), mqtt.close()])
    },
    stop: async () => {
      // What waits for a webhook or a remote hub is taken up at the next start.
      rooms.outbound.close()
      await rooms.provisioning.registrations.stop()
      await rooms.hub.stop()
    },
  }
}

export async function startNode(needs: StartNode): Promise<RunningNode> {
  const { clock, log, tls, reusePort, startedAt, config, metrics } = needs
  let httpsPort = config.ports.https
  await proveChainVisible()
  const node = await openNode(needs, () => httpsPort)
  const listening: Listening[] = []
  const stop = async (): Promise<void> => {
    await Promise.all([...listening.map((each) => each.close()), node.close()])
    await node.stop()
  }
  try {
    const common = { clock: needs.deadlines ?? clock, log, tls, reusePort, address: config.address }
    const counted = (listener: 'https' | 'mqtts') => ({ metrics, listener })
    const https = await listen({
      ...common,
      port: config.ports.https,
      serve: node.serveHttps,
      counted: counted('https'),
    })
    listening.push(https)
    httpsPort = https.port
    const mqtts = await listen({
      ...common,
      port: config.ports.mqtts,
      serve: node.serveMqtts,
      counted: counted('mqtts'),
    })
    listening.push(mqtts)
    node.start(startedAt)
    return { ports: { https: https.port, mqtts: mqtts.port }, rooms: node.rooms, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

export interface ManagementNode {
  readonly port: number
  readonly rooms: Rooms
  stop(): Promise<void>
}

export interface StartManagement extends NodeNeeds {
  readonly token: string
  /** The threads that serve devices: as many as there should be, and as many as listen. */
  readonly threads: () => { readonly expected: number; readonly listening: number }
  /** What the writers counted, where they have threads of their own. */
  readonly writerMetrics?: () => Promise<readonly (readonly Family[])[]>
}

/** The management API: plain HTTP on loopback whatever the other listeners bind, with its own token. */
export async function startManagement(needs: StartManagement): Promise<ManagementNode> {
  const { config } = needs
  const managementPort = Promise.withResolvers<number>()
  // Serves no device, so no device is told a port here.
  const rooms = wireRooms({ ...needs, managementPort: managementPort.promise }, () => config.ports.https)
  const inside = await openManagement(needs, rooms)
  const listening = await listenOnLoopback(config.ports.management, inside.serve)
  managementPort.resolve(listening.port)
  await inside.start()
  return {
    port: listening.port,
    rooms,
    stop: async () => {
      await Promise.all([listening.close(), inside.stop()])
    },
  }
}

/** The management API without its listener. */
export interface ManagementInside {
  serve(socket: Socket): void
  start(): Promise<void>
  stop(): Promise<void>
}

export async function openManagement(needs: StartManagement, rooms: Rooms): Promise<ManagementInside> {
  const { operations, health, stop } = createOperations(needs)
  const guarded = { ...needs, ...rooms, operations, hosts: ['127.0.0.1', 'localhost', '[::1]'] }
  const http = await createHttpEndpoint(needs, [
    management(guarded),
    managementDevices(guarded),
    managementEvents(guarded),
    managementAttempts(guarded),
    managementOperations(guarded),
  ])
  return {
    serve: http.serve,
    start: health.start,
    stop: async () => {
      await stop()
      await http.close()
    },
  }
}

/** What the operator asks for, put together: health, the metrics of all threads, backups. */
function createOperations(needs: StartManagement): {
  readonly operations: Operations
  stop(): Promise<void>
  readonly health: Health
} {
  const { clock, log, bus, random, config, metrics, threads, writerMetrics } = needs
  const { dataFolder } = config
  const health = createHealth({ clock, log, dataFolder, stores: needs, threads })
  processMetrics(metrics, clock.now())
  metrics.gauge('muster_ready', 'Whether readiness says yes.', () => (health.missing().length === 0 ? 1 : 0))
  metrics.gauge('muster_data_folder_free_bytes', 'Room on the file system of the data folder.', () =>
    freeBytes(dataFolder),
  )
  const others = async (): Promise<readonly (readonly Family[])[]> => [
    metrics.collect(),
    ...((await writerMetrics?.()) ?? []),
  ]
  const collect = createMetricsCollector({ bus, clock, random, workers: threads().expected, others })
  const backups = createBackups({ dataFolder, clock, log, metrics })
  const stop = async (): Promise<void> => {
    health.stop()
    await backups.stop()
  }
  return { operations: { missing: health.missing, metrics: collect, backups }, health, stop }
}

/** Where the management API listens: plain TCP. */
export async function listenOnLoopback(
  port: number,
  serve: (socket: Socket) => void,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = createServer(serve)
  server.maxConnections = limits.managementConnections
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new Error(
          `The management API cannot listen on 127.0.0.1 port ${port}: ${cause.message}. Choose another with --management-port.`,
        ),
      ),
    )
    server.listen({ host: '127.0.0.1', port }, () => resolve())
  })
  const bound = server.address()
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

/** The product as a value: one node in this thread. For tests in process and for embedding. */
export interface App {
  /** Resolves once every listener accepts. */
  start(): Promise<Addresses>
  stop(): Promise<void>
  /** Of the running app. */
  readonly caFile: string
  readonly managementToken: string
}

export function createApp(config: Config, world: Partial<World> = {}): App {
  const { clock = systemClock, deadlines = clock, random = systemRandom, log = silentLog } = world
  const closers: (() => unknown)[] = []
  const told = { caFile: '', managementToken: '' }
  const stop = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close()
  }
  const start = async (): Promise<Addresses> => {
    const seed = await readConfiguredSeed(config)
    const folder = await openDataFolder(config, clock, random, seed)
    closers.push(() => folder.close())
    Object.assign(told, { caFile: folder.caFile, managementToken: folder.managementToken })
    const metrics = createMetrics()
    threadMetrics(metrics, 'main')
    const stores = await openStores(folder, { metrics })
    closers.push(() => Promise.all([stores.store.close(), stores.telemetry.close()]))
    const bus = createInProcessBus()
    closers.push(() => bus.close())
    const needs = { clock, deadlines, random, log, ...stores, bus, config, metrics }
    const managementPort = Promise.withResolvers<number>()
    const node = await startNode({
      ...needs,
      managementPort: managementPort.promise,
      tls: folder.tls,
      reusePort: false,
      startedAt: clock.now(),
    })
    closers.push(() => node.stop())
    const managing = await startManagement({
      ...needs,
      // Of its own, because this thread's are those of the node, which answers for them.
      metrics: createMetrics(),
      threads: () => ({ expected: 1, listening: 1 }),
      token: folder.managementToken,
    })
    managementPort.resolve(managing.port)
    closers.push(() => managing.stop())
    return prepareSeeded({ ...needs, rooms: managing.rooms }, { ...node.ports, management: managing.port }, seed)
  }
  return {
    start: () =>
      start().catch(async (error: unknown) => {
        await stop()
        throw error
      }),
    stop,
    get caFile() {
      return told.caFile
    },
    get managementToken() {
      return told.managementToken
    },
  }
}
