import azureIotDevice, { type Client } from 'azure-iot-device'
import azureIotDeviceMqtt from 'azure-iot-device-mqtt'
import azureIotProvisioningDevice, { type RegistrationResult } from 'azure-iot-provisioning-device'
import azureIotProvisioningDeviceHttp from 'azure-iot-provisioning-device-http'
import azureIotProvisioningDeviceMqtt from 'azure-iot-provisioning-device-mqtt'
import azureIotProvisioningService, { type ProvisioningServiceClient } from 'azure-iot-provisioning-service'
import azureIotSecuritySymmetricKey from 'azure-iot-security-symmetric-key'
import azureIotSecurityX509 from 'azure-iot-security-x509'
import azureIothub, { type Registry } from 'azure-iothub'
import { hubOf, type Running } from './hub.ts'
import type { ClientCertificate } from './pki.ts'

/** What a device has when it leaves the factory. */
export type Credential =
  | ({ readonly kind: 'x509' } & ClientCertificate)
  | { readonly kind: 'sas'; readonly key: string }

export const byCertificate = (certificate: ClientCertificate): Credential => ({ kind: 'x509', ...certificate })
export const byKey = (key: string): Credential => ({ kind: 'sas', key })

export interface Registering {
  readonly registrationId: string
  readonly credential: Credential
  readonly idScope?: string
  readonly payload?: Record<string, unknown>
  /** Default: HTTPS. */
  readonly transport?: 'http' | 'mqtt' | 'mqtt-ws'
}

const transports = {
  http: () => new azureIotProvisioningDeviceHttp.Http(),
  mqtt: () => new azureIotProvisioningDeviceMqtt.Mqtt(),
  'mqtt-ws': () => new azureIotProvisioningDeviceMqtt.MqttWs(),
}

/** Registers with the unmodified provisioning client. The packages carry copies of one another's types. */
export async function provision(
  muster: Running,
  { registrationId, credential, idScope = muster.addresses.idScope, payload, transport = 'http' }: Registering,
): Promise<RegistrationResult> {
  const security =
    credential.kind === 'x509'
      ? new azureIotSecurityX509.X509Security(registrationId, { cert: credential.cert, key: credential.key })
      : new azureIotSecuritySymmetricKey.SymmetricKeySecurityClient(registrationId, credential.key)
  const client = azureIotProvisioningDevice.ProvisioningDeviceClient.create(
    muster.addresses.dps.hostName,
    idScope,
    transports[transport]() as Transport,
    security as SecurityClient,
  )
  if (payload !== undefined) client.setProvisioningPayload(payload)
  const result = await client.register()
  if (!result) throw new Error('The SDK answered with no registration result.')
  return result
}

type Transport = Parameters<typeof azureIotProvisioningDevice.ProvisioningDeviceClient.create>[2]
type SecurityClient = Parameters<typeof azureIotProvisioningDevice.ProvisioningDeviceClient.create>[3]

/** A device client, not open yet, that gives up at the first trouble instead of trying for minutes. */
export async function deviceClient(
  hub: string,
  deviceId: string,
  credential: Credential,
  transport: typeof azureIotDeviceMqtt.Mqtt = azureIotDeviceMqtt.Mqtt,
): Promise<Client> {
  const proof = credential.kind === 'x509' ? 'x509=true' : `SharedAccessKey=${credential.key}`
  const client = azureIotDevice.Client.fromConnectionString(`HostName=${hub};DeviceId=${deviceId};${proof}`, transport)
  client.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 })
  if (credential.kind === 'x509') await client.setOptions({ cert: credential.cert, key: credential.key })
  return client
}

/** Opens, sends one message, reads the twin's desired properties, closes: what every provisioned device can do. */
export async function useHub(
  hub: string,
  deviceId: string,
  credential: Credential,
  transport?: typeof azureIotDeviceMqtt.Mqtt,
): Promise<Record<string, unknown>> {
  const client = await deviceClient(hub, deviceId, credential, transport)
  await client.open()
  try {
    await client.sendEvent(new azureIotDevice.Message(JSON.stringify({ hello: deviceId })))
    const twin = await client.getTwin()
    return twin.properties.desired as Record<string, unknown>
  } finally {
    await client.close()
  }
}

export const provisioningService = (muster: Running): ProvisioningServiceClient =>
  azureIotProvisioningService.ProvisioningServiceClient.fromConnectionString(muster.addresses.dps.connectionString)

export const registryOf = (muster: Running): Registry =>
  azureIothub.Registry.fromConnectionString(hubOf(muster).connectionString)

/** What an SDK rejected with: its class as the SDK names it, its text, and the service's own answer beside it. */
export interface SdkError {
  readonly name: string
  readonly message: string
  /** The JSON body of the HTTP answer, or of the MQTT message. */
  readonly answer: Readonly<Record<string, unknown>> | undefined
  readonly status: number | undefined
  readonly headers: Readonly<Record<string, unknown>>
}

/** Waits for a promise of an SDK to be rejected. */
export async function sdkError(promise: Promise<unknown> | undefined): Promise<SdkError> {
  try {
    await promise
  } catch (error) {
    return describe(error)
  }
  throw new Error('Expected the SDK to reject, found it succeeding.')
}

function describe(error: unknown): SdkError {
  const { name, message, responseBody, response, result } = error as Error & {
    responseBody?: string
    /** Of the provisioning client over MQTT. */
    result?: unknown
    response?: { statusCode?: number; headers?: Record<string, unknown> }
  }
  return {
    name: (error as Error).constructor.name === 'Error' ? name : (error as Error).constructor.name,
    message,
    answer: responseBody === undefined ? parsed(result) : parsed(JSON.parse(responseBody)),
    status: response?.statusCode,
    headers: response?.headers ?? {},
  }
}

const parsed = (value: unknown): SdkError['answer'] =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
