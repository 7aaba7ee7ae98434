import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { type DeviceApi, deviceApi, operationOf } from '../support/device-api.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'

// Which api-versions the device API takes, and what they change (dps.md 1.2, 5.3).

let muster: TestMuster
let device: DeviceApi
let dps: Enrolling

beforeAll(async () => {
  muster = await startMuster()
  device = deviceApi(muster)
  dps = enrolling(muster)
})
afterAll(() => stopClean(muster))

describe('api-version', () => {
  test.for([
    '2017-08-31-preview',
    '2018-09-01-preview',
    '2018-11-01',
    '2019-03-31',
    '2019-04-15',
    '2021-06-01',
    '2021-10-01',
    '2021-11-01-preview',
    '2025-07-01-preview',
    '2026-11-01',
    '2026-11-02-preview',
    '2026-11-15-preview',
  ])('%s is accepted', async (apiVersion) => {
    const meter = { ...(await device.enrolled(`version-${apiVersion}`)), apiVersion }
    const registered = await device.register(meter)
    expect(registered.status).toBe(202)
    expect((await device.settle(meter, operationOf(registered))).json()).toMatchObject({ status: 'assigned' })
  })

  test.for(['', '1', '2019-3-31', '2019-03-31-beta', '2019-03-31-preview-2', 'latest', '2019-03-31%27'])(
    '"%s" is refused with 400',
    async (apiVersion) => {
      const meter = { ...(await device.enrolled('version-bad')), apiVersion }
      const refused = await device.register(meter)
      expect(refused.status).toBe(400)
      expect(refused.json()).toMatchObject({ message: expect.stringContaining('YYYY-MM-DD') })
      expect((await dps.rest('GET', '/registrations/version-bad?api-version=2021-10-01')).status).toBe(404)
    },
  )

  test('none is refused with 400', async () => {
    const meter = await device.enrolled('version-none')
    expect((await device.ask('PUT', `${device.path(meter)}/register`, meter)).status).toBe(400)
  })
})

describe('substatus of a device that registers again and stays', () => {
  test.for([
    ['2018-11-01', 'initialAssignment'],
    ['2019-03-31', 'initialAssignment'],
    ['2019-04-15', 'reprovisionedToInitialAssignment'],
    ['2021-06-01', 'reprovisionedToInitialAssignment'],
    ['2026-11-02-preview', 'reprovisionedToInitialAssignment'],
  ])('api-version %s: %s', async ([apiVersion, substatus]) => {
    const meter = { ...(await device.enrolled(`again-${apiVersion}`)), apiVersion: apiVersion as string }
    const first = (await device.settled(meter)).json() as { registrationState: Record<string, unknown> }
    expect(first.registrationState).toMatchObject({ substatus: 'initialAssignment' })
    const second = (await device.settled(meter)).json() as { registrationState: Record<string, unknown> }
    expect(second.registrationState).toMatchObject({ substatus, deviceId: `again-${apiVersion}` })
    expect(second.registrationState['etag']).not.toBe(first.registrationState['etag'])
  })
})
