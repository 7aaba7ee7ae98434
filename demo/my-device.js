// A device of your own: the unmodified Azure SDK, as any device of theirs would use it. Copy it and go on from here.
//
//   PROVISIONING_HOST=… PROVISIONING_IDSCOPE=… NODE_EXTRA_CA_CERTS=muster-data/ca.pem \
//     node demo/my-device.js CERTIFICATE-CHAIN.pem PRIVATE-KEY.pem
//
// Its registration ID is the common name of its certificate. Plain JavaScript, so that any Node from 20 runs it.
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import azureIotDevice from 'azure-iot-device'
import azureIotDeviceMqtt from 'azure-iot-device-mqtt'
import azureIotProvisioningDevice from 'azure-iot-provisioning-device'
import azureIotProvisioningDeviceMqtt from 'azure-iot-provisioning-device-mqtt'
import azureIotSecurityX509 from 'azure-iot-security-x509'

const { PROVISIONING_HOST: host, PROVISIONING_IDSCOPE: idScope } = process.env
const [certificateFile, keyFile] = process.argv.slice(2)
if (!host || !idScope || !certificateFile || !keyFile) {
  console.error('Expected PROVISIONING_HOST and PROVISIONING_IDSCOPE in the environment, and two arguments:')
  console.error('  node demo/my-device.js CERTIFICATE-CHAIN.pem PRIVATE-KEY.pem')
  process.exit(2)
}

// The whole chain, leaf first: the service needs the intermediates to reach the CA that it trusts.
const x509 = { cert: readFileSync(certificateFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
const registrationId = new X509Certificate(x509.cert).subject.match(/^CN=(.*)$/m)?.[1]

const security = new azureIotSecurityX509.X509Security(registrationId, x509)
const transport = new azureIotProvisioningDeviceMqtt.Mqtt()
const provisioning = azureIotProvisioningDevice.ProvisioningDeviceClient.create(host, idScope, transport, security)
const { assignedHub, deviceId } = await provisioning.register().catch((error) => {
  console.error(`${registrationId} was refused: ${error.message}`)
  console.error(`Why? npx muster dps registration explain --registration-id ${registrationId}`)
  process.exit(1)
})
console.log(`${registrationId} is device ${deviceId} of hub ${assignedHub}`)

const connection = `HostName=${assignedHub};DeviceId=${deviceId};x509=true`
const device = azureIotDevice.Client.fromConnectionString(connection, azureIotDeviceMqtt.Mqtt)
await device.setOptions(x509)
await device.open()
const { properties } = await device.getTwin()
console.log(`its desired properties: ${JSON.stringify(properties.desired)}`)
await device.sendEvent(new azureIotDevice.Message(JSON.stringify({ hello: registrationId })))
console.log('sent a message, and the hub acknowledged it')
await device.close()
// The SDK leaves timers behind after close().
process.exit(0)
