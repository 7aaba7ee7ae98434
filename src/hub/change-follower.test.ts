import { expect, test } from 'vitest'
import { deafBus } from '../../tests/support/hub-world.ts'
import { temporaryStore } from '../../tests/support/store.ts'
import { TestClock } from '../base/clock.ts'
import { silentLog } from '../base/log.ts'
import type { Store } from '../store/store.ts'
import { createChangeFollower } from './change-follower.ts'
import { CHANGES_LOG, type Change, encodeChange } from './changes.ts'

async function follow(changed: (changes: readonly Change[] | 'all') => Promise<void>, wrap = (store: Store) => store) {
  const store = await temporaryStore({ collections: [], queues: [] })
  const seen = { bounds: 0 }
  const counted: Store = {
    ...store,
    bounds: (log) => {
      seen.bounds += 1
      return store.bounds(log)
    },
  }
  const follower = createChangeFollower({
    store: wrap(counted),
    bus: deafBus,
    clock: new TestClock(),
    log: silentLog,
    changed,
    recheck: async () => {},
  })
  await follower.start()
  seen.bounds = 0
  const append = (deviceId: string) =>
    store.commit({
      append: [{ log: CHANGES_LOG, time: 0, value: encodeChange({ hub: 'h', deviceId, why: 'status' }) }],
    })
  return { follower, append, seen }
}

const idsOf = (changes: readonly Change[] | 'all') =>
  changes === 'all' ? ['all'] : changes.map((each) => each.deviceId)

test('callers that meet share looks, resolve in their order and see what was committed before they called', async () => {
  const taken: string[] = []
  const { follower, append, seen } = await follow(async (changes) => void taken.push(...idsOf(changes)))
  const order: number[] = []
  const first = follower.current().then(() => order.push(0))
  await append('a')
  const calls = [1, 2, 3, 4, 5].map((n) => follower.current().then(() => order.push(n)))
  await Promise.all([first, ...calls])
  expect(order).toEqual([0, 1, 2, 3, 4, 5])
  // One before the change, one for the first caller, one for all the others.
  expect(seen.bounds).toBeLessThanOrEqual(3)
  expect(taken).toEqual(['a'])
})

test('a look that fails is told to those who wait for it, and the next one loses nothing', async () => {
  const taken: string[] = []
  let broken = true
  const { follower, append } = await follow(async (changes) => {
    if (broken) throw new Error('the store is away')
    taken.push(...idsOf(changes))
  })
  await append('a')
  await append('b')
  await expect(follower.current()).rejects.toThrow('the store is away')
  broken = false
  await follower.current()
  expect(taken).toEqual(['a', 'b'])
})

test('a failing read of the log end leaves the position, and a waiting caller gets a look of its own', async () => {
  let failures = 1
  const taken: string[] = []
  const { follower, append } = await follow(
    async (changes) => void taken.push(...idsOf(changes)),
    (store) => ({
      ...store,
      bounds: async (log) => {
        if (failures-- === 1 && log === CHANGES_LOG && started) throw new Error('no disk')
        return store.bounds(log)
      },
    }),
  ).then((made) => {
    started = true
    failures = 1
    return made
  })
  await append('a')
  const [first, second] = await Promise.allSettled([follower.current(), follower.current()])
  expect([first.status, second.status]).toEqual(['rejected', 'fulfilled'])
  expect(taken).toEqual(['a'])
})

let started = false
