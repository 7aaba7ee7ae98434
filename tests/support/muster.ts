import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import {
  type Addresses,
  type App,
  type Config,
  createApp,
  createLog,
  defaults,
  silentLog,
  type World,
} from '../../src/index.ts'
import { takeLoopback } from '../../src/testing/loopback.ts'

/** A running Muster for tests, in this process. */
export interface TestMuster {
  readonly app: App
  readonly addresses: Addresses
  readonly ca: string
  readonly folder: string
  /** What the service logged, one JSON line each. */
  readonly logged: string[]
  stop(): Promise<void>
}

export interface StartOptions {
  /** The ports that SDKs insist on (443, 8883), on a loopback address of its own; default: any free ones on 127.0.0.1. */
  readonly standardPorts?: boolean
  readonly world?: Partial<World>
  readonly config?: Partial<Config>
}

export async function startMuster(options: StartOptions = {}): Promise<TestMuster> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-'))
  const logged: string[] = []
  const log = createLog('debug', { write: (line) => void logged.push(line) })
  const app = createApp(await configFor(folder, options), { log, ...options.world })
  const addresses = await app.start()
  const ca = readFileSync(app.caFile, 'utf8')
  // Clients that use Node's defaults (most SDKs) trust the private CA from here on; verification stays on.
  tls.setDefaultCACertificates([...tls.getCACertificates('default'), ca])
  return {
    app,
    addresses,
    ca,
    folder,
    logged,
    stop: async () => {
      await app.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export async function configFor(folder: string, { standardPorts = false, config = {} }: StartOptions): Promise<Config> {
  const address = standardPorts ? await freeLoopback() : '127.0.0.1'
  const ports = standardPorts ? { https: 443, mqtts: 8883, management: 0 } : { https: 0, mqtts: 0, management: 0 }
  return { ...defaults, dataFolder: join(folder, 'data'), address, hostNames: [address], ports, ...config }
}

/** A loopback address whose standard ports nobody holds. */
export const freeLoopback = (): Promise<string> => takeLoopback([443, 8883])

export { silentLog }
