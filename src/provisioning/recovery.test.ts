import { expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  create,
  HUB_A,
  HUB_B,
  keyClaim,
  provisioningRoom,
  settled,
  until,
} from '../../tests/support/provisioning.ts'
import { seededRandom } from '../base/random.ts'
import type { Store } from '../store/store.ts'
import type { Provisioning } from './provisioning.ts'
import { assignments } from './schema.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const DEVICES = ['d1', 'd2', 'd3', 'd4']
const ROUNDS = 25

/** A process on the shared store that can be killed: from then on nothing it does happens, and nothing answers it. */
function process(store: Store, fraction: () => number) {
  const life = { dead: false, dieAfter: Number.POSITIVE_INFINITY }
  const never = new Promise<never>(() => {})
  const commit: Store['commit'] = async (change) => {
    if (life.dead) return never
    life.dieAfter--
    // Killed before the commit, or after it and before its answer.
    if (life.dieAfter < 0) {
      life.dead = true
      if (fraction() < 0.5) await store.commit(change)
      return never
    }
    const result = await store.commit(change)
    return life.dead ? never : result
  }
  return { life, store: { ...store, commit } }
}

/**
 * Devices register, enrollments send settled ones to another hub and back, processes are killed at any of their commits, and
 * others go on. At the end nothing waits, every device lives in one hub alone, and none has lost its data.
 */
test.each(Array.from({ length: 12 }, (_, seed) => seed))(
  'kills at random moments lose nothing (seed %i)',
  async (seed) => {
    const random = seededRandom(seed)
    const room = await provisioningRoom()
    const enrollment = (registrationId: string, hub: string) => ({
      registrationId,
      attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } },
      initialTwin: { tags: { fresh: true } },
      iotHubs: [hub],
    })
    for (const id of DEVICES)
      await room.provisioning.enrollments.put(caller, room.service, id, enrollment(id, HUB_A), create)
    const hubs = [room.hubs.get(HUB_A)!, room.hubs.get(HUB_B)!]
    const settledBefore = new Set<string>()

    const start = () => {
      const made = process(room.store, () => random.fraction())
      const node = room.again({}, made.store)
      node.registrations.start()
      return { ...made, node }
    }
    let running = start()
    for (let round = 0; round < ROUNDS; round++) {
      for (const id of DEVICES) {
        if (random.fraction() < 0.7 || (await statusOf(id)) === 'assigning') continue
        const hub = random.fraction() < 0.5 ? HUB_A : HUB_B
        await room.provisioning.enrollments.put(caller, room.service, id, enrollment(id, hub), any)
      }
      running.life.dieAfter = Math.floor(random.fraction() * 12)
      const asking = DEVICES.filter(() => random.fraction() < 0.7)
      let answered = 0
      for (const id of asking)
        void running.node.registrations
          .register(keyClaim(room, id, KEY), {}, API)
          .catch(() => {})
          .finally(() => answered++)
      // Whoever is killed never answers: the device gives up and comes back in another round.
      await until(() => running.life.dead || answered === asking.length)
      await settled()
      await markData()
      room.clock.advance(10)
      if (running.life.dead || random.fraction() < 0.3) {
        running.life.dead = true
        await settled()
        running = start()
      }
    }
    running.life.dieAfter = Number.POSITIVE_INFINITY
    const last = running.node
    await until(async () => (await waiting()).length === 0)
    for (const id of DEVICES) await endsAssigned(last, id)
    for (const id of DEVICES) {
      const record = await last.registrations.get(room.service, id, API)
      const holding = hubs.filter((hub) => hub.devices.has(id))
      expect({ id, hubs: holding.length }).toEqual({ id, hubs: 1 })
      expect(holding[0]).toBe(room.hubs.get(record.assignedHub!))
      if (settledBefore.has(id)) expect(holding[0]!.devices.get(id)!.data.tags).toEqual({ mark: id })
    }
    expect(settledBefore.size).toBeGreaterThan(0)
    await last.registrations.stop()

    function waiting() {
      return room.store.due(assignments, Number.MAX_SAFE_INTEGER, 10)
    }
    async function statusOf(id: string): Promise<string | undefined> {
      const record = await room.provisioning.registrations.get(room.service, id, API).catch(() => undefined)
      return record?.status
    }
    /** What a device writes to its twin once it was told its hub. */
    async function markData(): Promise<void> {
      for (const id of DEVICES) {
        if (settledBefore.has(id) || (await statusOf(id)) !== 'assigned') continue
        const entry = hubs.flatMap((hub) => hub.devices.get(id) ?? [])[0]!
        entry.data = { tags: { mark: id }, desired: {} }
        settledBefore.add(id)
      }
    }
    async function endsAssigned(node: Provisioning, id: string): Promise<void> {
      const claim = keyClaim(room, id, KEY)
      const { operationId } = await node.registrations.register(claim, {}, API)
      await until(async () => (await node.registrations.status(claim, operationId, API)).status === 'assigned')
    }
  },
)
