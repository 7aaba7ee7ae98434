import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { openStores, startNode } from './app.ts'
import { systemClock } from './base/clock.ts'
import { createLog } from './base/log.ts'
import { systemRandom } from './base/random.ts'
import { createThreadBus } from './bus/threads.ts'
import type { Config } from './config.ts'
import type { DevicePorts } from './instances.ts'
import type { TlsMaterial } from './wire/listener.ts'

/** What the supervisor gives a worker thread. */
export interface ThreadData {
  readonly config: Config
  readonly files: { readonly documentsFile: string; readonly telemetryFile: string }
  readonly tls: TlsMaterial
  readonly busName: string
  readonly index: number
  readonly documents: MessagePort
  readonly telemetry: MessagePort
}

/** What a worker thread tells the supervisor. */
export type ThreadReport =
  | { readonly kind: 'listening'; readonly ports: DevicePorts }
  | { readonly kind: 'failed'; readonly message: string }

const { config, files, tls, busName, index, documents, telemetry } = workerData as ThreadData
const report = (message: ThreadReport): void => parentPort?.postMessage(message)

try {
  const stores = await openStores(files, { documents, telemetry })
  const bus = createThreadBus(busName)
  const log = createLog(config.logLevel).child({ thread: index })
  const world = { clock: systemClock, random: systemRandom, log }
  const node = await startNode({ ...world, ...stores, bus, config, tls, reusePort: true })
  parentPort?.on('message', () => {
    void node
      .stop()
      .then(() => Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()]))
      .finally(() => parentPort?.close())
  })
  report({ kind: 'listening', ports: node.ports })
} catch (error) {
  report({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
  parentPort?.close()
}
