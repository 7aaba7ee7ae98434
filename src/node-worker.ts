import { type MessagePort, parentPort } from 'node:worker_threads'
import { startNode } from './app.ts'
import { systemClock } from './base/clock.ts'
import { createLog } from './base/log.ts'
import { createMetrics } from './base/metrics.ts'
import { threadMetrics } from './base/process-metrics.ts'
import { systemRandom } from './base/random.ts'
import { createThreadBus } from './bus/threads.ts'
import type { Config } from './config.ts'
import type { DevicePorts } from './instances.ts'
import { connectStores } from './stores.ts'
import type { TlsMaterial } from './wire/listener.ts'

/** What the supervisor tells a worker thread, beginning with its data. */
export type ThreadOrder = ThreadData | { readonly managementPort: number } | 'stop'

/** What the supervisor gives a worker thread. */
export interface ThreadData {
  readonly config: Config
  readonly files: { readonly documentsFile: string; readonly telemetryFile: string }
  readonly tls: TlsMaterial
  readonly busName: string
  readonly index: number
  /** When the first of the threads that begin together began, ms since 1970. */
  readonly startedAt: number
  /** Other threads share the ports. */
  readonly reusePort: boolean
  readonly documents: MessagePort
  readonly telemetry: MessagePort
}

/** What a worker thread tells the supervisor. */
export type ThreadReport =
  | { readonly kind: 'listening'; readonly ports: DevicePorts }
  | { readonly kind: 'failed'; readonly message: string }

const report = (message: ThreadReport): void => parentPort?.postMessage(message)

async function begin(managementPort: Promise<number>, data: ThreadData): Promise<() => Promise<void>> {
  const { config, files, tls, busName, index, startedAt, reusePort, documents, telemetry } = data
  const stores = await connectStores(files, { documents, telemetry })
  const bus = createThreadBus(busName)
  const log = createLog(config.logLevel).child({ thread: index })
  const metrics = createMetrics()
  threadMetrics(metrics, `worker-${index}`)
  const world = { clock: systemClock, random: systemRandom, log }
  const node = await startNode({
    ...world,
    ...stores,
    bus,
    config,
    metrics,
    tls,
    managementPort,
    reusePort,
    startedAt,
  })
  report({ kind: 'listening', ports: node.ports })
  return async () => {
    await node.stop()
    await Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()])
  }
}

/** Serves as the supervisor says: the first message begins, the last ends, and may come before the node has begun. */
export function serveAsWorker(): void {
  let running: Promise<() => Promise<void>> | undefined
  const managementPort = Promise.withResolvers<number>()
  parentPort?.on('message', (message: ThreadOrder) => {
    if (message !== 'stop' && 'managementPort' in message) {
      managementPort.resolve(message.managementPort)
      return
    }
    if (message !== 'stop') {
      running = begin(managementPort.promise, message)
      running.catch((error: unknown) => {
        report({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
        process.exit()
      })
      return
    }
    const ended = running?.then((stop) => stop()) ?? Promise.resolve()
    ended
      .catch((cause: unknown) => createLog('error').error({ cause }, 'a worker thread did not stop cleanly'))
      .finally(() => process.exit())
  })
}
