import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { type DeviceProcess, foreignClient } from '../support/device-process.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { hasJava, javaClients, startJavaDevices } from '../support/java.ts'
import { startMuster } from '../support/muster.ts'
import { type ProvisioningClient, provisioningMatrix } from '../support/provisioning-matrix.ts'
import { type ProvisioningWorld, startProvisioningWorld } from '../support/provisioning-world.ts'
import { byKey } from '../support/sdk.ts'
import { enrolling } from '../support/service-client.ts'

// The unmodified Java clients, provisioning and device, over HTTPS, MQTT and MQTT in WebSockets (dps.md 1 and 2).

let world: ProvisioningWorld
let devices: DeviceProcess

const javaClient = (transport: ProvisioningClient['transport']): ProvisioningClient => ({
  ...foreignClient(() => devices, { prefix: `java-${transport}`, transport }),
  initialAssignment: 'INITIAL_ASSIGNMENT',

  /** Over HTTPS it shows the body as it came, over MQTT what it read in it. */
  async expectRefused(registering, { errorCode, message }) {
    const words =
      transport === 'http'
        ? new RegExp(`ProvisioningDeviceHubException: .*"errorCode":${errorCode},.*"message":"${message}"`)
        : `Service error: ${errorCode} - ${message} - TrackingId: `
    await expect(registering).rejects.toThrow(words)
  },

  /** It has a status for it, but where one waits for the result it throws without a word. */
  async expectDisabled(registering) {
    await expect(registering).rejects.toThrow(/^[a-z.]+\.ProvisioningDeviceHubException$/)
  },

  /** It sends what the caller gave as a JSON text (dps.md 1.3). */
  sent: (payload) => JSON.stringify(payload),
})

const isPossible = hasJava()
if (!isPossible)
  console.warn(
    'Java: skipped, it needs Maven and a JDK from 17 on (Debian: apt-get install maven default-jdk-headless).',
  )

describe.skipIf(!isPossible)('Java', () => {
  beforeAll(async () => {
    const clients = javaClients()
    world = await startProvisioningWorld({ hostName: 'dps.muster.test' })
    devices = startJavaDevices(clients, world.muster)
  }, 300_000)
  afterAll(async () => {
    await devices?.stop()
    await world?.stop()
  })

  provisioningMatrix('over HTTPS', javaClient('http'), () => world)
  provisioningMatrix('over MQTT', javaClient('mqtt'), () => world)
  provisioningMatrix('over MQTT in a WebSocket', javaClient('mqtt-ws'), () => world)

  test('over HTTPS on another port, as part of the name', async () => {
    const elsewhere = await startMuster({ config: { hostNames: ['dps.muster.test'] } })
    const there = startJavaDevices(javaClients(), elsewhere)
    const key = newKey()
    await enrolling(elsewhere).enroll('other-port', symmetricKeys(key, newKey()))
    const { register } = foreignClient(() => there, { prefix: '', transport: 'http' })
    const result = await register(elsewhere, { registrationId: 'other-port', credential: byKey(key) })
    const { dps, ports } = elsewhere.addresses
    expect(dps.hostName).toBe(`dps.muster.test:${ports.https}`)
    expect(result).toMatchObject({ status: 'assigned', assignedHub: dps.hostName })
    await there.stop()
    await stopClean(elsewhere)
  })
})
