import { X509Certificate } from 'node:crypto'
import azureIotDevice, { type Client } from 'azure-iot-device'
import type { Device, Registry } from 'azure-iothub'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { deviceCertificate, leafOnly } from '../support/pki.ts'
import { byCertificate, byKey, type Credential, deviceClient, registryOf, sdkError } from '../support/sdk.ts'

let muster: TestMuster
let registry: Registry

beforeAll(async () => {
  muster = await startMuster({ standardPorts: true })
  registry = registryOf(muster)
})
afterAll(() => stopClean(muster))

const create = async (deviceId: string): Promise<Device> => (await registry.create({ deviceId })).responseBody
const get = async (deviceId: string): Promise<Device> => (await registry.get(deviceId)).responseBody
const keyOf = (device: Device): Credential => byKey(device.authentication?.symmetricKey?.primaryKey ?? '')

interface Connected {
  readonly client: Client
  /** Resolves when the SDK says that the connection is gone. */
  readonly disconnected: Promise<void>
}

async function connect(deviceId: string, credential: Credential): Promise<Connected> {
  const client = await deviceClient(hubOf(muster).hostName, deviceId, credential)
  const disconnected = new Promise<void>((resolve) => {
    client.on('disconnect', () => resolve())
  })
  onTestFinished(() => void client.close().catch(() => undefined))
  await client.open()
  return { client, disconnected }
}

const send = (client: Client): Promise<unknown> => Promise.resolve(client.sendEvent(new azureIotDevice.Message('{}')))

/** "At once": the change reaches the session without a timer of minutes. */
const AT_ONCE_MS = 1_500

async function expectCutAtOnce({ disconnected }: Connected): Promise<void> {
  const started = performance.now()
  await disconnected
  expect(performance.now() - started).toBeLessThan(AT_ONCE_MS)
}

async function expectUnauthorized(deviceId: string, credential: Credential): Promise<void> {
  const client = await deviceClient(hubOf(muster).hostName, deviceId, credential)
  expect(await sdkError(client.open())).toMatchObject({
    name: 'UnauthorizedError',
    message: expect.stringContaining('Connection refused: Not authorized'),
  })
}

describe('a live session ends at once', () => {
  test('when the device is disabled; enabled again it may come back', async () => {
    const device = await create('disabled-live')
    const session = await connect('disabled-live', keyOf(device))
    await send(session.client)
    const disabled = (await registry.update({ ...device, status: 'disabled' })).responseBody
    await expectCutAtOnce(session)
    await expectUnauthorized('disabled-live', keyOf(device))

    await registry.update({ ...disabled, status: 'enabled' })
    await send((await connect('disabled-live', keyOf(device))).client)
  })

  test('when the device is deleted; the re-created one is another', async () => {
    const device = await create('deleted-live')
    const session = await connect('deleted-live', keyOf(device))
    await registry.delete('deleted-live')
    await expectCutAtOnce(session)
    await expectUnauthorized('deleted-live', keyOf(device))

    const again = await create('deleted-live')
    expect(again.generationId).not.toBe(device.generationId)
    await expectUnauthorized('deleted-live', keyOf(device))
    await connect('deleted-live', keyOf(again))
  })

  test('when its keys are regenerated', async () => {
    const device = await create('rekeyed-live')
    const session = await connect('rekeyed-live', keyOf(device))
    const renewed = (await registry.update({ deviceId: 'rekeyed-live' })).responseBody
    expect(renewed.authentication).not.toEqual(device.authentication)
    await expectCutAtOnce(session)
    await expectUnauthorized('rekeyed-live', keyOf(device))
    await connect('rekeyed-live', keyOf(renewed))
  })

  test('when its certificate is exchanged', async () => {
    const [old, next] = await Promise.all([deviceCertificate('cert-live'), deviceCertificate('cert-live')])
    const thumbprint = (pem: string): string => new X509Certificate(pem).fingerprint256.replaceAll(':', '')
    const device = (pem: string) => ({
      deviceId: 'cert-live',
      authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: thumbprint(pem) } },
    })
    await registry.create(device(old.certificate) as Parameters<Registry['create']>[0])
    const session = await connect('cert-live', byCertificate(leafOnly(old)))
    await registry.update(device(next.certificate) as Parameters<Registry['update']>[0])
    await expectCutAtOnce(session)
    await expectUnauthorized('cert-live', byCertificate(leafOnly(old)))
    await connect('cert-live', byCertificate(leafOnly(next)))
  })

  test('when a second connection takes over the identity', async () => {
    const device = await create('taken-over')
    const first = await connect('taken-over', keyOf(device))
    const second = await connect('taken-over', keyOf(device))
    await expectCutAtOnce(first)
    await send(second.client)
    await vi.waitFor(async () => expect((await get('taken-over')).connectionState).toBe('Connected'), SOON)
  })

  test('and only the session that is meant', async () => {
    const [device, other] = [await create('meant'), await create('not-meant')]
    const [session, bystander] = [await connect('meant', keyOf(device)), await connect('not-meant', keyOf(other))]
    // A change that touches neither status nor credentials cuts nobody.
    await registry.update({ ...other, statusReason: 'watched' })
    await registry.update({ ...device, status: 'disabled' })
    await expectCutAtOnce(session)
    await send(bystander.client)
  })
})

/** Connection states and activity times are written lazily. */
const SOON = { timeout: 15_000, interval: 100 }

describe('what the registry tells of a connection', () => {
  test('connectionState and lastActivityTime', async () => {
    const device = await create('observed')
    expect(device).toMatchObject({ connectionState: 'Disconnected', lastActivityTime: '0001-01-01T00:00:00Z' })
    const before = Date.now()
    const { client } = await connect('observed', keyOf(device))
    await send(client)
    const connected = await vi.waitFor(async () => {
      const found = await get('observed')
      expect(found).toMatchObject({ connectionState: 'Connected' })
      expect(Date.parse(found.lastActivityTime ?? '')).toBeGreaterThanOrEqual(before - 1)
      return found
    }, SOON)
    expect(Date.parse(connected.connectionStateUpdatedTime ?? '')).toBeGreaterThanOrEqual(before - 1)
    // Telling that is no update of the identity.
    expect(connected.etag).toBe(device.etag)

    await client.close()
    await vi.waitFor(async () => {
      const found = await get('observed')
      expect(found).toMatchObject({ connectionState: 'Disconnected' })
      expect(Date.parse(found.connectionStateUpdatedTime ?? '')).toBeGreaterThanOrEqual(
        Date.parse(connected.connectionStateUpdatedTime ?? ''),
      )
    }, SOON)
  })
})

describe('who may not connect', () => {
  test('wrong key, key of another device, unknown device, a certificate where a key is registered', async () => {
    const [device, other] = [await create('refused-1'), await create('refused-2')]
    await expectUnauthorized('refused-1', byKey(Buffer.alloc(32, 7).toString('base64')))
    await expectUnauthorized('refused-1', keyOf(other))
    await expectUnauthorized('refused-unknown', keyOf(device))
    await expectUnauthorized('refused-1', byCertificate(leafOnly(await deviceCertificate('refused-1'))))
  })
})
