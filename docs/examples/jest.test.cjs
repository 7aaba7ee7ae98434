// NODE_OPTIONS=--experimental-vm-modules jest jest.test.cjs (Node 24.9 or newer; docs/testing.md has the others)
const { join } = require('node:path')
const { Client, Message } = require('azure-iot-device')
const { Mqtt } = require('azure-iot-device-mqtt')
const { startMuster } = require('muster/testing')

const key = 'Zm9yIHRlc3RzIG9ubHk6IHRoZXJtb3N0YXQtMSBrZXk='

let muster
beforeAll(async () => {
  muster = await startMuster({ seed: join(__dirname, 'seed.json') })
})
afterEach(() => muster.reset())
afterAll(() => muster.stop())

test('a seeded device sends', async () => {
  const [hub] = muster.hubs
  const connection = `HostName=${hub.hostName};DeviceId=thermostat-1;SharedAccessKey=${key}`
  const device = Client.fromConnectionString(connection, Mqtt)
  await device.open()
  await device.sendEvent(new Message(JSON.stringify({ temperature: 21 })))
  await device.close()
  const [event] = await muster.events({ deviceId: 'thermostat-1', atLeast: 1 })
  expect(event.json()).toEqual({ temperature: 21 })
})
