import { availableParallelism } from 'node:os'
import { type MessagePort, Worker } from 'node:worker_threads'
import { startManagement } from './app.ts'
import { type Clock, systemClock } from './base/clock.ts'
import { limits } from './base/limits.ts'
import type { Log } from './base/log.ts'
import { createMetrics, type Family } from './base/metrics.ts'
import { threadMetrics } from './base/process-metrics.ts'
import { systemRandom } from './base/random.ts'
import { createThreadBus } from './bus/threads.ts'
import type { Config } from './config.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import type { Addresses, DevicePorts } from './instances.ts'
import type { ThreadData, ThreadOrder, ThreadReport } from './node-worker.ts'
import { prepareSeeded, readConfiguredSeed } from './seeding.ts'
import { type SqliteWriterThread, startSqliteWriter } from './store/sqlite.ts'
import type { Schema } from './store/store.ts'
import { connectStores, schema, telemetrySchema } from './stores.ts'
import { requireFreePorts } from './wire/listener.ts'

export interface Supervised {
  readonly addresses: Addresses
  readonly folder: DataFolder
  /** Settles when a part that cannot be replaced (a writer thread) failed. */
  readonly failed: Promise<Error>
  stop(): Promise<void>
}

/** What a worker thread works with. */
interface Parts {
  readonly folder: DataFolder
  readonly documents: SqliteWriterThread
  readonly telemetry: SqliteWriterThread
  readonly busName: string
}

/**
 * `muster up`: one writer thread for each database file, worker threads that terminate TLS and run the services, and
 * here the management API and nothing else. The first worker binds the ports, the others join them (`reusePort`); a
 * dead worker is replaced, its sessions end. Threads meet only through the store and the bus, as machines do.
 *
 * @param opened called when the data folder is ours, before anything listens
 */
export async function supervise(config: Config, log: Log, opened = (): void => {}): Promise<Supervised> {
  const world = { clock: systemClock, random: systemRandom, log }
  const threads = createThreads(config, log, world.clock)
  const closers: (() => unknown)[] = []
  const stop = async (): Promise<void> => {
    // First, because what they hold is written by those that close after them.
    await threads.stop()
    for (const close of closers.splice(0).reverse()) await close()
  }
  try {
    const seed = await readConfiguredSeed(config)
    const folder = await openDataFolder(config, world.clock, world.random, seed)
    closers.push(() => folder.close())
    opened()
    await requireFreePorts(config.address, [config.ports.https, config.ports.mqtts])
    const writer = (file: string, of: Schema) =>
      startSqliteWriter({ file, schema: of, windowMs: config.commitWindowMs })
    const writers = [writer(folder.documentsFile, schema), writer(folder.telemetryFile, telemetrySchema)] as const
    // Also the one that opened its file while the other could not: a thread that lives keeps the process alive.
    closers.push(() => Promise.all(writers.map(async (each) => (await each.catch(() => undefined))?.close())))
    const [documents, telemetry] = await Promise.all(writers)
    const busName = `muster-${world.random.uuid()}`
    const stores = await connectStores(folder, { documents: documents.connect(), telemetry: telemetry.connect() })
    const bus = createThreadBus(busName)
    closers.push(() => Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()]))
    const metrics = createMetrics()
    threadMetrics(metrics, 'main')
    const managing = startManagement({
      ...world,
      ...stores,
      bus,
      config,
      metrics,
      threads: threads.counted,
      writerMetrics: () => writerMetrics([documents, telemetry], world.clock),
      token: folder.managementToken,
    })
    closers.push(async () => (await managing.catch(() => undefined))?.stop())
    const [ports, management] = await Promise.all([
      threads.startFirst({ folder, documents, telemetry, busName }),
      managing,
    ])
    threads.tellManagementPort(management.port)
    const needs = { ...world, ...stores, config, rooms: management.rooms }
    const addresses = await prepareSeeded(needs, { ...ports, management: management.port }, seed)
    threads.startOthers()
    return { addresses, folder, failed: Promise.race([documents.failed, telemetry.failed]), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** What the writers counted; one that is too busy to answer is left out. */
async function writerMetrics(writers: readonly SqliteWriterThread[], clock: Clock): Promise<(readonly Family[])[]> {
  const late = Promise.withResolvers<readonly Family[]>()
  const timer = clock.after(limits.metricsAnswerMs, () => late.resolve([]))
  try {
    return await Promise.all(writers.map((writer) => Promise.race([writer.metrics(), late.promise])))
  } finally {
    timer.cancel()
  }
}

const YOUNG_GENERATION_MB = 64

/** Where several threads may listen on one port. Elsewhere (macOS) Node refuses to ask for it, and one thread serves. */
const sharesPorts = ['linux', 'freebsd', 'dragonfly', 'sunos', 'aix'].includes(process.platform)

interface Threads {
  /** Binds the ports; rejects with what the first worker could not do. */
  startFirst(parts: Parts): Promise<DevicePorts>
  startOthers(): void
  /** Threads make no calls of their own before they know which port they must not call. */
  tellManagementPort(port: number): void
  counted(): { readonly expected: number; readonly listening: number }
  stop(): Promise<void>
}

/** The worker threads: as many as configured, each replaced when it dies. */
function createThreads(config: Config, log: Log, clock: Clock): Threads {
  const wanted = config.threads === 0 ? availableParallelism() : config.threads
  const count = sharesPorts ? wanted : 1
  if (count < config.threads) log.warn({ threads: count }, `${process.platform} lets one thread serve, not more`)
  const running = new Map<number, Worker>()
  const listening = new Set<number>()
  let bound: { readonly ports: DevicePorts; readonly parts: Parts } | undefined
  let managementPort: number | undefined
  let stopping = false
  const startedAt = clock.now()
  // Loads its code while the data folder and the stores are being opened.
  const first = spawnThread()
  running.set(0, first)

  const begin = (
    index: number,
    worker: Worker,
    parts: Parts,
    ports: DevicePorts,
    since: number,
  ): Promise<DevicePorts> => {
    const { promise, resolve, reject } = Promise.withResolvers<DevicePorts>()
    running.set(index, worker)
    worker.on('message', (report: ThreadReport) => {
      if (report.kind === 'listening') {
        listening.add(index)
        resolve(report.ports)
      } else reject(new Error(report.message))
    })
    worker.on('error', (error) => {
      log.error({ thread: index, cause: error }, 'a worker thread failed')
      reject(error)
    })
    worker.on('exit', () => {
      running.delete(index)
      listening.delete(index)
      reject(new Error(`Worker thread ${index} ended before it was listening.`))
      if (!stopping && bound !== undefined) clock.after(limits.threadRestartMs, () => start(index, clock.now()))
    })
    sendParts(worker, index, config, ports, parts, since)
    if (managementPort !== undefined) tell(worker, { managementPort })
    return promise
  }
  /** @param since a thread that replaces a dead one takes over what that one may have left, at once */
  const start = (index: number, since: number): void => {
    if (stopping || bound === undefined) return
    begin(index, spawnThread(), bound.parts, bound.ports, since).catch((cause: unknown) => {
      if (!stopping) log.error({ thread: index, cause }, 'a worker thread did not start')
    })
  }
  return {
    startFirst: async (parts) => {
      const ports = await begin(0, first, parts, config.ports, startedAt)
      bound = { ports, parts }
      return ports
    },
    startOthers: () => {
      for (let index = 1; index < count; index++) start(index, startedAt)
    },
    counted: () => ({ expected: count, listening: listening.size }),
    tellManagementPort: (port) => {
      managementPort = port
      for (const worker of running.values()) tell(worker, { managementPort })
    },
    stop: async () => {
      stopping = true
      await Promise.all([...running.values()].map((worker) => stopThread(worker, clock)))
    },
  }
}

/**
 * tsc does not rewrite worker URLs: the ending is this file's own (.ts in a checkout, .js in a release). A registration
 * leaves much garbage that is young; room for it saves a twentieth of the processor time (bench/registrations.ts).
 */
const spawnThread = (): Worker =>
  new Worker(new URL(`./node-thread${import.meta.url.slice(-3)}`, import.meta.url), {
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  })

const tell = (worker: Worker, order: Exclude<ThreadOrder, ThreadData>): void => worker.postMessage(order)

function sendParts(
  worker: Worker,
  index: number,
  config: Config,
  ports: DevicePorts,
  parts: Parts,
  startedAt: number,
): void {
  const documents = parts.documents.connect()
  const telemetry = parts.telemetry.connect()
  const { documentsFile, telemetryFile, tls } = parts.folder
  const data: ThreadData = {
    config: { ...config, ports: { ...config.ports, ...ports } },
    files: { documentsFile, telemetryFile },
    tls,
    busName: parts.busName,
    index,
    startedAt,
    reusePort: sharesPorts,
    documents,
    telemetry,
  }
  const transferList: MessagePort[] = [documents, telemetry]
  worker.postMessage(data, transferList)
}

/** A thread that does not end by itself in time is ended: `muster up` must not hang on its way out. */
async function stopThread(worker: Worker, clock: Clock): Promise<void> {
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const late = Promise.withResolvers<void>()
  const timer = clock.after(limits.threadStopMs, late.resolve)
  tell(worker, 'stop')
  await Promise.race([ended, late.promise])
  timer.cancel()
  await worker.terminate()
}
