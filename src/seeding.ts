import { createHash } from 'node:crypto'
import type { NodeNeeds, World } from './app.ts'
import { systemClock } from './base/clock.ts'
import { ServiceError } from './base/errors.ts'
import { silentLog } from './base/log.ts'
import { createMetrics } from './base/metrics.ts'
import { systemRandom } from './base/random.ts'
import { createInProcessBus } from './bus/in-process.ts'
import { type Config, ConfigError } from './config.ts'
import { type Addresses, DPS_NAME, type Ports, prepareInstances, readAddresses } from './instances.ts'
import { type Rooms, wireRooms } from './rooms.ts'
import { applySeed } from './seed/apply-seed.ts'
import { seeds } from './seed/schema.ts'
import { readSeed, type Seed, SeedError } from './seed/seed-document.ts'
import { IN_MEMORY } from './store/sqlite.ts'
import { openStores, type Stores } from './stores.ts'

interface SeedingNeeds extends Pick<NodeNeeds, 'store' | 'clock' | 'log' | 'config'> {
  readonly rooms: Rooms
}

/** The id of the one document in `seeds`. */
const APPLIED = 'applied'

/** The configuration's seed, read and rehearsed, before anything is made. @throws ConfigError */
export async function readConfiguredSeed(config: Config): Promise<Seed | undefined> {
  if (config.seedFile === undefined) return undefined
  try {
    const seed = await readSeed(config.seedFile)
    await rehearse(seed, config)
    return seed
  } catch (thrown) {
    if (thrown instanceof SeedError) throw new ConfigError(thrown.message)
    throw thrown
  }
}

/**
 * Applies the seed to an empty service in memory, so that a seed that some operation refuses writes nothing anywhere:
 * no second set of rules that could differ from the operations' own. @throws SeedError
 */
async function rehearse(seed: Seed, config: Config): Promise<void> {
  const needs = { clock: systemClock, random: systemRandom, log: silentLog, config }
  await withRooms(needs, await openStores({ documentsFile: IN_MEMORY, telemetryFile: IN_MEMORY }), async (rooms) => {
    await instancesFor(seed, () => prepareInstances(rooms.control, config, config.ports, seed.idScope))
    await applySeed({ ...rooms, serviceName: DPS_NAME }, seed)
  })
}

/** Rooms without endpoints for a while, on stores that are closed afterwards. */
export async function withRooms<T>(
  needs: World & { readonly config: Config },
  stores: Stores,
  use: (rooms: Rooms) => Promise<T>,
): Promise<T> {
  const bus = createInProcessBus()
  const metrics = createMetrics()
  const managementPort = Promise.resolve(needs.config.ports.management)
  const rooms = wireRooms({ ...needs, ...stores, bus, metrics, managementPort }, () => needs.config.ports.https)
  try {
    return await use(rooms)
  } finally {
    rooms.outbound.close()
    await Promise.all([stores.store.close(), stores.telemetry.close(), bus.close()])
  }
}

/** The instances that every Muster has, and at the first start the seed's content. */
export async function prepareSeeded(needs: SeedingNeeds, ports: Ports, seed: Seed | undefined): Promise<Addresses> {
  const { rooms, config } = needs
  const addresses = await instancesFor(seed, () => prepareInstances(rooms.control, config, ports, seed?.idScope))
  if (seed === undefined) return addresses
  await seedOnce(needs, seed)
  // Its hubs and keys are part of what a start tells.
  return readAddresses(rooms.control, config, ports)
}

/** The ID scope is the one member of a seed that counts while the service is being made. */
export async function instancesFor<T>(seed: Seed | undefined, prepare: () => Promise<T>): Promise<T> {
  try {
    return await prepare()
  } catch (thrown) {
    if (seed?.idScope === undefined || !(thrown instanceof ServiceError)) throw thrown
    throw new SeedError(`seed.provisioningService: ${thrown.message}`, { cause: thrown })
  }
}

/**
 * Once for a data folder: what was changed or deleted since must not come back with a restart. A crash on the way
 * leaves no mark, so the next start goes through the seed again, which makes what is missing.
 */
async function seedOnce({ store, clock, log, rooms }: SeedingNeeds, seed: Seed): Promise<void> {
  const digest = createHash('sha256').update(JSON.stringify(seed)).digest('hex')
  const before = await store.get(seeds, APPLIED)
  if (before !== undefined) {
    if (before.value.digest !== digest)
      log.warn(
        'the seed differs from the one that this data folder had; it is not applied again. Use a new data folder.',
      )
    return
  }
  const { made, kept } = await applySeed({ ...rooms, serviceName: DPS_NAME }, seed)
  const expect = [{ in: seeds, id: APPLIED, version: 0 }]
  await store.commit({ expect, put: [{ collection: seeds, id: APPLIED, value: { digest, at: clock.now() } }] })
  log.info({ made, kept: kept.length }, 'seed applied')
  if (kept.length > 0) log.warn({ kept: kept.slice(0, 20) }, 'these were there already and stay as they are')
}
