import { X509Certificate } from 'node:crypto'
import azureIotDevice from 'azure-iot-device'
import azureIotDeviceMqtt from 'azure-iot-device-mqtt'
import type { Device, Registry } from 'azure-iothub'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { managed } from '../support/control-plane.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, fullChain, leafOnly, type Pki, withoutRoot } from '../support/pki.ts'
import { byCertificate, byKey, type Credential, deviceClient, registryOf, sdkError, useHub } from '../support/sdk.ts'

// The device client over MQTT with every kind of hub credential (hub-device.md 1, 2).

let muster: TestMuster
let registry: Registry
let hub: string
let pki: Pki

beforeAll(async () => {
  muster = await startMuster({ standardPorts: true })
  registry = registryOf(muster)
  hub = hubOf(muster).hostName
  pki = await createPki('Hub')
  await uploadHubCa('hub-root', pki)
})
afterAll(() => stopClean(muster))

const uploadHubCa = async (name: string, { root }: Pki, isVerified = true): Promise<void> => {
  const certificate = Buffer.from(root.certificate).toString('base64')
  const body = { properties: { certificate, isVerified } }
  await managed(muster, 'PUT', `/IotHubs/muster-hub/certificates/${name}`, { body })
}

type DeviceInfo = Parameters<Registry['create']>[0]
const create = async (device: object): Promise<Device> => (await registry.create(device as DeviceInfo)).responseBody
const keysOf = (identity: object): { primaryKey: string; secondaryKey: string } =>
  (identity as { authentication: { symmetricKey: { primaryKey: string; secondaryKey: string } } }).authentication
    .symmetricKey

async function expectUnauthorized(deviceId: string, credential: Credential): Promise<void> {
  const client = await deviceClient(hub, deviceId, credential)
  expect(await sdkError(client.open())).toMatchObject({
    name: 'UnauthorizedError',
    message: expect.stringContaining('Connection refused: Not authorized'),
  })
}

interface LoggedEvent {
  readonly position: number
  readonly deviceId: string
  readonly systemProperties: Record<string, unknown>
  readonly properties: Record<string, unknown>
  readonly body: string
}

/** What the hub's telemetry log holds of a device, in order: one device's messages stand in one partition. */
async function eventsOf(deviceId: string): Promise<LoggedEvent[]> {
  const path = '/muster/hubs/muster-hub/partitions'
  const { partitionIds } = (await managed(muster, 'GET', path)) as { partitionIds: string[] }
  const found: LoggedEvent[] = []
  for (const id of partitionIds)
    for (let from = 0; ; ) {
      const page = (await managed(muster, 'GET', `${path}/${id}/events?from=${from}`)) as {
        next: number
        events: LoggedEvent[]
      }
      found.push(...page.events.filter((event) => event.deviceId === deviceId))
      if (page.events.length === 0) break
      from = page.next
    }
  return found
}

describe('keys', () => {
  test('primary and secondary; an id of the special characters that a connection string carries', async () => {
    const deviceId = "Device-:.%_*?!(),=@$'1"
    const { primaryKey, secondaryKey } = keysOf(await create({ deviceId }))
    expect(await useHub(hub, deviceId, byKey(primaryKey))).toEqual({ $version: 1 })
    expect(await useHub(hub, deviceId, byKey(secondaryKey))).toEqual({ $version: 1 })
    await expectUnauthorized(deviceId.toLowerCase(), byKey(primaryKey))
  })

  test('many messages at once, each acknowledged', async () => {
    const { primaryKey } = keysOf(await create({ deviceId: 'chatty' }))
    const client = await deviceClient(hub, 'chatty', byKey(primaryKey))
    onTestFinished(() => void client.close().catch(() => undefined))
    await client.open()
    const messages = Array.from({ length: 300 }, (_, at) => {
      const message = new azureIotDevice.Message(JSON.stringify({ at }))
      message.messageId = `m ${at}`
      message.contentType = 'application/json'
      message.contentEncoding = 'utf-8'
      message.properties.add('p q', 'v&w=ü')
      return message
    })
    const results = await Promise.all(messages.map((message) => client.sendEvent(message)))
    expect(results).toHaveLength(300)
    await client.sendEvent(new azureIotDevice.Message(Buffer.alloc(256 * 1024, 'x')))

    const events = await eventsOf('chatty')
    expect(events).toHaveLength(301)
    for (const [at, event] of events.slice(0, 300).entries())
      expect(event).toMatchObject({
        deviceId: 'chatty',
        systemProperties: { 'message-id': `m ${at}`, 'content-type': 'application/json', 'content-encoding': 'utf-8' },
        properties: { 'p q': 'v&w=ü' },
        body: Buffer.from(JSON.stringify({ at })).toString('base64'),
      })
    expect(Buffer.from(events[300]?.body ?? '', 'base64')).toHaveLength(256 * 1024)
  })
})

describe('certificates', () => {
  const thumbprint = (pem: string, algorithm: 'fingerprint' | 'fingerprint256'): string =>
    new X509Certificate(pem)[algorithm].replaceAll(':', '')

  test('thumbprints: SHA-1 as primary, SHA-256 as secondary', async () => {
    const [old, next] = await Promise.all([deviceCertificate('printed'), deviceCertificate('printed')])
    await create({
      deviceId: 'printed',
      authentication: {
        type: 'selfSigned',
        x509Thumbprint: {
          primaryThumbprint: thumbprint(old.certificate, 'fingerprint'),
          secondaryThumbprint: thumbprint(next.certificate, 'fingerprint256').toLowerCase(),
        },
      },
    })
    expect(await useHub(hub, 'printed', byCertificate(leafOnly(old)))).toEqual({ $version: 1 })
    expect(await useHub(hub, 'printed', byCertificate(leafOnly(next)))).toEqual({ $version: 1 })
    await expectUnauthorized('printed', byCertificate(leafOnly(await deviceCertificate('printed'))))
  })

  test('a verified CA, through two intermediates, with and without the root', async () => {
    await create({ deviceId: 'by-authority', authentication: { type: 'certificateAuthority' } })
    const issued = await deviceCertificate('by-authority', pki.second, { keyType: 'rsa' })
    expect(await useHub(hub, 'by-authority', byCertificate(withoutRoot(issued)))).toEqual({ $version: 1 })
    expect(await useHub(hub, 'by-authority', byCertificate(fullChain(issued)))).toEqual({ $version: 1 })
  })

  test('refused: a missing intermediate, another name, an expired leaf, a stranger, a CA that is not verified', async () => {
    const authentication = { type: 'certificateAuthority' }
    for (const deviceId of ['strict', 'Strict-2']) await create({ deviceId, authentication })
    const issued = await deviceCertificate('strict', pki.second)
    await expectUnauthorized('strict', byCertificate(leafOnly(issued)))
    await expectUnauthorized('Strict-2', byCertificate(withoutRoot(issued)))
    // Device ids are case-sensitive, and so is the common name that has to be one.
    const lower = await deviceCertificate('strict-2', pki.second)
    await expectUnauthorized('Strict-2', byCertificate(withoutRoot(lower)))
    const expired = await deviceCertificate('strict', pki.second, { expiredDays: 2 })
    await expectUnauthorized('strict', byCertificate(withoutRoot(expired)))
    const stranger = await createPki('Hub')
    const forged = await deviceCertificate('strict', stranger.second)
    await expectUnauthorized('strict', byCertificate(fullChain(forged)))
    await uploadHubCa('hub-unverified', stranger, false)
    await expectUnauthorized('strict', byCertificate(fullChain(forged)))
    expect(await useHub(hub, 'strict', byCertificate(withoutRoot(issued)))).toEqual({ $version: 1 })
  })

  test('a CA of the provisioning service means nothing to the hub', async () => {
    const other = await createPki('Only DPS')
    const certificate = Buffer.from(other.root.certificate).toString('base64')
    await managed(muster, 'PUT', `/provisioningServices/${muster.addresses.dps.name}/certificates/only-dps`, {
      body: { properties: { certificate, isVerified: true } },
    })
    await create({ deviceId: 'foreign-ca', authentication: { type: 'certificateAuthority' } })
    const issued = await deviceCertificate('foreign-ca', other.second)
    await expectUnauthorized('foreign-ca', byCertificate(withoutRoot(issued)))
  })
})

describe('modules', () => {
  const open = async (deviceId: string, moduleId: string, key: string) => {
    const client = azureIotDevice.ModuleClient.fromConnectionString(
      `HostName=${hub};DeviceId=${deviceId};ModuleId=${moduleId};SharedAccessKey=${key}`,
      azureIotDeviceMqtt.Mqtt,
    )
    client.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 })
    onTestFinished(() => void client.close().catch(() => undefined))
    await client.open()
    return client
  }

  test('a module connects with its own key, beside its device', async () => {
    const device = keysOf(await create({ deviceId: 'with-module' }))
    const added = await registry.addModule({ deviceId: 'with-module', moduleId: 'm1' } as Parameters<
      Registry['addModule']
    >[0])
    const { primaryKey } = keysOf(added.responseBody)
    const client = await open('with-module', 'm1', primaryKey)
    expect(await useHub(hub, 'with-module', byKey(device.primaryKey))).toEqual({ $version: 1 })
    await client.sendEvent(new azureIotDevice.Message('{}'))
    await client.sendOutputEvent('out', new azureIotDevice.Message('{}'))
    expect((await client.getTwin()).properties.desired).toEqual({ $version: 1 })
  })

  test('not with the key of another module', async () => {
    await create({ deviceId: 'two-modules' })
    const add = async (moduleId: string): Promise<string> => {
      const module = { deviceId: 'two-modules', moduleId } as Parameters<Registry['addModule']>[0]
      return keysOf((await registry.addModule(module)).responseBody).primaryKey
    }
    const [first] = [await add('m1'), await add('m2')]
    expect(await sdkError(open('two-modules', 'm2', first))).toMatchObject({ name: 'UnauthorizedError' })
    expect(await sdkError(open('two-modules', 'm3', first))).toMatchObject({ name: 'UnauthorizedError' })
  })

  test('a module is cut when its device is disabled', async () => {
    const device = await create({ deviceId: 'module-cut' })
    const added = await registry.addModule({ deviceId: 'module-cut', moduleId: 'm1' } as Parameters<
      Registry['addModule']
    >[0])
    const client = await open('module-cut', 'm1', keysOf(added.responseBody).primaryKey)
    const disconnected = new Promise<void>((resolve) => client.on('disconnect', () => resolve()))
    await registry.update({ ...device, status: 'disabled' })
    await disconnected
  })
})

describe('twin', () => {
  const opened = async (deviceId: string) => {
    const { primaryKey } = keysOf(await create({ deviceId }))
    const client = await deviceClient(hub, deviceId, byKey(primaryKey))
    onTestFinished(() => void client.close().catch(() => undefined))
    await client.open()
    return client.getTwin()
  }
  type Twin = Awaited<ReturnType<typeof opened>>
  const report = (twin: Twin, patch: object): Promise<void> =>
    new Promise((resolve, reject) =>
      twin.properties.reported.update(patch, (error: Error | null) => (error ? reject(error) : resolve())),
    )

  test('reported properties are merged, and the service sees them', async () => {
    const twin = await opened('reporting')
    await report(twin, { fan: { speed: 3, mode: 'auto' }, since: '2023-01-31T10:37:08.4599400' })
    await report(twin, { fan: { speed: 5, mode: null } })
    const seen = (await registry.getTwin('reporting')).responseBody
    expect(seen.properties.reported).toMatchObject({
      fan: { speed: 5 },
      since: '2023-01-31T10:37:08.4599400',
      $version: 3,
    })
    expect(seen.properties.reported.fan).not.toHaveProperty('mode')
    expect(seen.properties.desired).toMatchObject({ $version: 1 })
  })

  test('a patch that breaks the rules is refused as a whole, and says so', async () => {
    const twin = await opened('misreporting')
    expect(await sdkError(report(twin, { good: 1, $bad: 2 }))).toMatchObject({
      message: expect.stringContaining('$bad'),
    })
    expect(await sdkError(report(twin, { big: 'x'.repeat(33 * 1024) }))).toMatchObject({ message: expect.any(String) })
    expect((await registry.getTwin('misreporting')).responseBody.properties.reported).toEqual({
      $metadata: expect.any(Object),
      $version: 1,
    })
  })

  test('a handler of desired properties gets the whole section first', async () => {
    const twin = await opened('desiring')
    const first = await new Promise((resolve) => twin.on('properties.desired', resolve))
    expect(first).toEqual({ $version: 1 })
  })
})
