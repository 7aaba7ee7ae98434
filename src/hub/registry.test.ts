import { expect, test } from 'vitest'
import { deviceToken, hubWorld, operator, PRIMARY, SECONDARY, sasDevice } from '../../tests/support/hub-world.ts'
import type { Code } from '../base/errors.ts'
import { parseIfMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import { directory, moduleLists, modules, twins } from './records.ts'
import { parseTop } from './registry.ts'

const world = await hubWorld()
const { hub, iotHub, clock, store } = world
const { registry } = hub
const absent = parseIfMatch(undefined)
const any = parseIfMatch('"*"')

const refusal = (code: Code) => expect.objectContaining({ name: 'ServiceError', code })
const put = (deviceId: string, body: unknown, ifMatch: string | undefined = undefined) =>
  registry.putDevice(operator, iotHub, deviceId, body, parseIfMatch(ifMatch))

test('a created device has the members, the order and the defaults of the real service', async () => {
  const device = await put('fresh', { deviceId: 'fresh' })
  expect(Object.keys(device)).toEqual([
    'deviceId',
    'generationId',
    'etag',
    'connectionState',
    'status',
    'statusReason',
    'connectionStateUpdatedTime',
    'statusUpdatedTime',
    'lastActivityTime',
    'cloudToDeviceMessageCount',
    'authentication',
    'capabilities',
  ])
  expect(device).toMatchObject({
    connectionState: 'Disconnected',
    status: 'enabled',
    statusReason: null,
    connectionStateUpdatedTime: '0001-01-01T00:00:00Z',
    cloudToDeviceMessageCount: 0,
    capabilities: { iotEdge: false },
    authentication: { type: 'sas', x509Thumbprint: { primaryThumbprint: null, secondaryThumbprint: null } },
  })
  expect(device.generationId).toMatch(/^\d{18}$/)
  expect(Buffer.from(device.etag, 'base64').toString()).toMatch(/^\d+$/)
  expect(device.authentication.symmetricKey.primaryKey).toHaveLength(44)
  expect(device.authentication.symmetricKey.primaryKey).not.toBe(device.authentication.symmetricKey.secondaryKey)
  expect(await registry.getDevice(iotHub, 'fresh')).toEqual(device)
})

test('PUT without If-Match creates and never replaces', async () => {
  await put('once', {})
  await expect(put('once', {})).rejects.toMatchObject({
    code: 409001,
    message: "A device with ID 'once' is already registered.",
  })
  // Ids are case-sensitive.
  await put('ONCE', {})
})

test('two that create the same device at once: one wins', async () => {
  const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => put('raced', {})))
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toEqual(refusal(409001))
})

test('PUT with If-Match updates: every spelling of an etag, 404 when absent, 412 when stale', async () => {
  await expect(put('ghost', {}, '*')).rejects.toMatchObject({ code: 404001, message: 'ghost' })
  const first = await put('tagged', sasDevice())
  const second = await put('tagged', sasDevice({ statusReason: 'one' }), `"${first.etag}"`)
  expect(second.etag).not.toBe(first.etag)
  await expect(put('tagged', sasDevice(), `"${first.etag}"`)).rejects.toEqual(refusal(412001))
  let { etag } = second
  for (const spelling of [(tag: string) => tag, (tag: string) => `W/"${tag}"`, () => '"*"', () => '*'])
    ({ etag } = await put('tagged', sasDevice(), spelling(etag)))
})

test('two that update at once with one etag: one wins; with * both do', async () => {
  const { etag } = await put('contended', sasDevice())
  const tagged = await Promise.allSettled(
    [1, 2, 3].map((n) => put('contended', sasDevice({ statusReason: `${n}` }), etag)),
  )
  expect(tagged.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
  await Promise.all([1, 2, 3].map((n) => put('contended', sasDevice({ statusReason: `${n}` }), '*')))
})

test('an update replaces status, reason and credentials, keeps generation and capabilities', async () => {
  const made = await put('replaced', sasDevice({ capabilities: { iotEdge: true }, statusReason: 'new' }))
  clock.advance(1000)
  const disabled = await put('replaced', { ...made, status: 'Disabled', statusReason: undefined }, '*')
  expect(disabled).toMatchObject({
    generationId: made.generationId,
    status: 'disabled',
    statusReason: null,
    statusUpdatedTime: '2026-01-01T00:00:01.0000000Z',
    capabilities: { iotEdge: true },
  })
  clock.advance(1000)
  const same = await put('replaced', { ...disabled, statusReason: 'x' }, '*')
  expect(same.statusUpdatedTime).toBe(disabled.statusUpdatedTime)
  expect(same.authentication).toEqual(made.authentication)
  // Node's update({deviceId, status}) carries empty keys and renews them (hub-service.md 2.3).
  const renewed = await put(
    'replaced',
    { status: 'enabled', authentication: { symmetricKey: { primaryKey: '', secondaryKey: '' } } },
    '*',
  )
  expect(renewed.authentication.symmetricKey.primaryKey).not.toBe(PRIMARY)
})

const SHA1 = 'A'.repeat(40)
const SHA256 = 'b'.repeat(64)

test.each([
  ['both keys', { type: 'SAS', symmetricKey: { primaryKey: PRIMARY, secondaryKey: SECONDARY } }, 'sas'],
  ['one thumbprint of SHA-1, type inferred', { x509Thumbprint: { primaryThumbprint: SHA1 } }, 'selfSigned'],
  [
    'two thumbprints',
    { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: SHA256, secondaryThumbprint: SHA1 } },
    'selfSigned',
  ],
  [
    'a second thumbprint only',
    { type: 'selfSigned', x509Thumbprint: { secondaryThumbprint: SHA1, primaryThumbprint: '' } },
    'selfSigned',
  ],
  ['an authority', { type: 'certificateAuthority', symmetricKey: null }, 'certificateAuthority'],
  [
    'an authority in a document that had keys',
    { type: 'certificateAuthority', symmetricKey: { primaryKey: PRIMARY, secondaryKey: SECONDARY } },
    'certificateAuthority',
  ],
  ['null', null, 'sas'],
])('authentication: %s', async (name, authentication, type) => {
  const device = await put(`auth-${name.replaceAll(/[ ,]/g, '-')}`, { authentication })
  expect(device.authentication.type).toBe(type)
  const { symmetricKey, x509Thumbprint } = device.authentication
  expect(symmetricKey.primaryKey === null).toBe(type !== 'sas')
  expect(x509Thumbprint.primaryThumbprint === null && x509Thumbprint.secondaryThumbprint === null).toBe(
    type !== 'selfSigned',
  )
})

test.each<[string, unknown, string]>([
  ['no object', [], 'device must be a JSON object, found an array'],
  ['nothing', undefined, 'device must be a JSON object, found nothing'],
  ['another id', { deviceId: 'other' }, 'device.deviceId must be the id in the path'],
  ['status', { status: 'off' }, 'device.status must be one of enabled, disabled, found "off"'],
  ['status type', { status: 1 }, 'device.status must be a string, found a number'],
  [
    'reason too long',
    { statusReason: 'é'.repeat(129) },
    'device.statusReason must be at most 128 characters, found 129',
  ],
  ['capabilities', { capabilities: true }, 'device.capabilities must be an object'],
  ['edge flag', { capabilities: { iotEdge: 'yes' } }, 'device.capabilities.iotEdge must be true or false'],
  ['auth type', { authentication: { type: 'x509' } }, 'device.authentication.type must be one of'],
  ['no auth at all', { authentication: { type: 'none' } }, 'device.authentication.type must be sas, selfSigned or'],
  ['one key', { authentication: { symmetricKey: { primaryKey: PRIMARY } } }, 'secondaryKey must be base64'],
  [
    'a short key',
    { authentication: { symmetricKey: { primaryKey: 'AAAA', secondaryKey: PRIMARY } } },
    'primaryKey must be base64 of 16 to 64 bytes',
  ],
  ['a thumbprint', { authentication: { x509Thumbprint: { primaryThumbprint: 'zz' } } }, '40 (SHA-1) or 64 (SHA-256)'],
  ['self-signed without', { authentication: { type: 'selfSigned' } }, 'x509Thumbprint must be one or two thumbprints'],
  ['scope type', { deviceScope: 1 }, 'device.deviceScope must be a string'],
  ['scopes type', { parentScopes: 'x' }, 'device.parentScopes must be an array of strings'],
])('a bad body is refused with 400004 and says why, and nothing is written: %s', async (_, body, message) => {
  const thrown = await put('bad-body', body).catch((error: unknown) => error)
  expect(thrown).toEqual(refusal(400004))
  expect((thrown as Error).message).toContain(message)
  await expect(registry.getDevice(iotHub, 'bad-body')).rejects.toEqual(refusal(404001))
})

test.each(['', 'a b', 'a/b', 'ä', 'x'.repeat(129), 'a"b', 'a\u0000'])(
  'the id %j names no device and can be none',
  async (id) => {
    await expect(put(id, {})).rejects.toEqual(refusal(400004))
    await expect(registry.getDevice(iotHub, id)).rejects.toEqual(refusal(404001))
    await expect(registry.removeDevice(operator, iotHub, id, absent)).rejects.toEqual(refusal(404001))
  },
)

test('the longest id, and every character that an id may have', async () => {
  for (const id of ['y'.repeat(128), "-:.+%_#*?!(),=@;$'"]) expect((await put(id, {})).deviceId).toBe(id)
})

test('a status reason of 128 characters outside ASCII is kept as it is', async () => {
  const statusReason = '🔧é'.repeat(64)
  expect((await put('reasoned', { statusReason })).statusReason).toBe(statusReason)
})

test('deleting a device deletes everything of it in one commit; made again it is another generation', async () => {
  const made = await put('edge-gone', { capabilities: { iotEdge: true } })
  await registry.putModule(operator, iotHub, 'edge-gone', 'mine', {}, absent)
  const identity = await hub.deviceAuth.authenticate({
    hub: iotHub,
    deviceId: 'edge-gone',
    credential: {
      kind: 'sas',
      token: deviceToken(clock, 'edge-gone', { key: made.authentication.symmetricKey.primaryKey! }),
    },
  })
  await hub.sessions.open(identity, { cut: () => {} })
  const prefix = { prefix: 'hub1/edge-gone' }
  expect(await store.count(modules, prefix)).toBe(3)
  await expect(registry.removeDevice(operator, iotHub, 'edge-gone', parseIfMatch('"stale"'))).rejects.toEqual(
    refusal(412001),
  )
  await registry.removeDevice(operator, iotHub, 'edge-gone', parseIfMatch(`"${made.etag}"`))
  for (const collection of [modules, moduleLists, twins, directory])
    expect(await store.count(collection, prefix)).toBe(0)
  await expect(registry.removeDevice(operator, iotHub, 'edge-gone', any)).rejects.toEqual(refusal(404001))
  const again = await put('edge-gone', {})
  expect(BigInt(again.generationId)).toBeGreaterThan(BigInt(made.generationId))
})

test('lists up to top devices of this hub only, and counts them', async () => {
  await world.control.hubs.put(operator, 'hub2', { hostNames: ['hub2.example'] }, absent)
  const hub2 = (await world.control.hubs.get('hub2'))!
  for (const id of ['l1', 'l2', 'l3'])
    await registry.putDevice(operator, hub2, id, { status: id === 'l2' ? 'disabled' : 'enabled' }, absent)
  expect((await registry.listDevices(hub2, 1000)).map(({ deviceId }) => deviceId).sort()).toEqual(['l1', 'l2', 'l3'])
  expect(await registry.listDevices(hub2, 2)).toHaveLength(2)
  expect(await registry.deviceStatistics(hub2)).toEqual({
    totalDeviceCount: 3,
    enabledDeviceCount: 2,
    disabledDeviceCount: 1,
  })
  expect(await registry.contents('hub2')).toBe('3 devices')
  await registry.putDevice(operator, hub2, 'l2', {}, any)
  expect((await registry.deviceStatistics(hub2)).disabledDeviceCount).toBe(0)
})

test('top is a whole number from 1 to 1000', () => {
  expect([parseTop(undefined), parseTop(''), parseTop('1'), parseTop('1000')]).toEqual([1000, 1000, 1, 1000])
  for (const bad of ['0', '1001', '-1', '1.5', 'ten', '9'.repeat(30)])
    expect(() => parseTop(bad)).toThrow(refusal(400004))
})

test('a hub that is being deleted takes no more devices', async () => {
  await world.control.hubs.put(operator, 'hub3', { hostNames: ['hub3.example'] }, absent)
  const hub3 = (await world.control.hubs.get('hub3'))!
  await world.control.hubs.remove(operator, 'hub3', any)
  await expect(registry.putDevice(operator, hub3, 'late', {}, absent)).rejects.toEqual(refusal(401001))
})

test('Edge devices have their scope and system modules from their creation', async () => {
  const edge = await put('edge1', { capabilities: { iotEdge: true } })
  expect(edge.deviceScope).toBe(`ms-azure-iot-edge://edge1-${edge.generationId}`)
  expect(edge.parentScopes).toEqual([])
  const made = await registry.listModules(operator, iotHub, 'edge1')
  expect(made.map(({ moduleId, managedBy, authentication }) => [moduleId, managedBy, authentication.type])).toEqual([
    ['$edgeAgent', 'iotEdge', 'none'],
    ['$edgeHub', 'iotEdge', 'none'],
  ])
  // The same when a device becomes one later, and only once.
  await put('edge2', {})
  await put('edge2', { capabilities: { iotEdge: true } }, '*')
  await put('edge2', { capabilities: { iotEdge: false } }, '*')
  await put('edge2', { capabilities: { iotEdge: true } }, '*')
  expect(await registry.listModules(operator, iotHub, 'edge2')).toHaveLength(2)
})

test('parents: leaves by deviceScope, Edge devices by parentScopes; unknown ones, circles and depth are refused', async () => {
  const edges: Record<string, string> = {}
  const edge = async (id: string, parent?: string) => {
    const { deviceScope } = await put(id, {
      capabilities: { iotEdge: true },
      ...(parent === undefined ? {} : { parentScopes: [parent] }),
    })
    edges[id] = deviceScope!
    return deviceScope!
  }
  const top = await edge('layer-1')
  const leaf = await put('leaf', { deviceScope: top })
  expect([leaf.deviceScope, leaf.parentScopes]).toEqual([top, [top]])
  expect((await put('leaf', { ...leaf, deviceScope: '' }, '*')).parentScopes).toBeUndefined()
  let parent = top
  for (const id of ['layer-2', 'layer-3', 'layer-4', 'layer-5']) parent = await edge(id, parent)
  const refused = async (id: string, body: object, ifMatch?: string) =>
    expect(put(id, body, ifMatch)).rejects.toEqual(refusal(400028))
  await refused('layer-6', { capabilities: { iotEdge: true }, parentScopes: [parent] })
  await refused('layer-1', { parentScopes: [edges['layer-3']] }, '*')
  await refused('leaf', { deviceScope: 'ms-azure-iot-edge://nobody-1' }, '*')
  await refused('leaf', { deviceScope: 'nonsense' }, '*')
  await refused('leaf', { parentScopes: [top, parent] }, '*')
  // A child keeps the scope of a parent that was deleted, and can still be written with the document as read.
  const child = await put('leaf', { deviceScope: parent }, '*')
  await registry.removeDevice(operator, iotHub, 'layer-5', any)
  expect((await put('leaf', child, `"${child.etag}"`)).deviceScope).toBe(parent)
})

test('modules: created, re-keyed, listed and deleted, with their own codes', async () => {
  await put('host', sasDevice())
  const putModule = (id: string, body: unknown, ifMatch?: string) =>
    registry.putModule(operator, iotHub, 'host', id, body, parseIfMatch(ifMatch))
  const made = await putModule('m1', { moduleId: 'm1', deviceId: 'host', managedBy: 'someone' })
  expect(Object.keys(made)).toEqual([
    'moduleId',
    'managedBy',
    'deviceId',
    'generationId',
    'etag',
    'connectionState',
    'connectionStateUpdatedTime',
    'lastActivityTime',
    'cloudToDeviceMessageCount',
    'authentication',
  ])
  await expect(putModule('m1', {})).rejects.toEqual(refusal(409301))
  const keyed = await putModule('m1', sasDevice(), '*')
  expect([keyed.generationId, keyed.managedBy]).toEqual([made.generationId, 'someone'])
  expect(keyed.authentication.symmetricKey.primaryKey).toBe(PRIMARY)
  await expect(putModule('m1', sasDevice(), `"${made.etag}"`)).rejects.toEqual(refusal(412001))
  await expect(putModule('m2', {}, '*')).rejects.toEqual(refusal(404010))
  await expect(putModule('m1', { deviceId: 'x' }, '*')).rejects.toEqual(refusal(400004))
  await expect(putModule('m/1', {})).rejects.toEqual(refusal(400004))
  await expect(putModule('$edgeHub', {})).rejects.toEqual(refusal(400004))
  await expect(registry.putModule(operator, iotHub, 'nobody', 'm', {}, absent)).rejects.toEqual(refusal(404001))
  await expect(registry.getModule(operator, iotHub, 'nobody', 'm')).rejects.toEqual(refusal(404001))
  await expect(registry.getModule(operator, iotHub, 'host', 'm')).rejects.toEqual(refusal(404010))
  const before = await registry.getDevice(iotHub, 'host')
  await registry.removeModule(operator, iotHub, 'host', 'm1', parseIfMatch(keyed.etag))
  await expect(registry.removeModule(operator, iotHub, 'host', 'm1', any)).rejects.toEqual(refusal(404010))
  expect(await registry.listModules(operator, iotHub, 'host')).toEqual([])
  expect((await registry.getDevice(iotHub, 'host')).etag).toBe(before.etag)
  const again = await putModule('m1', {})
  expect(again.generationId).not.toBe(made.generationId)
})

test('system modules take keys but are not deleted; a device has 50 modules at most', async () => {
  await put('full', { capabilities: { iotEdge: true } })
  const agent = await registry.putModule(operator, iotHub, 'full', '$edgeAgent', sasDevice(), any)
  expect([agent.authentication.type, agent.managedBy]).toEqual(['sas', 'iotEdge'])
  await expect(registry.removeModule(operator, iotHub, 'full', '$edgeAgent', any)).rejects.toEqual(refusal(401100))
  for (let n = 3; n <= limits.modulesPerDevice; n++)
    await registry.putModule(operator, iotHub, 'full', `m${n}`, {}, absent)
  await expect(registry.putModule(operator, iotHub, 'full', 'more', {}, absent)).rejects.toEqual(refusal(413003))
  await registry.removeDevice(operator, iotHub, 'full', any)
  expect(await store.count(twins, { prefix: 'hub1/full' })).toBe(0)
})

test('a module made while its device is deleted is not left behind', async () => {
  for (let round = 0; round < 20; round++) {
    await put('torn', {})
    await Promise.allSettled([
      registry.putModule(operator, iotHub, 'torn', 'm', {}, absent),
      registry.removeDevice(operator, iotHub, 'torn', any),
      registry.putModule(operator, iotHub, 'torn', 'n', {}, absent),
    ])
    for (const collection of [modules, moduleLists, twins])
      expect(await store.count(collection, { prefix: 'hub1/torn' })).toBe(0)
  }
})

test('a device that is deleted just before its module is committed takes the module with it', async () => {
  await put('pulled', {})
  let pulled = false
  const node = await world.node('slow', {
    store: {
      ...store,
      commit: async (change) => {
        if (!pulled && change.put?.some(({ collection }) => collection === modules)) {
          pulled = true
          await registry.removeDevice(operator, iotHub, 'pulled', any)
        }
        return store.commit(change)
      },
    },
  })
  await expect(node.registry.putModule(operator, iotHub, 'pulled', 'm', {}, absent)).rejects.toEqual(refusal(404001))
  for (const collection of [modules, moduleLists, twins])
    expect(await store.count(collection, { prefix: 'hub1/pulled' })).toBe(0)
})

test("a device's own credentials reach its own modules, a module's only itself", async () => {
  await put('own', {})
  await put('other', {})
  const device = { kind: 'device', name: 'own' } as const
  const module = { kind: 'device', name: 'own/m' } as const
  await registry.putModule(device, iotHub, 'own', 'm', {}, absent)
  await expect(registry.putModule(device, iotHub, 'other', 'm', {}, absent)).rejects.toEqual(refusal(401002))
  await expect(registry.listModules(device, iotHub, 'other')).rejects.toEqual(refusal(401002))
  expect((await registry.getModule(module, iotHub, 'own', 'm')).moduleId).toBe('m')
  await expect(registry.putModule(module, iotHub, 'own', 'n', {}, absent)).rejects.toEqual(refusal(401002))
  await expect(registry.removeModule(module, iotHub, 'own', 'm', any)).rejects.toEqual(refusal(401002))
})
