import { describe, expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  ended,
  HUB_A,
  HUB_B,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  type RoomOptions,
  refusal,
  settled,
  until,
} from '../../tests/support/provisioning.ts'
import { derivedKey } from '../../tests/support/tokens.ts'
import { ServiceError } from '../base/errors.ts'
import { createLog } from '../base/log.ts'
import type { Commit, Store } from '../store/store.ts'
import type { RegisterBody } from './claims.ts'
import type { Provisioning } from './provisioning.ts'
import type { Assigning, Registration } from './registration-record.ts'
import { assignments, registrations } from './schema.ts'
import { createAskWebhook, webhookRequest } from './webhook.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const OTHER = Buffer.alloc(64, 9).toString('base64')
const WEBHOOK = 'https://functions.example/api/allocate?code=function-key-1'
const definition = { webhookUrl: WEBHOOK, apiVersion: '2019-03-31' }
const custom = {
  attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: OTHER } },
  allocationPolicy: 'custom',
  customAllocationDefinition: definition,
  initialTwin: { tags: { from: 'enrollment' }, properties: { desired: { level: 1 } } },
}

/** A room with the individual enrollment `dev`. */
async function roomWith(more: object = {}, options: RoomOptions = {}): Promise<ProvisioningRoom> {
  const room = await provisioningRoom(options)
  await enroll(room, more, 'absent')
  return room
}

const enroll = (room: ProvisioningRoom, more: object = {}, kind: 'any' | 'absent' = 'any') =>
  room.provisioning.enrollments.put(
    caller,
    room.service,
    'dev',
    { registrationId: 'dev', ...custom, ...more },
    { ...any, ifMatch: { kind } },
  )

async function register(room: ProvisioningRoom, body: RegisterBody = {}, on: Provisioning = room.provisioning) {
  const claim = keyClaim(room, 'dev', KEY)
  const { operationId } = await on.registrations.register(claim, body, API)
  return (await ended(on, claim, operationId)).registrationState!
}

test('the webhook is asked with the body of dps.md 5.5, and its hub is taken', async () => {
  const room = await roomWith({ iotHubs: [HUB_A] })
  room.webhook.answers = [{ iotHubHostName: HUB_A.toUpperCase() }]
  expect(await register(room, { payload: { site: 'graz' } })).toMatchObject({ status: 'assigned', assignedHub: HUB_A })
  const [{ url, body } = { url: '', body: {} }] = room.webhook.asked
  expect(url).toBe(WEBHOOK)
  const enrollment = await room.provisioning.enrollments.get(room.service, 'dev', API)
  const { registrationState: _, ...document } = enrollment as Record<string, unknown>
  expect(body).toEqual({
    individualEnrollment: document,
    deviceRuntimeContext: { registrationId: 'dev', symmetricKey: {}, payload: { site: 'graz' } },
    linkedHubs: [HUB_A],
  })
  expect(body['individualEnrollment']).toMatchObject({
    attestation: { type: 'symmetricKey' },
    etag: expect.stringMatching(/^".+"$/) as string,
    customAllocationDefinition: definition,
  })
  expect(JSON.stringify(body)).not.toContain(KEY.slice(0, 20))
})

test('a group, a device that is assigned already, and all hubs where none is named', async () => {
  const room = await provisioningRoom()
  await room.provisioning.enrollmentGroups.put(
    caller,
    room.service,
    'group',
    { enrollmentGroupId: 'group', ...custom },
    { ...any, ifMatch: { kind: 'absent' } },
  )
  room.webhook.answers = [{ iotHubHostName: HUB_B }]
  const claim = keyClaim(room, 'member', derivedKey(KEY, 'member'))
  for (let time = 0; time < 2; time++) {
    const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
    await ended(room.provisioning, claim, operationId)
  }
  expect(room.webhook.asked[0]?.body).toMatchObject({
    enrollmentGroup: { enrollmentGroupId: 'group', attestation: { type: 'symmetricKey' } },
    deviceRuntimeContext: { registrationId: 'member', symmetricKey: {} },
    linkedHubs: [HUB_A, HUB_B],
  })
  expect(room.webhook.asked[1]?.body['deviceRuntimeContext']).toEqual({
    registrationId: 'member',
    currentIotHubHostName: HUB_B,
    currentDeviceId: 'member',
    symmetricKey: {},
  })
})

test('a payload goes back to the device and into the record; its twin replaces the enrollment’s', async () => {
  const room = await roomWith()
  const initialTwin = { tags: { from: 'webhook' }, properties: { desired: { level: 2 } } }
  room.webhook.answers = [{ iotHubHostName: HUB_B, initialTwin, payload: { token: [1, 2] } }]
  expect(await register(room)).toMatchObject({ assignedHub: HUB_B, payload: { token: [1, 2] } })
  expect(room.hubs.get(HUB_B)!.devices.get('dev')!.data).toEqual({ tags: { from: 'webhook' }, desired: { level: 2 } })
  expect(await room.provisioning.registrations.get(room.service, 'dev', API)).toMatchObject({
    payload: { token: [1, 2] },
  })
  // The next operation's answer has none, so neither has the record.
  room.webhook.answers = [{ iotHubHostName: HUB_B, initialTwin: null, payload: null }]
  expect(await register(room)).not.toHaveProperty('payload')
})

test('the request’s payload is not kept once the operation has ended, and never without a webhook', async () => {
  const written: Registration[] = []
  const through = (store: Store): Store => ({
    ...store,
    commit: (change: Commit) => {
      for (const { collection, value } of change.put ?? [])
        if (collection.name === registrations.name) written.push(value as Registration)
      return store.commit(change)
    },
  })
  const room = await roomWith({}, { through })
  room.webhook.answers = [{ iotHubHostName: HUB_A }]
  await register(room, { payload: 'mine' })
  expect(written.map((each) => 'requestPayload' in each)).toEqual([true, true, false])
  written.length = 0
  await enroll(room, { allocationPolicy: 'hashed' })
  await register(room, { payload: 'mine' })
  expect(written.some((each) => 'requestPayload' in each)).toBe(false)
})

test('another payload is another operation', async () => {
  const room = await roomWith()
  room.webhook.answers = [{ iotHubHostName: HUB_A }]
  const hub = room.hubs.get(HUB_A)!
  let release = () => {}
  hub.gate = new Promise((resolve) => {
    release = resolve
  })
  const claim = keyClaim(room, 'dev', KEY)
  const open = (payload: unknown) => room.provisioning.registrations.register(claim, { payload }, API)
  const [first, same, other] = [await open({ a: 1 }), await open({ a: 1 }), await open({ a: 2 })]
  expect(same.operationId).toBe(first.operationId)
  expect(other.operationId).not.toBe(first.operationId)
  release()
  await ended(room.provisioning, claim, other.operationId)
  expect(room.webhook.asked.at(-1)?.body['deviceRuntimeContext']).toMatchObject({ payload: { a: 2 } })
})

test('another operation on another node: whoever is at work goes on with it, and leaves nothing behind', async () => {
  const room = await roomWith()
  const [a, b] = [room.hubs.get(HUB_A)!, room.hubs.get(HUB_B)!]
  const nodes = [room.provisioning, room.again()] as const
  for (const { registrations } of nodes) registrations.start()
  const inA = Promise.withResolvers<void>()
  a.gate = inA.promise
  room.webhook.answers = [{ iotHubHostName: HUB_A }, { iotHubHostName: HUB_B }]
  const claim = keyClaim(room, 'dev', KEY)
  await nodes[0].registrations.register(claim, { payload: 1 }, API)
  await until(() => room.webhook.asked.length === 1)
  await settled()
  const { operationId } = await nodes[1].registrations.register(claim, { payload: 2 }, API)
  await settled()
  expect(room.webhook.asked).toHaveLength(1)
  inA.resolve()
  expect((await ended(nodes[1], claim, operationId)).registrationState).toMatchObject({ assignedHub: HUB_B })
  expect(room.webhook.asked[1]?.body['deviceRuntimeContext']).toMatchObject({ payload: 2 })
  expect([a.devices.has('dev'), b.devices.has('dev')]).toEqual([false, true])
  for (const { registrations } of nodes) await registrations.stop()
})

test('a payload that nests too deep is refused before anything is stored', async () => {
  const room = await roomWith()
  let payload: unknown = 1
  for (let level = 0; level < 5_000; level++) payload = [payload]
  expect(await refusal(register(room, { payload }))).toMatchObject({ code: 400004 })
})

describe('moves', () => {
  /** Assigned to hub A, with data of its own there; the webhook then says B. */
  async function moving(answer: object, options: RoomOptions = {}) {
    const room = await roomWith({}, options)
    room.webhook.answers = [{ iotHubHostName: HUB_A }]
    await register(room, {}, room.again())
    const [a, b] = [room.hubs.get(HUB_A)!, room.hubs.get(HUB_B)!]
    a.devices.get('dev')!.data = { tags: { own: 1 }, desired: {}, reported: { seen: true } }
    room.webhook.asked.length = 0
    room.webhook.answers = [{ iotHubHostName: HUB_B, ...answer }]
    return { room, a, b }
  }

  test('one call per registration; the data moves along', async () => {
    const { room, a, b } = await moving({ payload: 'moved' })
    expect(await register(room)).toMatchObject({
      assignedHub: HUB_B,
      substatus: 'deviceDataMigrated',
      payload: 'moved',
    })
    expect(room.webhook.asked).toHaveLength(1)
    expect(b.devices.get('dev')!.data).toEqual({ tags: { own: 1 }, desired: {}, reported: { seen: true } })
    expect(a.devices.has('dev')).toBe(false)
  })

  test('the webhook’s twin overrides migration', async () => {
    const { room, a, b } = await moving({ initialTwin: { tags: { from: 'webhook' } } })
    expect(await register(room)).toMatchObject({ assignedHub: HUB_B, substatus: 'deviceDataReset' })
    expect(b.devices.get('dev')!.data).toEqual({ tags: { from: 'webhook' }, desired: {} })
    expect(a.devices.has('dev')).toBe(false)
  })

  test('killed after the decision: the next start goes on with it and does not ask again', async () => {
    const dies = (record: Registration) => record.status === 'assigning' && record.untold === true
    const { room, b } = await moving({ payload: 'once' }, { through: dyingStore(dies) })
    const claim = keyClaim(room, 'dev', KEY)
    const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
    await until(() => b.devices.has('dev'))
    await settled()
    const next = room.again()
    next.registrations.start()
    expect((await ended(next, claim, operationId)).registrationState).toMatchObject({ payload: 'once' })
    expect(room.webhook.asked).toHaveLength(1)
    await next.registrations.stop()
  })

  test('killed between the call and its commit: the call is repeated', async () => {
    const dies = (record: Registration) => record.status === 'assigning' && record.decision !== undefined
    const { room } = await moving({}, { through: dyingStore(dies) })
    const claim = keyClaim(room, 'dev', KEY)
    const { operationId } = await room.provisioning.registrations.register(claim, { payload: 7 }, API)
    await until(() => room.webhook.asked.length > 0)
    await settled()
    const next = room.again()
    next.registrations.start()
    expect((await ended(next, claim, operationId)).registrationState).toMatchObject({ assignedHub: HUB_B })
    expect(room.webhook.asked.map(({ body }) => body['deviceRuntimeContext'])).toMatchObject([
      { payload: 7 },
      { payload: 7 },
    ])
    await next.registrations.stop()
  })

  test('sticky devices are not asked about', async () => {
    const { room } = await moving({})
    await enroll(room, { reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false } })
    expect(await register(room)).toMatchObject({ assignedHub: HUB_A })
    expect(room.webhook.asked).toEqual([])
  })
})

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

test('a hub that does not answer is asked again, the webhook is not', async () => {
  const room = await roomWith()
  room.webhook.answers = [{ iotHubHostName: HUB_A }]
  room.hubs.get(HUB_A)!.faults.push(new ServiceError(503001, 'away'))
  const claim = keyClaim(room, 'dev', KEY)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await settled()
  room.clock.advance(1_000)
  expect((await ended(room.provisioning, claim, operationId)).status).toBe('assigned')
  expect(room.webhook.asked).toHaveLength(1)
})

test.each<[string, object | number | Error, number, string | RegExp]>([
  ['404', 404, 400207, 'Custom allocation failed with status code: 404'],
  ['500', 500, 400207, 'Custom allocation failed with status code: 500'],
  ['a redirect', 302, 400207, 'Custom allocation failed with status code: 302'],
  ['no answer', new ServiceError(400207, 'Custom allocation failed: late'), 400207, /late/],
  ['no hub', {}, 400208, /iotHubHostName/],
  ['an empty hub', { iotHubHostName: '' }, 400208, /iotHubHostName/],
  ['another hub', { iotHubHostName: 'hub-c.example' }, 400208, /one of hub-a.example, hub-b.example, found "hub-c/],
  ['a hub that is a number', { iotHubHostName: 7 }, 400207, /iotHubHostName must be a string/],
  ['a list', [], 400207, /must be a JSON object/],
  ['a twin that is none', { iotHubHostName: HUB_A, initialTwin: 'x' }, 400207, /initialTwin must be an object/],
  ['a twin with bad names', { iotHubHostName: HUB_A, initialTwin: { tags: { 'a.b': 1 } } }, 400207, /tags/],
])('%s fails the registration at once', async (_what, answer, errorCode, message) => {
  const room = await roomWith()
  room.webhook.answers = [answer]
  const state = await register(room)
  expect(state).toMatchObject({ status: 'failed', errorCode })
  expect(state.errorMessage).toMatch(message)
  expect(room.webhook.asked).toHaveLength(1)
  expect(await room.store.due(assignments, Number.MAX_SAFE_INTEGER, 10)).toEqual([])
})

test('a service that stops leaves the registration to the next start', async () => {
  const room = await roomWith()
  room.webhook.answers = [new ServiceError(503001, 'stopping')]
  const claim = keyClaim(room, 'dev', KEY)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await settled()
  await room.provisioning.registrations.stop()
  room.webhook.answers = [{ iotHubHostName: HUB_A }]
  const next = room.again()
  next.registrations.start()
  expect((await ended(next, claim, operationId)).status).toBe('assigned')
  await next.registrations.stop()
})

describe('what the log says', () => {
  const enrollment = {
    id: 'x',
    version: 3,
    value: {
      registrationId: 'dev',
      ...custom,
      attestation: { ...custom.attestation, type: 'symmetricKey' },
      allocationPolicy: 'custom',
      capabilities: { iotEdge: false },
      provisioningStatus: 'enabled',
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: true },
      createdDateTimeUtc: '',
      lastUpdatedDateTimeUtc: '',
    },
  } as const
  const record = {
    registrationId: 'dev',
    operationId: 'op',
    admittedBy: { kind: 'individual', id: 'dev' },
    credential: { kind: 'x509', thumbprint: 'AB' },
  } as Assigning

  async function logged(status: number, body: string): Promise<string> {
    const lines: string[] = []
    const log = createLog('debug', { write: (line) => void lines.push(line) })
    const clock = { now: () => 0, after: () => ({ cancel: () => {} }) }
    const postWebhook = async () => ({ status, body: Buffer.from(body) })
    await createAskWebhook({ postWebhook, clock, log })({ record, enrollment, hubs: [HUB_A] })
    return lines.join('')
  }

  test('request, answer and outcome of each call, and no key', async () => {
    const fine = await logged(200, JSON.stringify({ iotHubHostName: HUB_A }))
    expect(fine).toContain('"webhook":"https://functions.example/api/allocate"')
    expect(fine).toContain('deviceRuntimeContext')
    expect(fine).toContain('webhook chose the hub')
    const failed = await logged(401, `wrong key in ${WEBHOOK}`)
    expect(failed).toContain('"status":401')
    expect(failed).toContain('wrong key in')
    for (const text of [fine, failed]) {
      expect(text).not.toContain('function-key-1')
      expect(text).not.toContain(KEY.slice(0, 20))
    }
  })

  test('the request of an X.509 device names its kind', () => {
    expect(webhookRequest(record, enrollment, [HUB_A])).toMatchObject({ deviceRuntimeContext: { x509: {} } })
  })
})
