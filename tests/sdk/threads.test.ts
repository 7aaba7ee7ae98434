import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import azureIotDevice, { type Client } from 'azure-iot-device'
import type { Device, Registry } from 'azure-iothub'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { initialTwin, newKey, symmetricKeys } from '../support/enrollments.ts'
import { hubOf, type Running } from '../support/hub.ts'
import { freeLoopback } from '../support/muster.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { byKey, deviceClient, provision, registryOf, sdkError, useHub } from '../support/sdk.ts'
import { enrolling } from '../support/service-client.ts'
import { derivedKey } from '../support/tokens.ts'

// `muster up` as users run it: several threads behind one port, which meet only in the store and on the bus. Whichever
// thread has a device's session, a change made through another one reaches it.

let folder: string
let service: MusterProcess
let muster: Running
let registry: Registry

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'muster-threads-'))
  const address = await freeLoopback()
  const ports = ['--https-port', '443', '--mqtts-port', '8883']
  service = await startProcess(join(folder, 'data'), [
    ...['--address', address, ...ports],
    ...['--threads', '3', '--retry-after', '1'],
  ])
  const { ready, ca } = service
  muster = { addresses: ready, ca }
  tls.setDefaultCACertificates([...tls.getCACertificates('default'), ca])
  registry = registryOf(muster)
})
afterAll(async () => {
  expect(await service.stop()).toBe(0)
  rmSync(folder, { recursive: true, force: true })
})

const COUNT = 24
const ids = (prefix: string): string[] => Array.from({ length: COUNT }, (_, at) => `${prefix}-${at}`)

interface Session {
  readonly device: Device
  readonly client: Client
  readonly disconnected: Promise<void>
}

async function connect(device: Device): Promise<Session> {
  const key = device.authentication?.symmetricKey?.primaryKey ?? ''
  const client = await deviceClient(hubOf(muster).hostName, device.deviceId, byKey(key))
  const disconnected = new Promise<void>((resolve) => client.on('disconnect', () => resolve()))
  await client.open()
  return { device, client, disconnected }
}

const createAll = async (prefix: string): Promise<Device[]> =>
  Promise.all(ids(prefix).map(async (deviceId) => (await registry.create({ deviceId })).responseBody))

test('a fleet registers at once and lives', async () => {
  const groupKey = newKey()
  await enrolling(muster).enrollGroup('fleet', { ...symmetricKeys(groupKey, newKey()), initialTwin })
  await Promise.all(
    ids('fleet').map(async (registrationId) => {
      const credential = byKey(derivedKey(groupKey, registrationId))
      const { assignedHub, deviceId } = await provision(muster, { registrationId, credential })
      expect(await useHub(assignedHub, deviceId, credential)).toMatchObject(initialTwin.properties.desired)
    }),
  )
})

test('disabling cuts every session, on whatever thread', async () => {
  const sessions = await Promise.all((await createAll('disabled')).map(connect))
  const bystander = await connect((await registry.create({ deviceId: 'bystander' })).responseBody)
  await Promise.all(sessions.map(({ device }) => registry.update({ ...device, status: 'disabled' })))
  const told = performance.now()
  await Promise.all(sessions.map(({ disconnected }) => disconnected))
  expect(performance.now() - told).toBeLessThan(2_500)
  await bystander.client.sendEvent(new azureIotDevice.Message('{}'))
  await bystander.client.close()
})

test('a second connection takes over, on whatever thread the first one is', async () => {
  const devices = await createAll('taken')
  const first = await Promise.all(devices.map(connect))
  const second = await Promise.all(devices.map(connect))
  await Promise.all(first.map(({ disconnected }) => disconnected))
  await Promise.all(second.map(({ client }) => client.sendEvent(new azureIotDevice.Message('{}'))))
  await vi.waitFor(
    async () => {
      for (const { deviceId } of devices)
        expect((await registry.get(deviceId)).responseBody).toMatchObject({ connectionState: 'Connected' })
    },
    { timeout: 15_000, interval: 200 },
  )
  await Promise.all(second.map(({ client }) => client.close()))
})

test('deleting and making again leaves the old key nowhere', async () => {
  const sessions = await Promise.all((await createAll('deleted')).map(connect))
  const removed = await registry.removeDevices(
    sessions.map(({ device }) => ({ deviceId: device.deviceId })) as never,
    true,
  )
  expect(removed.responseBody.isSuccessful).toBe(true)
  await Promise.all(sessions.map(({ disconnected }) => disconnected))
  await createAll('deleted')
  for (const { device } of sessions.slice(0, 6))
    expect(await sdkError(connect(device))).toMatchObject({ name: 'UnauthorizedError' })
})
