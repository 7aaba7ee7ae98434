import { expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  create,
  ended,
  HUB_A,
  HUB_B,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  putService,
  registered,
  settled,
  until,
} from '../../tests/support/provisioning.ts'
import { derivedKey } from '../../tests/support/tokens.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Commit, Store } from '../store/store.ts'
import type { Provisioning } from './provisioning.ts'
import type { Registration } from './registration-record.ts'
import { assignments, registrations } from './schema.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const OTHER = Buffer.alloc(64, 9).toString('base64')
const symmetricKey = { attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: OTHER } } }
const initialTwin = { tags: { from: 'enrollment' }, properties: { desired: { level: 1 } } }

async function enroll(room: ProvisioningRoom, registrationId: string, more: object = {}): Promise<void> {
  const document = { registrationId, ...symmetricKey, initialTwin, ...more }
  await room.provisioning.enrollments.put(caller, await room.current(), registrationId, document, {
    ...any,
    ifMatch: { kind: (await exists(room, registrationId)) ? 'any' : 'absent' },
  })
}

const exists = async ({ provisioning, service }: ProvisioningRoom, id: string): Promise<boolean> =>
  provisioning.enrollments.get(service, id, API).then(
    () => true,
    () => false,
  )

const stateOf = (room: ProvisioningRoom, provisioning: Provisioning = room.provisioning) =>
  provisioning.registrations.get(room.service, 'dev', API)

/** A store on which `dies` decides which commits never happen: as seen by a process that is killed there. */
const dyingStore =
  (dies: (record: Registration) => boolean) =>
  (store: Store): Store => ({
    ...store,
    commit: (change: Commit) => {
      const record = change.put?.find(({ collection }) => collection.name === registrations.name)?.value
      if (record !== undefined && dies(record as Registration)) return new Promise(() => {})
      return store.commit(change)
    },
  })

const workItems = (room: ProvisioningRoom) => room.store.due(assignments, Number.MAX_SAFE_INTEGER, 10)

test('killed before the hub knows of the device: the next start assigns it', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  const hub = room.hubs.get(HUB_A)!
  hub.gate = new Promise(() => {})
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await settled()
  hub.gate = Promise.resolve()
  const next = room.again()
  expect((await next.registrations.status(claim, operationId, API)).status).toBe('assigning')
  next.registrations.start()
  expect((await ended(next, claim, operationId)).registrationState).toMatchObject({ substatus: 'initialAssignment' })
  expect(await workItems(room)).toEqual([])
  await next.registrations.stop()
})

test('killed between the hub’s commit and ours: the device is made once, and a first assignment', async () => {
  const room = await provisioningRoom({
    linked: [HUB_A],
    through: dyingStore(({ status }) => status === 'assigned'),
  })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  const hub = room.hubs.get(HUB_A)!
  await until(() => hub.devices.has('dev'))
  await settled()
  hub.devices.get('dev')!.data = { tags: { touched: true }, desired: {} }
  const next = room.again()
  next.registrations.start()
  expect((await ended(next, claim, operationId)).registrationState).toMatchObject({
    status: 'assigned',
    substatus: 'initialAssignment',
  })
  expect(hub.devices.get('dev')!.data.tags).toEqual({ touched: true })
  await next.registrations.stop()
})

test('killed before the outcome disabled was written: it is written after', async () => {
  const room = await provisioningRoom({ through: dyingStore(({ status }) => status === 'disabled') })
  await enroll(room, 'dev', { provisioningStatus: 'disabled' })
  const claim = keyClaim(room, 'dev', KEY)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await settled()
  const next = room.again()
  next.registrations.start()
  expect((await ended(next, claim, operationId)).status).toBe('disabled')
  await next.registrations.stop()
})

test('another node takes over what the first one does not finish', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  const other = room.again()
  other.registrations.start()
  const hub = room.hubs.get(HUB_A)!
  hub.gate = new Promise(() => {})
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await settled()
  hub.gate = Promise.resolve()
  for (let waited = 0; waited < limits.assignmentGraceMs; waited += limits.assignmentSweepMs) {
    expect((await other.registrations.status(claim, operationId, API)).status).toBe('assigning')
    room.clock.advance(limits.assignmentSweepMs)
    await settled()
  }
  room.clock.advance(limits.assignmentSweepMs)
  expect((await ended(other, claim, operationId)).status).toBe('assigned')
  await other.registrations.stop()
})

test('a node that comes late with older credentials writes the newer ones again', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  const group = { enrollmentGroupId: 'group', ...symmetricKey }
  await room.provisioning.enrollmentGroups.put(caller, room.service, 'group', group, create)
  const derived = (spelling: string) => keyClaim(room, 'Dev', derive(spelling))
  const hub = room.hubs.get(HUB_A)!
  let release = () => {}
  hub.gate = new Promise((resolve) => {
    release = resolve
  })
  // The group derives two keys for one device: for the id as written and in lower case.
  await room.provisioning.registrations.register(derived('dev'), {}, API)
  await settled()
  hub.gate = Promise.resolve()
  const other = room.again()
  const newer = await registered(other, derived('Dev'))
  expect(newer.status).toBe('assigned')
  expect(primaryKeyIn(hub)).toBe(derive('Dev'))
  release()
  await room.provisioning.registrations.stop()
  expect(hub.calls).toHaveLength(3)
  expect(primaryKeyIn(hub)).toBe(derive('Dev'))
  expect(await stateOf(room)).toMatchObject({ etag: newer.registrationState!.etag })

  function primaryKeyIn(of: typeof hub): string | undefined {
    const [entry] = of.devices.values()
    const authentication = entry?.device.authentication
    return authentication?.type === 'sas' ? authentication.symmetricKey.primaryKey : undefined
  }
})

test('a hub that does not answer is asked again; the device goes on waiting', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  room.hubs
    .get(HUB_A)!
    .faults.push(new ServiceError(503001, 'away'), new Error('reset'), new ServiceError(429001, 'slow'))
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  for (const pause of [1_000, 2_000, 4_000]) {
    await settled()
    expect((await room.provisioning.registrations.status(claim, operationId, API)).status).toBe('assigning')
    room.clock.advance(pause)
  }
  expect((await ended(room.provisioning, claim, operationId)).status).toBe('assigned')
})

test('a hub that never answers makes the registration fail, and the next one may succeed', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  const fault = new Error('secret detail of a socket')
  room.hubs.get(HUB_A)!.faults.push(...Array.from({ length: limits.assignmentAttempts }, () => fault))
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  for (const pause of [1_000, 2_000, 4_000, 8_000]) {
    await settled()
    room.clock.advance(pause)
  }
  const status = await ended(room.provisioning, claim, operationId)
  expect(status).toMatchObject({ status: 'failed', registrationState: { errorCode: 500001 } })
  expect(status.registrationState!.errorMessage).not.toContain('secret')
  expect(await workItems(room)).toEqual([])
  expect((await registered(room.provisioning, claim)).registrationState).toMatchObject({
    substatus: 'initialAssignment',
  })
})

test('what a hub refuses for good fails at once', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  room.hubs.get(HUB_A)!.faults.push(new ServiceError(403002, 'The hub is full.'))
  expect((await registered(room.provisioning, keyClaim(room, 'dev', KEY))).registrationState).toMatchObject({
    status: 'failed',
    errorCode: 403002,
    errorMessage: `The hub ${HUB_A} did not take the device: The hub is full.`,
  })
})

test('a linked hub that is not known here fails with 400208', async () => {
  const room = await provisioningRoom({ linked: ['elsewhere.example'] })
  await enroll(room, 'dev')
  expect((await registered(room.provisioning, keyClaim(room, 'dev', KEY))).registrationState).toMatchObject({
    status: 'failed',
    errorCode: 400208,
  })
})

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
  // The same operation, which this node takes up because it is late.
  room.clock.advance(limits.assignmentSweepMs)
  const second = await registered(room.again(), keyClaim(room, 'dev', OTHER))
  expect(second.registrationState).toMatchObject({ assignedHub: HUB_B, substatus: 'deviceDataMigrated' })
  expect(b.devices.get('dev')!.data).toEqual(own)
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

function derive(spelling: string): string {
  return derivedKey(KEY, spelling)
}
