// vitest run vitest.test.mjs
import { createHmac } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import provisioning from 'azure-iot-provisioning-device'
import provisioningMqtt from 'azure-iot-provisioning-device-mqtt'
import symmetricKey from 'azure-iot-security-symmetric-key'
import { startMuster } from 'muster/testing'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'

const seed = fileURLToPath(new URL('seed.json', import.meta.url))
const groupKey = 'Zm9yIHRlc3RzIG9ubHk6IHRoZSBncm91cCdzIGtleTE='

let muster
beforeAll(async () => {
  muster = await startMuster({ seed })
})
afterEach(() => muster.reset())
afterAll(() => muster.stop())

test('a device of the seeded group comes to its hub', async () => {
  const key = createHmac('sha256', Buffer.from(groupKey, 'base64')).update('gateway-7').digest('base64')
  const client = provisioning.ProvisioningDeviceClient.create(
    muster.dps.hostName,
    muster.idScope,
    new provisioningMqtt.Mqtt(),
    new symmetricKey.SymmetricKeySecurityClient('gateway-7', key),
  )
  expect(await client.register()).toMatchObject({ deviceId: 'gateway-7', assignedHub: muster.hubs[0].hostName })
})

test('each test begins with what was seeded', async () => {
  expect(muster.idScope).toBe('0ne00C0FFEE')
  expect(await muster.explain('gateway-7')).toEqual([])
})
