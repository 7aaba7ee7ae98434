import azureIothub, { type Registry, type Device as SdkDevice } from 'azure-iothub'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { managed } from '../support/control-plane.ts'
import { newKey } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { parseConnectionString } from '../support/rest.ts'
import { registryOf, sdkError } from '../support/sdk.ts'

let muster: TestMuster
let registry: Registry

beforeAll(async () => {
  muster = await startMuster({ standardPorts: true })
  registry = registryOf(muster)
})
afterAll(() => stopClean(muster))

type DeviceInfo = Parameters<Registry['create']>[0]
/** The SDK passes on members that its type does not know. */
type Device = SdkDevice & { readonly deviceScope?: string; readonly parentScopes?: readonly string[] }
const create = async (device: object): Promise<Device> => (await registry.create(device as DeviceInfo)).responseBody
const get = async (deviceId: string): Promise<Device> => (await registry.get(deviceId)).responseBody
const update = async (device: object): Promise<Device> => (await registry.update(device as DeviceInfo)).responseBody

const NEVER = '0001-01-01T00:00:00Z'
/** 32 bytes. */
const GENERATED = /^[A-Za-z0-9+/]{43}=$/

describe('devices', () => {
  test('create and get: the whole document', async () => {
    const created = await create({ deviceId: 'whole', statusReason: 'fresh', status: 'enabled' })
    expect({ ...created }).toEqual({
      deviceId: 'whole',
      generationId: expect.stringMatching(/^\d{18}$/),
      etag: expect.stringMatching(/^[A-Za-z0-9+/]+=*$/),
      connectionState: 'Disconnected',
      status: 'enabled',
      statusReason: 'fresh',
      connectionStateUpdatedTime: NEVER,
      statusUpdatedTime: NEVER,
      lastActivityTime: NEVER,
      cloudToDeviceMessageCount: 0,
      authentication: {
        symmetricKey: {
          primaryKey: expect.stringMatching(GENERATED),
          secondaryKey: expect.stringMatching(GENERATED),
        },
        x509Thumbprint: { primaryThumbprint: null, secondaryThumbprint: null },
        type: 'sas',
      },
      capabilities: { iotEdge: false },
    })
    expect(await get('whole')).toEqual(created)
  })

  test('given keys are kept as they are', async () => {
    const symmetricKey = { primaryKey: newKey(32), secondaryKey: newKey(64) }
    const { authentication } = await create({ deviceId: 'own-keys', authentication: { symmetricKey } })
    expect(authentication).toMatchObject({ type: 'sas', symmetricKey })
  })

  test('X.509: thumbprints of both lengths, and by CA', async () => {
    const x509Thumbprint = { primaryThumbprint: 'A'.repeat(40), secondaryThumbprint: 'B'.repeat(64) }
    const bySelf = await create({ deviceId: 'by-thumbprint', authentication: { x509Thumbprint } })
    expect(bySelf.authentication).toEqual({
      type: 'selfSigned',
      x509Thumbprint,
      symmetricKey: { primaryKey: null, secondaryKey: null },
    })
    const byCa = await create({ deviceId: 'by-ca', authentication: { type: 'certificateAuthority' } })
    expect(byCa.authentication).toEqual({
      type: 'certificateAuthority',
      x509Thumbprint: { primaryThumbprint: null, secondaryThumbprint: null },
      symmetricKey: { primaryKey: null, secondaryKey: null },
    })
  })

  test('every character that an id may have, case kept apart', async () => {
    const deviceId = "Dev-:.+%_#*?!(),=@;$'1"
    await create({ deviceId })
    await create({ deviceId: deviceId.toLowerCase() })
    expect((await get(deviceId)).deviceId).toBe(deviceId)
    expect((await get(deviceId.toLowerCase())).generationId).not.toBe((await get(deviceId)).generationId)
    await registry.delete(deviceId)
    expect((await get(deviceId.toLowerCase())).deviceId).toBe(deviceId.toLowerCase())
  })

  test('a device that is there already: 409', async () => {
    const first = await create({ deviceId: 'twice' })
    expect(await sdkError(registry.create({ deviceId: 'twice' }))).toMatchObject({
      name: 'DeviceAlreadyExistsError',
      message: "A device with ID 'twice' is already registered.",
      status: 409,
      headers: { 'iothub-errorcode': 'DeviceAlreadyExists' },
    })
    expect(await get('twice')).toEqual(first)
  })

  test('a device that is not there: 404 with the bare id as its text', async () => {
    const missing = { name: 'DeviceNotFoundError', message: 'nobody', status: 404 }
    expect(await sdkError(registry.get('nobody'))).toMatchObject(missing)
    expect(await sdkError(registry.update({ deviceId: 'nobody' }))).toMatchObject(missing)
    expect(await sdkError(registry.delete('nobody'))).toMatchObject(missing)
  })

  test('update: what was read goes back with changes, keys stay', async () => {
    const created = await create({ deviceId: 'changed' })
    const updated = await update({ ...created, status: 'disabled', statusReason: 'retired' })
    expect(updated).toMatchObject({ status: 'disabled', statusReason: 'retired', generationId: created.generationId })
    expect(updated.authentication).toEqual(created.authentication)
    expect(updated.etag).not.toBe(created.etag)
    expect(updated.statusUpdatedTime).not.toBe(NEVER)

    const reasoned = await update({ ...updated, statusReason: 'sold' })
    expect(reasoned.statusUpdatedTime).toBe(updated.statusUpdatedTime)
    expect(await get('changed')).toEqual(reasoned)
  })

  test('update without authentication renews the keys, as the SDK asks for', async () => {
    const created = await create({ deviceId: 'renewed' })
    const updated = await update({ deviceId: 'renewed', status: 'enabled' })
    expect(updated.authentication?.symmetricKey?.primaryKey).toMatch(GENERATED)
    expect(updated.authentication?.symmetricKey?.primaryKey).not.toBe(created.authentication?.symmetricKey?.primaryKey)
  })

  test('delete, and a re-created device has another generation', async () => {
    const first = await create({ deviceId: 'reborn' })
    await registry.delete('reborn')
    expect(await sdkError(registry.get('reborn'))).toMatchObject({ name: 'DeviceNotFoundError' })
    const second = await create({ deviceId: 'reborn' })
    expect(second.generationId).not.toBe(first.generationId)
    expect(second.authentication?.symmetricKey?.primaryKey).not.toBe(first.authentication?.symmetricKey?.primaryKey)
  })

  test('list and statistics', async () => {
    const before = (await registry.getRegistryStatistics()).responseBody
    await create({ deviceId: 'listed-on' })
    await create({ deviceId: 'listed-off', status: 'disabled' })
    const listed = (await registry.list()).responseBody.map(({ deviceId }) => deviceId)
    expect(listed).toEqual(expect.arrayContaining(['listed-on', 'listed-off']))
    expect(new Set(listed).size).toBe(listed.length)
    const statistics = (await registry.getRegistryStatistics()).responseBody
    expect(statistics).toEqual({
      totalDeviceCount: before.totalDeviceCount + 2,
      enabledDeviceCount: before.enabledDeviceCount + 1,
      disabledDeviceCount: before.disabledDeviceCount + 1,
    })
    expect(statistics.totalDeviceCount).toBe(listed.length)
  })

  test('bad input: 400 that says what was expected', async () => {
    expect(await sdkError(registry.create({ deviceId: 'a b' }))).toMatchObject({ name: 'ArgumentError', status: 400 })
    const bad = {
      deviceId: 'bad',
      authentication: { type: 'sas', symmetricKey: { primaryKey: 'x', secondaryKey: 'y' } },
    }
    expect(await sdkError(create(bad))).toMatchObject({
      name: 'ArgumentError',
      status: 400,
      message: expect.stringContaining('base64 of 16 to 64 bytes'),
    })
    expect(await sdkError(registry.get('bad'))).toMatchObject({ name: 'DeviceNotFoundError' })
  })
})

describe('Edge devices', () => {
  test('come with $edgeAgent and $edgeHub, and a scope of their own', async () => {
    const created = await create({ deviceId: 'edge-1', capabilities: { iotEdge: true } })
    expect(created.capabilities).toEqual({ iotEdge: true })
    expect(created.deviceScope).toMatch(/^ms-azure-iot-edge:\/\/edge-1-\d+$/)
    const modules = (await registry.getModulesOnDevice('edge-1')).responseBody
    expect(modules.map(({ moduleId }) => moduleId).toSorted()).toEqual(['$edgeAgent', '$edgeHub'])
    for (const module of modules)
      expect(module).toMatchObject({
        deviceId: 'edge-1',
        managedBy: 'iotEdge',
        authentication: { type: 'none', symmetricKey: { primaryKey: null, secondaryKey: null } },
      })

    const child = await create({ deviceId: 'leaf-1', deviceScope: created.deviceScope })
    expect(child.deviceScope).toBe(created.deviceScope)
    expect(child.parentScopes).toEqual([created.deviceScope])
  })

  test('an unknown scope is refused', async () => {
    const error = await sdkError(create({ deviceId: 'orphan', deviceScope: 'ms-azure-iot-edge://nobody-1' }))
    expect(error).toMatchObject({
      name: 'ArgumentError',
      status: 400,
      headers: { 'iothub-errorcode': 'InvalidDeviceScope' },
    })
  })
})

describe('modules', () => {
  const module = (moduleId: string, more: object = {}) => ({ deviceId: 'modular', moduleId, ...more })
  type Module = Parameters<Registry['addModule']>[0]
  const add = async (moduleId: string): Promise<Module> =>
    (await registry.addModule(module(moduleId) as Module)).responseBody

  beforeAll(async () => {
    await create({ deviceId: 'modular' })
  })

  test('add, get, list, update, remove', async () => {
    const added = await add('m1')
    expect(added).toMatchObject({
      deviceId: 'modular',
      moduleId: 'm1',
      connectionState: 'Disconnected',
      cloudToDeviceMessageCount: 0,
      authentication: { type: 'sas', symmetricKey: { primaryKey: expect.stringMatching(GENERATED) } },
    })
    expect((await registry.getModule('modular', 'm1')).responseBody).toEqual(added)
    await add('m2')
    const listed = (await registry.getModulesOnDevice('modular')).responseBody
    expect(listed.map(({ moduleId }) => moduleId).toSorted()).toEqual(['m1', 'm2'])

    const updated = (await registry.updateModule({ ...added, managedBy: 'somebody' })).responseBody
    expect(updated).toMatchObject({ managedBy: 'somebody', generationId: (added as Device).generationId })
    expect(updated.authentication).toEqual(added.authentication)
    expect(await sdkError(registry.updateModule({ ...added, managedBy: 'late' }))).toMatchObject({
      name: 'InvalidEtagError',
      status: 412,
      headers: { 'iothub-errorcode': 'PreconditionFailed' },
    })
    await registry.updateModule({ ...added, managedBy: 'forced' }, true)
    expect((await registry.getModule('modular', 'm1')).responseBody.managedBy).toBe('forced')

    await registry.removeModule('modular', 'm1')
    // The SDK has no class for a missing module (hub-service.md 2.7).
    expect(await sdkError(registry.getModule('modular', 'm1'))).toMatchObject({
      message: 'Not found',
      status: 404,
      headers: { 'iothub-errorcode': 'ModuleNotFound' },
    })
  })

  test('a module that is there already: 409', async () => {
    await add('again')
    expect(await sdkError(add('again'))).toMatchObject({
      name: 'DeviceAlreadyExistsError',
      headers: { 'iothub-errorcode': 'ModuleAlreadyExistsOnDevice' },
    })
  })

  test('needs its device, and goes with it', async () => {
    const orphan = { deviceId: 'no-device', moduleId: 'm' } as Module
    expect(await sdkError(registry.addModule(orphan))).toMatchObject({
      name: 'DeviceNotFoundError',
      message: 'no-device',
    })
    await create({ deviceId: 'short-lived' })
    await registry.addModule({ deviceId: 'short-lived', moduleId: 'm' } as Module)
    await registry.delete('short-lived')
    await create({ deviceId: 'short-lived' })
    expect((await registry.getModulesOnDevice('short-lived')).responseBody).toEqual([])
  })

  test('re-created, it has another generation', async () => {
    const first = (await add('reborn')) as Device
    await registry.removeModule('modular', 'reborn')
    expect(((await add('reborn')) as Device).generationId).not.toBe(first.generationId)
  })
})

describe('bulk', () => {
  const numbered = (count: number, prefix: string): { deviceId: string }[] =>
    Array.from({ length: count }, (_, at) => ({ deviceId: `${prefix}-${at}` }))
  type Bulk = Parameters<Registry['addDevices']>[0]
  const ok = { isSuccessful: true, errors: [], warnings: [] }

  test('add, update, remove a hundred', async () => {
    const devices = numbered(100, 'hundred')
    expect((await registry.addDevices(devices as Bulk)).responseBody).toEqual(ok)
    expect((await get('hundred-99')).authentication?.symmetricKey?.primaryKey).toMatch(GENERATED)
    const disabled = devices.map((device) => ({ ...device, status: 'disabled' }))
    expect((await registry.updateDevices(disabled as Bulk, true)).responseBody).toEqual(ok)
    expect((await get('hundred-50')).status).toBe('disabled')
    expect((await registry.removeDevices(devices as Bulk, true)).responseBody).toEqual(ok)
    expect(await sdkError(registry.get('hundred-0'))).toMatchObject({ name: 'DeviceNotFoundError' })
  })

  test('items stand for themselves', async () => {
    await create({ deviceId: 'there' })
    const added = (await registry.addDevices([{ deviceId: 'there' }, { deviceId: 'beside' }] as Bulk)).responseBody
    expect(added).toMatchObject({
      isSuccessful: false,
      errors: [{ deviceId: 'there', errorCode: 'DeviceAlreadyExists', errorStatus: expect.any(String) }],
    })
    const beside = await get('beside')

    const updated = (
      await registry.updateDevices(
        [
          { ...beside, status: 'disabled' },
          { deviceId: 'there', etag: 'c3RhbGU=' },
        ] as unknown as Bulk,
        false,
      )
    ).responseBody
    expect(updated).toMatchObject({
      isSuccessful: false,
      errors: [{ deviceId: 'there', errorCode: 'PreconditionFailed' }],
    })
    expect((await get('beside')).status).toBe('disabled')

    const removed = (
      await registry.removeDevices([{ deviceId: 'beside', etag: beside.etag }, { deviceId: 'gone' }] as Bulk, false)
    ).responseBody
    expect(removed).toMatchObject({ isSuccessful: false })
    expect(removed.errors?.map(({ deviceId }) => deviceId).toSorted()).toEqual(['beside', 'gone'])
    await registry.removeDevices([{ deviceId: 'beside' }, { deviceId: 'there' }] as Bulk, true)
    expect(await sdkError(registry.get('beside'))).toMatchObject({ name: 'DeviceNotFoundError' })
  })

  test('an id twice is refused as a whole', async () => {
    const error = await sdkError(registry.addDevices([{ deviceId: 'same' }, { deviceId: 'same' }] as Bulk))
    expect(error).toMatchObject({
      name: 'ArgumentError',
      headers: { 'iothub-errorcode': 'DeviceDefinedMultipleTimes' },
    })
    expect(await sdkError(registry.get('same'))).toMatchObject({ name: 'DeviceNotFoundError' })
  })
})

describe('twins', () => {
  test('a new device has an empty twin', async () => {
    await create({ deviceId: 'twinned', status: 'disabled', statusReason: 'asleep' })
    const twin = (await registry.getTwin('twinned')).responseBody
    expect(twin).toMatchObject({
      deviceId: 'twinned',
      etag: expect.any(String),
      status: 'disabled',
      statusReason: 'asleep',
      connectionState: 'Disconnected',
      authenticationType: 'sas',
      tags: {},
      properties: { desired: { $version: 1 }, reported: { $version: 1 } },
    })
    const version = (twin as unknown as { version: number }).version
    expect(version).toBeGreaterThan(0)
    expect(await sdkError(registry.getTwin('nobody'))).toMatchObject({ name: 'DeviceNotFoundError', message: 'nobody' })
  })

  test('a module has one of its own', async () => {
    await create({ deviceId: 'twinned-module' })
    await registry.addModule({ deviceId: 'twinned-module', moduleId: 'm' } as Parameters<Registry['addModule']>[0])
    const twin = (await registry.getModuleTwin('twinned-module', 'm')).responseBody
    expect(twin).toMatchObject({ deviceId: 'twinned-module', moduleId: 'm', properties: { desired: { $version: 1 } } })
  })
})

describe('rights', () => {
  interface Keys {
    readonly value: readonly { readonly keyName: string; readonly primaryKey: string; readonly secondaryKey: string }[]
  }
  const as = async (keyName: string, key: 'primaryKey' | 'secondaryKey' = 'primaryKey'): Promise<Registry> => {
    const { value } = (await managed(muster, 'POST', '/IotHubs/muster-hub/listkeys')) as Keys
    const policy = value.find((each) => each.keyName === keyName)
    return azureIothub.Registry.fromConnectionString(
      `HostName=${hubOf(muster).hostName};SharedAccessKeyName=${keyName};SharedAccessKey=${policy?.[key]}`,
    )
  }

  test('each default policy may do what Azure lets it', async () => {
    await create({ deviceId: 'guarded' })
    const reader = await as('registryRead')
    expect((await reader.get('guarded')).responseBody.deviceId).toBe('guarded')
    const refused = { name: 'UnauthorizedError', status: 401 }
    expect(await sdkError(reader.create({ deviceId: 'by-reader' }))).toMatchObject(refused)
    expect(await sdkError(reader.delete('guarded'))).toMatchObject(refused)
    expect(await sdkError(reader.getTwin('guarded'))).toMatchObject(refused)

    const writer = await as('registryReadWrite', 'secondaryKey')
    expect((await writer.create({ deviceId: 'by-writer' })).responseBody.deviceId).toBe('by-writer')
    const service = await as('service')
    expect((await service.getTwin('guarded')).responseBody.deviceId).toBe('guarded')
    expect(await sdkError(service.get('guarded'))).toMatchObject(refused)
    expect(await sdkError((await as('device')).get('guarded'))).toMatchObject(refused)
    expect(await sdkError(registry.get('by-reader'))).toMatchObject({ name: 'DeviceNotFoundError' })
  })

  test('a wrong key and an unknown policy are refused alike', async () => {
    const { hostName, keyName } = parseConnectionString(hubOf(muster).connectionString)
    for (const [name, key] of [
      [keyName, newKey(32)],
      ['nosuchpolicy', newKey(32)],
    ] as const) {
      const stranger = azureIothub.Registry.fromConnectionString(
        `HostName=${hostName};SharedAccessKeyName=${name};SharedAccessKey=${key}`,
      )
      expect(await sdkError(stranger.get('guarded'))).toMatchObject({ name: 'UnauthorizedError', status: 401 })
    }
  })
})
