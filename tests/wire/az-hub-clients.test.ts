import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { exchangeRaw, type RawAnswer, requestText } from '../support/raw-https.ts'
import { connectMqtt, rawConnect } from '../support/raw-mqtt.ts'
import { parseConnectionString } from '../support/rest.ts'
import { sasToken, unixNow } from '../support/tokens.ts'

// What the extension azure-iot of the az CLI writes for `az iot hub device-identity …` and `module-identity …` with
// --login: each command's requests in their order, as azext_iot/operations/hub.py builds them (hub-service.md 1.3,
// 2.3 to 2.5, 2.8, 13.2). Its models leave out members without a value.

let muster: TestMuster

beforeAll(async () => {
  muster = await startMuster()
})
afterAll(() => stopClean(muster))

/** One request of the extension; the name that it signs carries the port. */
async function az(method: string, path: string, body?: unknown, ifMatch?: string): Promise<RawAnswer> {
  const { hostName, key, keyName } = parseConnectionString(hubOf(muster).connectionString)
  expect(hostName).toMatch(/:\d+$/)
  const sr = encodeURIComponent(hostName)
  const token = sasToken({ sr, key, skn: keyName, se: unixNow() + 600, order: ['sr', 'sig', 'se', 'skn'] })
  const head = [
    `${method} ${path}?api-version=2021-04-12 HTTP/1.1`,
    `Host: ${hostName}`,
    'User-Agent: python/3.12.8 (Linux-6.8.0) msrest/0.7.1 iothubclient/2021-04-12 IoTPlatformCliExtension/0.25.0',
    'Accept-Encoding: gzip, deflate',
    'Accept: application/json',
    'Connection: keep-alive',
    'x-ms-client-request-id: 1b1c5d9a-5d0f-11ef-9c1d-0242ac120002',
    'accept-language: en-US',
    ...(body === undefined ? [] : ['Content-Type: application/json; charset=utf-8']),
    ...(ifMatch === undefined ? [] : [`If-Match: ${ifMatch}`]),
    `Authorization: ${token}`,
    'Content-Length: {length}',
  ]
  const text = body === undefined ? '' : JSON.stringify(body)
  const { address, ports } = muster.addresses
  return exchangeRaw({ address, port: ports.https, ca: muster.ca }, requestText(head.join('\n'), text))
}

interface Identity {
  readonly deviceId: string
  readonly etag: string
  readonly status: string
  readonly statusReason: string | null
  readonly deviceScope?: string
  readonly parentScopes?: readonly string[]
  readonly capabilities: { readonly iotEdge: boolean }
  readonly authentication: {
    readonly type: string
    readonly symmetricKey: { readonly primaryKey: string; readonly secondaryKey: string }
  }
}

/** The extension takes nothing but the status that the swagger names. */
function identity(answer: RawAnswer): Identity {
  expect(answer.statusLine, answer.body).toBe('HTTP/1.1 200 OK')
  return answer.json() as Identity
}

const show = async (path: string) => identity(await az('GET', path))
const refused = (answer: RawAnswer) => [answer.status, answer.header('iothub-errorcode')]

const created = async (deviceId: string, iotEdge = false) =>
  identity(
    await az('PUT', `/devices/${deviceId}`, {
      deviceId,
      status: 'enabled',
      authentication: { symmetricKey: {}, type: 'sas' },
      capabilities: { iotEdge },
      ...(iotEdge && { parentScopes: [] }),
    }),
  )

describe('create', () => {
  test('with keys that the hub makes: an empty symmetricKey', async () => {
    const { authentication, parentScopes } = await created('az-created')
    expect(authentication.type).toBe('sas')
    expect(authentication.symmetricKey.primaryKey).toMatch(/^.{43}=$/)
    expect(parentScopes).toBeUndefined()
    expect(refused(await az('PUT', '/devices/az-created', { deviceId: 'az-created' }))).toEqual([
      409,
      'DeviceAlreadyExists',
    ])
  })

  test('--ee, with a scope it is a parent’s; a leaf names it as its own', async () => {
    const { deviceScope } = await created('az-edge', true)
    expect(deviceScope).toMatch(/^ms-azure-iot-edge:\/\/az-edge-\d+$/)
    const body = { status: 'enabled', authentication: { symmetricKey: {}, type: 'sas' } }
    const edge = { ...body, deviceId: 'az-below', capabilities: { iotEdge: true }, parentScopes: [deviceScope] }
    expect(identity(await az('PUT', '/devices/az-below', edge))).toMatchObject({ parentScopes: [deviceScope] })
    const leaf = { ...body, deviceId: 'az-leaf', capabilities: { iotEdge: false }, deviceScope }
    expect(identity(await az('PUT', '/devices/az-leaf', leaf))).toMatchObject({
      deviceScope,
      parentScopes: [deviceScope],
    })
  })

  test.each([
    ['x509_thumbprint', { x509Thumbprint: { primaryThumbprint: 'A1'.repeat(20) }, type: 'selfSigned' }],
    ['x509_ca', { type: 'certificateAuthority' }],
  ])('--am %s --status disabled', async (method, authentication) => {
    const deviceId = `az-${method}`
    const capabilities = { iotEdge: false }
    const body = { deviceId, status: 'disabled', statusReason: 'for reasons', authentication, capabilities }
    expect(identity(await az('PUT', `/devices/${deviceId}`, body))).toMatchObject({
      status: 'disabled',
      statusReason: 'for reasons',
      authentication,
    })
  })
})

test('update: GET, then PUT of what it understands, If-Match "*" and an etag in the body', async () => {
  await created('az-update')
  const { authentication, capabilities } = await show('/devices/az-update')
  const { type, symmetricKey } = authentication
  const body = {
    deviceId: 'az-update',
    etag: '*',
    status: 'disabled',
    authentication: { symmetricKey, type },
    capabilities,
  }
  const updated = identity(await az('PUT', '/devices/az-update', body, '"*"'))
  expect(updated).toMatchObject({ status: 'disabled', statusReason: null, authentication: { symmetricKey } })
})

test('update of an Edge device below another: parentScopes are left out, its parent stays', async () => {
  const parent = await created('az-top', true)
  const child = await created('az-middle', true)
  await az('PUT', '/devices/az-middle', { ...child, parentScopes: [parent.deviceScope] }, `"${child.etag}"`)
  const { authentication, capabilities, deviceScope } = await show('/devices/az-middle')
  const body = { deviceId: 'az-middle', etag: '*', status: 'disabled', authentication, capabilities, deviceScope }
  expect(identity(await az('PUT', '/devices/az-middle', body, '"*"'))).toMatchObject({
    status: 'disabled',
    deviceScope,
    parentScopes: [parent.deviceScope],
  })
})

test('renew-key of older releases, and --kt swap: GET, then PUT of the whole document with other keys', async () => {
  await created('az-swap')
  const device = await show('/devices/az-swap')
  const { primaryKey, secondaryKey } = device.authentication.symmetricKey
  const swapped = { symmetricKey: { primaryKey: secondaryKey, secondaryKey: primaryKey }, type: 'sas' }
  const body = { ...device, hub: hubOf(muster).hostName, authentication: swapped }
  expect(identity(await az('PUT', '/devices/az-swap', body, '"*"')).authentication).toMatchObject(swapped)
})

test('renew-key: POST to regenerate, then GET; bulk answers 207 where some fail and 400 where all do', async () => {
  const { authentication: before } = await created('az-renew')
  await created('az-renew-2')
  const regenerate = (policyKey: string, ...ids: string[]) =>
    az('POST', '/devices/keys/regenerate', { policyKey, devices: ids.map((id) => ({ id })) })
  const one = await regenerate('primaryKey', 'az-renew')
  expect(one.statusLine).toBe('HTTP/1.1 200 OK')
  const { authentication: after } = await show('/devices/az-renew')
  expect(one.json()).toEqual({
    policyKey: 'primaryKey',
    rotatedKeys: [{ id: 'az-renew', moduleId: null, ...after.symmetricKey }],
    errors: [],
  })
  expect(after.symmetricKey.primaryKey).not.toBe(before.symmetricKey.primaryKey)
  expect(after.symmetricKey.secondaryKey).toBe(before.symmetricKey.secondaryKey)
  const some = await regenerate('both', 'az-renew', 'az-nobody', 'az-renew-2')
  expect(some.statusLine).toBe('HTTP/1.1 207 Multi-Status')
  expect(some.json()).toMatchObject({
    rotatedKeys: [{ id: 'az-renew' }, { id: 'az-renew-2' }],
    errors: [{ id: 'az-nobody', moduleId: null, errorCode: 'DeviceNotFound', errorStatus: 'az-nobody' }],
  })
  expect((await regenerate('secondaryKey', 'az-nobody')).statusLine).toBe('HTTP/1.1 400 Bad Request')
})

test('renew-key cuts the live connection of the device; the old key opens none any more, the kept one does', async () => {
  const { authentication } = await created('az-live')
  const { hostName } = hubOf(muster)
  const { address, ports } = muster.addresses
  const connect = async (key: string) => {
    const password = sasToken({ sr: encodeURIComponent(`${hostName}/devices/az-live`), key, se: unixNow() + 600 })
    const username = `${hostName}/az-live/?api-version=2021-04-12`
    const device = await connectMqtt({ address, port: ports.mqtts, ca: muster.ca })
    device.write(rawConnect({ clientId: 'az-live', username, password, clean: true, keepAlive: 60 }))
    return { device, code: (await device.next())[3] }
  }
  const { primaryKey, secondaryKey } = authentication.symmetricKey
  const { device, code } = await connect(primaryKey)
  expect(code).toBe(0)
  await az('POST', '/devices/keys/regenerate', { policyKey: 'primaryKey', devices: [{ id: 'az-live' }] })
  await device.ended()
  expect((await connect(primaryKey)).code).toBe(5)
  const kept = await connect(secondaryKey)
  expect(kept.code).toBe(0)
  kept.device.close()
})

test('parent set, children add and remove: the whole document back, over the etag that was read', async () => {
  const gateway = await created('az-gateway', true)
  const child = await created('az-child')
  const adopt = (device: Identity, deviceScope: string | undefined) =>
    az('PUT', `/devices/${device.deviceId}`, { ...device, hub: 'x', deviceScope }, `"${device.etag}"`)
  identity(await adopt(child, gateway.deviceScope))
  const adopted = await show('/devices/az-child')
  expect(adopted.parentScopes).toEqual([gateway.deviceScope])
  expect(refused(await adopt(child, gateway.deviceScope))).toEqual([412, 'PreconditionFailed'])
  // `children remove` sends an empty scope beside the parentScopes that it read.
  identity(await adopt(adopted, ''))
  expect((await show('/devices/az-child')).parentScopes).toBeUndefined()
})

test('children list is a query, which this release refuses by name', async () => {
  const query = "select deviceId from devices where array_contains(parentScopes, 'ms-azure-iot-edge://x-1')"
  expect(refused(await az('POST', '/devices/query', { query }))).toEqual([404, 'FeatureNotSupported'])
})

test('delete: If-Match "*", or the etag that was given', async () => {
  const { etag } = await created('az-gone')
  expect(refused(await az('DELETE', '/devices/az-gone', undefined, '"bm8="'))).toEqual([412, 'PreconditionFailed'])
  expect((await az('DELETE', '/devices/az-gone', undefined, `"${etag}"`)).statusLine).toBe('HTTP/1.1 204 No Content')
  expect(refused(await az('DELETE', '/devices/az-gone', undefined, '"*"'))).toEqual([404, 'DeviceNotFound'])
})

test('modules: create, update, renew-key, delete', async () => {
  await created('az-owner')
  const path = '/devices/az-owner/modules/m'
  const authentication = { symmetricKey: {}, type: 'sas' }
  const made = identity(await az('PUT', path, { moduleId: 'm', deviceId: 'az-owner', authentication }))
  // The documentation's way to new keys.
  const empty = { symmetricKey: { primaryKey: '', secondaryKey: '' }, type: 'sas' }
  const updated = identity(await az('PUT', path, { moduleId: 'm', deviceId: 'az-owner', authentication: empty }, '"*"'))
  expect(updated.authentication.symmetricKey.primaryKey).not.toBe(made.authentication.symmetricKey.primaryKey)
  const devices = [{ id: 'az-owner', moduleId: 'm' }]
  const renewed = await az('POST', '/devices/keys/regenerate', { policyKey: 'secondaryKey', devices })
  expect(renewed.json()).toMatchObject({ rotatedKeys: [{ id: 'az-owner', moduleId: 'm' }], errors: [] })
  expect(await az('GET', '/devices/az-owner/modules').then((answer) => answer.json())).toMatchObject([
    { moduleId: 'm' },
  ])
  expect((await az('DELETE', path, undefined, '"*"')).statusLine).toBe('HTTP/1.1 204 No Content')
})
