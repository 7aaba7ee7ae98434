import { expect, test } from 'vitest'
import { dyingStore, enroll, KEY, symmetricKey } from '../../tests/support/assigning.ts'
import {
  API,
  caller,
  create,
  ended,
  HUB_A,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  registered,
  settled,
  until,
} from '../../tests/support/provisioning.ts'
import { derivedKey } from '../../tests/support/tokens.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Provisioning } from './provisioning.ts'
import { assignments } from './schema.ts'

const stateOf = (room: ProvisioningRoom, provisioning: Provisioning = room.provisioning) =>
  provisioning.registrations.get(room.service, 'dev', API)

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
  const { operationId } = await other.registrations.register(derived('Dev'), {}, API)
  // Taken from the node that is at work on it, as if that one were dead.
  other.registrations.start()
  const newer = await ended(other, derived('Dev'), operationId)
  expect(newer.status).toBe('assigned')
  expect(primaryKeyIn(hub)).toBe(derive('Dev'))
  release()
  await room.provisioning.registrations.stop()
  expect(hub.calls).toHaveLength(3)
  expect(primaryKeyIn(hub)).toBe(derive('Dev'))
  expect(await stateOf(room)).toMatchObject({ etag: newer.registrationState!.etag })
  await other.registrations.stop()

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

function derive(spelling: string): string {
  return derivedKey(KEY, spelling)
}
