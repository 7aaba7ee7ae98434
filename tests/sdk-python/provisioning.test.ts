import { afterAll, beforeAll, describe, expect } from 'vitest'
import { type DeviceProcess, foreignClient } from '../support/device-process.ts'
import { type ProvisioningClient, provisioningMatrix } from '../support/provisioning-matrix.ts'
import { type ProvisioningWorld, startProvisioningWorld } from '../support/provisioning-world.ts'
import { hasPython, pythonWithSdk, startPythonDevices } from '../support/python.ts'

// The unmodified Python clients, provisioning and device, over their two transports (dps.md 2). They pin TLS 1.2.

let world: ProvisioningWorld
let devices: DeviceProcess

const pythonClient = (transport: 'mqtt' | 'mqtt-ws'): ProvisioningClient => ({
  ...foreignClient(() => devices, { prefix: `py-${transport}`, transport }),

  /** The words that the az CLI looks for; the body of the answer is not in them. */
  async expectRefused(registering) {
    await expect(registering).rejects.toThrow('register request returned a service error status code 401')
  },

  /** Likewise. */
  async expectDisabled(registering) {
    await expect(registering).rejects.toThrow('invalid registration status disabled with a status code of 200')
  },
})

const isPossible = hasPython()
if (!isPossible) console.warn('Python: skipped, it needs python3 with venv (Debian: apt-get install python3-venv).')

describe.skipIf(!isPossible)('Python', () => {
  beforeAll(async () => {
    const python = pythonWithSdk()
    world = await startProvisioningWorld()
    devices = startPythonDevices(python, world.muster.app.caFile)
  }, 300_000)
  afterAll(async () => {
    await devices?.stop()
    await world?.stop()
  })

  provisioningMatrix('over MQTT', pythonClient('mqtt'), () => world)
  provisioningMatrix('over MQTT in a WebSocket', pythonClient('mqtt-ws'), () => world)
})
