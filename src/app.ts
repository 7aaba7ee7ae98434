import { createServer, type Server } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { MessagePort } from 'node:worker_threads'
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
import { type Control, controlSchema } from './control/control.ts'
import { openDataFolder } from './data-folder.ts'
import { management } from './endpoints/http/management.ts'
import { managementAttempts } from './endpoints/http/management-attempts.ts'
import { managementDevices } from './endpoints/http/management-devices.ts'
import { managementEvents } from './endpoints/http/management-events.ts'
import { managementOperations, type Operations } from './endpoints/http/management-operations.ts'
import { createHttpEndpoint } from './endpoints/http/server.ts'
import { createHealth, freeBytes, type Health } from './health.ts'
import { hubSchema } from './hub/hub.ts'
import { type Addresses, type DevicePorts, prepareInstances } from './instances.ts'
import { answerMetrics, createMetricsCollector } from './metrics-collector.ts'
import { provisioningSchema } from './provisioning/provisioning.ts'
import { deviceEndpoints, type RoomNeeds, type Rooms, wireRooms } from './rooms.ts'
import { connectSqliteStore, openSqliteStore } from './store/sqlite.ts'
import type { Schema, Store } from './store/store.ts'
import { byFirstByte, MQTT_CONNECT } from './wire/first-byte.ts'
import { type Listening, listen, type Peer, type TlsMaterial } from './wire/listener.ts'
import { proveChainVisible } from './wire/self-test.ts'

/** Everything in the documents file. */
export const schema: Schema = {
  collections: [...controlSchema.collections, ...provisioningSchema.collections, ...hubSchema.collections],
  queues: [...controlSchema.queues, ...provisioningSchema.queues, ...hubSchema.queues],
}
/** The telemetry file holds logs only. */
export const telemetrySchema: Schema = { collections: [], queues: [] }

/** Time, chance and where messages for people go. */
export interface World {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface Stores {
  readonly store: Store
  readonly telemetry: Store
}

/** What a node is made of, whoever owns the threads. */
export interface NodeNeeds extends World, Stores {
  readonly bus: Bus
  readonly config: Config
  /** Of this thread. */
  readonly metrics: Metrics
}

interface DatabaseFiles {
  readonly documentsFile: string
  readonly telemetryFile: string
}

/** This thread's stores: through the writer threads' ports, or (without) with the writers in this thread. */
export async function openStores(
  files: DatabaseFiles,
  ports?: { readonly documents: MessagePort; readonly telemetry: MessagePort },
  metrics?: Metrics,
): Promise<Stores> {
  const { documentsFile, telemetryFile } = files
  const [store, telemetry] = await Promise.all(
    ports === undefined
      ? [
          openSqliteStore({ file: documentsFile, schema, windowMs: 0, ...(metrics && { metrics }) }),
          openSqliteStore({ file: telemetryFile, schema: telemetrySchema, windowMs: 0, ...(metrics && { metrics }) }),
        ]
      : [
          connectSqliteStore({ file: documentsFile, schema, port: ports.documents }),
          connectSqliteStore({ file: telemetryFile, schema: telemetrySchema, port: ports.telemetry }),
        ],
  )
  return { store, telemetry }
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

export async function startNode(needs: StartNode): Promise<RunningNode> {
  const { clock, log, tls, reusePort, startedAt, config, metrics } = needs
  let httpsPort = config.ports.https
  const rooms = wireRooms(needs, () => httpsPort)
  await proveChainVisible()
  const { http, mqtt } = await deviceEndpoints(needs, rooms)
  await rooms.hub.start()
  const listening: Listening[] = []
  const silence = answerMetrics(needs.bus, metrics, needs.random.uuid())
  const stop = async (): Promise<void> => {
    silence()
    await Promise.all([...listening.map((each) => each.close()), http.close(), mqtt.close()])
    // What waits for a webhook or a remote hub is taken up at the next start.
    rooms.outbound.close()
    await rooms.provisioning.registrations.stop()
    await rooms.hub.stop()
  }
  try {
    const common = { clock, log, tls, reusePort, address: config.address }
    // SDKs that can be told a port know one only: off the standard port it speaks both protocols.
    const serveBoth = (socket: TLSSocket, peer: Peer): void =>
      byFirstByte(socket, (first) => (first === MQTT_CONNECT ? mqtt.serve(socket, peer) : http.serve(socket)))
    const serve = config.ports.https === 443 ? (socket: TLSSocket) => http.serve(socket) : serveBoth
    const https = await listen({
      ...common,
      port: config.ports.https,
      serve,
      counted: { metrics, listener: 'https' },
    })
    listening.push(https)
    httpsPort = https.port
    const mqtts = await listen({
      ...common,
      port: config.ports.mqtts,
      serve: mqtt.serve,
      counted: { metrics, listener: 'mqtts' },
    })
    listening.push(mqtts)
    rooms.provisioning.registrations.start(startedAt)
    return { ports: { https: https.port, mqtts: mqtts.port }, rooms, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

export interface ManagementNode {
  readonly port: number
  readonly control: Control
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
  const { config, token } = needs
  const { operations, health, stop } = createOperations(needs)
  const managementPort = Promise.withResolvers<number>()
  // Serves no device, so no device is told a port here.
  const wired = { ...needs, managementPort: managementPort.promise }
  const { control, hub, provisioning } = wireRooms(wired, () => config.ports.https)
  const hosts = ['127.0.0.1', 'localhost', '[::1]']
  const http = await createHttpEndpoint(needs, [
    management({ ...needs, control, token, hosts }),
    managementDevices({ ...needs, control, hub, token, hosts }),
    managementEvents({ ...needs, control, hub, token, hosts }),
    managementAttempts({ ...needs, control, provisioning, token, hosts }),
    managementOperations({ ...needs, operations, token, hosts }),
  ])
  const server = createServer((socket) => http.serve(socket))
  server.maxConnections = limits.managementConnections
  await listenOnLoopback(server, config.ports.management)
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  managementPort.resolve(port)
  await health.start()
  return {
    port,
    control,
    stop: async () => {
      await stop()
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      await http.close()
      await closed
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

const listenOnLoopback = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new Error(
          `The management API cannot listen on 127.0.0.1 port ${port}: ${cause.message}. Choose another with --management-port.`,
        ),
      ),
    )
    server.listen({ host: '127.0.0.1', port }, () => resolve())
  })

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
  const { clock = systemClock, random = systemRandom, log = silentLog } = world
  const closers: (() => unknown)[] = []
  const told = { caFile: '', managementToken: '' }
  const stop = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close()
  }
  const start = async (): Promise<Addresses> => {
    const folder = await openDataFolder(config, clock, random)
    closers.push(() => folder.close())
    Object.assign(told, { caFile: folder.caFile, managementToken: folder.managementToken })
    const metrics = createMetrics()
    threadMetrics(metrics, 'main')
    const stores = await openStores(folder, undefined, metrics)
    closers.push(() => Promise.all([stores.store.close(), stores.telemetry.close()]))
    const bus = createInProcessBus()
    closers.push(() => bus.close())
    const needs = { clock, random, log, ...stores, bus, config, metrics }
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
    return prepareInstances(managing.control, config, { ...node.ports, management: managing.port })
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
