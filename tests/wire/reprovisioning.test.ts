import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestClock } from '../../src/base/clock.ts'
import { stopClean } from '../support/clean-stop.ts'
import { managed } from '../support/control-plane.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { deviceIn, firstHub, isIn, linkHubs, makeHub, type TestHub, twinIn } from '../support/linked-hubs.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { connectDevice, sas } from '../support/raw-client.ts'
import { registeringDevice, type State } from '../support/registering.ts'
import { parseConnectionString, restOf } from '../support/rest.ts'
import { type Enrolling, enrolling, succeeded } from '../support/service-client.ts'
import { type TcpGate, tcpGate } from '../support/tcp-gate.ts'
import { derivedKey } from '../support/tokens.ts'

// A device that registers again: what becomes of its hub, its identity, its keys and its twin by the enrollment's
// policy (dps.md 5.3, 8.3 to 8.5), seen from the device API, the registration records and the registries of all hubs.

/** Of both services. The pauses of all retries are minutes; it begins in the past, so that no token expires by them. */
const clock = new TestClock(Date.now() - 2 * 3_600_000)
let dps: TestMuster
/** A hub somewhere else: another Muster, asked over its REST API. */
let elsewhere: TestMuster
let gate: TcpGate
let service: Enrolling
let first: TestHub
let second: TestHub
let remote: TestHub

beforeAll(async () => {
  elsewhere = await startMuster({ world: { clock }, config: { address: '127.0.0.2', hostNames: ['127.0.0.2'] } })
  dps = await startMuster({
    world: { clock },
    config: { outbound: { allow: ['127.0.0.2'], caFile: join(elsewhere.folder, 'data', 'ca.pem') } },
  })
  service = enrolling(dps)
  first = firstHub(dps)
  second = await makeHub(dps, 'second-hub')
  gate = await tcpGate('127.0.0.2', elsewhere.addresses.ports.https)
  const { keyName, key } = parseConnectionString(hubOf(elsewhere).connectionString)
  const hostName = `127.0.0.2:${gate.port}`
  const connectionString = `HostName=${hostName};SharedAccessKeyName=${keyName};SharedAccessKey=${key}`
  remote = { hostName, connectionString, rest: restOf(elsewhere, hubOf(elsewhere).connectionString) }
  await link()
})
afterAll(async () => {
  await dps.stop()
  await gate.close()
  await stopClean(elsewhere)
})

/** The hubs of all rows, and those of the one that needs more. */
const link = (...more: readonly TestHub[]): Promise<void> =>
  linkHubs(dps, ...[second, remote, ...more].map(({ connectionString }) => connectionString))

const POLICIES = {
  migrate: { updateHubAssignment: true, migrateDeviceData: true },
  reset: { updateHubAssignment: true, migrateDeviceData: false },
  never: { updateHubAssignment: false, migrateDeviceData: false },
  /** Absent, and the enrollment came through an api-version that knew no policies (dps.md 8.5). */
  sticky: undefined,
}
type Policy = keyof typeof POLICIES

interface Outcome {
  /** The hub in which the device is then. */
  readonly hub: 'old' | 'new'
  /** Whether its registry document is the one it was. */
  readonly identity: 'kept' | 'made'
  /** Its own, with whatever changed in it, or the enrollment's of today. */
  readonly twin: 'own' | 'first'
  readonly substatus: string
  /** What the hub that it left has of it. */
  readonly left?: 'nothing' | 'the device'
}

const stays: Outcome = {
  hub: 'old',
  identity: 'kept',
  twin: 'own',
  substatus: 'reprovisionedToInitialAssignment',
}
/** Its hub had lost it. */
const anew: Outcome = { hub: 'old', identity: 'made', twin: 'first', substatus: 'initialAssignment' }
const moves: Outcome = { hub: 'new', identity: 'made', twin: 'own', substatus: 'deviceDataMigrated', left: 'nothing' }
const isReset: Outcome = { ...moves, twin: 'first', substatus: 'deviceDataReset' }
const resetLeaving: Outcome = { ...isReset, left: 'the device' }
/** Fails with this code, and is what it was, where it was. */
type Expected = Outcome | 400208 | 503001

interface Row {
  /** Made for the row where it is to be destroyed. */
  readonly from: () => TestHub | Promise<TestHub>
  /** What the enrollment names when the device comes back; absent: still `from`. */
  readonly to?: () => TestHub
  /** What happens to the old hub, or in it, meanwhile. */
  readonly happens?: (hub: TestHub, deviceId: string) => Promise<void> | void
  readonly restored?: () => Promise<void> | void
  readonly expected: Record<Policy, Expected>
}

const same = (outcome: Expected): Row['expected'] => ({
  migrate: outcome,
  reset: outcome,
  never: outcome,
  sticky: outcome,
})
const split = (migrate: Expected, reset: Expected, never: Expected): Row['expected'] => ({
  migrate,
  reset,
  never,
  sticky: never,
})

let made = 0
const oneMore = async (): Promise<TestHub> => {
  const hub = await makeHub(dps, `gone-hub-${made++}`)
  await link(hub)
  return hub
}
const unlinks = (): Promise<void> => link()
const losesDevice = async ({ rest }: TestHub, deviceId: string): Promise<void> => {
  succeeded(await rest('DELETE', `/devices/${deviceId}?api-version=2021-04-12`, { headers: { 'If-Match': '*' } }))
}
const isDeleted = async (hub: TestHub, deviceId: string): Promise<void> => {
  await losesDevice(hub, deviceId)
  await unlinks()
  await managed(dps, 'DELETE', `/IotHubs/${hub.hostName.split('.')[0]}`)
}

const ROWS: Record<string, Row> = {
  'the same hub': { from: () => first, expected: same(stays) },
  'the same hub, elsewhere': { from: () => remote, expected: same(stays) },
  'another hub of this Muster': { from: () => first, to: () => second, expected: split(moves, isReset, stays) },
  'a hub elsewhere': { from: () => first, to: () => remote, expected: split(moves, isReset, stays) },
  'back from a hub elsewhere': { from: () => remote, to: () => first, expected: split(moves, isReset, stays) },
  'its hub, of this Muster, is not linked any more': {
    from: oneMore,
    to: () => second,
    happens: unlinks,
    expected: split(moves, isReset, stays),
  },
  'its hub elsewhere is not linked any more': {
    from: () => remote,
    to: () => second,
    happens: () => linkHubs(dps, second.connectionString),
    restored: () => link(),
    expected: split(resetLeaving, resetLeaving, 400208),
  },
  'its hub is deleted': {
    from: oneMore,
    to: () => second,
    happens: isDeleted,
    expected: split(isReset, isReset, 400208),
  },
  'its hub has lost the device': { from: () => first, happens: losesDevice, expected: same(anew) },
  'its hub elsewhere has lost the device': { from: () => remote, happens: losesDevice, expected: same(anew) },
  'its hub has lost the device, and another one is named': {
    from: () => first,
    to: () => second,
    happens: losesDevice,
    expected: split(isReset, isReset, anew),
  },
  'its hub elsewhere does not answer': {
    from: () => remote,
    happens: () => gate.shut(),
    restored: () => gate.open(),
    expected: same(503001),
  },
  'its hub elsewhere does not answer, and another one is named': {
    from: () => remote,
    to: () => second,
    happens: () => gate.shut(),
    restored: () => gate.open(),
    expected: split(503001, resetLeaving, 503001),
  },
  'the hub that is named, elsewhere, does not answer': {
    from: () => first,
    to: () => remote,
    happens: () => gate.shut(),
    restored: () => gate.open(),
    expected: split(503001, 503001, stays),
  },
}

const MEANWHILE = ['nothing', 'the twin', 'the device ID of the enrollment'] as const

const cases = Object.entries(ROWS).flatMap(([name, row]) =>
  MEANWHILE.flatMap((changed) => (Object.keys(POLICIES) as Policy[]).map((policy) => ({ name, row, changed, policy }))),
)

const initialTwin = (site: string): object => ({ initialTwin: { tags: { site }, properties: { desired: { site } } } })

async function enroll(id: string, policy: Policy, key: string, hub: TestHub, more: object): Promise<void> {
  const reprovisionPolicy = POLICIES[policy]
  const document = { registrationId: id, ...symmetricKeys(key, newKey()), ...more }
  if (policy !== 'sticky') {
    const placed = { allocationPolicy: 'static', iotHubs: [hub.hostName] }
    await service.enroll(id, { ...document, ...placed, ...(reprovisionPolicy && { reprovisionPolicy }) })
    return
  }
  const path = `/enrollments/${id}?api-version=2018-04-01`
  const headers = (await service.rest('GET', path)).status === 200 ? { 'If-Match': '*' } : {}
  succeeded(await service.rest('PUT', path, { body: { ...document, iotHubHostName: hub.hostName }, headers }))
}

/** A device that comes back: registers with time passing between its polls, so that retries happen. */
const returning = (registrationId: string, key: string) =>
  registeringDevice(dps, {
    registrationId,
    key,
    pause: async () => {
      await new Promise((resolve) => setImmediate(resolve))
      clock.advance(250)
    },
  })

/** Tags and desired as a service writes them, reported as the device does. */
async function changeTwin(hub: TestHub, deviceId: string, key: string): Promise<void> {
  const { authentication } = await deviceIn(hub, deviceId)
  const path = '/devices?api-version=2021-04-12'
  const properties = { desired: { site: 'changed', level: { high: 9 } } }
  const item = { id: deviceId, authentication, tags: { site: 'changed', list: [1] }, properties }
  for (const importMode of ['delete', 'create'])
    expect(succeeded(await hub.rest('POST', path, { body: [{ ...item, importMode }] }))).toMatchObject({
      isSuccessful: true,
    })
  const at = hub === remote ? elsewhere : dps
  const { address, ports } = at.addresses
  const hubHost = hub.hostName
  const password = sas(`${hubHost}/devices/${deviceId}`, key)
  const device = await connectDevice({ host: address, port: ports.mqtts, ca: at.ca }, { hubHost, deviceId, password })
  await device.publish('$iothub/twin/PATCH/properties/reported/?$rid=1', '{"firmware":{"version":"1.2"}}')
  device.end()
  await device.closed
  expect(await contentsOf(hub, deviceId)).toMatchObject({ tags: item.tags, reported: { firmware: { version: '1.2' } } })
}

/** Tags and properties without versions. */
async function contentsOf(hub: TestHub, deviceId: string): Promise<object> {
  const { tags, properties } = (await twinIn(hub, deviceId)) as {
    tags?: object
    properties: Record<'desired' | 'reported', Record<string, unknown>>
  }
  const own = ({ $version: _, $metadata: __, ...rest }: Record<string, unknown>): object => rest
  return { tags, desired: own(properties.desired), reported: own(properties.reported) }
}

const recordOf = async (id: string): Promise<State> =>
  succeeded(await service.rest('GET', `/registrations/${id}?api-version=2021-10-01`)) as unknown as State

describe.each(cases.map((each, at) => ({ ...each, at })))(
  '$name; changed: $changed',
  ({ row, changed, policy, at }) => {
    test(`${policy}`, async () => {
      const [id, deviceId] = [`again-${at}`, `Device-${at}`]
      const [oldKey, key] = [newKey(), newKey()]
      const from = await row.from()
      const to = row.to?.() ?? from
      await enroll(id, policy, oldKey, from, { deviceId, ...initialTwin('first') })
      const device = returning(id, oldKey)
      const begun = await device.register()
      expect(begun).toMatchObject({ status: 'assigned', substatus: 'initialAssignment', assignedHub: from.hostName })
      expect(begun.deviceId).toBe(deviceId)

      if (changed === 'the twin') await changeTwin(from, deviceId, oldKey)
      const before = { device: await deviceIn(from, deviceId), twin: await contentsOf(from, deviceId) }
      const renamed = changed === 'the device ID of the enrollment' ? `Other-${at}` : deviceId
      await enroll(id, policy, key, to, { deviceId: renamed, ...initialTwin('now') })
      clock.advance(1_000)
      await row.happens?.(from, deviceId)
      const returned = returning(id, key)
      const state = await returned.register().finally(() => row.restored?.())
      await expectRecord(id, begun, state)
      const expected = row.expected[policy]
      if (typeof expected === 'number') {
        expect(state).toMatchObject({ status: 'failed', errorCode: expected, errorMessage: expect.any(String) })
        if (row.happens !== isDeleted) expect(await deviceIn(from, deviceId)).toEqual(before.device)
        if (to !== from) expect(await isIn(to, deviceId)).toBe(false)
        return
      }
      const hub = expected.hub === 'old' ? from : to
      expect(state).toMatchObject({ status: 'assigned', assignedHub: hub.hostName, deviceId })
      await expectSubstatus(returned, expected.substatus)
      const now = await deviceIn(hub, deviceId)
      expect(now).toMatchObject({ status: 'enabled', authentication: { symmetricKey: { primaryKey: key } } })
      if (expected.identity === 'kept') expect(now['generationId']).toBe(before.device['generationId'])
      else expect(now['generationId']).not.toBe(before.device['generationId'])
      const twin = { tags: { site: 'now' }, desired: { site: 'now' }, reported: {} }
      expect(await contentsOf(hub, deviceId)).toEqual(expected.twin === 'own' ? before.twin : twin)
      if (expected.left !== undefined && row.happens !== isDeleted)
        expect(await isIn(from, deviceId)).toBe(expected.left === 'the device')
      if (expected.hub === 'old' && to !== from) expect(await isIn(to, deviceId)).toBe(false)
      for (const each of [first, second, remote]) expect(await isIn(each, `Other-${at}`)).toBe(false)
    })
  },
)

/** The record tells the same as the device is told, and when. */
async function expectRecord(id: string, begun: State, state: State): Promise<void> {
  const record = await recordOf(id)
  expect(record).toMatchObject({
    registrationId: id,
    status: state.status,
    etag: state.etag,
    lastUpdatedDateTimeUtc: state.lastUpdatedDateTimeUtc,
  })
  expect(record.substatus).toBe(state.substatus)
  expect(record.assignedHub).toBe(state.assignedHub)
  expect(record.createdDateTimeUtc).toBe(begun.createdDateTimeUtc)
  expect(record.etag).not.toBe(begun.etag)
  expect(Date.parse(record.lastUpdatedDateTimeUtc!)).toBeGreaterThan(Date.parse(begun.lastUpdatedDateTimeUtc!))
}

/** Clients before 2019-04-15 do not know that a device may come back to where it was (dps.md 5.3). */
async function expectSubstatus(device: ReturnType<typeof returning>, substatus: string): Promise<void> {
  const older = substatus === 'reprovisionedToInitialAssignment' ? 'initialAssignment' : substatus
  for (const [apiVersion, told] of [
    ['2018-04-01', older],
    ['2018-11-01', older],
    ['2019-03-31', older],
    ['2019-04-15', substatus],
    ['2021-06-01', substatus],
    ['2021-11-01-preview', substatus],
  ] as const)
    expect((await device.asked(apiVersion)).substatus, apiVersion).toBe(told)
}

/** Assigned to the first hub with the twin `first`; then the enrollment names the second one and the twin `now`. */
async function sentOn(id: string, more: object): Promise<ReturnType<typeof returning>> {
  const key = newKey()
  const document = { ...symmetricKeys(key, newKey()), allocationPolicy: 'static', ...more }
  await service.enroll(id, { ...document, iotHubs: [first.hostName], ...initialTwin('first') })
  const device = returning(id, key)
  await device.register()
  await service.enroll(id, { ...document, iotHubs: [second.hostName], ...initialTwin('now') })
  return device
}

test('an enrollment without a policy, by an api-version that knows policies, migrates', async () => {
  const device = await sentOn('unsaid', {})
  expect(await device.register()).toMatchObject({ substatus: 'deviceDataMigrated', assignedHub: second.hostName })
  expect(await twinIn(second, 'unsaid')).toMatchObject({ tags: { site: 'first' } })
})

test('a device that is registered and registers once more stays where it moved', async () => {
  const device = await sentOn('moved', {})
  await device.register()
  const moved = await deviceIn(second, 'moved')
  expect(await device.register()).toMatchObject({
    substatus: 'reprovisionedToInitialAssignment',
    assignedHub: second.hostName,
  })
  expect(await deviceIn(second, 'moved')).toEqual(moved)
})

test('what a hub that did not answer still has is deleted when the device comes back and the hub answers', async () => {
  const [id, key] = ['left-over', newKey()]
  const reprovisionPolicy = POLICIES.reset
  const document = { ...symmetricKeys(key, newKey()), allocationPolicy: 'static', reprovisionPolicy }
  await service.enroll(id, { ...document, iotHubs: [remote.hostName] })
  const device = returning(id, key)
  await device.register()
  await service.enroll(id, { ...document, iotHubs: [second.hostName] })
  gate.shut()
  expect(await device.register()).toMatchObject({ substatus: 'deviceDataReset', assignedHub: second.hostName })
  gate.open()
  expect(await isIn(remote, id)).toBe(true)
  expect(await device.register()).toMatchObject({ substatus: 'reprovisionedToInitialAssignment' })
  expect(await isIn(remote, id)).toBe(false)
})

test('a move that failed happens with the next registration, and takes along what the device has by then', async () => {
  const [id, key] = ['later', newKey()]
  const document = { ...symmetricKeys(key, newKey()), allocationPolicy: 'static' }
  await service.enroll(id, { ...document, iotHubs: [remote.hostName], ...initialTwin('first') })
  const device = returning(id, key)
  await device.register()
  await service.enroll(id, { ...document, iotHubs: [second.hostName], ...initialTwin('now') })
  gate.shut()
  const { errorMessage } = await device.register()
  expect(errorMessage).toMatch(`The hub ${remote.hostName} did not give what the device has there`)
  gate.open()
  await changeTwin(remote, id, key)
  const changed = await contentsOf(remote, id)
  expect(await device.register()).toMatchObject({ substatus: 'deviceDataMigrated', assignedHub: second.hostName })
  expect(await contentsOf(second, id)).toEqual(changed)
  expect(await isIn(remote, id)).toBe(false)
})

test.each([
  ['of this Muster', () => second],
  ['elsewhere', () => remote],
])('a device that was disabled in its hub arrives disabled in another one %s', async (name, to) => {
  const [id, key] = [`disabled-${name.length}`, newKey()]
  const document = { ...symmetricKeys(key, newKey()), allocationPolicy: 'static', iotHubs: [first.hostName] }
  await service.enroll(id, document)
  const device = returning(id, key)
  await device.register()
  const body = { ...(await deviceIn(first, id)), status: 'disabled' }
  succeeded(await first.rest('PUT', `/devices/${id}?api-version=2021-04-12`, { body, headers: { 'If-Match': '*' } }))
  await service.enroll(id, { ...document, iotHubs: [to().hostName] })
  expect(await device.register()).toMatchObject({ substatus: 'deviceDataMigrated', assignedHub: to().hostName })
  expect(await deviceIn(to(), id)).toMatchObject({ status: 'disabled' })
})

test('hashed: each device has its hub, and all hubs have devices', async () => {
  const groupKey = newKey()
  await service.enrollGroup('hashed', { ...symmetricKeys(groupKey, newKey()), allocationPolicy: 'hashed' })
  const hubs = new Set<string | undefined>()
  for (let at = 0; at < 40; at++) {
    const id = `hashed-${at}`
    const device = returning(id, derivedKey(groupKey, id))
    const { assignedHub } = await device.register()
    expect((await device.register()).assignedHub).toBe(assignedHub)
    hubs.add(assignedHub)
  }
  expect([...hubs].toSorted()).toEqual([first, second, remote].map(({ hostName }) => hostName).toSorted())
})

test('deleting the enrollment leaves the device; deleting the record makes the next registration the first', async () => {
  const [id, key] = ['deleted', newKey()]
  const document = { ...symmetricKeys(key, newKey()), allocationPolicy: 'static', iotHubs: [first.hostName] }
  await service.enroll(id, document)
  const device = returning(id, key)
  await device.register()
  expect((await service.rest('DELETE', `/enrollments/${id}?api-version=2021-10-01`)).status).toBe(204)
  expect(await isIn(first, id)).toBe(true)
  await service.enroll(id, { ...document, deviceId: 'renamed' })
  await service.rest('DELETE', `/registrations/${id}?api-version=2021-10-01`)
  expect(await device.register()).toMatchObject({ substatus: 'initialAssignment', deviceId: 'renamed' })
  expect(await isIn(first, id)).toBe(true)
})
