import { expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  create,
  ended,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  refusal,
  registered,
  settled,
} from '../../tests/support/provisioning.ts'
import { limits } from '../base/limits.ts'
import type { Attempt, AttemptQuery } from './attempts.ts'
import type { Provisioning } from './provisioning.ts'
import { traces } from './schema.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const OTHER = Buffer.alloc(64, 9).toString('base64')

const enroll = (room: ProvisioningRoom, registrationId: string, more: object = {}) => {
  const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } }
  const document = { registrationId, attestation, ...more }
  return room.provisioning.enrollments.put(caller, room.service, registrationId, document, create)
}

async function refuse(room: ProvisioningRoom, by: Provisioning, id: string, trackingId: string): Promise<void> {
  const claim = { ...keyClaim(room, id, OTHER), trackingId, source: `from-${trackingId}` }
  await refusal(by.registrations.register(claim, {}, API))
}

/** Asks, and lets the time of waiting pass once the others have answered. */
async function find(room: ProvisioningRoom, by: Provisioning, query: AttemptQuery): Promise<readonly Attempt[]> {
  const found = by.attempts.find(room.service, query)
  await settled()
  room.clock.advance(limits.attemptAnswerMs)
  return found
}

const trackingIds = (attempts: readonly Attempt[]) => attempts.map(({ trackingId }) => trackingId)

test('every node is asked, one that was stopped is not, and nothing is told twice', async () => {
  const room = await provisioningRoom()
  const [here, there, gone] = [room.provisioning, room.again(), room.again()]
  for (const node of [here, there, gone]) node.registrations.start()
  await refuse(room, here, 'dev', 'one')
  room.clock.advance(1)
  await refuse(room, there, 'dev', 'two')
  await refuse(room, gone, 'dev', 'three')
  await gone.registrations.stop()
  expect(trackingIds(await find(room, here, { registrationId: 'DEV' }))).toEqual(['two', 'one'])
  expect(trackingIds(await find(room, there, { trackingId: 'one' }))).toEqual(['one'])
  expect(await find(room, there, { trackingId: 'three' })).toEqual([])
  await Promise.all([here.registrations.stop(), there.registrations.stop()])
})

test('of many nodes no more than so many traces are brought together', async () => {
  const room = await provisioningRoom()
  const count = Math.ceil(limits.attemptAnswers / limits.attemptsPerRegistration) + 2
  const nodes = Array.from({ length: count }, () => room.again())
  for (const [at, node] of nodes.entries()) {
    node.registrations.start()
    for (let time = 0; time < limits.attemptsPerRegistration; time++) await refuse(room, node, 'dev', `${at}-${time}`)
  }
  const found = await find(room, room.provisioning, { registrationId: 'dev' })
  expect(found).toHaveLength(limits.attemptAnswers)
  await Promise.all(nodes.map((node) => node.registrations.stop()))
})

test('the trace of an assignment is part of its commit: another node finds it, by tracking id as well', async () => {
  const room = await provisioningRoom()
  room.provisioning.registrations.start()
  await enroll(room, 'dev')
  await registered(room.provisioning, { ...keyClaim(room, 'dev', KEY), trackingId: 'first' })
  const after = room.again()
  const [attempt, ...others] = await find(room, after, { registrationId: 'dev' })
  expect(others).toEqual([])
  expect(attempt).toMatchObject({ outcome: 'assigned', reason: 'assigned', trackingId: 'first', credential: 'sas' })
  expect(attempt?.steps.map(({ reason }) => reason)).toEqual([
    'individual-enrollment',
    'token-read',
    'signature-matches',
    'hub-chosen',
    'hub-answered',
  ])
  expect(await find(room, after, { trackingId: 'first' })).toEqual([attempt])

  // The next operation takes its place.
  await registered(room.provisioning, { ...keyClaim(room, 'dev', KEY), trackingId: 'second' })
  expect(await find(room, after, { trackingId: 'first' })).toEqual([])
  expect(trackingIds(await find(room, after, { registrationId: 'dev' }))).toEqual(['second'])
  await room.provisioning.registrations.stop()
})

test('another service sees nothing of it, except what asked for an id scope that there is not', async () => {
  const room = await provisioningRoom()
  await room.control.provisioningServices.put(caller, 'other', {}, { kind: 'absent' })
  const other = (await room.control.provisioningServices.get('other'))!
  await refuse(room, room.provisioning, 'dev', 'mine')
  const lost = { ...keyClaim(room, 'dev', KEY), idScope: '0neNowhere0', trackingId: 'lost' }
  await refusal(room.provisioning.registrations.register(lost, {}, API))
  await enroll(room, 'dev')
  await registered(room.provisioning, { ...keyClaim(room, 'dev', KEY), trackingId: 'good' })
  const elsewhere = { ...room, service: other }
  expect(trackingIds(await find(elsewhere, room.provisioning, { registrationId: 'dev' }))).toEqual(['lost'])
  expect(await find(elsewhere, room.provisioning, { trackingId: 'good' })).toEqual([])
  expect(await find(elsewhere, room.provisioning, { trackingId: 'mine' })).toEqual([])
  expect(trackingIds(await find(room, room.provisioning, { trackingId: 'mine' }))).toEqual(['mine'])
})

test('what a hub answered: a refusal, and a device that stays', async () => {
  const room = await provisioningRoom({ linked: ['hub-a.example'] })
  await enroll(room, 'dev')
  room.hubs.delete('hub-a.example')
  await registered(room.provisioning, keyClaim(room, 'dev', KEY))
  const [failed] = await find(room, room.provisioning, { registrationId: 'dev' })
  expect(failed).toMatchObject({ outcome: 'failed', reason: 'hub-refused', errorCode: 400208 })
  expect(failed?.steps.at(-1)?.detail).toMatchObject({ hub: 'hub-a.example', code: 400208 })
})

const idOf = (room: ProvisioningRoom): string => `${room.service.idScope.toLowerCase()}/dev`

test('a registration of before there were traces is still shown, and a trace goes with its registration', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'dev')
  await registered(room.provisioning, keyClaim(room, 'dev', KEY))
  const id = idOf(room)
  const trace = await room.store.get(traces, id)
  await room.store.commit({ delete: [{ in: traces, id }] })
  const [attempt] = await find(room, room.provisioning, { registrationId: 'dev' })
  expect(attempt).toMatchObject({ outcome: 'assigned', deviceId: 'dev', steps: [] })
  await room.store.commit({ put: [{ collection: traces, id, value: trace!.value }] })
  await room.provisioning.registrations.remove(caller, room.service, 'dev', { kind: 'any' })
  expect(await room.store.get(traces, id)).toBeUndefined()

  await registered(room.provisioning, keyClaim(room, 'dev', KEY))
  expect(await room.store.get(traces, id)).toBeDefined()
  await room.provisioning.enrollments.remove(caller, room.service, 'dev', any.ifMatch)
  expect(await room.store.get(traces, id)).toBeUndefined()
  expect(await find(room, room.provisioning, { registrationId: 'dev' })).toEqual([])
})

test('what another node finishes says that its beginning is not known', async () => {
  const room = await provisioningRoom({ settings: { assigningMs: 60_000 } })
  await enroll(room, 'dev')
  const claim = { ...keyClaim(room, 'dev', KEY), trackingId: 'first' }
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  const [assigning] = await find(room, room.provisioning, { trackingId: 'first' })
  expect(assigning).toMatchObject({ outcome: 'assigning', reason: 'assigning', operationId, steps: [] })
  // As after a crash.
  await room.provisioning.registrations.stop()
  const after = room.again()
  await settled()
  room.clock.advance(2 * 60_000)
  after.registrations.start()
  await ended(after, claim, operationId)
  const [attempt] = await find(room, after, { registrationId: 'dev' })
  expect(attempt?.outcome).toBe('assigned')
  expect(attempt?.steps.map(({ reason }) => reason)).toEqual(['attested-elsewhere', 'hub-chosen', 'hub-answered'])
  await after.registrations.stop()
})

test('what a webhook decided, and that it failed; never the query of its address', async () => {
  const room = await provisioningRoom()
  const webhookUrl = 'https://functions.example/allocate?code=the-function-key'
  const custom = { allocationPolicy: 'custom', customAllocationDefinition: { webhookUrl, apiVersion: '2019-03-31' } }
  for (const id of ['dev', 'other']) await enroll(room, id, custom)
  room.webhook.answers = [{ iotHubHostName: 'hub-a.example' }, { iotHubHostName: 'no-hub.example' }]
  await registered(room.provisioning, keyClaim(room, 'dev', KEY))
  await registered(room.provisioning, keyClaim(room, 'other', KEY))
  const [chosen] = await find(room, room.provisioning, { registrationId: 'dev' })
  const words = chosen?.steps.map(({ reason }) => reason)
  expect(words?.slice(3)).toEqual(['webhook-asked', 'webhook-answered', 'hub-chosen', 'hub-answered'])
  const [failed] = await find(room, room.provisioning, { registrationId: 'other' })
  expect(failed).toMatchObject({ outcome: 'failed', reason: 'webhook-failed', errorCode: 400208 })
  expect(JSON.stringify([chosen, failed])).not.toContain('the-function-key')
})

test('a trace is small', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'dev')
  await registered(room.provisioning, { ...keyClaim(room, 'dev', KEY), trackingId: 'x'.repeat(36), source: '10.0.0.1' })
  const stored = await room.store.get(traces, idOf(room))
  expect(JSON.stringify(stored?.value).length).toBeLessThan(1024)
})
