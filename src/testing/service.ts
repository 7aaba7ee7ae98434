import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type NodeInside, openManagement, openNode, type World } from '../app.ts'
import { createInProcessBus } from '../bus/in-process.ts'
import type { Config } from '../config.ts'
import type { HttpEndpoint } from '../endpoints/http/server.ts'
import { DPS_NAME, prepareInstances } from '../instances.ts'
import { type Rooms, wireRooms } from '../rooms.ts'
import { applySeed } from '../seed/apply-seed.ts'
import type { Seed } from '../seed/seed-document.ts'
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
  readonly management: HttpEndpoint
  readonly arrivals: Arrivals
  stop(): Promise<void>
}

const filesIn = (folder: string): DatabaseFiles => ({
  documentsFile: join(folder, 'documents.db'),
  telemetryFile: join(folder, 'telemetry.db'),
})

/** Makes the databases that every life begins with: the instances and the seed. */
export async function prepareDatabases(needs: ServiceNeeds, folder: string, seed: Seed | undefined): Promise<void> {
  mkdirSync(folder)
  const stores = await openStores(filesIn(folder), false)
  const bus = createInProcessBus()
  const rooms = wireRooms(
    { ...needs, ...stores, bus, managementPort: Promise.resolve(needs.config.ports.management) },
    () => needs.config.ports.https,
  )
  try {
    await prepareInstances(rooms.control, needs.config, needs.config.ports, seed?.idScope)
    if (seed !== undefined) await seedInto(rooms, needs, seed)
  } finally {
    rooms.outbound.close()
    await Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()])
  }
}

export const seedInto = (rooms: Rooms, { hubHostName }: ServiceNeeds, seed: Seed) =>
  applySeed({ ...rooms, serviceName: DPS_NAME, hubHostName }, seed)

/**
 * Begins a life with a copy of prepared databases. A new life has new rooms: whatever a service keeps in memory, now or
 * in later versions, cannot outlive a reset.
 */
export async function openService(needs: ServiceNeeds, prepared: string, folder: string): Promise<Service> {
  const { config } = needs
  mkdirSync(folder)
  const [from, to] = [filesIn(prepared), filesIn(folder)]
  copyFileSync(from.documentsFile, to.documentsFile)
  copyFileSync(from.telemetryFile, to.telemetryFile)
  const arrivals = createArrivals()
  const stores = announcing(await openStores(to, false), arrivals)
  const bus = createInProcessBus()
  const within = { ...needs, ...stores, bus, managementPort: Promise.resolve(config.ports.management) }
  const node = await openNode(within, () => config.ports.https)
  const management = await openManagement(within, node.rooms)
  node.start()
  return {
    node,
    management,
    arrivals,
    stop: async () => {
      await Promise.all([node.close(), management.close()])
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
