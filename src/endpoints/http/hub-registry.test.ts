import { expect, test } from 'vitest'
import { deviceToken, hubWorld, operator, PRIMARY, sasDevice } from '../../../tests/support/hub-world.ts'
import { sasToken } from '../../../tests/support/tokens.ts'
import { parseIfMatch } from '../../base/etags.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { readCertificates } from '../../crypto/certificates.ts'
import { issueDeviceCertificate } from '../../crypto/issuing.ts'
import { rememberPeer } from '../../wire/peer.ts'
import { hubRegistry } from './hub-registry.ts'
import { hubTwins } from './hub-twins.ts'
import { createHttpEndpoint, type Routes } from './server.ts'

const world = await hubWorld()
const { hub, iotHub, clock } = world
const needs = { ...world, random: seededRandom(3), log: silentLog }
/** What the listener would remember of the connection that a request comes on, when the request says so. */
const presented = { chain: [] as Buffer[], proved: 0 }
const withCertificate: Routes = (scope) => {
  scope.addHook('onRequest', async (request) => {
    if (request.headers['x-test-certificate'] === undefined) return
    const proved = () => {
      presented.proved += 1
    }
    rememberPeer(request.raw.socket, { chain: presented.chain, address: 'test', proved })
  })
  hubRegistry(needs)(scope)
}
const { app } = await createHttpEndpoint(needs, [withCertificate, hubTwins(needs)])
const absent = parseIfMatch(undefined)

const policyToken = (skn = 'iothubowner', sr = 'hub1.example') =>
  sasToken({
    sr,
    skn,
    key: iotHub.policies.find(({ keyName }) => keyName === skn)!.primaryKey,
    se: Math.floor(clock.now() / 1000) + 3600,
  })

interface Call {
  readonly headers?: Record<string, string>
  readonly body?: unknown
  readonly token?: string | undefined
}

async function call(method: 'GET' | 'PUT' | 'POST' | 'DELETE' | 'PATCH', url: string, request: Call = {}) {
  const token = 'token' in request ? request.token : policyToken()
  const answer = await app.inject({
    method,
    url,
    headers: {
      host: 'hub1.example',
      ...(token === undefined ? {} : { authorization: token }),
      'content-type': 'application/json; charset=utf-8',
      ...request.headers,
    },
    ...(request.body === undefined
      ? {}
      : { payload: typeof request.body === 'string' ? request.body : JSON.stringify(request.body) }),
  })
  const { statusCode: status, headers, body } = answer
  return { status, headers, body: body === '' ? undefined : (JSON.parse(body) as Record<string, unknown>) }
}

const refused = (answer: Awaited<ReturnType<typeof call>>) => [
  answer.status,
  answer.headers['iothub-errorcode'],
  String(answer.body?.['Message']).split(';')[0],
]

test('the life of a device over HTTPS: the calls and the spellings of the clients', async () => {
  const made = await call('PUT', '/devices/d1?api-version=2021-04-12', { body: { deviceId: 'd1', ...sasDevice() } })
  expect([made.status, made.headers['content-type'], made.headers['etag']]).toEqual([
    200,
    'application/json; charset=utf-8',
    `"${made.body?.['etag']}"`,
  ])
  expect((await call('GET', '/devices/d1?api-version=2016-02-03')).body).toEqual(made.body)
  // Explorer encodes the slashes of the path; a slash at the end and another letter case mean the same.
  expect((await call('GET', '/devices%2Fd1?api-version=2020-09-30')).body).toEqual(made.body)
  expect((await call('GET', '/Devices/d1/')).body).toEqual(made.body)
  for (const ifMatch of ['"*"', '*'])
    expect((await call('PUT', '/devices/d1', { headers: { 'if-match': ifMatch }, body: sasDevice() })).status).toBe(200)
  expect(refused(await call('PUT', '/devices/d1', { body: {} }))).toEqual([
    409,
    'DeviceAlreadyExists',
    'ErrorCode:DeviceAlreadyExists',
  ])
  expect(refused(await call('PUT', '/devices/d1', { body: {}, headers: { 'if-match': '"old"' } }))).toEqual([
    412,
    'PreconditionFailed',
    'ErrorCode:PreconditionFailed',
  ])
  expect(((await call('GET', '/devices/?top=10')).body as unknown as unknown[]).length).toBe(1)
  expect(refused(await call('GET', '/devices?top=1001'))).toEqual([400, 'ArgumentInvalid', 'ErrorCode:ArgumentInvalid'])
  expect((await call('GET', '/statistics/devices')).body).toEqual({
    totalDeviceCount: 1,
    enabledDeviceCount: 1,
    disabledDeviceCount: 0,
  })
  expect((await call('GET', '/statistics/service')).body).toEqual({ connectedDeviceCount: 0 })
  const gone = await call('DELETE', '/devices/d1', { headers: { 'if-match': '"*"' } })
  expect([gone.status, gone.body]).toEqual([204, undefined])
})

test('errors have form (a), equal names in header and body, and a bare device id for 404', async () => {
  const answer = await call('GET', '/devices/nobody')
  expect([answer.status, answer.headers['iothub-errorcode']]).toEqual([404, 'DeviceNotFound'])
  expect(answer.body?.['Message']).toBe('ErrorCode:DeviceNotFound;nobody')
  expect(answer.body?.['ExceptionMessage']).toMatch(/^Tracking ID:[0-9a-f]{32}-G:0-TimeStamp:01\/01\/2026 00:00:00$/)
})

test('ids with every character, percent-encoded', async () => {
  const id = "-:.+%_#*?!(),=@;$'"
  const path = `/devices/${encodeURIComponent(id)}`
  expect((await call('PUT', path, { body: {} })).body?.['deviceId']).toBe(id)
  expect((await call('GET', path)).status).toBe(200)
  expect((await call('DELETE', path)).status).toBe(204)
  expect(refused(await call('PUT', '/devices/a%20b%2Fc%231', { body: {} }))[0]).toBe(400)
  expect(refused(await call('GET', '/devices/a%20b%2Fc%231'))).toEqual([
    404,
    'DeviceNotFound',
    'ErrorCode:DeviceNotFound',
  ])
})

test('bad bodies', async () => {
  for (const body of ['{', '[]', '', '"x"'])
    expect(refused(await call('PUT', '/devices/bad', { body }))).toEqual([
      400,
      'ArgumentInvalid',
      'ErrorCode:ArgumentInvalid',
    ])
  expect(refused(await call('POST', '/devices', { body: {} }))).toEqual([
    400,
    'ArgumentInvalid',
    'ErrorCode:ArgumentInvalid',
  ])
})

test('a bulk request answers 200 with its result, whatever became of its items', async () => {
  const body = [
    { id: 'b1', importMode: 'create' },
    { id: 'b2', importMode: 'update' },
  ]
  const answer = await call('POST', '/devices?api-version=2021-04-12', { body })
  expect([answer.status, answer.body?.['isSuccessful']]).toEqual([200, false])
  expect(
    refused(await call('POST', '/devices', { body: Array.from({ length: 101 }, (_, n) => ({ id: `x${n}` })) }))[0],
  ).toBe(413)
})

test('rights: each operation needs its own, another hub is another hub', async () => {
  const as = (skn: string) => ({ token: policyToken(skn) })
  const expected: Record<string, readonly [read: number, write: number, twin: number]> = {
    iothubowner: [404, 404, 404],
    registryReadWrite: [404, 404, 401],
    registryRead: [404, 401, 401],
    service: [401, 401, 404],
    device: [401, 401, 401],
  }
  for (const [skn, statuses] of Object.entries(expected)) {
    const answers = await Promise.all([
      call('GET', '/devices/none', as(skn)),
      call('DELETE', '/devices/none', as(skn)),
      call('GET', '/twins/none', as(skn)),
    ])
    expect([skn, ...answers.map(({ status }) => status)]).toEqual([skn, ...statuses])
  }
  expect(refused(await call('GET', '/devices', { token: undefined }))).toEqual([
    401,
    'IotHubUnauthorized',
    'ErrorCode:IotHubUnauthorized',
  ])
  expect(refused(await call('GET', '/devices', { token: policyToken('device') }))).toEqual([
    401,
    'IotHubUnauthorizedAccess',
    'ErrorCode:IotHubUnauthorizedAccess',
  ])
  expect(refused(await call('GET', '/devices', { token: policyToken('iothubowner', 'hub2.example') }))[0]).toBe(401)
  expect((await call('GET', '/devices', { token: policyToken('iothubowner', 'hub1.example%2Fdevices') })).status).toBe(
    200,
  )
  expect(
    (await call('GET', '/statistics/devices', { token: policyToken('iothubowner', 'hub1.example%2Fdevices') })).status,
  ).toBe(401)
})

/** edge.md 4.5: what identityd does with the device's own token, in lower case and raw. */
test('an Edge device manages its own modules with its own token', async () => {
  await hub.registry.putDevice(operator, iotHub, 'Edge', sasDevice({ capabilities: { iotEdge: true } }), absent)
  await hub.registry.putDevice(operator, iotHub, 'Other', sasDevice(), absent)
  const token = sasToken({ sr: 'hub1.example/devices/edge', key: PRIMARY, se: Math.floor(clock.now() / 1000) + 30 })
  const own = (method: 'GET' | 'PUT' | 'DELETE', path: string, more: object = {}) =>
    call(method, `/devices/Edge/modules${path}?api-version=2017-11-08-preview`, { token, ...more })
  const made = await own('PUT', '/m', { body: { moduleId: 'm', deviceId: 'Edge' } })
  expect([made.status, made.body?.['generationId']]).toEqual([200, expect.stringMatching(/^\d{18}$/)])
  const keyed = await own('PUT', '/m', {
    headers: { 'if-match': '*' },
    body: { moduleId: 'm', deviceId: 'Edge', ...sasDevice() },
  })
  expect([keyed.status, keyed.body?.['generationId']]).toEqual([200, made.body?.['generationId']])
  expect((await own('PUT', '/%24edgeAgent', { headers: { 'if-match': '*' }, body: sasDevice() })).status).toBe(200)
  const list = (await own('GET', '')).body as unknown as { moduleId: string; authentication: { type: string } }[]
  expect(list.map(({ moduleId, authentication }) => [moduleId, authentication.type])).toEqual([
    ['$edgeAgent', 'sas'],
    ['$edgeHub', 'none'],
    ['m', 'sas'],
  ])
  // The module itself may look at itself, and nothing else.
  const module = deviceToken(clock, 'Edge/modules/m')
  expect((await call('GET', '/devices/Edge/modules/m', { token: module })).status).toBe(200)
  expect((await call('GET', '/devices/Edge/modules', { token: module })).status).toBe(401)
  expect((await call('GET', '/devices/Edge/modules/$edgeHub', { token: module })).status).toBe(401)
  // No other device's modules, no device at all, no wrong key.
  expect((await call('GET', '/devices/Other/modules', { token })).status).toBe(401)
  expect((await call('GET', '/devices/Edge', { token })).status).toBe(401)
  expect(
    (await own('GET', '', { token: deviceToken(clock, 'Edge', { key: Buffer.alloc(32).toString('base64') }) })).status,
  ).toBe(401)
  expect((await own('DELETE', '/m', { headers: { 'if-match': '*' } })).status).toBe(204)
  expect(refused(await own('GET', '/m'))).toEqual([404, 'ModuleNotFound', 'ErrorCode:ModuleNotFound'])
  await hub.registry.putDevice(operator, iotHub, 'Edge', sasDevice({ status: 'disabled' }), parseIfMatch('*'))
  expect((await own('GET', '')).status).toBe(401)
})

test('an Edge device manages its own modules with its certificate', async () => {
  const issued = await issueDeviceCertificate({
    authority: undefined,
    commonName: 'x',
    days: 30,
    keyType: 'ec',
    now: clock.now(),
  })
  const [certificate] = readCertificates(issued.certificate)
  const x509Thumbprint = { primaryThumbprint: certificate!.sha256 }
  await hub.registry.putDevice(operator, iotHub, 'ex', { authentication: { x509Thumbprint } }, absent)
  presented.chain = [certificate!.raw]
  const byCertificate = { token: undefined, headers: { 'x-test-certificate': '1' } }
  const answer = await call('GET', '/devices/ex/modules', byCertificate)
  expect([answer.status, answer.body, presented.proved]).toEqual([200, [], 1])
  expect((await call('GET', '/devices/Other/modules', byCertificate)).status).toBe(401)
})

test('twins are read with their own members, in the order of the real service', async () => {
  await hub.registry.provision(
    iotHub,
    {
      deviceId: 'tw',
      authentication: { type: 'sas', symmetricKey: { primaryKey: PRIMARY, secondaryKey: PRIMARY } },
      iotEdge: true,
      twin: { tags: { site: 'x' }, desired: { interval: 30 } },
    },
    'keep',
  )
  const device = await hub.registry.getDevice(iotHub, 'tw')
  const answer = await call('GET', '/twins/tw?api-version=2021-04-12')
  const stamp = { $lastUpdated: '2026-01-01T00:00:00.0000000Z' }
  expect(answer.body).toEqual({
    deviceId: 'tw',
    etag: 'AAAAAAAAAAE=',
    deviceEtag: device.etag,
    status: 'enabled',
    statusUpdateTime: '0001-01-01T00:00:00Z',
    connectionState: 'Disconnected',
    lastActivityTime: '0001-01-01T00:00:00Z',
    cloudToDeviceMessageCount: 0,
    authenticationType: 'sas',
    x509Thumbprint: { primaryThumbprint: null, secondaryThumbprint: null },
    modelId: '',
    version: 2,
    tags: { site: 'x' },
    properties: {
      desired: {
        interval: 30,
        $metadata: { ...stamp, $lastUpdatedVersion: 1, interval: { ...stamp, $lastUpdatedVersion: 1 } },
        $version: 1,
      },
      reported: { $metadata: stamp, $version: 1 },
    },
    capabilities: { iotEdge: true },
    deviceScope: device.deviceScope,
  })
  expect(Object.keys(answer.body ?? {}).slice(0, 4)).toEqual(['deviceId', 'etag', 'deviceEtag', 'status'])
  expect(answer.headers['etag']).toBe('"AAAAAAAAAAE="')
  const module = await call('GET', '/twins/tw/modules/%24edgeAgent')
  expect(module.body).toMatchObject({ deviceId: 'tw', moduleId: '$edgeAgent', authenticationType: 'none' })
  expect(module.body).not.toHaveProperty('tags')
  expect(refused(await call('GET', '/twins/nobody'))).toEqual([404, 'DeviceNotFound', 'ErrorCode:DeviceNotFound'])
  expect(refused(await call('GET', '/twins/tw/modules/no'))).toEqual([
    404,
    'ModuleNotFound',
    'ErrorCode:ModuleNotFound',
  ])
})

test('keys are renewed with RegistryWrite: 200 all, 207 some, 400 none, one body', async () => {
  const path = '/devices/keys/regenerate?api-version=2024-03-31'
  for (const id of ['renew-1', 'renew-2'])
    await call('PUT', `/devices/${id}`, { body: { deviceId: id, ...sasDevice() } })
  const renew = (...ids: string[]) =>
    call('POST', path, { body: { policyKey: 'primaryKey', devices: ids.map((id) => ({ id })) } })
  const all = await renew('renew-1', 'renew-2')
  expect([all.status, all.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8'])
  expect(all.body).toMatchObject({
    policyKey: 'primaryKey',
    errors: [],
    rotatedKeys: [{ id: 'renew-1' }, { id: 'renew-2' }],
  })
  const some = await renew('renew-1', 'nobody')
  expect([some.status, some.body]).toMatchObject([
    207,
    { rotatedKeys: [{}], errors: [{ errorCode: 'DeviceNotFound' }] },
  ])
  const none = await renew('nobody')
  expect([none.status, none.body]).toEqual([
    400,
    {
      policyKey: 'primaryKey',
      rotatedKeys: [],
      errors: [{ id: 'nobody', moduleId: null, errorCode: 'DeviceNotFound', errorStatus: 'nobody' }],
    },
  ])
  const body = { policyKey: 'both', devices: [{ id: 'renew-1' }] }
  for (const token of [policyToken('registryRead'), policyToken('service'), undefined])
    expect((await call('POST', path, { body, token })).status).toBe(401)
  // A device may be called so.
  expect((await call('PUT', '/devices/keys', { body: { deviceId: 'keys' } })).status).toBe(200)
})

test('what this release does not have is refused by name', async () => {
  const notAvailable = [404, 'FeatureNotSupported', 'ErrorCode:FeatureNotSupported']
  const notAllowed = [405, 'GenericMethodNotAllowed', 'ErrorCode:GenericMethodNotAllowed']
  for (const [method, path] of [
    ['POST', '/devices/query'],
    ['POST', '/devices%2Fquery'],
    ['DELETE', '/devices/d1/commands'],
    ['POST', '/devices/d1/messages/events'],
    ['GET', '/devices/d1/messages/deviceBound'],
    ['POST', '/devices/d1/files'],
    ['POST', '/devices/d1/applyConfigurationContent'],
    ['POST', '/devices/e/modules/$edgeHub/getDeviceAndModuleOnBehalfOf'],
    ['POST', '/jobs/create'],
    ['GET', '/jobs/v2/x'],
    ['GET', '/jobs'],
    ['GET', '/configurations?top=20'],
    ['PUT', '/configurations/c'],
    ['GET', '/digitaltwins/d1'],
    ['GET', '/messages/serviceBound/feedback'],
    ['POST', '/twins/d1/methods'],
    ['POST', '/twins/d1/modules/m/methods'],
  ] as const)
    expect([path, ...refused(await call(method, path, { body: {} }))]).toEqual([path, ...notAvailable])
  for (const [method, path, headers] of [
    ['PATCH', '/twins/d1', {}],
    ['PUT', '/twins/d1', {}],
    ['PATCH', '/twins/d1/modules/m', {}],
    // Java sends PATCH as POST.
    ['POST', '/twins/d1', { 'x-http-method-override': 'PATCH' }],
    ['POST', '/devices/d1', {}],
    ['PUT', '/devices/keys/regenerate', {}],
    ['DELETE', '/statistics/devices', {}],
  ] as const)
    expect([path, ...refused(await call(method, path, { body: {}, headers }))]).toEqual([path, ...notAllowed])
})
