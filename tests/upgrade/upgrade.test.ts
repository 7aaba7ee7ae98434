import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { version } from '../../src/base/version.ts'
import { deviceApi } from '../support/device-api.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { connectDevice, sas } from '../support/raw-client.ts'
import type { Fixture } from './fixture.ts'
import { snapshotOf } from './snapshot.ts'

// Data folders of every release are opened by the code of today: all of it is still there, and devices still connect.
// Each release adds its fixture (make-fixture.ts, CONTRIBUTING.md).
const fixtures = join(import.meta.dirname, 'fixtures')
const releases = readdirSync(fixtures).map((name) => name.replace('.tar.gz', ''))

test('this version has a fixture', () => {
  expect(releases).toContain(version)
})

async function opened(folder: string, release: string): Promise<{ muster: TestMuster; fixture: Fixture }> {
  execFileSync('tar', ['-C', folder, '-xzf', join(fixtures, `${release}.tar.gz`)])
  const dataFolder = join(folder, 'data')
  const fixture = JSON.parse(readFileSync(join(dataFolder, 'fixture.json'), 'utf8')) as Fixture
  rmSync(join(dataFolder, 'fixture.json'))
  return { muster: await startMuster({ config: { dataFolder } }), fixture }
}

describe.each(releases)('the data folder of %s', (release) => {
  const folder = mkdtempSync(join(tmpdir(), 'muster-upgrade-'))
  let muster: TestMuster
  let fixture: Fixture
  beforeAll(async () => {
    ;({ muster, fixture } = await opened(folder, release))
  })
  afterAll(async () => {
    await muster.stop()
    rmSync(folder, { recursive: true })
  })

  test('tells the same of every enrollment, registration, device, twin, message, certificate and key', async () => {
    expect(await snapshotOf(muster)).toEqual(fixture.snapshot)
  })

  test('devices that it knows register again and send', async () => {
    const devices = deviceApi(muster)
    const { hostName } = hubOf(muster)
    const { address, ports } = muster.addresses
    const send = async (deviceId: string, login: object) => {
      const device = await connectDevice(
        { host: address, port: ports.mqtts, ca: muster.ca },
        { hubHost: hostName, deviceId, ...login },
      )
      await device.publish(`devices/${deviceId}/messages/events/`, 'after the upgrade')
      device.end()
      await device.closed
    }
    const assigned = async (asking: Parameters<typeof devices.settled>[0]): Promise<string> => {
      const answer = (await devices.settled(asking)).json() as { registrationState: { deviceId: string } }
      expect(answer).toMatchObject({ status: 'assigned', registrationState: { assignedHub: hostName } })
      return answer.registrationState.deviceId
    }
    for (const [registrationId, key] of Object.entries(fixture.keys)) {
      const deviceId = await assigned({ registrationId, authorization: devices.token(registrationId, key) })
      await send(deviceId, { password: sas(`${hostName}/devices/${deviceId}`, key) })
    }
    for (const [registrationId, certificate] of Object.entries(fixture.certificates))
      await send(await assigned({ registrationId, certificate }), certificate)
  })
})
