import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type ManagementInside, type NodeInside, openManagement, openNode, type World } from '../app.ts'
import { createMetrics } from '../base/metrics.ts'
import { createInProcessBus } from '../bus/in-process.ts'
import type { Config } from '../config.ts'
import { DPS_NAME, prepareInstances } from '../instances.ts'
import type { Rooms } from '../rooms.ts'
import { applySeed, type Seeded } from '../seed/apply-seed.ts'
import type { Seed } from '../seed/seed-document.ts'
import { instancesFor, withRooms } from '../seeding.ts'
import { type DatabaseFiles, openStores, type Stores } from '../stores.ts'
import { type Arrivals, createArrivals } from './events.ts'

export interface ServiceNeeds extends World {
  /** With the ports as they are bound. */
  readonly config: Config
  readonly token: string
  /** Where a hub that a seed adds is reached. */
  readonly hubHostName: (name: string) => Promise<string>
}

/** One life of the service: from a start or a reset to the next. */
export interface Service {
  readonly node: NodeInside
  readonly management: ManagementInside
  readonly arrivals: Arrivals
  /** Rehearses on a copy first: a seed that is refused makes nothing. @throws SeedError */
  seed(seed: Seed): Promise<Seeded>
  stop(): Promise<void>
}

const filesIn = (folder: string): DatabaseFiles => ({
  documentsFile: join(folder, 'documents.db'),
  telemetryFile: join(folder, 'telemetry.db'),
})

const openIn = (folder: string): Promise<Stores> => openStores(filesIn(folder), { durable: false })

/** Makes the databases that every life begins with: the instances and the seed. */
export async function prepareDatabases(needs: ServiceNeeds, folder: string, seed: Seed | undefined): Promise<void> {
  mkdirSync(folder)
  const { config } = needs
  await withRooms(needs, await openIn(folder), async (rooms) => {
    await instancesFor(seed, () => prepareInstances(rooms.control, config, config.ports, seed?.idScope))
    if (seed !== undefined) await seedInto(rooms, needs, seed)
  })
}

const seedInto = (rooms: Rooms, { hubHostName }: ServiceNeeds, seed: Seed): Promise<Seeded> =>
  applySeed({ ...rooms, serviceName: DPS_NAME, hubHostName }, seed)

/** Copies what a life has now. Its writer is in this thread, so nothing is written meanwhile. */
function copyDatabases(from: string, to: string): void {
  mkdirSync(to)
  for (const file of readdirSync(from).filter((name) => !name.endsWith('-shm')))
    copyFileSync(join(from, file), join(to, file))
}

/**
 * Begins a life with a copy of prepared databases. A new life has new rooms: whatever a service keeps in memory, now or
 * in later versions, cannot outlive a reset.
 */
export async function openService(needs: ServiceNeeds, prepared: string, folder: string): Promise<Service> {
  const { config } = needs
  copyDatabases(prepared, folder)
  const arrivals = createArrivals()
  const stores = announcing(await openIn(folder), arrivals)
  const bus = createInProcessBus()
  const metrics = createMetrics()
  const within = { ...needs, ...stores, bus, metrics, managementPort: Promise.resolve(config.ports.management) }
  const node = await openNode(within, () => config.ports.https)
  const threads = () => ({ expected: 1, listening: 1 })
  const management = await openManagement({ ...within, metrics: createMetrics(), threads }, node.rooms)
  node.start(needs.clock.now())
  await management.start()
  return {
    node,
    management,
    arrivals,
    seed: async (seed) => {
      const rehearsal = `${folder}-rehearsal`
      try {
        copyDatabases(folder, rehearsal)
        await withRooms(needs, await openIn(rehearsal), (rooms) => seedInto(rooms, needs, seed))
      } finally {
        rmSync(rehearsal, { recursive: true, force: true })
      }
      return seedInto(node.rooms, needs, seed)
    },
    stop: async () => {
      await Promise.all([node.close(), management.stop()])
      await node.stop()
      await Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Tells of every commit of telemetry. */
const announcing = ({ store, telemetry }: Stores, arrivals: Arrivals): Stores => ({
  store,
  telemetry: {
    ...telemetry,
    commit: async (change) => {
      const result = await telemetry.commit(change)
      arrivals.arrived()
      return result
    },
  },
})
