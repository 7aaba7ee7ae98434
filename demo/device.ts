// The devices: nothing but the Azure SDKs, unmodified, doing what any device of theirs does. This is a program of its
// own because the SDKs trust a private CA only through NODE_EXTRA_CA_CERTS, which Node reads once, when it starts.
import azureIotDevice from 'azure-iot-device'
import azureIotDeviceMqtt from 'azure-iot-device-mqtt'
import azureIotProvisioningDevice from 'azure-iot-provisioning-device'
import azureIotProvisioningDeviceHttp from 'azure-iot-provisioning-device-http'
import azureIotSecuritySymmetricKey from 'azure-iot-security-symmetric-key'
import azureIotSecurityX509 from 'azure-iot-security-x509'

const { Client, Message } = azureIotDevice
const { Mqtt } = azureIotDeviceMqtt
const { ProvisioningDeviceClient } = azureIotProvisioningDevice
const { Http } = azureIotProvisioningDeviceHttp
const { SymmetricKeySecurityClient } = azureIotSecuritySymmetricKey
const { X509Security } = azureIotSecurityX509

/** What a device has when it leaves the factory; one JSON array of these on standard input. */
export interface Device {
  readonly provisioningHost: string
  readonly idScope: string
  readonly registrationId: string
  readonly credential:
    | { readonly kind: 'x509'; readonly cert: string; readonly key: string }
    | { readonly kind: 'symmetricKey'; readonly key: string }
}

/** What became of it; one JSON line each on standard output. */
export type Report =
  | { readonly registrationId: string; readonly step: 'assigned'; readonly hub: string; readonly deviceId: string }
  | { readonly registrationId: string; readonly step: 'sent' }
  | { readonly registrationId: string; readonly step: 'failed'; readonly error: string }

async function live(device: Device): Promise<void> {
  const { registrationId } = device
  try {
    const { assignedHub, deviceId } = await provision(device)
    report({ registrationId, step: 'assigned', hub: assignedHub, deviceId })
    await sendMessage(device, assignedHub, deviceId)
    report({ registrationId, step: 'sent' })
  } catch (error) {
    report({ registrationId, step: 'failed', error: describe(error) })
  }
}

async function provision({ provisioningHost, idScope, registrationId, credential }: Device) {
  const security =
    credential.kind === 'x509'
      ? new X509Security(registrationId, { cert: credential.cert, key: credential.key })
      : new SymmetricKeySecurityClient(registrationId, credential.key)
  // The packages carry copies of one another's types, which the compiler takes for different ones.
  const client = ProvisioningDeviceClient.create(provisioningHost, idScope, new Http(), security as SecurityClient)
  const result = await client.register()
  if (!result) throw new Error('The SDK answered with no registration result.')
  return result
}

type SecurityClient = Parameters<typeof ProvisioningDeviceClient.create>[3]

async function sendMessage({ registrationId, credential }: Device, hub: string, deviceId: string): Promise<void> {
  const proof = credential.kind === 'x509' ? 'x509=true' : `SharedAccessKey=${credential.key}`
  const client = Client.fromConnectionString(`HostName=${hub};DeviceId=${deviceId};${proof}`, Mqtt)
  if (credential.kind === 'x509') await client.setOptions({ cert: credential.cert, key: credential.key })
  await client.open()
  const message = new Message(JSON.stringify({ hello: registrationId }))
  message.contentType = 'application/json'
  message.contentEncoding = 'utf-8'
  message.properties.add('demo', registrationId)
  // Resolves with the PUBACK, which follows the commit: from here on the message is in the hub's log.
  await client.sendEvent(message)
  await client.close()
}

/** The SDK keeps the service's own words beside its message. */
function describe(error: unknown): string {
  const { message, responseBody } = error as { message?: string; responseBody?: string }
  return [message ?? String(error), responseBody].filter((part) => part !== undefined && part !== '').join(' ')
}

const report = (line: Report): void => void process.stdout.write(`${JSON.stringify(line)}\n`)

let input = ''
for await (const chunk of process.stdin.setEncoding('utf8')) input += chunk
await Promise.all((JSON.parse(input) as Device[]).map(live))
// The SDK leaves timers behind after close().
process.exit(0)
