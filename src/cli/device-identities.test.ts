import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { type FakeService, type Reply, type Seen, startFakeService } from '../../tests/support/fake-service.ts'

let service: FakeService
let answer: (seen: Seen) => Reply
const identity = (...words: string[]) => muster(['hub', 'device-identity', ...words], { readyFile: service.readyFile })
const last = () => service.seen.at(-1)!
/** Method, path and If-Match of every request of a command. */
async function requests(...words: string[]): Promise<unknown[]> {
  const before = service.seen.length
  expect(await identity(...words)).toMatchObject({ code: 0 })
  return service.seen
    .slice(before)
    .map(({ method, path, headers }) => [method, path.replace(/\?api-version=.*/, ''), headers['if-match']])
}

const keys = { primaryKey: 'cHJpbWFyeQ==', secondaryKey: 'c2Vjb25kYXJ5' }
const thumbprints = { primaryThumbprint: null, secondaryThumbprint: null }
const sas = { type: 'sas', symmetricKey: keys, x509Thumbprint: thumbprints }
const device = (more: object = {}) => ({
  deviceId: 'd',
  etag: 'MQ==',
  status: 'enabled',
  statusReason: null,
  authentication: sas,
  capabilities: { iotEdge: false },
  ...more,
})
const edge = (deviceId: string, more: object = {}) =>
  device({
    deviceId,
    capabilities: { iotEdge: true },
    deviceScope: `ms-azure-iot-edge://${deviceId}-1`,
    parentScopes: [],
    ...more,
  })

beforeAll(async () => {
  service = await startFakeService((seen) => answer(seen))
})
beforeEach(() => {
  answer = ({ method, body }) => ({ body: method === 'PUT' ? { ...device(), ...(body as object) } : device() })
})
afterAll(() => service.stop())

test('create sends the device document of the registry', async () => {
  const ran = await identity('create', '-d', 'Dev1#', '--ee', '--sta', 'disabled', '--star', 'lost')
  expect(ran.code).toBe(0)
  expect(last()).toMatchObject({ method: 'PUT', path: '/devices/Dev1%23?api-version=2021-04-12' })
  expect(last().headers['if-match']).toBeUndefined()
  expect(last().body).toEqual({
    deviceId: 'Dev1#',
    status: 'disabled',
    statusReason: 'lost',
    authentication: { type: 'sas' },
    capabilities: { iotEdge: true },
  })
})

test('create by keys, by thumbprints, by CA', async () => {
  await identity('create', '-d', 'd', '--pk', 'a', '--sk', 'b')
  expect(last().body).toMatchObject({
    authentication: { type: 'sas', symmetricKey: { primaryKey: 'a', secondaryKey: 'b' } },
  })
  await identity('create', '-d', 'd', '--am', 'x509_thumbprint', '--ptp', 'AA')
  expect(last().body).toMatchObject({
    authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: 'AA' } },
  })
  await identity('create', '-d', 'd', '--am', 'x509_ca')
  expect(last().body).toMatchObject({ authentication: { type: 'certificateAuthority' } })
})

test('create with a parent and children: looked at first, adopted last', async () => {
  answer = ({ method, path, body }) => {
    if (method === 'PUT')
      return { body: { ...edge('new'), ...(body as object), deviceScope: 'ms-azure-iot-edge://new-2' } }
    return { body: path.startsWith('/devices/parent') ? edge('parent') : device({ deviceId: 'leaf' }) }
  }
  expect(await requests('create', '-d', 'new', '--ee', '--pd', 'parent', '--cl', 'leaf')).toEqual([
    ['GET', '/devices/parent', undefined],
    ['GET', '/devices/leaf', undefined],
    ['PUT', '/devices/new', undefined],
    ['PUT', '/devices/leaf', '"MQ=="'],
  ])
  expect(service.seen.at(-2)!.body).toMatchObject({ parentScopes: ['ms-azure-iot-edge://parent-1'] })
  expect(last().body).toMatchObject({ deviceScope: 'ms-azure-iot-edge://new-2' })
  await identity('create', '-d', 'leaf', '--device-scope', 'ms-azure-iot-edge://x-1')
  expect(last().body).toMatchObject({ deviceScope: 'ms-azure-iot-edge://x-1' })
})

test('keys are shown to who asks for them and to nobody else', async () => {
  const shown = async (...words: string[]) => JSON.parse((await identity('show', '-d', 'd', ...words)).out)
  expect((await shown()).authentication).toEqual({ ...sas, symmetricKey: {} })
  expect((await shown('--show-keys')).authentication).toEqual(sas)
})

test('list: all pages over the management API, Edge devices only, no more than asked for', async () => {
  const pages = [
    { items: [device({ deviceId: 'leaf' }), edge('edge')], next: 'more' },
    { items: [edge('edge2')], next: undefined },
  ]
  answer = ({ headers }) => {
    const { items, next } = pages[headers['x-ms-continuation'] === 'more' ? 1 : 0]!
    return { body: items, headers: next === undefined ? {} : { 'x-ms-continuation': next } }
  }
  const ids = async (...words: string[]) =>
    JSON.parse((await identity('list', ...words)).out).map(({ deviceId }: { deviceId: string }) => deviceId)
  expect(await ids()).toEqual(['leaf', 'edge', 'edge2'])
  expect(last()).toMatchObject({
    path: '/muster/hubs/hub1/devices',
    headers: { authorization: 'Bearer management-token' },
  })
  expect(await ids('--ee')).toEqual(['edge', 'edge2'])
  expect(await ids('--ee', 'false')).toEqual(['leaf'])
  expect(await ids('--top', '2')).toEqual(['leaf', 'edge'])
  expect(await ids('--ee', '--top', '1')).toEqual(['edge'])
  expect(await ids('--top', '-1')).toHaveLength(3)
  const table = await identity('list', '-o', 'table')
  expect(table.out.split('\n').slice(0, 2)).toEqual([
    'Device ID  Status   Authentication  Edge   Connection  Last activity',
    'leaf       enabled  sas             false',
  ])
})

test('list with a connection string: the registry’s own 1000, and no guess beyond', async () => {
  const login = ['-l', service.connectionString.replace('fake.muster.test', '127.0.0.1'), '--ca', service.caFile]
  answer = () => ({ body: Array.from({ length: 3 }, (_, n) => device({ deviceId: `d${n}` })) })
  expect(JSON.parse((await identity('list', ...login)).out)).toHaveLength(3)
  expect(last().path).toBe('/devices?top=1000&api-version=2021-04-12')
  answer = () => ({ body: Array.from({ length: 1000 }, (_, n) => device({ deviceId: `d${n}` })) })
  expect(JSON.parse((await identity('list', ...login)).out)).toHaveLength(1000)
  for (const words of [['--top', '-1'], ['--top', '1001'], ['--ee']]) {
    const ran = await identity('list', ...login, ...words)
    expect(ran).toMatchObject({ code: 1, out: '' })
    expect(ran.err).toMatch(/fewer than 1000 devices.*found 1000 or more.*Use the ready file/)
  }
})

test('update writes back what it read, and only over that', async () => {
  expect(await requests('update', '-d', 'd', '--set', 'status=disabled', 'statusReason=42')).toEqual([
    ['GET', '/devices/d', undefined],
    ['PUT', '/devices/d', '"MQ=="'],
  ])
  expect(last().body).toEqual(device({ status: 'disabled', statusReason: '42' }))
  await identity('update', '-d', 'd', '--ee', '--status', 'disabled', '--etag', 'Mg==')
  expect(last()).toMatchObject({
    headers: { 'if-match': '"Mg=="' },
    body: { status: 'disabled', capabilities: { iotEdge: true }, authentication: sas },
  })
})

test('update of credentials: one key of two, another kind, new keys', async () => {
  const sent = async (...words: string[]) => {
    expect(await identity('update', '-d', 'd', ...words)).toMatchObject({ code: 0 })
    return (last().body as { authentication: unknown }).authentication
  }
  expect(await sent('--pk', 'new')).toEqual({ ...sas, symmetricKey: { ...keys, primaryKey: 'new' } })
  expect(await sent('--am', 'x509_ca')).toEqual({ type: 'certificateAuthority' })
  expect(await sent('--am', 'x509_thumbprint', '--ptp', 'AA', '--stp', 'BB')).toEqual({
    type: 'selfSigned',
    x509Thumbprint: { primaryThumbprint: 'AA', secondaryThumbprint: 'BB' },
  })
  expect(await sent('--am', 'shared_private_key')).toEqual(sas)
  expect(await sent('--set', 'authentication.symmetricKey.primaryKey=a=b')).toEqual({
    ...sas,
    symmetricKey: { ...keys, primaryKey: 'a=b' },
  })
  answer = ({ method, body }) => ({
    body: method === 'PUT' ? body : device({ authentication: { type: 'certificateAuthority', symmetricKey: {} } }),
  })
  expect(await sent('--am', 'shared_private_key')).toEqual({ type: 'sas' })
})

test('delete, of this state or of any', async () => {
  answer = () => ({ status: 204 })
  expect(await identity('delete', '-d', 'd', '-e', 'MQ==')).toEqual({ code: 0, out: '', err: '' })
  expect(last()).toMatchObject({ method: 'DELETE', headers: { 'if-match': '"MQ=="' } })
  await identity('delete', '-d', 'd')
  expect(last()).toMatchObject({ headers: { 'if-match': '"*"' } })
})

test('connection strings: the key asked for, x509=true for certificates', async () => {
  const string = async (...words: string[]) =>
    JSON.parse((await identity('connection-string', 'show', '-d', 'd', ...words)).out)
  const host = `fake.muster.test:${service.port}`
  expect(await string()).toEqual({ connectionString: `HostName=${host};DeviceId=d;SharedAccessKey=${keys.primaryKey}` })
  expect(await string('--kt', 'secondary')).toMatchObject({
    connectionString: expect.stringContaining(keys.secondaryKey),
  })
  answer = () => ({ body: device({ authentication: { type: 'selfSigned' } }) })
  expect(await string()).toEqual({ connectionString: `HostName=${host};DeviceId=d;x509=true` })
})

test('renew-key: one is looked at, renewed and shown; swap is a write of what was read', async () => {
  answer = ({ path, method, body }) => {
    if (path.startsWith('/devices/keys'))
      return { body: { policyKey: 'primaryKey', rotatedKeys: [{ id: 'd' }], errors: [] } }
    return { body: method === 'PUT' ? body : device() }
  }
  expect(await requests('renew-key', '-d', 'd', '--kt', 'primary')).toEqual([
    ['GET', '/devices/d', undefined],
    ['POST', '/devices/keys/regenerate', undefined],
    ['GET', '/devices/d', undefined],
  ])
  expect(service.seen.at(-2)!.body).toEqual({ policyKey: 'primaryKey', devices: [{ id: 'd', moduleId: null }] })
  expect(await requests('renew-key', '-d', 'd', '--kt', 'swap')).toEqual([
    ['GET', '/devices/d', undefined],
    ['PUT', '/devices/d', '"MQ=="'],
  ])
  expect(last().body).toMatchObject({
    authentication: { symmetricKey: { primaryKey: keys.secondaryKey, secondaryKey: keys.primaryKey } },
  })
})

test('renew-key of many: a hundred in a call, and a failure of some is an exit code and a list', async () => {
  const ids = Array.from({ length: 150 }, (_, n) => `d${n}`)
  const counts: number[] = []
  answer = ({ body }) => {
    const { devices } = body as { devices: { id: string }[] }
    counts.push(devices.length)
    const errors = devices
      .filter(({ id }) => id === 'd7')
      .map(({ id }) => ({ id, moduleId: null, errorCode: 'DeviceNotFound', errorStatus: id }))
    return {
      status: errors.length > 0 ? 207 : 200,
      body: { rotatedKeys: devices.map((each) => ({ ...each, ...keys })), errors },
    }
  }
  const ran = await identity('renew-key', '-d', ...ids, '--kt', 'both')
  expect(counts).toEqual([100, 50])
  expect(ran.code).toBe(1)
  expect(ran.err).toContain('found 1 that got none')
  expect(JSON.parse(ran.out).errors).toHaveLength(1)
  expect(ran.out + ran.err).not.toContain(keys.primaryKey)
  answer = ({ body }) =>
    (body as { devices: object[] }).devices.length < 100
      ? { status: 503, body: 'busy' }
      : { body: { rotatedKeys: (body as { devices: object[] }).devices, errors: [] } }
  const interrupted = await identity('renew-key', '-d', ...ids, '--kt', 'both')
  expect(interrupted.err).toMatch(/with 503: busy Before that, 100 of 150 identities got new keys/)
  answer = () => ({ status: 400, body: { rotatedKeys: [], errors: [{ id: 'x' }, { id: 'y' }] } })
  expect(await identity('renew-key', '-d', 'x', 'y', '--kt', 'both')).toMatchObject({ code: 1 })
  answer = () => ({ status: 400, body: { Message: 'ErrorCode:ArgumentInvalid;devices is odd' } })
  expect((await identity('renew-key', '-d', 'x', 'y', '--kt', 'both')).err).toContain('ArgumentInvalid: devices is odd')
})

const scope = 'ms-azure-iot-edge://gate-1'

test('children: every device is looked at before the first is changed', async () => {
  const taken = device({ deviceId: 'b', parentScopes: ['ms-azure-iot-edge://other-1'] })
  answer = ({ method, path, body }) => {
    if (method === 'PUT') return { body }
    if (path.startsWith('/devices/gate')) return { body: edge('gate') }
    return { body: path.startsWith('/devices/b') ? taken : device({ deviceId: 'a' }) }
  }
  const before = service.seen.length
  const ran = await identity('children', 'add', '-d', 'gate', '--cl', 'a', 'b')
  expect(ran).toMatchObject({ code: 1, out: '' })
  expect(ran.err).toMatch(/without a parent, found b below ms-azure-iot-edge:\/\/other-1.*--force/)
  expect(service.seen.slice(before).every(({ method }) => method === 'GET')).toBe(true)
  expect((await requests('children', 'add', '-d', 'gate', '--cl', 'a', 'b', '--force')).slice(-2)).toEqual([
    ['PUT', '/devices/a', '"MQ=="'],
    ['PUT', '/devices/b', '"MQ=="'],
  ])
  expect(last().body).toMatchObject({ deviceScope: scope })
})

test('children of a leaf, and children that are none: refused, nothing changed', async () => {
  answer = ({ path }) => ({ body: path.startsWith('/devices/gate') ? edge('gate') : device({ deviceId: 'leaf' }) })
  const leaf = await identity('children', 'list', '-d', 'leaf')
  expect(leaf).toMatchObject({ code: 1, out: '' })
  expect(leaf.err).toMatch(/an IoT Edge device as the parent, found leaf.*update -d leaf --edge-enabled/)
  const stranger = await identity('children', 'remove', '-d', 'gate', '--cl', 'leaf')
  expect(stranger.err).toMatch(/children of gate, found leaf, which is none. Nothing was changed/)
  expect(last().method).toBe('GET')
})

test('parent show follows the scope to the last dash', async () => {
  answer = ({ path }) => ({
    body: path.startsWith('/devices/a-b-c')
      ? edge('a-b-c')
      : device({ parentScopes: ['ms-azure-iot-edge://a-b-c-123'] }),
  })
  expect(JSON.parse((await identity('parent', 'show', '-d', 'leaf')).out)).toMatchObject({ deviceId: 'a-b-c' })
})

const key = Buffer.alloc(16, 9).toString('base64')
const wrong: readonly [string, string[], string][] = [
  ['one key of two', ['create', '-d', 'd', '--pk', key], 'both --primary-key and --secondary-key'],
  [
    'keys with x509_ca',
    ['create', '-d', 'd', '--am', 'x509_ca', '--sk', key],
    'only with --auth-method shared_private_key',
  ],
  ['x509_thumbprint without one', ['create', '-d', 'd', '--am', 'x509_thumbprint'], 'Expected --primary-thumbprint'],
  ['a thumbprint with keys', ['create', '-d', 'd', '--stp', 'AA'], 'only with --auth-method x509_thumbprint'],
  ['a method that is none', ['create', '-d', 'd', '--am', 'password'], 'Expected one of shared_private_key'],
  ['a certificate for keys', ['create', '-d', 'd', '--vd', '3'], 'only with --auth-method x509_thumbprint'],
  [
    'a certificate and a thumbprint',
    ['create', '-d', 'd', '--am', 'x509_thumbprint', '--ptp', 'AA', '--vd', '3'],
    'found both',
  ],
  [
    'no folder',
    ['create', '-d', 'd', '--am', 'x509_thumbprint', '--od', 'nowhere'],
    'found none at /nonexistent/nowhere',
  ],
  ['days that are none', ['create', '-d', 'd', '--vd', '0'], 'from 1 to 36500'],
  ['two parents', ['create', '-d', 'd', '--pd', 'p', '--device-scope', 's'], 'cannot be used with'],
  ['children of a leaf', ['create', '-d', 'd', '--cl', 'x'], 'Expected --edge-enabled with --add-children'],
  ['no id', ['show', '-d', ''], 'Expected --device-id to be 1 to 128 characters'],
  ['an id with a slash', ['show', '-d', 'a/../b'], 'found "a/../b"'],
  ['an id with a line break', ['delete', '-d', 'a\r\nHost: x'], 'found "a\\r\\nHost: x"'],
  ['an id of 129', ['create', '-d', 'x'.repeat(129)], 'Expected --device-id'],
  ['an id that climbs', ['children', 'list', '-d', '../keys'], 'found "../keys"'],
  ['no children named', ['children', 'remove', '-d', 'd'], 'found both or neither'],
  ['a page of nothing', ['list', '--top', '0'], 'whole number from 1, or -1'],
  ['a key of no kind', ['renew-key', '-d', 'd', '--kt', 'tertiary'], 'primary, secondary, both, swap'],
  ['keys of no kind', ['renew-key', '-d', 'd'], "option '--kt, --key-type <type>' not specified"],
  ['swap of many', ['renew-key', '-d', 'a', 'b', '--kt', 'swap'], 'primary, secondary or both for several'],
  ['an etag for many', ['renew-key', '-d', 'a', 'b', '--kt', 'both', '-e', 'x'], '--etag for one identity only'],
  ['an etag to renew', ['renew-key', '-d', 'a', '--kt', 'both', '-e', 'x'], 'only with --key-type swap'],
  [
    'a connection string that is none',
    ['show', '-d', 'd', '-l', 'HostName=x;SharedAccessKeyName=y'],
    'found no SharedAccessKey',
  ],
  [
    'a key in it that is none',
    ['show', '-d', 'd', '-l', `HostName=x;SharedAccessKeyName=y;SharedAccessKey=${key}!`],
    'to be base64',
  ],
  ['nothing to set', ['update', '-d', 'd', '--set', 'status'], 'member.member=value'],
  ['a member that is the hub’s', ['update', '-d', 'd', '--set', 'generationId=1'], 'found "generationId"'],
  [
    'a member that is none',
    ['update', '-d', 'd', '--set', 'stauts=disabled'],
    'Expected --set of status, statusReason',
  ],
  [
    'a key beside its place',
    ['update', '-d', 'd', '--set', `authentication.primaryKey=${key}`],
    'one of type, symmetricKey, x509Thumbprint in authentication',
  ],
  ['a prototype', ['update', '-d', 'd', '--set', 'authentication.__proto__.x=1'], 'member.member=value'],
  ['a member of a text', ['update', '-d', 'd', '--set', 'status.x=1'], 'nothing below status'],
  ['thumbprints on keys', ['update', '-d', 'd', '--ptp', 'AA'], 'only with --auth-method x509_thumbprint'],
]

test.each(wrong)('%s: wrong usage, nothing is changed, no key is told', async (_what, words, complaint) => {
  const before = service.seen.length
  const ran = await identity(...words)
  expect(ran).toMatchObject({ code: 2, out: '' })
  expect(ran.err).toContain(complaint)
  expect(ran.err).not.toContain(key)
  expect(service.seen.slice(before).filter(({ method }) => method !== 'GET')).toEqual([])
})

test('an answer that is none of a hub’s is said to be none', async () => {
  answer = () => ({ body: 'hello' })
  for (const words of [['show', '-d', 'd'], ['list'], ['update', '-d', 'd', '--ee'], ['children', 'list', '-d', 'd']]) {
    const ran = await identity(...words)
    expect(ran).toMatchObject({ code: 1, out: '' })
    expect(ran.err).toMatch(/found something else. Is this/)
  }
})

test('the hint of a new device can be typed, whatever its id', async () => {
  const deviceId = "a$(b);c'd*"
  answer = ({ body }) => ({ body })
  const words = ['hub', 'device-identity', 'create', '-n', 'hub1', '-d', deviceId, '-o', 'none']
  const { err } = await muster(words, { readyFile: service.readyFile })
  const [, line = ''] = /not shown; muster (.*) shows the first/.exec(err) ?? []
  const heard = execFileSync('sh', ['-c', `printf '%s\\n' ${line}`], { encoding: 'utf8' })
  expect(heard.split('\n').slice(0, -1)).toEqual([
    ...'hub device-identity connection-string show -n hub1 -d'.split(' '),
    deviceId,
  ])
})
