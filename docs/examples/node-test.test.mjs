// A device provisioned and heard, a certificate that expires, a refusal explained: node --test node-test.test.mjs
import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import iotDevice from 'azure-iot-device'
import iotDeviceMqtt from 'azure-iot-device-mqtt'
import provisioning from 'azure-iot-provisioning-device'
import provisioningMqtt from 'azure-iot-provisioning-device-mqtt'
import symmetricKey from 'azure-iot-security-symmetric-key'
import x509 from 'azure-iot-security-x509'
import { createAuthority, issueDeviceCertificate, startMuster } from 'muster/testing'

let muster
before(async () => {
  muster = await startMuster()
})
afterEach(() => muster.reset())
after(() => muster.stop())

function register(security) {
  const { ProvisioningDeviceClient } = provisioning
  const transport = new provisioningMqtt.Mqtt()
  return ProvisioningDeviceClient.create(muster.dps.hostName, muster.idScope, transport, security).register()
}

test('a device provisions, sends, and its event is here', async () => {
  const { attestation } = await muster.enroll({ registrationId: 'sensor', attestation: { type: 'symmetricKey' } })
  const key = attestation.symmetricKey.primaryKey

  const { assignedHub, deviceId } = await register(new symmetricKey.SymmetricKeySecurityClient('sensor', key))
  const connection = `HostName=${assignedHub};DeviceId=${deviceId};SharedAccessKey=${key}`
  const device = iotDevice.Client.fromConnectionString(connection, iotDeviceMqtt.Mqtt)
  await device.open()
  await device.sendEvent(new iotDevice.Message(JSON.stringify({ temperature: 21 })))
  await device.close()

  const [event] = await muster.events({ deviceId: 'sensor', atLeast: 1, withinMs: 2000 })
  assert.deepEqual(event.json(), { temperature: 21 })
})

test('a device whose certificate has expired is refused', async () => {
  const common = { keyType: 'ec', now: Date.now() }
  const factory = await createAuthority({ ...common, commonName: 'Factory', days: 3650 })
  const { certificate, key } = await issueDeviceCertificate({
    ...common,
    authority: factory,
    commonName: 'sensor',
    days: 90,
  })
  await muster.seed({
    certificates: [{ name: 'factory', certificate: factory.certificate }],
    enrollmentGroups: [
      {
        enrollmentGroupId: 'factory',
        attestation: { type: 'x509', x509: { caReferences: { primary: 'factory' } } },
      },
    ],
  })
  const security = () => new x509.X509Security('sensor', { cert: certificate, key })
  assert.equal((await register(security())).deviceId, 'sensor')

  await muster.clock.advance({ days: 91 })
  await assert.rejects(register(security()))

  const [attempt] = await muster.explain('sensor')
  assert.equal(attempt.outcome, 'refused')
  assert.match(attempt.cause, /expired/)
})

test('a wrong key is refused, and the reason is known', async () => {
  await muster.enroll({ registrationId: 'sensor', attestation: { type: 'symmetricKey' } })
  const wrong = Buffer.alloc(32, 1).toString('base64')
  await assert.rejects(register(new symmetricKey.SymmetricKeySecurityClient('sensor', wrong)))

  const [attempt] = await muster.explain('sensor')
  assert.equal(attempt.errorCode, 401002)
  console.log(`${attempt.cause} ${attempt.remedy}`)
})
