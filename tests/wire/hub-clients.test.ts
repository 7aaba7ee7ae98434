import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { exchangeRaw, type RawAnswer, requestText } from '../support/raw-https.ts'
import { parseConnectionString } from '../support/rest.ts'
import { lowerHex, sasToken, unixNow } from '../support/tokens.ts'

// The identity registry as its clients write their requests, and its answers byte for byte (hub-service.md 1, 2, 13.3).

let muster: TestMuster

beforeAll(async () => {
  muster = await startMuster()
})
afterAll(() => stopClean(muster))

interface Client {
  readonly apiVersion: string
  readonly headers: readonly string[]
  readonly token: (hostName: string, key: string, keyName: string) => string
}

const json = 'Content-Type: application/json; charset=utf-8'
const AN_HOUR = 3600

const clients = {
  Node: {
    apiVersion: '2021-04-12',
    headers: [json, 'Request-Id: 3a1f2f1e-8d3c-4c57-8f0b-0d5d3c1d2b10', 'User-Agent: azure-iothub/1.16.6'],
    token: (host, key, skn) =>
      sasToken({ sr: host, key, skn, se: unixNow() + AN_HOUR, order: ['sr', 'sig', 'skn', 'se'] }),
  },
  Python: {
    apiVersion: '2021-04-12',
    headers: [json, 'Accept: application/json', 'User-Agent: azure-iot-hub/2.6.1'],
    token: (host, key, skn) =>
      sasToken({
        sr: encodeURIComponent(host),
        key,
        skn,
        se: unixNow() + AN_HOUR,
        encode: (text) => encodeURIComponent(text).replaceAll('%2F', '/'),
      }),
  },
  Java: {
    apiVersion: '2021-04-12',
    headers: [json, 'Accept: application/json', 'Request-Id: 1001'],
    token: (host, key, skn) =>
      sasToken({ sr: encodeURIComponent(host.toLowerCase()), key, skn, se: unixNow() + AN_HOUR }),
  },
  'C#': {
    apiVersion: '2021-04-12',
    headers: [json, 'User-Agent: .NET/1.40.0 (Microsoft.Azure.Devices)'],
    token: (host, key, skn) => sasToken({ sr: encodeURIComponent(host), key, skn, se: unixNow() + AN_HOUR }),
  },
  C: {
    apiVersion: '2020-09-30',
    headers: [json, 'UserAgent: iothubserviceclient/1.15.0', 'Accept: application/json'],
    token: (host, key, skn) => sasToken({ sr: host, key, skn, se: unixNow() + AN_HOUR, encode: lowerHex }),
  },
  'az CLI': {
    apiVersion: '2024-03-31',
    headers: [json, 'x-ms-client-request-id: 6a0d9a0e', 'accept-language: en-US', 'Accept: application/json'],
    token: (host, key, skn) => sasToken({ sr: encodeURIComponent(host), key, skn, se: unixNow() + 600 }),
  },
  Explorer: {
    apiVersion: '2020-09-30',
    headers: ['Accept: application/json', 'Content-Type: application/json'],
    token: (host, key, skn) => sasToken({ sr: encodeURIComponent(host), key, skn, se: unixNow() + 300 }),
  },
} as const satisfies Record<string, Client>

interface Sending {
  readonly body?: unknown
  readonly headers?: readonly string[]
  readonly host?: string
  /** Of the query, beside api-version. */
  readonly query?: string
}

async function send(client: Client, method: string, path: string, sending: Sending = {}): Promise<RawAnswer> {
  const { hostName, key, keyName } = parseConnectionString(hubOf(muster).connectionString)
  const { address, ports } = muster.addresses
  const query = sending.query === undefined ? '' : `${sending.query}&`
  const token = client.token(hostName, key, keyName)
  const head = [
    `${method} ${path}?${query}api-version=${client.apiVersion} HTTP/1.1`,
    `Host: ${sending.host ?? hostName}`,
    ...(token === '' ? [] : [`Authorization: ${token}`]),
    'Content-Length: {length}',
    ...client.headers,
    ...(sending.headers ?? []),
  ]
  const body = sending.body === undefined ? '' : JSON.stringify(sending.body)
  return exchangeRaw({ address, port: ports.https, ca: muster.ca }, requestText(head.join('\n'), body))
}

const object = (answer: RawAnswer): Record<string, unknown> => {
  expect(answer.status, answer.body).toBeLessThan(300)
  return answer.json() as Record<string, unknown>
}

/** Form (a): the same name in header and body, or C# drops the code (hub-service.md 2.7). */
function expectError(answer: RawAnswer, status: number, name: string, text: string | RegExp = /./): void {
  expect(answer.status, answer.body).toBe(status)
  expect(answer.header('iothub-errorcode')).toBe(name)
  expect(answer.header('content-type')).toBe('application/json; charset=utf-8')
  const body = answer.json() as { Message: string; ExceptionMessage: string }
  expect(Object.keys(body)).toEqual(['Message', 'ExceptionMessage'])
  const [code, ...rest] = body.Message.split(';')
  expect(code).toBe(`ErrorCode:${name}`)
  expect(rest.join(';')).toMatch(text)
  expect(body.ExceptionMessage).toMatch(/^Tracking ID:[0-9a-f]{32}-G:\d+-TimeStamp:\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d$/)
}

describe.for(Object.entries(clients) as [string, Client][])('%s', ([name, client]) => {
  const id = `${name.toLowerCase().replace('#', 'sharp').replace(' ', '-')}-device`

  test('create, get, update by etag, delete', async () => {
    const created = await send(client, 'PUT', `/devices/${id}`, {
      body: { deviceId: id, authentication: { type: 'sas', symmetricKey: { primaryKey: '', secondaryKey: '' } } },
    })
    // 200, not 201: Python takes nothing else.
    expect(created.statusLine).toBe('HTTP/1.1 200 OK')
    expect(created.header('content-type')).toBe('application/json; charset=utf-8')
    const device = object(created)
    expect(device['authentication']).toMatchObject({
      type: 'sas',
      symmetricKey: { primaryKey: expect.stringMatching(/^.{44}$/) },
    })

    const read = await send(client, 'GET', `/devices/${id}`)
    expect(read.statusLine).toBe('HTTP/1.1 200 OK')
    expect(read.json()).toEqual(device)

    const etag = String(device['etag'])
    const updated = await send(client, 'PUT', `/devices/${id}`, {
      body: { ...device, status: 'Disabled' },
      headers: [`If-Match: "${etag}"`],
    })
    expect(updated.statusLine).toBe('HTTP/1.1 200 OK')
    expect(updated.json()).toMatchObject({ status: 'disabled', generationId: device['generationId'] })
    expectError(
      await send(client, 'DELETE', `/devices/${id}`, { headers: [`If-Match: "${etag}"`] }),
      412,
      'PreconditionFailed',
    )

    const deleted = await send(client, 'DELETE', `/devices/${id}`, { headers: ['If-Match: "*"'] })
    expect(deleted.statusLine).toBe('HTTP/1.1 204 No Content')
    expect(deleted.body).toBe('')
    expectError(await send(client, 'GET', `/devices/${id}`), 404, 'DeviceNotFound', new RegExp(`^${id}$`))
  })
})

const { Node: node, Explorer: explorer, Java: java } = clients

async function create(deviceId: string, more: object = {}): Promise<Record<string, unknown>> {
  return object(await send(node, 'PUT', `/devices/${encodeURIComponent(deviceId)}`, { body: { deviceId, ...more } }))
}

describe('the document', () => {
  test('every member, in every state', async () => {
    const device = await create('document')
    expect(device).toEqual({
      deviceId: 'document',
      generationId: expect.stringMatching(/^\d{18}$/),
      etag: expect.any(String),
      connectionState: 'Disconnected',
      status: 'enabled',
      statusReason: null,
      connectionStateUpdatedTime: '0001-01-01T00:00:00Z',
      statusUpdatedTime: '0001-01-01T00:00:00Z',
      lastActivityTime: '0001-01-01T00:00:00Z',
      cloudToDeviceMessageCount: 0,
      authentication: {
        symmetricKey: { primaryKey: expect.any(String), secondaryKey: expect.any(String) },
        x509Thumbprint: { primaryThumbprint: null, secondaryThumbprint: null },
        type: 'sas',
      },
      capabilities: { iotEdge: false },
    })
    // Base64 of a decimal number (hub-service.md 2.2).
    expect(Buffer.from(String(device['etag']), 'base64').toString()).toMatch(/^\d+$/)
  })

  test('names and enum values are read without regard to case', async () => {
    const answer = await send(node, 'PUT', '/devices/cases', {
      body: {
        DeviceId: 'cases',
        Status: 'DISABLED',
        Authentication: { Type: 'SelfSigned', X509Thumbprint: { PrimaryThumbprint: 'a'.repeat(40) } },
        Capabilities: { IotEdge: false },
      },
    })
    expect(object(answer)).toMatchObject({
      deviceId: 'cases',
      status: 'disabled',
      authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: expect.stringMatching(/^a{40}$/i) } },
    })
  })

  test('read-only members of a document that is sent back are ignored', async () => {
    const device = await create('sent-back')
    const answer = await send(node, 'PUT', '/devices/sent-back', {
      body: {
        ...device,
        generationId: '1',
        etag: 'zzz',
        connectionState: 'Connected',
        lastActivityTime: '2030-01-01T00:00:00Z',
        cloudToDeviceMessageCount: 7,
        $metadata: {},
        version: 9,
      },
      headers: ['If-Match: *'],
    })
    const { etag, ...rest } = object(answer)
    const { etag: before, ...expected } = device
    expect(etag).not.toBe(before)
    expect(rest).toEqual(expected)
  })
})

describe('If-Match', () => {
  test.for(['"*"', '*', '"{etag}"', '{etag}', 'W/"{etag}"'])('%s is an update', async (spelling) => {
    const deviceId = `match-${Buffer.from(spelling).toString('hex')}`
    const { etag } = await create(deviceId)
    const header = `If-Match: ${spelling.replace('{etag}', String(etag))}`
    const answer = await send(node, 'PUT', `/devices/${deviceId}`, { body: { deviceId }, headers: [header] })
    expect(answer.statusLine).toBe('HTTP/1.1 200 OK')
    const missing = await send(node, 'PUT', '/devices/match-nobody', {
      body: { deviceId: 'match-nobody' },
      headers: [header],
    })
    expectError(missing, 404, 'DeviceNotFound', /^match-nobody$/)
  })

  test('absent: create only, delete unconditionally', async () => {
    await create('unmatched')
    expectError(
      await send(node, 'PUT', '/devices/unmatched', { body: { deviceId: 'unmatched' } }),
      409,
      'DeviceAlreadyExists',
      /^A device with ID 'unmatched' is already registered\.$/,
    )
    expect((await send(node, 'DELETE', '/devices/unmatched')).status).toBe(204)
  })
})

describe('paths', () => {
  test('Explorer encodes the slashes too', async () => {
    await create('explored')
    expect(object(await send(explorer, 'GET', '/devices%2Fexplored'))['deviceId']).toBe('explored')
    expect(object(await send(explorer, 'GET', '/devices%2fexplored%2Fmodules'))).toEqual([])
    const deleted = await send(explorer, 'POST', '/devices', {
      body: [{ id: 'explored', importMode: 'deleteIfMatchEtag', etag: '*' }],
    })
    expect(deleted.json()).toEqual({ isSuccessful: true, errors: [], warnings: [] })
    expectError(await send(explorer, 'GET', '/devices%2Fexplored'), 404, 'DeviceNotFound')
  })

  test('a trailing slash, letters of another case, escaped ids', async () => {
    await create('a+b=c#d?e')
    expect(object(await send(node, 'GET', '/Devices/a%2Bb%3Dc%23d%3fe/'))['deviceId']).toBe('a+b=c#d?e')
    expect((await send(clients['C#'], 'GET', '/devices/', { query: 'top=2' })).status).toBe(200)
  })

  test('an encoded slash in an id belongs to the id', async () => {
    expectError(await send(node, 'GET', '/devices/a%2Fmodules'), 404, 'DeviceNotFound', /^a\/modules$/)
  })

  test('Java’s POST with an override header is a PATCH; no other method can be put on', async () => {
    await create('overridden')
    const patched = await send(java, 'POST', '/twins/overridden', {
      body: { tags: { a: 1 } },
      headers: ['X-HTTP-Method-Override: PATCH', 'If-Match: "*"'],
    })
    // Read as the PATCH that it is, whether or not this release has that operation.
    if (patched.status === 200) expect(object(patched)).toMatchObject({ tags: { a: 1 } })
    else expectError(patched, 405, 'GenericMethodNotAllowed', /PATCH/)
    const deleting = await send(java, 'POST', '/devices/overridden', { headers: ['X-HTTP-Method-Override: DELETE'] })
    expect(deleting.status).toBeGreaterThanOrEqual(404)
    expect((await send(node, 'GET', '/devices/overridden')).status).toBe(200)
  })

  test('operations that this release does not have are refused, not imitated', async () => {
    for (const [method, path] of [
      ['POST', '/configurations/x'],
      ['POST', '/jobs/create'],
      ['DELETE', '/devices/x/commands'],
    ] as const)
      expect((await send(node, method, path, { body: {} })).status, path).toBe(404)
  })
})

describe('list', () => {
  test('top bounds the number, and is bounded itself', async () => {
    for (const at of [1, 2, 3]) await create(`top-${at}`)
    const count = async (query?: string): Promise<number> =>
      (object(await send(node, 'GET', '/devices', query === undefined ? {} : { query })) as unknown as unknown[]).length
    expect(await count('top=2')).toBe(2)
    expect(await count()).toBeGreaterThanOrEqual(3)
    for (const query of ['top=0', 'top=1001', 'top=-1', 'top=x'])
      expectError(await send(node, 'GET', '/devices', { query }), 400, 'ArgumentInvalid', /1000/)
  })
})

describe('bulk', () => {
  const bulk = async (items: readonly object[]): Promise<unknown> =>
    object(await send(node, 'POST', '/devices', { body: items }))
  const status = async (deviceId: string): Promise<unknown> =>
    object(await send(node, 'GET', `/devices/${deviceId}`))['status']

  test('every import mode, names without regard to case', async () => {
    expect(await bulk([{ id: 'mode', importMode: 'create', status: 'enabled' }])).toMatchObject({ isSuccessful: true })
    expect(await bulk([{ id: 'mode', importMode: 'Update', status: 'disabled' }])).toMatchObject({ isSuccessful: true })
    expect(await status('mode')).toBe('disabled')
    expect(await bulk([{ id: 'mode', importMode: 'createOrUpdate', status: 'enabled' }])).toMatchObject({
      isSuccessful: true,
    })
    expect(await status('mode')).toBe('enabled')
    const { etag } = object(await send(node, 'GET', '/devices/mode'))
    expect(await bulk([{ id: 'mode', importMode: 'UpdateIfMatchETag', eTag: etag, status: 'disabled' }])).toMatchObject(
      { isSuccessful: true },
    )
    expect(await bulk([{ id: 'mode', importMode: 'updateIfMatchETag', etag, status: 'enabled' }])).toMatchObject({
      isSuccessful: false,
      errors: [{ deviceId: 'mode', errorCode: 'PreconditionFailed' }],
    })
    expect(await status('mode')).toBe('disabled')
    expect(
      await bulk([{ id: 'mode', importMode: 'createOrUpdateIfMatchETag', eTag: '*', status: 'enabled' }]),
    ).toMatchObject({ isSuccessful: true })
    expect(await bulk([{ id: 'mode', importMode: 'deleteIfMatchETag', etag: 'c3RhbGU=' }])).toMatchObject({
      isSuccessful: false,
      errors: [{ deviceId: 'mode', errorCode: 'PreconditionFailed' }],
    })
    expect(await bulk([{ id: 'mode', importMode: 'DELETE', authentication: { type: 'sas' } }])).toMatchObject({
      isSuccessful: true,
    })
    expect(
      await bulk([
        { id: 'mode', importMode: 'delete' },
        { id: 'mode-2', importMode: 'update' },
      ]),
    ).toMatchObject({
      isSuccessful: false,
      errors: [
        { deviceId: 'mode', errorCode: 'DeviceNotFound', errorStatus: expect.any(String) },
        { deviceId: 'mode-2', errorCode: 'DeviceNotFound', errorStatus: expect.any(String) },
      ],
    })
  })

  test('a device with its twin, and modules', async () => {
    const made = await bulk([
      {
        id: 'bulk-twin',
        importMode: 'create',
        tags: { site: 'a' },
        properties: { desired: { rate: 5 } },
      },
      { id: 'bulk-twin', moduleId: 'm1', importMode: 'create' },
    ])
    expect(made).toEqual({ isSuccessful: true, errors: [], warnings: [] })
    const twin = object(await send(node, 'GET', '/twins/bulk-twin'))
    expect(twin).toMatchObject({ tags: { site: 'a' }, properties: { desired: { rate: 5 } } })
    expect(object(await send(node, 'GET', '/devices/bulk-twin/modules/m1'))['moduleId']).toBe('m1')
  })
})

describe('the hub by its names', () => {
  const noToken: Client = { ...node, token: () => '' }

  test('Host with and without its port', async () => {
    await create('hosted')
    const { hostName } = hubOf(muster)
    const bare = hostName.split(':')[0] ?? ''
    for (const host of [hostName, bare, `${bare}:443`])
      expect((await send(node, 'GET', '/devices/hosted', { host })).status, host).toBe(200)
    const withoutPort: Client = {
      ...node,
      token: (_host, key, skn) => sasToken({ sr: bare, key, skn, se: unixNow() + 60 }),
    }
    expect((await send(withoutPort, 'GET', '/devices/hosted')).status).toBe(200)
  })

  test('who is refused, and how', async () => {
    const token = (sr: string, key: string, skn: string, se = unixNow() + 60): string => sasToken({ sr, key, se, skn })
    const bad: readonly [string, Client['token']][] = [
      ['no token', () => ''],
      ['wrong key', (host, _key, skn) => token(host, Buffer.alloc(32).toString('base64'), skn)],
      ['unknown policy', (host, key) => token(host, key, 'nobody')],
      ['expired', (host, key, skn) => token(host, key, skn, unixNow() - 3600)],
      ['another host', (_host, key, skn) => token('other.example.net', key, skn)],
      ['another path', (host, key, skn) => token(`${host}/twins`, key, skn)],
      ['not at a boundary', (host, key, skn) => token(`${host}/device`, key, skn)],
      ['bearer', () => 'Bearer e30.e30.e30'],
    ]
    for (const [what, spelling] of bad) {
      const answer = await send({ ...node, token: spelling }, 'GET', '/devices/hosted')
      expect(answer.status, what).toBe(401)
      expect(['IotHubUnauthorized', 'IotHubUnauthorizedAccess'], what).toContain(answer.header('iothub-errorcode'))
    }
    expect(
      (await send({ ...node, token: (host, key, skn) => token(`${host}/devices`, key, skn) }, 'GET', '/devices/hosted'))
        .status,
    ).toBe(200)
    expect((await send(noToken, 'PUT', '/devices/unsigned', { body: { deviceId: 'unsigned' } })).status).toBe(401)
    expectError(await send(node, 'GET', '/devices/unsigned'), 404, 'DeviceNotFound')
  })
})
