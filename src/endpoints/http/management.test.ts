import { describe, expect, test } from 'vitest'
import { authority, device, pem } from '../../../tests/certificates.ts'
import { absent, connectionStringOf, controlForTest, operator } from '../../../tests/support/control.ts'
import type { JsonObject } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import { createLog, silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { management } from './management.ts'
import { createHttpEndpoint } from './server.ts'

const TOKEN = 'c2VjcmV0LXRva2Vu'
const GROUP = '/subscriptions/s1/resourceGroups/g1/providers/Microsoft.Devices'
const DAY = 24 * 3600 * 1000
const NOW = Date.UTC(2026, 0, 1)

interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
  readonly body: Body
}

/** The members of answers that these tests look into; each answer has its own few. */
interface Body {
  readonly id: string
  readonly etag: string
  readonly message: string
  readonly tags: unknown
  readonly primaryKey: string
  readonly secondaryKey: string
  readonly keyName: string
  readonly value: readonly Body[]
  readonly properties: {
    readonly iotHubs: readonly object[]
    readonly authorizationPolicies: readonly object[]
    readonly isVerified: boolean
    readonly verificationCode: string
  }
}

async function prepared(log = silentLog) {
  const made = await controlForTest()
  const { control, clock } = made
  const face = management({ control, log, token: TOKEN, hosts: ['127.0.0.1', 'localhost', '[::1]'] })
  const { app } = await createHttpEndpoint({ clock, random: seededRandom(2), log: silentLog }, [face])
  const call = async (
    method: string,
    url: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply> => {
    const response = await app.inject({
      method: method as 'GET',
      url,
      headers: { host: '127.0.0.1:4711', authorization: `Bearer ${TOKEN}`, ...headers },
      ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = response.payload
    return {
      status: response.statusCode,
      headers: response.headers,
      text,
      body: (text.startsWith('{') ? JSON.parse(text) : {}) as Body,
    }
  }
  return { ...made, call }
}

describe('who may ask', () => {
  test.each<[string, Record<string, string>, number]>([
    ['nobody without the token', { authorization: '' }, 401],
    ['nobody with another token', { authorization: 'Bearer c2VjcmV0LXRva2Vv' }, 401],
    ['nobody with a part of it', { authorization: `Bearer ${TOKEN.slice(0, -1)}` }, 401],
    ['nobody with more than it', { authorization: `Bearer ${TOKEN}x` }, 401],
    ['nobody with another scheme', { authorization: `Basic ${TOKEN}` }, 401],
    ['nobody with a bare token', { authorization: TOKEN }, 401],
    ['whoever has the token', {}, 200],
    ['in any spelling of the scheme', { authorization: `bearer ${TOKEN}` }, 200],
    ['by another allowed name', { host: 'localhost' }, 200],
    ['by an allowed address', { host: '[::1]:4711' }, 200],
    ['not by a name that was bound to loopback (DNS rebinding)', { host: 'evil.example:4711' }, 403],
    ['not by a name that begins like an allowed one', { host: 'localhost.evil.example' }, 403],
    ['not by a port alone', { host: ':4711' }, 403],
  ])('%s', async (_, headers, status) => {
    const { call } = await shared
    const answer = await call('GET', '/provisioningServices', undefined, headers)
    expect(answer.status).toBe(status)
    expect(answer.text).not.toContain(TOKEN)
    if (status !== 200) expect(Object.keys(answer.body)).toEqual(['code', 'httpStatusCode', 'message', 'details'])
    expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined)
  })
  const shared = prepared()

  test('the host is looked at first: a foreign page does not learn whether its token is right', async () => {
    const { call } = await shared
    expect((await call('GET', '/IotHubs', undefined, { host: 'evil.example', authorization: '' })).status).toBe(403)
  })

  test('every route needs the token, unknown ones included', async () => {
    const { call } = await shared
    const routes = [
      ['GET', '/'],
      ['PUT', '/provisioningServices/x'],
      ['POST', '/provisioningServices/x/listkeys'],
      ['DELETE', '/IotHubs/x'],
      ['POST', '/IotHubs/x/certificates/c/verify'],
      ['OPTIONS', '/IotHubs'],
      ['GET', '/nothing/here'],
      ['GET', '/health/more'],
    ] as const
    const statuses = await Promise.all(
      routes.map(async ([method, url]) => (await call(method, url, undefined, { authorization: 'Bearer x' })).status),
    )
    expect(new Set(statuses)).toEqual(new Set([401]))
  })

  test('anybody may ask whether somebody is there, and learns nothing else', async () => {
    const { call } = await shared
    const { status, text } = await call('GET', '/health', undefined, { authorization: '', host: '10.0.0.1' })
    expect([status, text]).toEqual([200, 'ok'])
  })

  test('no CORS header is ever sent, and no answer may be cached', async () => {
    const { call } = await shared
    const origin = { origin: 'http://evil.example', 'access-control-request-method': 'PUT' }
    for (const method of ['GET', 'OPTIONS']) {
      const { headers } = await call(method, '/provisioningServices', undefined, origin)
      expect(Object.keys(headers).filter((header) => header.startsWith('access-control'))).toEqual([])
      expect(headers['cache-control']).toBe('no-store')
    }
  })

  test('a management API without a token does not start', async () => {
    const { control } = await shared
    expect(() => management({ control, log: silentLog, token: '', hosts: [] })).toThrow('must have a token')
  })
})

describe('a provisioning service', () => {
  test('is created by a PUT, shown without keys, and its keys are listed', async () => {
    const { call } = await prepared()
    const created = await call('PUT', `${GROUP}/provisioningServices/My-Dps`, {
      location: 'westeurope',
      tags: { a: '1' },
    })
    expect(created.status).toBe(201)
    const { etag, properties, ...resource } = created.body
    expect(resource).toEqual({
      id: `${GROUP}/provisioningServices/My-Dps`,
      name: 'My-Dps',
      type: 'Microsoft.Devices/provisioningServices',
      location: 'westeurope',
      tags: { a: '1' },
      subscriptionid: 's1',
      resourcegroup: 'g1',
      sku: { name: 'S1', tier: 'Standard', capacity: 1 },
    })
    expect(Buffer.from(etag, 'base64')).toHaveLength(8)
    expect(properties).toMatchObject({
      state: 'Active',
      provisioningState: 'Succeeded',
      iotHubs: [],
      allocationPolicy: 'Hashed',
      serviceOperationsHostName: 'my-dps.dps.localhost',
      deviceProvisioningHostName: 'my-dps.dps.localhost',
      idScope: expect.stringMatching(/^0ne[0-9A-F]{8}$/),
      authorizationPolicies: [
        {
          keyName: 'provisioningserviceowner',
          primaryKey: '****',
          secondaryKey: '****',
          rights: 'ServiceConfig, DeviceConnect, EnrollmentWrite, RegistrationStatusWrite',
        },
      ],
    })
    const { value: keys } = (await call('POST', `${GROUP}/provisioningServices/my-dps/listkeys`)).body
    expect(Buffer.from(keys[0]?.primaryKey ?? '', 'base64')).toHaveLength(32)
    const one = await call('POST', `${GROUP}/provisioningServices/my-dps/keys/ProvisioningServiceOwner/listkeys`)
    expect(one.body).toEqual(keys[0])
  })

  test('is listed by group, by subscription and in short form', async () => {
    const { call } = await prepared()
    await call('PUT', '/provisioningServices/dps', {})
    const ids = await Promise.all(
      [GROUP, '/subscriptions/s1/providers/Microsoft.Devices', ''].map(
        async (base) => (await call('GET', `${base}/provisioningServices?api-version=2021-10-15`)).body.value[0]?.id,
      ),
    )
    expect(ids).toEqual([
      `${GROUP}/provisioningServices/dps`,
      '/subscriptions/s1/providers/Microsoft.Devices/provisioningServices/dps',
      '/provisioningServices/dps',
    ])
  })

  test('takes back the whole document it showed, with If-Match, and only what was changed changes', async () => {
    const { call, control } = await prepared()
    const hub = await control.hubs.put(operator, 'hub', { hostNames: ['hub.test'] }, absent)
    const connectionString = connectionStringOf('hub.test', hub.policies[0])
    await call('PUT', '/provisioningServices/dps', {
      properties: { iotHubs: [{ connectionString, location: 'here' }] },
    })
    const before = (await control.provisioningServices.get('dps'))!
    const shown = (await call('GET', '/provisioningServices/dps')).body
    expect(shown.properties.iotHubs).toEqual([
      {
        name: 'hub.test',
        hostName: 'hub.test',
        applyAllocationPolicy: true,
        allocationWeight: 1,
        connectionString: 'HostName=hub.test;SharedAccessKeyName=iothubowner;SharedAccessKey=****',
        location: 'here',
        authenticationType: 'KeyBased',
      },
    ])
    const iotHubs = [{ ...shown.properties.iotHubs[0], allocationWeight: 5 }]
    const changed = { ...shown, properties: { ...shown.properties, iotHubs } }
    const answer = await call('PUT', '/provisioningServices/dps', changed, { 'if-match': shown.etag })
    expect(answer.status).toBe(200)
    const after = (await control.provisioningServices.get('dps'))!
    expect(after).toEqual({
      ...before,
      etag: after.etag,
      linkedHubs: [{ ...before.linkedHubs[0], allocationWeight: 5 }],
    })
    expect((await call('PUT', '/provisioningServices/dps', changed, { 'if-match': `"${shown.etag}"` })).status).toBe(
      412,
    )
  })

  test('PATCH changes tags only', async () => {
    const { call } = await prepared()
    await call('PUT', '/provisioningServices/dps', { tags: { a: '1' } })
    expect((await call('PATCH', '/provisioningServices/dps', { tags: { b: '2' } })).body.tags).toEqual({ b: '2' })
    for (const [body, message] of [
      [{ properties: {} }, /resource\.properties must be left out: PATCH changes tags only/],
      [{}, /resource\.tags must be a value, found nothing/],
      [{ tags: 'x' }, /resource\.tags must be an object, found a string/],
      ['[]', /resource must be a JSON object, found an array/],
      ['', /resource must be a JSON object, found nothing/],
    ] as const) {
      const answer = await call('PATCH', '/provisioningServices/dps', body)
      expect(answer).toMatchObject({ status: 400, body: { message: expect.stringMatching(message) } })
    }
    expect((await call('PATCH', '/provisioningServices/none', { tags: {} })).status).toBe(404)
  })

  test('is deleted; a second time it is not there', async () => {
    const { call, control } = await prepared()
    await call('PUT', '/provisioningServices/dps', {})
    expect(await call('DELETE', '/provisioningServices/dps')).toMatchObject({ status: 200, text: '' })
    expect((await call('DELETE', '/provisioningServices/dps')).status).toBe(404)
    expect(await control.provisioningServices.list()).toEqual([])
  })

  test('an unknown one is a 404 in the shape of the control plane, which says what there is', async () => {
    const { call } = await prepared()
    await call('PUT', '/provisioningServices/dps', {})
    expect(await call('GET', '/provisioningServices/nope')).toMatchObject({
      status: 404,
      body: {
        code: 404000,
        httpStatusCode: 'NotFound',
        message: 'Expected the name of a provisioning service (dps), found "nope".',
        details: expect.stringMatching(/^Tracking ID: [0-9a-f-]{36}$/),
      },
    })
  })

  test.each([
    ['free-name', undefined, { nameAvailable: true }],
    ['DPS', undefined, { nameAvailable: false, reason: 'AlreadyExists' }],
    ['1', 'Microsoft.Devices/provisioningServices', { nameAvailable: false, reason: 'Invalid' }],
  ])('the name %s is checked', async (name, type, expected) => {
    const { call } = await prepared()
    await call('PUT', '/provisioningServices/dps', {})
    const path = '/subscriptions/s1/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability'
    expect((await call('POST', path, { name, type })).body).toMatchObject(expected)
    expect((await call('POST', path, { name, type: 'other' })).status).toBe(400)
    expect((await call('POST', path, {})).body.message).toBe('body.name must be a value, found nothing.')
  })
})

describe('a hub', () => {
  test('is created, shown, linked by its listed key, and cannot be deleted while it is', async () => {
    const { call } = await prepared()
    const body = {
      location: 'westeurope',
      sku: { name: 'S1', tier: 'Standard', capacity: 1 },
      properties: {
        eventHubEndpoints: { events: { partitionCount: 2, retentionTimeInDays: 7 } },
        enableFileUploadNotifications: false,
      },
    }
    const created = await call('PUT', `${GROUP}/IotHubs/hub`, body)
    expect(created).toMatchObject({
      status: 201,
      body: {
        id: `${GROUP}/IotHubs/hub`,
        type: 'Microsoft.Devices/IotHubs',
        sku: { name: 'S1', tier: 'Standard', capacity: 1 },
        properties: {
          hostName: 'hub.hub.localhost',
          locations: [{ location: 'westeurope', role: 'primary' }],
          eventHubEndpoints: { events: { retentionTimeInDays: 7, partitionCount: 2, partitionIds: ['0', '1'] } },
        },
      },
    })
    expect(created.body.properties.authorizationPolicies[0]).toEqual({
      keyName: 'iothubowner',
      primaryKey: '****',
      secondaryKey: '****',
      rights: 'RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect',
    })
    const owner = (await call('POST', `${GROUP}/IotHubs/hub/IotHubKeys/iothubowner/listkeys`)).body
    const connectionString = connectionStringOf('hub.hub.localhost', owner)
    const linked = await call('PUT', '/provisioningServices/dps', { properties: { iotHubs: [{ connectionString }] } })
    expect(linked.status).toBe(201)
    expect(linked.text).not.toContain(owner.primaryKey)
    expect(await call('DELETE', '/IotHubs/hub')).toMatchObject({
      status: 409,
      body: {
        code: 409000,
        httpStatusCode: 'Conflict',
        message: expect.stringContaining('linked to the provisioning service dps'),
      },
    })
    expect((await call('PUT', '/IotHubs/hub', created.body)).status).toBe(200)
  })

  test('its policies are changed one by one', async () => {
    const { call } = await prepared()
    await call('PUT', '/IotHubs/hub', {})
    const path = '/IotHubs/hub/IotHubKeys/mine'
    const added = await call('PUT', path, { rights: 'registryread' })
    expect(added.body).toMatchObject({ keyName: 'mine', rights: 'RegistryRead' })
    const renewed = (await call('POST', `${path}/regenerate`, { key: 'Secondary' })).body
    expect(renewed).toEqual({ ...added.body, secondaryKey: renewed.secondaryKey })
    expect(renewed.secondaryKey).not.toBe(added.body.secondaryKey)
    expect((await call('POST', `${path}/regenerate`, {})).body.message).toBe('body.key must be a value, found nothing.')
    expect((await call('PUT', path, { keyName: 'other', rights: 'RegistryRead' })).body.message).toMatch(
      /policy\.keyName must be the one of the path/,
    )
    expect((await call('DELETE', path)).status).toBe(200)
    expect((await call('DELETE', path)).status).toBe(404)
    expect((await call('POST', `${path}/listkeys`)).status).toBe(404)
  })
})

describe('what a PUT must not say is refused by name, never ignored', () => {
  const rows: readonly (readonly ['dps' | 'hub', JsonObject, RegExp])[] = [
    ['dps', { identity: { type: 'SystemAssigned' } }, /^identity must be left out: .*location, tags, properties/],
    ['dps', { sku: { name: 'S2' } }, /^sku must be left out, or as a GET shows it/],
    [
      'dps',
      { properties: { alocationPolicy: 'Static' } },
      /^properties\.alocationPolicy must be left out: it cannot be set here\. What counts is allocationPolicy/,
    ],
    ['dps', { properties: { idScope: '0ne00000000' } }, /^properties\.idScope must be left out/],
    [
      'dps',
      { properties: { publicNetworkAccess: 'Disabled' } },
      /^properties\.publicNetworkAccess must be left out, or as a GET shows it/,
    ],
    ['dps', { properties: { disableLocalAuth: true } }, /^properties\.disableLocalAuth must be left out/],
    [
      'dps',
      { properties: { ipFilterRules: [{ filterName: 'r', action: 'Accept', ipMask: '10.0.0.0/8' }] } },
      /^properties\.ipFilterRules/,
    ],
    [
      'dps',
      { properties: { iotHubs: [{ connectionString: 'x', extra: 1 }] } },
      /^properties\.iotHubs\[0\]\.extra must be left out/,
    ],
    [
      'dps',
      { properties: { iotHubs: [{ connectionString: 'x', authenticationType: 'UserAssigned' }] } },
      /iotHubs\[0\]\.authenticationType must be KeyBased/,
    ],
    [
      'dps',
      { properties: { iotHubs: [{ connectionString: 'x', name: 'a', hostName: 'b' }] } },
      /iotHubs\[0\]\.hostName must be the same as name/,
    ],
    ['dps', { properties: { iotHubs: 'x' } }, /properties\.iotHubs must be an array, found a string/],
    [
      'dps',
      { properties: { authorizationPolicies: [{ keyName: 'p', rights: 'ServiceConfig', extra: 'x' }] } },
      /^properties\.authorizationPolicies\[0\]\.extra/,
    ],
    ['dps', { properties: 5 }, /resource\.properties must be an object, found a number/],
    ['hub', { properties: { routing: { routes: [{ name: 'r' }] } } }, /^properties\.routing must be left out/],
    [
      'hub',
      { properties: { enableFileUploadNotifications: true } },
      /^properties\.enableFileUploadNotifications must be left out/,
    ],
    [
      'hub',
      { properties: { storageEndpoints: { $default: { connectionString: 'x' } } } },
      /^properties\.storageEndpoints/,
    ],
    ['hub', { properties: { cloudToDevice: { maxDeliveryCount: 5 } } }, /^properties\.cloudToDevice/],
    ['hub', { properties: { disableDeviceSAS: true } }, /^properties\.disableDeviceSAS/],
    [
      'hub',
      { properties: { features: 'DeviceManagement' } },
      /^properties\.features must be left out, or as a GET shows it/,
    ],
    [
      'hub',
      { properties: { eventHubEndpoints: { other: { partitionCount: 1 } } } },
      /^properties\.eventHubEndpoints\.other/,
    ],
    [
      'hub',
      { properties: { eventHubEndpoints: { events: { path: 'x' } } } },
      /^properties\.eventHubEndpoints\.events\.path/,
    ],
    ['hub', { sku: { name: 'S1', tier: 'Basic' } }, /resource\.sku\.tier must be Standard, found "Basic"/],
    ['hub', { sku: { name: 'S1', family: 'x' } }, /^sku\.family must be left out/],
    ['hub', { tags: { a: 5 } }, /resource\.tags must be text/],
  ]
  const shared = prepared()
  test.each(rows.map(([kind, body, message]) => [kind, message.source, body, message] as const))(
    '%s: %s',
    async (kind, _, body, message) => {
      const { call, control } = await shared
      const path = kind === 'dps' ? '/provisioningServices/new' : '/IotHubs/new'
      const answer = await call('PUT', path, body)
      expect(answer).toMatchObject({
        status: 400,
        body: { code: 400004, httpStatusCode: 'BadRequest', message: expect.stringMatching(message) },
      })
      expect([...(await control.provisioningServices.list()), ...(await control.hubs.list())]).toEqual([])
    },
  )

  test('what asks for nothing may stand there', async () => {
    const { call } = await prepared()
    const empty = {
      ipFilterRules: [],
      privateEndpointConnections: null,
      disableLocalAuth: false,
      portalOperationsHostName: '',
    }
    expect((await call('PUT', '/provisioningServices/dps', { properties: empty })).status).toBe(201)
    const routing = { endpoints: { eventHubs: [], storageContainers: [] }, routes: [], enrichments: [] }
    const storageEndpoints = { $default: { connectionString: '', containerName: '' } }
    expect((await call('PUT', '/IotHubs/hub', { properties: { routing, storageEndpoints } })).status).toBe(201)
  })

  test.each([
    ['POST', '/IotHubs/hub/exportDevices'],
    ['POST', `${GROUP}/IotHubs/hub/failover`],
    ['GET', '/IotHubs/hub/IotHubStats'],
    ['PUT', '/IotHubs/hub/eventHubEndpoints/events/ConsumerGroups/cg1'],
    ['POST', '/IotHubs/hub/routing/routes/$testall'],
    ['GET', '/provisioningServices/dps/skus'],
    ['POST', '/provisioningServices/dps'],
    ['GET', '/'],
  ])('%s %s does not exist', async (method, path) => {
    const { call } = await shared
    expect(await call(method, path, {})).toMatchObject({
      status: 404,
      body: { code: 404013, message: expect.stringContaining(`no operation ${method} ${path}`) },
    })
  })

  test.each([
    ['malformed JSON', '{"a"', 400, /not valid JSON/],
    ['no body', undefined, 400, /resource must be a JSON object, found nothing/],
    ['a list', '[]', 400, /found an array/],
    ['too much', `"${'x'.repeat(limits.managementBodyBytes)}"`, 413, /larger than this operation takes/],
  ])('a body that is %s', async (_, body, status, message) => {
    const { call } = await shared
    const answer = await call('PUT', '/provisioningServices/new', body)
    expect(answer).toMatchObject({ status, body: { message: expect.stringMatching(message) } })
  })

  test('If-None-Match', async () => {
    const { call } = await shared
    expect(await call('PUT', '/IotHubs/new', {}, { 'if-none-match': '*' })).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('If-None-Match is not available') },
    })
  })
})

describe.each(['provisioningServices', 'IotHubs'])('certificates of %s', (segment) => {
  const valid = { from: NOW - DAY, until: NOW + DAY }
  const root = authority('root', valid)
  const path = `${GROUP}/${segment}/owner/certificates`
  const withOwner = async () => {
    const made = await prepared()
    await made.call('PUT', `/${segment}/owner`, {})
    return made
  }

  test('from upload to proof of possession, as the SDKs do it', async () => {
    const { call } = await withOwner()
    const certificate = Buffer.from(pem(root.der)).toString('base64')
    const uploaded = await call('PUT', `${path}/My.CA`, { properties: { certificate } })
    expect(uploaded.status).toBe(201)
    const { properties } = uploaded.body
    expect(uploaded.body).toMatchObject({
      id: `${path}/My.CA`,
      name: 'My.CA',
      type: `Microsoft.Devices/${segment}/Certificates`,
    })
    expect(properties).toEqual({
      subject: 'CN=root',
      expiry: 'Fri, 02 Jan 2026 00:00:00 GMT',
      thumbprint: expect.stringMatching(/^[0-9A-F]{40}$/),
      isVerified: false,
      created: 'Thu, 01 Jan 2026 00:00:00 GMT',
      updated: 'Thu, 01 Jan 2026 00:00:00 GMT',
      certificate: root.der.toString('base64'),
    })
    const coded = await call('POST', `${path}/my.ca/generateVerificationCode?certificate.nonce=x`, undefined, {
      'if-match': uploaded.body.etag,
    })
    expect(coded.body.etag).not.toBe(uploaded.body.etag)
    const code = coded.body.properties.verificationCode
    expect(code).toMatch(/^[0-9A-F]{48}$/)
    const proof = device(code, root, valid).der.toString('base64')
    const stale = await call('POST', `${path}/My.CA/verify`, { certificate: proof }, { 'if-match': uploaded.body.etag })
    expect(stale.status).toBe(412)
    const verified = await call('POST', `${path}/My.CA/verify`, { certificate: proof }, { 'if-match': coded.body.etag })
    expect(verified.body.properties).toEqual({ ...properties, isVerified: true })
    expect((await call('GET', path)).body.value).toEqual([verified.body])
    expect((await call('GET', `${path}/my.ca`)).body).toEqual(verified.body)
    expect((await call('DELETE', `${path}/My.CA`)).body).toMatchObject({
      code: 400004,
      message: expect.stringContaining('If-Match'),
    })
    expect((await call('DELETE', `${path}/My.CA`, undefined, { 'if-match': '*' })).status).toBe(200)
    expect((await call('GET', `${path}/My.CA`)).body).toMatchObject({ code: 404008, httpStatusCode: 'NotFound' })
  })

  test('verified at once', async () => {
    const { call } = await withOwner()
    const properties = { certificate: root.der.toString('base64'), isVerified: true }
    expect((await call('PUT', `${path}/ca`, { properties })).body.properties.isVerified).toBe(true)
    expect((await call('PUT', `${path}/ca`, { properties }, { 'if-match': '*' })).status).toBe(200)
    expect((await call('PUT', `${path}/ca`, { properties })).status).toBe(412)
  })

  test('bad input', async () => {
    const { call } = await withOwner()
    const message = async (body: unknown) => (await call('PUT', `${path}/ca`, body)).body.message
    expect(await message({})).toBe('resource.properties must be a value, found nothing.')
    expect(await message({ properties: { certificate: 'x' } })).toMatch(
      /^properties\.certificate must be a certificate/,
    )
    const verify = await call('POST', `${path}/ca/verify`, {}, { 'if-match': '*' })
    expect(verify.body.message).toBe('body.certificate must be a value, found nothing.')
    expect((await call('GET', `/${segment}/nobody/certificates`)).status).toBe(404)
    expect((await call('GET', path)).body).toEqual({ value: [] })
  })
})

test('no log line of any call holds a key, a code or the token', async () => {
  const lines: string[] = []
  const log = createLog('debug', { write: (line) => void lines.push(line) })
  const { call, control } = await prepared(log)
  await call('PUT', '/provisioningServices/dps', {})
  const { policies } = (await control.provisioningServices.get('dps'))!
  await call('PUT', '/provisioningServices/dps', {
    properties: {
      iotHubs: [{ connectionString: `HostName=-;SharedAccessKeyName=p;SharedAccessKey=${policies[0]!.primaryKey}` }],
    },
  })
  await call('POST', '/provisioningServices/dps/listkeys')
  await call('GET', '/provisioningServices', undefined, { authorization: `Bearer ${TOKEN}x` })
  expect(lines.length).toBeGreaterThan(1)
  for (const secret of [TOKEN, policies[0]!.primaryKey, policies[0]!.secondaryKey])
    expect(lines.filter((line) => line.includes(secret))).toEqual([])
})
