import { expect, test } from 'vitest'
import { dyingStore, enroll, KEY, OTHER } from '../../tests/support/assigning.ts'
import {
  API,
  ended,
  HUB_A,
  HUB_B,
  keyClaim,
  provisioningRoom,
  putService,
  registered,
  settled,
  until,
} from '../../tests/support/provisioning.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Registration } from './registration-record.ts'

/** Assigned to hub A with data of its own there; then only hub B is linked. */
async function movable(more: object, options: Parameters<typeof provisioningRoom>[0] = {}) {
  const room = await provisioningRoom({ linked: [HUB_A], ...options })
  await enroll(room, 'dev', more)
  const claim = keyClaim(room, 'dev', KEY)
  const first = room.again()
  expect((await registered(first, claim)).registrationState!.assignedHub).toBe(HUB_A)
  const [a, b] = [room.hubs.get(HUB_A)!, room.hubs.get(HUB_B)!]
  a.devices.get('dev')!.data = { tags: { own: 1 }, desired: { level: 9 }, reported: { seen: true } }
  await putService(room.control, [HUB_A, HUB_B], 'Hashed')
  await enroll(room, 'dev', { ...more, iotHubs: [HUB_B] })
  return { room, claim, a, b }
}

const own = { tags: { own: 1 }, desired: { level: 9 }, reported: { seen: true } }
const initial = { tags: { from: 'enrollment' }, desired: { level: 1 } }

test('reprovisioning, migrate: the twin moves along, the old identity is deleted', async () => {
  const { room, claim, a, b } = await movable({})
  const status = await registered(room.provisioning, claim)
  expect(status.registrationState).toMatchObject({
    assignedHub: HUB_B,
    substatus: 'deviceDataMigrated',
    deviceId: 'dev',
  })
  expect(b.devices.get('dev')!.data).toEqual(own)
  expect(a.devices.has('dev')).toBe(false)
  expect((await registered(room.provisioning, claim)).registrationState).toMatchObject({
    assignedHub: HUB_B,
    substatus: 'reprovisionedToInitialAssignment',
  })
  expect(b.devices.get('dev')!.data).toEqual(own)
})

test.each([{}, { reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false } }])(
  'a hub that goes by another name now is no other hub: nothing moves, nothing is deleted (%j)',
  async (more) => {
    const { room, claim, a } = await movable(more)
    room.hubs.set(HUB_B, a)
    a.alsoNamed.add(HUB_A)
    a.calls.length = 0
    expect((await registered(room.provisioning, claim)).registrationState).toMatchObject({
      assignedHub: HUB_B,
      substatus: 'reprovisionedToInitialAssignment',
    })
    expect(a.calls).toEqual(['provision dev keep'])
    expect(a.devices.get('dev')!.data).toEqual(own)
  },
)

test('reprovisioning, reset: the new hub begins with the enrollment’s twin', async () => {
  const { room, claim, a, b } = await movable({
    reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false },
  })
  expect((await registered(room.provisioning, claim)).registrationState).toMatchObject({
    assignedHub: HUB_B,
    substatus: 'deviceDataReset',
  })
  expect(b.devices.get('dev')!.data).toEqual(initial)
  expect(a.devices.has('dev')).toBe(false)
})

test('reprovisioning, never: the first hub for good', async () => {
  const { room, claim, a, b } = await movable({
    reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
  })
  expect((await registered(room.provisioning, claim)).registrationState).toMatchObject({
    assignedHub: HUB_A,
    substatus: 'reprovisionedToInitialAssignment',
  })
  expect(a.devices.get('dev')!.data).toEqual(own)
  expect(b.devices.has('dev')).toBe(false)
})

test('it stays, and its hub had lost it: that is a first assignment, with the enrollment’s twin', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  await registered(room.provisioning, claim)
  room.hubs.get(HUB_A)!.devices.clear()
  const again = await registered(room.provisioning, claim)
  expect(again.registrationState).toMatchObject({ assignedHub: HUB_A, substatus: 'initialAssignment' })
  expect(room.hubs.get(HUB_A)!.devices.get('dev')!.data).toEqual(initial)
})

test('nothing to take along: the hub it leaves has lost the device, or is lost itself', async () => {
  const gone = await movable({})
  gone.a.devices.clear()
  expect((await registered(gone.room.provisioning, gone.claim)).registrationState!.substatus).toBe('deviceDataReset')
  expect(gone.b.devices.get('dev')!.data).toEqual(initial)

  const lost = await movable({})
  ;(lost.room.hubs as Map<string, unknown>).delete(HUB_A)
  expect((await registered(lost.room.provisioning, lost.claim)).registrationState).toMatchObject({
    status: 'assigned',
    assignedHub: HUB_B,
    substatus: 'deviceDataReset',
  })
})

test.each([
  ['before it arrived', (record: Registration) => record.status === 'assigning' && record.untold === true],
  ['before it was told', (record: Registration) => record.status === 'assigned'],
])('a move that is killed %s loses nothing and tells of the move', async (_when, dies) => {
  const { room, claim, a, b } = await movable({}, { through: dyingStore(dies) })
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await until(() => b.devices.has('dev'))
  await settled()
  const next = room.again()
  next.registrations.start()
  expect((await ended(next, claim, operationId)).registrationState).toMatchObject({
    assignedHub: HUB_B,
    substatus: 'deviceDataMigrated',
  })
  expect(b.devices.get('dev')!.data).toEqual(own)
  expect(a.devices.has('dev')).toBe(false)
  await next.registrations.stop()
})

test('a move that was killed after the hub made the device, and is not wanted any more, leaves nothing behind', async () => {
  const { room, claim, a, b } = await movable({}, { through: dyingStore((record) => record.untold === true) })
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await until(() => b.devices.has('dev'))
  await settled()
  await enroll(room, 'dev', { iotHubs: [HUB_A] })
  const next = room.again()
  next.registrations.start()
  expect((await ended(next, claim, operationId)).registrationState).toMatchObject({
    assignedHub: HUB_A,
    substatus: 'reprovisionedToInitialAssignment',
  })
  expect(a.devices.get('dev')!.data).toEqual(own)
  expect(b.devices.has('dev')).toBe(false)
  await next.registrations.stop()
})

test('a device that stays does not wait for a hub where it may be left over', async () => {
  const { room, claim, a, b } = await movable({})
  b.faults.push(...Array.from({ length: 5 }, () => new ServiceError(503001, 'away')))
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  for (const pause of [1_000, 2_000, 4_000, 8_000]) {
    await settled()
    room.clock.advance(pause)
  }
  expect((await ended(room.provisioning, claim, operationId)).status).toBe('failed')
  await enroll(room, 'dev', { iotHubs: [HUB_A] })
  b.faults.push(new ServiceError(503001, 'still away'))
  expect((await registered(room.provisioning, claim)).registrationState).toMatchObject({ assignedHub: HUB_A })
  expect(a.devices.get('dev')!.data).toEqual(own)
  await registered(room.provisioning, claim)
  expect(b.calls.filter((call) => call === 'remove dev')).toHaveLength(2)
  await registered(room.provisioning, claim)
  expect(b.calls.filter((call) => call === 'remove dev')).toHaveLength(2)
})

test('the hub it leaves does not answer: the failure names that hub, and nothing is made in the other', async () => {
  const { room, claim, a, b } = await movable({})
  a.faults.push(...Array.from({ length: 5 }, () => new ServiceError(503001, 'away')))
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  for (const pause of [1_000, 2_000, 4_000, 8_000]) {
    await settled()
    room.clock.advance(pause)
  }
  expect((await ended(room.provisioning, claim, operationId)).registrationState).toMatchObject({
    status: 'failed',
    errorCode: 503001,
    errorMessage: `The hub ${HUB_A} did not give what the device has there: away`,
  })
  expect(b.devices.has('dev')).toBe(false)
})

test('an Edge device stays one when it moves, and a disabled device stays disabled', async () => {
  const { room, claim, a, b } = await movable({})
  a.devices.get('dev')!.device = { ...a.devices.get('dev')!.device, iotEdge: true, status: 'disabled' }
  await registered(room.provisioning, claim)
  expect(b.devices.get('dev')!.device).toMatchObject({ iotEdge: true, status: 'disabled' })
})

test('a device that asks again while its interrupted move waits keeps its data and hears of the move', async () => {
  const { room, claim, a, b } = await movable({}, { through: dyingStore(({ status }) => status === 'assigned') })
  await room.provisioning.registrations.register(claim, {}, API)
  await until(() => b.devices.has('dev') && !a.devices.has('dev'))
  await settled()
  // The same operation, which this node takes up at its start.
  const next = room.again()
  const again = keyClaim(room, 'dev', OTHER)
  const { operationId } = await next.registrations.register(again, {}, API)
  next.registrations.start()
  const second = await ended(next, again, operationId)
  expect(second.registrationState).toMatchObject({ assignedHub: HUB_B, substatus: 'deviceDataMigrated' })
  expect(b.devices.get('dev')!.data).toEqual(own)
  await next.registrations.stop()
})

test('an old hub that cannot delete the device does not hold it up; the next registration tries again', async () => {
  const { room, claim, a, b } = await movable({})
  const fault = () => new ServiceError(503001, 'away')
  // Reading succeeds, deleting does not, as often as it is tried.
  const remove = a.remove.bind(a)
  let away = true
  a.remove = async (deviceId) => {
    if (away) throw fault()
    await remove(deviceId)
  }
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  for (const pause of [1_000, 2_000, 4_000, 8_000]) {
    await settled()
    room.clock.advance(pause)
  }
  expect((await ended(room.provisioning, claim, operationId)).registrationState).toMatchObject({
    status: 'assigned',
    assignedHub: HUB_B,
    substatus: 'deviceDataMigrated',
  })
  expect(a.devices.has('dev')).toBe(true)
  away = false
  expect((await registered(room.provisioning, claim)).registrationState!.substatus).toBe(
    'reprovisionedToInitialAssignment',
  )
  expect(a.devices.has('dev')).toBe(false)
  expect(b.devices.get('dev')!.data).toEqual(own)
})

test('there and back again: the data travels both ways', async () => {
  const { room, claim, a, b } = await movable({})
  await registered(room.provisioning, claim)
  await enroll(room, 'dev', { iotHubs: [HUB_A] })
  expect((await registered(room.provisioning, claim)).registrationState).toMatchObject({
    assignedHub: HUB_A,
    substatus: 'deviceDataMigrated',
  })
  expect(a.devices.get('dev')!.data).toEqual(own)
  expect(b.devices.has('dev')).toBe(false)
})

test('a node that takes a move over, and is late, does not replace the data that arrived', async () => {
  const { room, claim, a, b } = await movable({})
  const [inB, inA] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  b.gate = inB.promise
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await until(() => a.calls.includes('read dev'))
  // The second node has looked at the record, and hears from the old hub only after the first one has ended.
  a.gate = inA.promise
  const asked = Promise.withResolvers<void>()
  const read = a.read.bind(a)
  a.read = (deviceId) => {
    asked.resolve()
    return read(deviceId)
  }
  a.remove = async (deviceId) => {
    a.devices.delete(deviceId)
  }
  const second = room.again()
  second.registrations.start()
  await asked.promise
  inB.resolve()
  const status = await ended(room.provisioning, claim, operationId)
  expect(status.registrationState).toMatchObject({ assignedHub: HUB_B, substatus: 'deviceDataMigrated' })
  inA.resolve()
  await second.registrations.stop()
  expect(b.devices.get('dev')!.data).toEqual(own)
})

test('a hub that lets a move wait for minutes: the node at work keeps it, and no other begins it again', async () => {
  const { room, claim, a, b } = await movable({})
  const other = room.again()
  for (const { registrations } of [room.provisioning, other]) registrations.start()
  const inB = Promise.withResolvers<void>()
  b.gate = inB.promise
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  for (let passed = 0; passed < 4 * limits.assignmentGraceMs; passed += limits.assignmentSweepMs) {
    await settled()
    expect((await other.registrations.register(claim, {}, API)).operationId).toBe(operationId)
    room.clock.advance(limits.assignmentSweepMs)
  }
  inB.resolve()
  const status = await ended(other, claim, operationId)
  expect(status.registrationState).toMatchObject({ assignedHub: HUB_B, substatus: 'deviceDataMigrated' })
  expect(a.calls.filter((call) => call === 'read dev')).toHaveLength(1)
  expect(b.devices.get('dev')!.data).toEqual(own)
  await Promise.all([other, room.provisioning].map(({ registrations }) => registrations.stop()))
})
