import azureIotDevice, { type Client } from 'azure-iot-device'
import azureIotDeviceMqtt from 'azure-iot-device-mqtt'
import type { Registry } from 'azure-iothub'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { managed } from '../support/control-plane.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, withoutRoot } from '../support/pki.ts'
import { byCertificate, byKey, type Credential, deviceClient, registryOf, sdkError, useHub } from '../support/sdk.ts'

// The device client over MQTT in WebSockets: the same sessions on the HTTPS port (hub-device.md 2.1).

const { Mqtt, MqttWs } = azureIotDeviceMqtt

let muster: TestMuster
let registry: Registry
let hub: string

beforeAll(async () => {
  muster = await startMuster({ standardPorts: true })
  registry = registryOf(muster)
  hub = hubOf(muster).hostName
})
afterAll(() => stopClean(muster))

async function keyOf(deviceId: string): Promise<Credential> {
  const { responseBody } = await registry.create({ deviceId } as Parameters<Registry['create']>[0])
  return byKey(responseBody.authentication?.symmetricKey?.primaryKey ?? '')
}

async function opened(deviceId: string, credential: Credential, transport: typeof Mqtt): Promise<Client> {
  const client = await deviceClient(hub, deviceId, credential, transport)
  onTestFinished(() => void client.close().catch(() => undefined))
  await client.open()
  return client
}

const disconnected = (client: Client): Promise<void> =>
  new Promise((resolve) => client.once('disconnect', () => resolve()))

test('many messages at once and one of 256 KB, each acknowledged', async () => {
  const client = await opened('chatty', await keyOf('chatty'), MqttWs)
  const messages = Array.from({ length: 300 }, (_, at) => new azureIotDevice.Message(`message ${at}`))
  expect(await Promise.all(messages.map((message) => client.sendEvent(message)))).toHaveLength(300)
  await client.sendEvent(new azureIotDevice.Message(Buffer.alloc(256 * 1024, 'x')))
})

test('a certificate of a verified CA: the chain of the handshake under the WebSocket', async () => {
  const pki = await createPki('Hub')
  const certificate = Buffer.from(pki.root.certificate).toString('base64')
  await managed(muster, 'PUT', '/IotHubs/muster-hub/certificates/root', {
    body: { properties: { certificate, isVerified: true } },
  })
  const deviceId = 'by-authority'
  await registry.create({ deviceId, authentication: { type: 'certificateAuthority' } } as Parameters<
    Registry['create']
  >[0])
  const issued = await deviceCertificate(deviceId, pki.second)
  const desired = await useHub(hub, deviceId, byCertificate(withoutRoot(issued)), MqttWs)
  expect(desired).toEqual({ $version: 1 })
  const stranger = await deviceCertificate(deviceId, (await createPki('Hub')).second)
  const client = await deviceClient(hub, deviceId, byCertificate(withoutRoot(stranger)), MqttWs)
  expect(await sdkError(client.open())).toMatchObject({ name: 'UnauthorizedError' })
})

test('a wrong key is refused with CONNACK 5', async () => {
  await keyOf('wrong')
  const client = await deviceClient(hub, 'wrong', byKey(Buffer.alloc(32, 1).toString('base64')), MqttWs)
  expect(await sdkError(client.open())).toMatchObject({
    name: 'UnauthorizedError',
    message: expect.stringContaining('Connection refused: Not authorized'),
  })
})

test.each([
  ['MQTT', Mqtt, MqttWs],
  ['WebSocket', MqttWs, Mqtt],
] as const)('one session for each device: the one over %s is taken over', async (name, first, second) => {
  const deviceId = `taken-${name}`
  const credential = await keyOf(deviceId)
  const older = await opened(deviceId, credential, first)
  const gone = disconnected(older)
  const newer = await opened(deviceId, credential, second)
  await gone
  await newer.sendEvent(new azureIotDevice.Message('mine'))
})

test('disabling a device cuts its WebSocket', async () => {
  const client = await opened('disabled', await keyOf('disabled'), MqttWs)
  const gone = disconnected(client)
  const { responseBody } = await registry.get('disabled')
  await registry.update({ ...responseBody, status: 'disabled' } as Parameters<Registry['update']>[0])
  await gone
})
