import azureIotDeviceMqtt from 'azure-iot-device-mqtt'
import { afterAll, beforeAll, expect } from 'vitest'
import { type ProvisioningClient, provisioningMatrix, type Registered } from '../support/provisioning-matrix.ts'
import { type ProvisioningWorld, startProvisioningWorld } from '../support/provisioning-world.ts'
import { provision, sdkError, useHub } from '../support/sdk.ts'

// The unmodified Node clients, provisioning and device, over HTTPS, MQTT and MQTT in WebSockets (dps.md 1 and 2).

let world: ProvisioningWorld
beforeAll(async () => {
  world = await startProvisioningWorld()
})
afterAll(() => world.stop())

const nodeClient = (transport: ProvisioningClient['transport']): ProvisioningClient => ({
  prefix: transport,
  transport,
  register: async (muster, registering) =>
    (await provision(muster, { ...registering, transport })) as object as Registered,
  useHub: (hub, deviceId, credential) => useHub(hub, deviceId, credential, deviceTransport[transport]),

  /** Azure's code, and words that tell a stranger nothing. */
  async expectRefused(registering, answer) {
    const { headers, status, ...error } = await sdkError(registering)
    const trackingId = expect.stringMatching(/^[0-9a-f-]{36}$/)
    expect(error).toMatchObject({ name: 'UnauthorizedError', answer: { ...answer, trackingId } })
    if (transport === 'http') expect([status, headers['x-ms-error-code']]).toEqual([401, String(answer.errorCode)])
  },

  /** It knows no status `disabled`: it says so in these words (dps.md 1.10). */
  async expectDisabled(registering) {
    expect(await sdkError(registering)).toMatchObject({ name: 'SyntaxError', message: 'status is disabled' })
  },
})

const deviceTransport = {
  http: azureIotDeviceMqtt.Mqtt,
  mqtt: azureIotDeviceMqtt.Mqtt,
  'mqtt-ws': azureIotDeviceMqtt.MqttWs,
}

provisioningMatrix('over HTTPS', nodeClient('http'), () => world)
provisioningMatrix('over MQTT', nodeClient('mqtt'), () => world)
provisioningMatrix('over MQTT in a WebSocket', nodeClient('mqtt-ws'), () => world)
