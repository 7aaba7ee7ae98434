import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { createLog } from '../../src/base/log.ts'
import { createMetrics } from '../../src/base/metrics.ts'
import { systemRandom } from '../../src/base/random.ts'
import { createInProcessBus } from '../../src/bus/in-process.ts'
import { type Config, defaults } from '../../src/config.ts'
import type { HttpEndpoint } from '../../src/endpoints/http/server.ts'
import type { MqttEndpoint } from '../../src/endpoints/mqtt/server.ts'
import { type Addresses, prepareInstances } from '../../src/instances.ts'
import { deviceEndpoints, type Rooms, wireRooms } from '../../src/rooms.ts'
import { openStores } from '../../src/stores.ts'

/** The whole service with its faces, without sockets: connections are handed to `http.serve` and `mqtt.serve`. */
export interface InProcess {
  readonly http: HttpEndpoint
  readonly mqtt: MqttEndpoint
  readonly rooms: Rooms
  readonly addresses: Addresses
  /** Log lines of faults that nobody foresaw: those with a cause. A busy service's 503 has none. */
  readonly faults: string[]
  stop(): Promise<void>
}

export async function startInProcess(metrics = createMetrics()): Promise<InProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-fuzz-'))
  const faults: string[] = []
  const log = createLog('error', { write: (line) => void (/"(err|cause)":/.test(line) && faults.push(line)) })
  const config: Config = { ...defaults, dataFolder: folder, hostNames: ['localhost'], threads: 1 }
  const stores = await openStores({
    documentsFile: join(folder, 'documents.db'),
    telemetryFile: join(folder, 'telemetry.db'),
  })
  const bus = createInProcessBus()
  const needs = { ...stores, clock: systemClock, random: systemRandom, log, bus, config, metrics }
  const rooms = wireRooms({ ...needs, managementPort: Promise.resolve(0) }, () => 443)
  await rooms.hub.start()
  const addresses = await prepareInstances(rooms.control, config, { https: 443, mqtts: 8883, management: 0 })
  const { http, mqtt } = await deviceEndpoints(needs, rooms)
  rooms.provisioning.registrations.start()
  return {
    http,
    mqtt,
    rooms,
    addresses,
    faults,
    stop: async () => {
      await Promise.all([http.close(), mqtt.close()])
      await rooms.provisioning.registrations.stop()
      await rooms.hub.stop()
      await Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
