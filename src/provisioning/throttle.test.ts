import { expect, test } from 'vitest'
import {
  API,
  caller,
  create,
  ended,
  HUB_A,
  keyClaim,
  provisioningRoom,
  refusal,
} from '../../tests/support/provisioning.ts'
import { derivedKey } from '../../tests/support/tokens.ts'
import { TestClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { seededRandom } from '../base/random.ts'
import { createThrottle, Throttled } from './throttle.ts'

function throttle(retryAfterSeconds = 3) {
  const clock = new TestClock()
  const made = createThrottle({ clock, random: seededRandom(7), retryAfterSeconds })
  const refusals = (count: number): number[] => Array.from({ length: count }, () => made.refusal().retryAfter ?? 0)
  return { clock, made, refusals }
}

/** Ends so many a second, for so long. */
function run({ clock, made }: ReturnType<typeof throttle>, perSecond: number, seconds: number): void {
  for (let second = 0; second < seconds; second++) {
    for (let each = 0; each < perSecond; each++) made.ended()
    clock.advance(1_000)
  }
}

test('a refusal is 429001 with whole seconds', () => {
  const { retryAfter, code } = throttle().made.refusal()
  expect(code).toBe(429001)
  expect(retryAfter).toSatisfy(Number.isInteger)
})

test('a few are spread over a few seconds', () => {
  const { refusals } = throttle()
  const found = refusals(100)
  expect([...new Set(found)].sort()).toEqual([3, 4, 5, 6, 7, 8])
})

test('many are spread over as long as it takes to assign them', () => {
  const world = throttle()
  run(world, 200, 10)
  const last = world.refusals(4_000).slice(-1_000)
  // Some 3,500 of them away by then, 200 a second: over 35 s, the middle of the spread being their turn.
  expect(Math.min(...last)).toBe(3)
  expect(Math.max(...last)).toBeGreaterThan(3 + 30)
  expect(Math.max(...last)).toBeLessThanOrEqual(3 + 40)
  const middle = last.reduce((sum, each) => sum + each, 0) / last.length
  expect(middle).toBeGreaterThan(3 + 15)
  expect(middle).toBeLessThan(3 + 21)
})

test('those that there has been room for since are not counted any more', () => {
  const world = throttle()
  run(world, 200, 10)
  world.refusals(4_000)
  run(world, 200, 20)
  expect(Math.max(...world.refusals(200))).toBeLessThanOrEqual(3 + 6)
})

test('the spread has an end, also where nothing ends', () => {
  const world = throttle()
  world.clock.advance(60_000)
  expect(Math.max(...world.refusals(50_000))).toBe(3 + limits.throttleSpreadSeconds - 1)
  const slow = throttle(limits.retryAfterSeconds)
  expect(new Set(slow.refusals(1_000))).toEqual(new Set([limits.retryAfterSeconds]))
})

const GROUP_KEY = Buffer.alloc(64, 7).toString('base64')

/** A node on which two registrations may wait, and a hub that does not answer before it is told to. */
async function fullNode() {
  const room = await provisioningRoom({ linked: [HUB_A], settings: { assignmentBacklog: 2 } })
  const { provisioning, service, hubs } = room
  const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY } }
  await provisioning.enrollmentGroups.put(caller, service, 'g', { enrollmentGroupId: 'g', attestation }, create)
  const { promise, resolve: open } = Promise.withResolvers<void>()
  hubs.get(HUB_A)!.gate = promise
  const claimOf = (id: string, key = derivedKey(GROUP_KEY, id)) => keyClaim(room, id, key)
  const register = (id: string, key?: string) => provisioning.registrations.register(claimOf(id, key), {}, API)
  return { room, open, claimOf, register, operations: [await register('a'), await register('b')] }
}

test('a full node sends away whom it would admit, and nobody else sees a difference', async () => {
  const { room, register } = await fullNode()
  const thrown: unknown = await register('c').catch((error: unknown) => error)
  expect(thrown).toBeInstanceOf(Throttled)
  const { provisioning, service } = room
  expect(await refusal(register('d', GROUP_KEY))).toMatchObject({ code: 401002 })
  expect(await refusal(provisioning.registrations.get(service, 'c', API))).toMatchObject({ code: 404201 })
})

test('who is being assigned on a full node gets the same operation again, and polls as ever', async () => {
  const { room, register, claimOf, operations } = await fullNode()
  expect(await register('a')).toEqual(operations[0])
  const { operationId } = operations[1]!
  for (let poll = 0; poll < 100; poll++)
    expect(await room.provisioning.registrations.status(claimOf('b'), operationId, API)).toMatchObject({
      status: 'assigning',
    })
})

test('there is room again as soon as one is assigned', async () => {
  const { room, open, register, claimOf, operations } = await fullNode()
  open()
  await ended(room.provisioning, claimOf('a'), operations[0]!.operationId)
  await ended(room.provisioning, claimOf('b'), operations[1]!.operationId)
  const { operationId } = await register('c')
  expect(await ended(room.provisioning, claimOf('c'), operationId)).toMatchObject({ status: 'assigned' })
})
