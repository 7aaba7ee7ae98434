import { afterAll, beforeAll, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { startManagementApi } from '../../tests/support/management-api.ts'

let api: Awaited<ReturnType<typeof startManagementApi>>
const run = (...words: string[]) => muster(words, { readyFile: api.readyFile, cwd: api.folder })
const json = async (...words: string[]) => {
  const ran = await run(...words)
  expect(ran).toMatchObject({ code: 0, err: '' })
  return JSON.parse(ran.out)
}

beforeAll(async () => {
  api = await startManagementApi()
  expect((await run('certs', 'create-root-and-intermediate')).code).toBe(0)
})
afterAll(() => api.stop())

const ROOT = 'certs/azure-iot-test-only.root.ca.cert.pem'
const PROOF = 'certs/iot-device-verification-code.cert.pem'

test('proof of possession, from upload to verified', async () => {
  const created = await json('dps', 'certificate', 'create', '-n', 'root', '--path', ROOT)
  expect(created).toMatchObject({ name: 'root', properties: { isVerified: false } })
  const { properties } = await json('dps', 'certificate', 'generate-verification-code', '-n', 'root')
  expect(properties.verificationCode).toMatch(/^[0-9A-F]{48}$/i)
  expect((await run('certs', 'verification', properties.verificationCode)).code).toBe(0)
  const verified = await json('dps', 'certificate', 'verify', '-n', 'root', '--path', PROOF)
  expect(verified.properties.isVerified).toBe(true)
  expect(await json('dps', 'certificate', 'show', '-n', 'root')).toEqual(verified)
})

test('a proof for another code is refused by the service, in its words', async () => {
  await json('dps', 'certificate', 'generate-verification-code', '-n', 'root')
  await run('certs', 'verification', 'F'.repeat(48), '--force')
  const ran = await run('dps', 'certificate', 'verify', '-n', 'root', '--path', PROOF)
  expect(ran.code).toBe(1)
  expect(ran.err).toMatch(/^muster: the service refused POST .*\/certificates\/root\/verify with 400/)
})

test('upload as verified, list as a table, delete', async () => {
  const intermediate = 'certs/azure-iot-test-only.intermediate.cert.pem'
  const created = await json('dps', 'certificate', 'create', '-n', 'line', '--path', intermediate, '--verified')
  expect(created.properties.isVerified).toBe(true)
  const table = await run('dps', 'certificate', 'list', '--output', 'table')
  expect(table.out).toMatch(/^Name {2,}Subject {2,}Verified/)
  expect(table.out).toMatch(/^line {2,}CN=Azure_IoT_Hub_Intermediate_Cert_Test_Only {2,}true/m)
  expect(await run('dps', 'certificate', 'delete', '-n', 'line')).toEqual({ code: 0, out: '', err: '' })
  expect((await json('dps', 'certificate', 'list')).map((each: { name: string }) => each.name)).toEqual(['root'])
})

test('a stale etag is refused', async () => {
  const ran = await run('dps', 'certificate', 'delete', '-n', 'root', '--etag', 'AAAAAAAAAAA=')
  expect(ran.code).toBe(1)
  expect(ran.err).toContain('with 412')
})

test('linking a hub by its name keeps those that are linked, and tells no key', async () => {
  const before = await run('dps', 'linked-hub', 'list')
  expect(JSON.parse(before.out)).toMatchObject([{ name: 'hub-a.example.net' }])
  const ran = await run('dps', 'linked-hub', 'create', '--hub-name', 'hub-b', '--allocation-weight', '5')
  expect(ran).toMatchObject({ code: 0, err: '' })
  expect(JSON.parse(ran.out)).toMatchObject([
    { name: 'hub-a.example.net' },
    { name: 'hub-b.example.net:8443', allocationWeight: 5 },
  ])
  expect(ran.out).not.toMatch(/SharedAccessKey=[^*]/)
  const service = await api.control.provisioningServices.get('dps-1')
  const hubA = await api.control.hubs.get('hub-a')
  expect(service?.linkedHubs[0]?.connectionString).toContain(hubA?.policies[0]?.primaryKey)
})

test.each([
  [['--hub-name', 'hub-b', '--connection-string', 'x'], 2],
  [[], 2],
  [['--hub-name', 'nowhere'], 3],
  [['--hub-name', 'hub-b', '--allocation-weight', 'heavy'], 2],
])('linking with %j ends with code %i', async (words, code) => {
  expect((await run('dps', 'linked-hub', 'create', ...words)).code).toBe(code)
})

test('hub list', async () => {
  expect((await json('hub', 'list')).map((hub: { name: string }) => hub.name).sort()).toEqual(['hub-a', 'hub-b'])
  const table = await run('hub', 'list', '-o', 'table')
  expect(table.out).toMatch(/^hub-b {2,}hub-b\.example\.net:8443 {2,}Active {2,}\d/m)
})

test('hub create, show and delete: what was asked for, and only what is new', async () => {
  const words = [
    '--sku',
    's2',
    '--unit',
    '3',
    '--partition-count',
    '2',
    '--rd',
    '5',
    '-l',
    'here',
    '--tags',
    'a=b=c',
    'd',
  ]
  const created = await json('hub', 'create', '-n', 'hub-c', ...words)
  expect(created).toMatchObject({
    name: 'hub-c',
    location: 'here',
    tags: { a: 'b=c', d: '' },
    sku: { name: 'S2', capacity: 3 },
    properties: { eventHubEndpoints: { events: { partitionCount: 2, retentionTimeInDays: 5 } } },
  })
  expect(await json('hub', 'show', '--hub-name', 'HUB-C')).toEqual(created)
  expect(await run('hub', 'create', '-n', 'Hub-C')).toMatchObject({
    code: 2,
    err: expect.stringContaining('hub-c, which exists'),
  })
  expect(await run('hub', 'delete', '-n', 'hub-c', '-e', 'AAAAAAAAAAA=')).toMatchObject({ code: 1 })
  expect(await run('hub', 'delete', '-n', 'hub-c')).toEqual({ code: 0, out: '', err: '' })
  expect((await run('hub', 'show', '-n', 'hub-c')).code).toBe(3)
})

test.each([
  [['hub', 'create', '-n', 'a b'], 1, '3 to 50 letters'],
  [['hub', 'create', '-n', 'hub-d', '--sku', 'S9'], 2, 'Expected one of F1'],
  [['hub', 'create', '-n', 'hub-d', '--unit', '0'], 2, 'from 1 to 200'],
  [['hub', 'create', '-n', 'hub-d', '--partition-count', '33'], 2, 'from 1 to 32'],
  [['hub', 'delete', '-n', 'hub-a'], 1, 'linked to the provisioning service dps-1'],
  [
    ['hub', 'policy', 'create', '--hub-name', 'hub-a', '-n', 'a b', '--permissions', 'ServiceConnect'],
    1,
    '1 to 64 of A-Z',
  ],
  [['hub', 'policy', 'create', '--hub-name', 'hub-a', '-n', 'x', '--permissions', 'Everything'], 2, 'RegistryRead'],
  [
    ['hub', 'policy', 'create', '--hub-name', 'hub-a', '-n', 'SERVICE', '--permissions', 'ServiceConnect'],
    2,
    'exists already',
  ],
  [['hub', 'policy', 'renew-key', '--hub-name', 'hub-a', '-n', 'service', '--rk', 'both'], 2, 'swap'],
  [['hub', 'policy', 'list'], 2, 'Expected --hub-name'],
  [['hub', 'certificate', 'create', '--hub-name', 'hub-a', '-n', 'x', '-p', 'token'], 2, 'Expected a certificate'],
])('hostile: %j ends with code %i', async (words, code, complaint) => {
  const ran = await run(...words)
  expect(ran).toMatchObject({ code, out: '' })
  expect(ran.err).toContain(complaint)
})

test('keys of a hub’s policy are renewed and swapped', async () => {
  const policy = (...words: string[]) =>
    json('hub', 'policy', ...words, '--hub-name', 'hub-b', '-n', 'service', '--show-keys')
  const before = await policy('show')
  const renewed = await policy('renew-key', '--rk', 'Secondary')
  expect(renewed.primaryKey).toBe(before.primaryKey)
  expect(renewed.secondaryKey).not.toBe(before.secondaryKey)
  const swapped = await policy('renew-key', '--rk', 'swap')
  expect([swapped.primaryKey, swapped.secondaryKey]).toEqual([renewed.secondaryKey, renewed.primaryKey])
})

test('an instance that does not exist is refused by name', async () => {
  const ran = await run('dps', 'certificate', 'list', '--dps-name', 'dps-2')
  expect(ran.code).toBe(3)
  expect(ran.err).toContain('dps-2')
})

test('services are made, shown, changed by member and deleted', async () => {
  const made = await json('dps', 'create', '--name', 'dps-b', '--location', 'attic', '--tags', 'floor=3', 'cold')
  expect(made).toMatchObject({ name: 'dps-b', location: 'attic', tags: { floor: '3', cold: '' } })
  const again = await run('dps', 'create', '--dps-name', 'DPS-B')
  expect([again.code, again.err]).toEqual([2, expect.stringContaining('which exists already')])
  const changed = await json(
    'dps',
    'update',
    '-n',
    'dps-b',
    '--set',
    'properties.allocationPolicy=Static',
    'tags.cold=yes',
  )
  expect(changed).toMatchObject({ properties: { allocationPolicy: 'Static' }, tags: { floor: '3', cold: 'yes' } })
  expect(await json('dps', 'update', '-n', 'dps-b', '--tags', '')).toMatchObject({ tags: {} })
  expect(await json('dps', 'allocation-policy', 'set', '-n', 'dps-b', '--policy', 'geolatency')).toEqual({
    name: 'dps-b',
    allocationPolicy: 'GeoLatency',
  })
  expect(await json('dps', 'allocation-policy', 'list', '--query', '[].allocationPolicy')).toHaveLength(2)
  const unnamed = await run('dps', 'allocation-policy', 'show')
  expect([unnamed.code, unnamed.err]).toEqual([2, expect.stringContaining('Expected --dps-name')])
  expect(await run('dps', 'delete', '-n', 'dps-b')).toEqual({ code: 0, out: '', err: '' })
})

test.each([
  ['properties', 'Expected --set as member.member=value'],
  ['=x', 'Expected --set as member.member=value'],
  ['a..b=x', 'Expected --set as member.member=value'],
  ['__proto__.x=y', 'Expected --set as member.member=value'],
  ['nothing.x=y', 'Expected --set to name a member'],
  ['constructor.x=y', 'Expected --set to name a member'],
])('--set %s', async (text, complaint) => {
  const ran = await run('dps', 'update', '--set', text)
  expect([ran.code, ran.out, ran.err]).toEqual([2, '', expect.stringContaining(complaint)])
})

test('policies: keys are renewed one by one, swapped, given, and made anew', async () => {
  const policy = (...words: string[]) => json('dps', 'policy', ...words, '--pn', 'reader', '--show-keys')
  const made = await policy('create', '--rights', 'EnrollmentRead,RegistrationStatusRead')
  expect(made).toMatchObject({ rights: 'EnrollmentRead, RegistrationStatusRead' })
  const swapped = await policy('renew-key', '--rk', 'swap')
  expect([swapped.primaryKey, swapped.secondaryKey]).toEqual([made.secondaryKey, made.primaryKey])
  const renewed = await policy('renew-key', '--rk', 'primary')
  expect(renewed.primaryKey).not.toBe(swapped.primaryKey)
  expect(renewed.secondaryKey).toBe(swapped.secondaryKey)
  const given = Buffer.alloc(32, 3).toString('base64')
  expect(await policy('update', '--pk', given)).toMatchObject({ primaryKey: given, secondaryKey: renewed.secondaryKey })
  expect((await policy('update', '--pk', '')).primaryKey).not.toBe(given)
  const taken = await run('dps', 'policy', 'create', '--pn', 'READER', '-r', 'EnrollmentRead')
  expect([taken.code, taken.err]).toEqual([2, expect.stringContaining('exists already')])
  const left = await run(
    'dps',
    'policy',
    'delete',
    '--pn',
    'reader',
    '--query',
    '[].keyName',
    '-o',
    'tsv',
    '--only-show-errors',
  )
  expect(left).toEqual({ code: 0, out: 'provisioningserviceowner\n', err: '' })
  expect((await run('dps', 'policy', 'update', '--pn', 'reader', '-r', 'EnrollmentRead')).code).toBe(3)
})

test('a connection string is what --login takes', async () => {
  const { connectionString } = await json('dps', 'connection-string', 'show', '-n', 'dps-1')
  expect(connectionString).toMatch(
    /^HostName=[^;]+;SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=\S{20,}$/,
  )
  const second = await json('dps', 'connection-string', 'show', '-n', 'dps-1', '--key', 'secondary')
  expect(second.connectionString).not.toBe(connectionString)
  const none = await run('dps', 'connection-string', 'show', '--pn', 'nobody')
  expect(none).toMatchObject({ code: 0, out: '[]\n', err: 'muster: dps-1 has no policy nobody; left out\n' })
  expect((await run('dps', 'connection-string', 'show', '-n', 'dps-1', '--pn', 'nobody')).code).toBe(3)
})

test('linked hubs are shown by either name, changed and unlinked', async () => {
  const show = (name: string) => json('dps', 'linked-hub', 'show', '--linked-hub', name)
  expect(await show('hub-a')).toEqual(await show('HUB-A.example.net:8443'))
  expect(await show('hub-b')).toEqual(await show('hub-b.example.net'))
  const changed = await json('dps', 'linked-hub', 'update', '--linked-hub', 'hub-a', '--allocation-weight', '7')
  expect(changed).toMatchObject({ name: 'hub-a.example.net', allocationWeight: 7 })
  expect(await run('dps', 'linked-hub', 'update', '--linked-hub', 'hub-a')).toMatchObject({ code: 2 })
  const absent = await run('dps', 'linked-hub', 'show', '--linked-hub', 'nowhere.example.net')
  expect([absent.code, absent.err]).toEqual([3, expect.stringContaining('found "nowhere.example.net"')])
  const left = await json('dps', 'linked-hub', 'delete', '--linked-hub', 'hub-a', '--query', '[].name')
  expect(left).not.toContain('hub-a.example.net')
})
