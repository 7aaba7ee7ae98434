import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { managed } from '../support/control-plane.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { type Answer, type Rest, restOf, signedRest } from '../support/rest.ts'
import { type Enrolling, enrolling, succeeded } from '../support/service-client.ts'
import { derivedKey, sasToken, unixNow } from '../support/tokens.ts'

// A device that registers again keeps, moves or resets its data by the enrollment's policy (dps.md 8.3 to 8.5), seen
// from the device API and from the registries of two hubs.

const SECOND = 'second-hub.example.net'

let muster: TestMuster
let dps: Enrolling
let first: { readonly hostName: string; readonly rest: Rest }
let second: { readonly hostName: string; readonly rest: Rest }

beforeAll(async () => {
  muster = await startMuster()
  dps = enrolling(muster)
  first = { hostName: hubOf(muster).hostName, rest: restOf(muster, hubOf(muster).connectionString) }
  await managed(muster, 'PUT', '/IotHubs/second-hub', { body: { properties: { hostNames: [SECOND] } } })
  const { value } = (await managed(muster, 'POST', '/IotHubs/second-hub/listkeys')) as {
    value: { keyName: string; primaryKey: string }[]
  }
  const [policy] = value
  const connectionString = `HostName=${SECOND};SharedAccessKeyName=${policy?.keyName};SharedAccessKey=${policy?.primaryKey}`
  second = { hostName: SECOND, rest: restOf(muster, connectionString) }

  const path = `/provisioningServices/${muster.addresses.dps.name}`
  const service = (await managed(muster, 'GET', path)) as { etag: string; properties: { iotHubs: object[] } }
  await managed(muster, 'PUT', path, {
    headers: { 'If-Match': service.etag },
    body: {
      ...service,
      properties: { ...service.properties, iotHubs: [...service.properties.iotHubs, { connectionString }] },
    },
  })
})
afterAll(() => stopClean(muster))

interface State {
  readonly status: string
  readonly substatus: string
  readonly assignedHub: string
  readonly deviceId: string
}

async function register(registrationId: string, key: string): Promise<State> {
  const scope = muster.addresses.idScope
  const sr = `${scope}/registrations/${registrationId}`
  const device = signedRest(muster, 'dps.example.net', () => sasToken({ sr, key, se: unixNow() + 60 }))
  const version = 'api-version=2021-06-01'
  const { operationId } = succeeded(
    await device('PUT', `/${scope}/registrations/${registrationId}/register?${version}`, { body: {} }),
  )
  let polled: Answer
  do polled = await device('GET', `/${scope}/registrations/${registrationId}/operations/${operationId}?${version}`)
  while (polled.status === 202)
  return succeeded(polled)['registrationState'] as State
}

const VERSION = 'api-version=2021-04-12'
const twinIn = async ({ rest }: typeof first, deviceId: string): Promise<Record<string, unknown>> =>
  succeeded(await rest('GET', `/twins/${deviceId}?${VERSION}`))
const isIn = async ({ rest }: typeof first, deviceId: string): Promise<boolean> =>
  (await rest('GET', `/devices/${deviceId}?${VERSION}`)).status === 200

const twin = (site: string): object => ({ initialTwin: { tags: { site }, properties: { desired: { site } } } })

/** Assigned to the first hub with the twin `old`, then sent to the second by an enrollment whose twin is `new`. */
async function move(registrationId: string, reprovisionPolicy: object): Promise<State> {
  const key = newKey()
  const document = { ...symmetricKeys(key, newKey()), allocationPolicy: 'static', reprovisionPolicy }
  await dps.enroll(registrationId, { ...document, iotHubs: [first.hostName], ...twin('old') })
  expect(await register(registrationId, key)).toMatchObject({
    status: 'assigned',
    substatus: 'initialAssignment',
    assignedHub: first.hostName,
  })
  expect(await twinIn(first, registrationId)).toMatchObject({ tags: { site: 'old' } })
  await dps.enroll(registrationId, { ...document, iotHubs: [second.hostName], ...twin('new') })
  return register(registrationId, key)
}

describe('when the enrollment names another hub', () => {
  test('migrate: the twin goes along, the old hub forgets the device', async () => {
    const state = await move('migrated', { updateHubAssignment: true, migrateDeviceData: true })
    expect(state).toMatchObject({ substatus: 'deviceDataMigrated', assignedHub: second.hostName, deviceId: 'migrated' })
    expect(await twinIn(second, 'migrated')).toMatchObject({
      tags: { site: 'old' },
      properties: { desired: { site: 'old' } },
    })
    expect(await isIn(first, 'migrated')).toBe(false)
  })

  test('reset: the new hub gets the enrollment’s twin', async () => {
    const state = await move('reset', { updateHubAssignment: true, migrateDeviceData: false })
    expect(state).toMatchObject({ substatus: 'deviceDataReset', assignedHub: second.hostName })
    expect(await twinIn(second, 'reset')).toMatchObject({
      tags: { site: 'new' },
      properties: { desired: { site: 'new' } },
    })
    expect(await isIn(first, 'reset')).toBe(false)
  })

  test('never: the hub of the first registration', async () => {
    const state = await move('sticky', { updateHubAssignment: false, migrateDeviceData: false })
    expect(state).toMatchObject({ substatus: 'reprovisionedToInitialAssignment', assignedHub: first.hostName })
    expect(await twinIn(first, 'sticky')).toMatchObject({ tags: { site: 'old' } })
    expect(await isIn(second, 'sticky')).toBe(false)
  })
})

test('a device that stays keeps its twin, and gets its new keys', async () => {
  const key = newKey()
  const document = { allocationPolicy: 'static', iotHubs: [first.hostName] }
  await dps.enroll('stays', { ...symmetricKeys(key, newKey()), ...document, ...twin('old') })
  await register('stays', key)
  const renewed = newKey()
  await dps.enroll('stays', { ...symmetricKeys(renewed, newKey()), ...document, ...twin('new') })
  expect(await register('stays', renewed)).toMatchObject({ substatus: 'reprovisionedToInitialAssignment' })
  expect(await twinIn(first, 'stays')).toMatchObject({ tags: { site: 'old' } })
  const device = succeeded(await first.rest('GET', `/devices/stays?${VERSION}`))
  expect(device['authentication']).toMatchObject({ symmetricKey: { primaryKey: renewed } })
})

test('hashed: each device has its hub, and both hubs have devices', async () => {
  const groupKey = newKey()
  await dps.enrollGroup('hashed', { ...symmetricKeys(groupKey, newKey()), allocationPolicy: 'hashed' })
  const hubs = new Set<string>()
  for (let at = 0; at < 16; at++) {
    const id = `hashed-${at}`
    const { assignedHub } = await register(id, derivedKey(groupKey, id))
    expect((await register(id, derivedKey(groupKey, id))).assignedHub).toBe(assignedHub)
    hubs.add(assignedHub)
  }
  expect([...hubs].toSorted()).toEqual([first.hostName, second.hostName].toSorted())
})

test('deleting the enrollment leaves the device; deleting the record makes the next registration the first', async () => {
  const key = newKey()
  await dps.enroll('deleted', {
    ...symmetricKeys(key, newKey()),
    allocationPolicy: 'static',
    iotHubs: [first.hostName],
  })
  await register('deleted', key)
  expect((await dps.rest('DELETE', '/enrollments/deleted?api-version=2021-10-01')).status).toBe(204)
  expect(await isIn(first, 'deleted')).toBe(true)
  await dps.enroll('deleted', {
    ...symmetricKeys(key, newKey()),
    allocationPolicy: 'static',
    iotHubs: [first.hostName],
  })
  await dps.rest('DELETE', '/registrations/deleted?api-version=2021-10-01')
  expect(await register('deleted', key)).toMatchObject({ substatus: 'initialAssignment' })
})
