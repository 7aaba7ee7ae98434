import { availableParallelism } from 'node:os'
import { type MessagePort, Worker } from 'node:worker_threads'
import { openStores, schema, startManagement, telemetrySchema } from './app.ts'
import { type Clock, systemClock } from './base/clock.ts'
import { limits } from './base/limits.ts'
import type { Log } from './base/log.ts'
import { systemRandom } from './base/random.ts'
import { createThreadBus } from './bus/threads.ts'
import type { Config } from './config.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { type Addresses, type DevicePorts, prepareInstances } from './instances.ts'
import type { ThreadData, ThreadReport } from './node-thread.ts'
import { type SqliteWriterThread, startSqliteWriter } from './store/sqlite.ts'

export interface Supervised {
  readonly addresses: Addresses
  readonly folder: DataFolder
  /** Settles when a part that cannot be replaced (a writer thread) failed. */
  readonly failed: Promise<Error>
  stop(): Promise<void>
}

interface Parts {
  readonly config: Config
  readonly folder: DataFolder
  readonly documents: SqliteWriterThread
  readonly telemetry: SqliteWriterThread
  readonly log: Log
  readonly clock: Clock
  readonly busName: string
}

/**
 * `muster up`: one writer thread for each database file, worker threads that terminate TLS and run the services, and
 * here the management API and nothing else. The first worker binds the ports, the others join them (`reusePort`); a
 * dead worker is replaced, its sessions end. Threads meet only through the store and the bus, as machines do.
 */
export async function supervise(config: Config, log: Log): Promise<Supervised> {
  const world = { clock: systemClock, random: systemRandom, log }
  const closers: (() => unknown)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close()
  }
  try {
    const folder = await openDataFolder(config, world.clock, world.random)
    closers.push(() => folder.close())
    const [documents, telemetry] = await Promise.all([
      startSqliteWriter({ file: folder.documentsFile, schema, windowMs: config.commitWindowMs }),
      startSqliteWriter({ file: folder.telemetryFile, schema: telemetrySchema, windowMs: config.commitWindowMs }),
    ])
    closers.push(() => Promise.all([documents.close(), telemetry.close()]))
    const busName = `muster-${world.random.uuid()}`
    const threads = createThreads({ config, folder, documents, telemetry, log, clock: world.clock, busName })
    const stores = await openStores(folder, { documents: documents.connect(), telemetry: telemetry.connect() })
    const bus = createThreadBus(busName)
    closers.push(() => Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()]))
    closers.push(threads.stop)
    const managing = startManagement({ ...world, ...stores, bus, config, token: folder.managementToken })
    closers.push(async () => (await managing.catch(() => undefined))?.stop())
    const [ports, management] = await Promise.all([threads.startFirst(), managing])
    const addresses = await prepareInstances(management.control, config, { ...ports, management: management.port })
    threads.startOthers()
    return { addresses, folder, failed: Promise.race([documents.failed, telemetry.failed]), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

interface Threads {
  /** Binds the ports; rejects with what the first worker could not do. */
  startFirst(): Promise<DevicePorts>
  startOthers(): void
  stop(): Promise<void>
}

/** The worker threads: as many as configured, each replaced when it dies. */
function createThreads(parts: Parts): Threads {
  const { config, log, clock } = parts
  const count = config.threads === 0 ? availableParallelism() : config.threads
  const running = new Map<number, Worker>()
  let bound: DevicePorts | undefined
  let stopping = false

  const start = (index: number): Promise<DevicePorts> => {
    const { promise, resolve, reject } = Promise.withResolvers<DevicePorts>()
    const worker = spawnNode(parts, index, bound ?? config.ports)
    running.set(index, worker)
    worker.on('message', (report: ThreadReport) => {
      if (report.kind === 'listening') resolve(report.ports)
      else reject(new Error(report.message))
    })
    worker.on('error', (error) => {
      log.error({ thread: index, cause: error }, 'a worker thread failed')
      reject(error)
    })
    worker.on('exit', () => {
      running.delete(index)
      reject(new Error(`Worker thread ${index} ended before it was listening.`))
      if (!stopping && bound !== undefined) clock.after(limits.threadRestartMs, () => replace(index))
    })
    return promise
  }
  const replace = (index: number): void => {
    if (stopping) return
    log.warn({ thread: index }, 'a worker thread is replaced')
    start(index).catch((error: unknown) => log.error({ thread: index, cause: error }, 'a worker thread did not start'))
  }
  return {
    startFirst: async () => {
      bound = await start(0)
      return bound
    },
    startOthers: () => {
      for (let index = 1; index < count; index++)
        start(index).catch((cause: unknown) => log.error({ thread: index, cause }, 'a worker thread did not start'))
    },
    stop: async () => {
      stopping = true
      await Promise.all([...running.values()].map(stopWorker))
    },
  }
}

function spawnNode(parts: Parts, index: number, ports: DevicePorts): Worker {
  const documents = parts.documents.connect()
  const telemetry = parts.telemetry.connect()
  const { config, folder, busName } = parts
  const { documentsFile, telemetryFile, tls } = folder
  const data: ThreadData = {
    config: { ...config, ports: { ...config.ports, ...ports } },
    files: { documentsFile, telemetryFile },
    tls,
    busName,
    index,
    documents,
    telemetry,
  }
  const transferList: MessagePort[] = [documents, telemetry]
  // tsc does not rewrite worker URLs: the ending is this file's own (.ts in a checkout, .js in a release).
  return new Worker(new URL(`./node-thread${import.meta.url.slice(-3)}`, import.meta.url), {
    workerData: data,
    transferList,
  })
}

async function stopWorker(worker: Worker): Promise<void> {
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  worker.postMessage('stop')
  await ended
}
