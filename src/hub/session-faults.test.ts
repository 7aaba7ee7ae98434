import { expect, test } from 'vitest'
import {
  type HubWorld,
  hubWorld,
  identityOf,
  openSession,
  operator,
  sasDevice,
  type WatchedSession,
} from '../../tests/support/hub-world.ts'
import { parseIfMatch } from '../base/etags.ts'
import { type Random, seededRandom } from '../base/random.ts'
import type { Bus } from '../bus/bus.ts'
import type { Hub } from './hub.ts'

const any = parseIfMatch('*')
const absent = parseIfMatch(undefined)

/** Loses some hints and repeats others. */
function flakyBus(random: Random): Bus {
  const listeners = new Set<(hint: unknown) => void>()
  return {
    publish: (_topic, hint) => {
      for (const each of listeners) {
        const dice = random.fraction()
        if (dice < 0.5) continue
        each(hint)
        if (dice > 0.8) each(hint)
      }
    },
    subscribe: (_topic, heard) => {
      listeners.add(heard)
      return () => void listeners.delete(heard)
    },
    close: async () => {},
  }
}

interface Held extends WatchedSession {
  readonly deviceId: string
}

/** One step of chance: somebody connects, leaves, or an operator changes a device, on one of the nodes. */
async function step(world: HubWorld, nodes: readonly Hub[], random: Random, held: Held[]): Promise<void> {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random.fraction() * from.length)]!
  const node = pick(nodes)
  const deviceId = pick(['a', 'b', 'c'])
  const { iotHub } = world
  const put = (body: object) => node.registry.putDevice(operator, iotHub, deviceId, body, any)
  const dice = random.fraction()
  if (dice < 0.5)
    held.push({ deviceId, ...(await openSession(node, await identityOf({ ...world, hub: node }, deviceId))) })
  else if (dice < 0.6) held.at(-1)?.session.end()
  else if (dice < 0.7) await put(sasDevice({ status: 'disabled' }))
  else if (dice < 0.8) await put(sasDevice())
  else if (dice < 0.85) await put({})
  else if (dice < 0.9) await node.registry.removeDevice(operator, iotHub, deviceId, any)
  else if (dice < 0.95) await node.registry.putDevice(operator, iotHub, deviceId, sasDevice(), absent)
  else world.clock.advance(random.fraction() * 3_000)
}

test.each([1, 2, 3, 4, 5, 6])(
  'three nodes, a flaky bus, seed %i: what still may send is the one connection that may',
  async (seed) => {
    const random = seededRandom(seed)
    const world = await hubWorld({ bus: flakyBus(random), seed })
    const nodes = [world.hub, await world.node('node2'), await world.node('node3')]
    const held: Held[] = []
    for (let round = 0; round < 40; round++) {
      // Several at once, so that they meet.
      await Promise.allSettled(
        Array.from({ length: 1 + Math.floor(random.fraction() * 4) }, () => step(world, nodes, random, held)),
      )
      const confirmed = await Promise.allSettled(held.map(({ session }) => session.confirm()))
      const sending = held.filter((_, at) => confirmed[at]!.status === 'fulfilled')
      const ids = sending.map(({ deviceId }) => deviceId)
      expect(new Set(ids).size, `round ${round}: two connections of one device may send`).toBe(ids.length)
      for (const { deviceId, session } of sending) {
        const device = await world.hub.registry.getDevice(world.iotHub, deviceId)
        expect([device.status, device.generationId], `round ${round}`).toEqual([
          'enabled',
          session.identity.generationId,
        ])
        expect(device.connectionState, `round ${round}`).toBe('Connected')
      }
    }
    for (const { cuts } of held) expect(cuts.length).toBeLessThanOrEqual(1)
  },
)
