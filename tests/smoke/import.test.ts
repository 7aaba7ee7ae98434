import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { limits } from '../../src/base/limits.ts'
import { certificateInfo, readCertificates } from '../../src/crypto/certificates.ts'
import { createAuthority, issueDeviceCertificate } from '../../src/crypto/issuing.ts'
import { type Ran, muster as runMuster } from '../support/command-line.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'

// Imports through the command line, into the service itself: what files may hold, and what is said of those that may not.
let muster: TestMuster
let readyFile: string
const run = (...words: string[]): Promise<Ran> => runMuster(words, { readyFile, cwd: muster.folder })
const json = async (...words: string[]) => JSON.parse((await run(...words)).out)
const file = (name: string, content: string | Buffer): string => {
  writeFileSync(join(muster.folder, name), content)
  return name
}
const importDevices = (name: string, ...more: string[]) => run('hub', 'device-identity', 'import', '-f', name, ...more)
const device = (id: string) => json('hub', 'device-identity', 'show', '-d', id, '--show-keys')
const reportOf = (name: string) =>
  readFileSync(join(muster.folder, name), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))

beforeAll(async () => {
  muster = await startMuster()
  const { app, addresses, folder } = muster
  readyFile = join(folder, 'ready.json')
  writeFileSync(join(folder, 'token'), app.managementToken)
  const management = { url: `http://127.0.0.1:${addresses.ports.management}`, tokenFile: join(folder, 'token') }
  writeFileSync(readyFile, JSON.stringify({ ...addresses, caFile: app.caFile, management }))
})
afterAll(() => muster.stop())
beforeEach(async () => {
  for (const { deviceId } of await json('hub', 'device-identity', 'list'))
    await run('hub', 'device-identity', 'delete', '-d', deviceId)
})

const KEY = Buffer.alloc(32, 3).toString('base64')

test('a table of devices: every column', async () => {
  const rows = [
    'device-id,auth-method,primary-key,secondary-key,primary-thumbprint,status,status-reason,edge-enabled,parent-device-id,tags,tags.site,desired',
    `leaf,,${KEY},${KEY},,disabled,"spare, part",,gateway,,home,`,
    `gateway,,,,,,,true,,"{""a"": {""b"": 1}}",attic,"{""rate"": 5}"`,
    `thumb,X509_thumbprint,,,${'ab'.repeat(20)},,,,,,,`,
    'ca,x509_ca,,,,,,,,,,',
    ',,,,,,,,,,,',
  ]
  const ran = await importDevices(file('all.csv', `\uFEFF${rows.join('\r\n')}\r\n`))
  expect({ ...ran, out: JSON.parse(ran.out) }).toMatchObject({ code: 0, out: { succeeded: 4, failed: 0 } })
  expect(await device('leaf')).toMatchObject({
    status: 'disabled',
    statusReason: 'spare, part',
    authentication: { type: 'sas', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } },
    deviceScope: (await device('gateway')).deviceScope,
  })
  expect(await device('thumb')).toMatchObject({ authentication: { type: 'selfSigned' } })
  expect(await device('ca')).toMatchObject({ authentication: { type: 'certificateAuthority' } })
})

test('a report for which the disk has no room loses nothing: the import waits for the same command', async () => {
  const name = file('full.jsonl', '{"id":"d1"}\n{"id":"d1"}\n')
  const create = ['--mode', 'create', '--report']
  const full = await importDevices(name, ...create, '/dev/full')
  expect(full).toMatchObject({
    code: 1,
    err: expect.stringContaining('Expected to write the report /dev/full, found ENOSPC'),
  })
  const again = await importDevices(name, ...create, 'full.report')
  expect(JSON.parse(again.out)).toMatchObject({ succeeded: 1, failed: 1, resumedAtLine: 3 })
  expect(reportOf('full.report')).toMatchObject([{ line: 2, id: 'd1', errorCode: 'DeviceAlreadyExists' }])
})

test('tables of enrollments and of groups', async () => {
  const enrollments = file(
    'e.csv',
    `enrollment-id,attestation-type,device-id,primary-key,secondary-key,initial-twin-tags,reprovision-policy
e1,symmetrickey,D1,${KEY},${KEY},"{""site"":""x""}",never
e2,x509,,,,,`,
  )
  const ran = await run('dps', 'enrollment', 'import', '-f', enrollments, '--mode', 'create')
  expect(ran).toMatchObject({
    code: 1,
    err: expect.stringContaining('line 3 (e2): ArgumentInvalid: Expected --certificate-path'),
  })
  expect(await json('dps', 'enrollment', 'show', '--eid', 'e1')).toMatchObject({
    deviceId: 'D1',
    initialTwin: { tags: { site: 'x' } },
    reprovisionPolicy: { updateHubAssignment: false },
  })
  const groups = file('g.csv', `enrollment-id,primary-key,secondary-key\ng1,${KEY},${KEY}\n`)
  expect(await run('dps', 'enrollment-group', 'import', '-f', groups)).toMatchObject({ code: 0 })
  expect(await json('dps', 'enrollment-group', 'show', '--eid', 'g1')).toMatchObject({ enrollmentGroupId: 'g1' })
})

test('standard input, a JSON array, and what a dry run says', async () => {
  const lines = '{"id":"d1"}\n{"id":"d1","importMode":"create"}\n'
  const words = ['hub', 'device-identity', 'import', '-f', '-', '--format', 'json']
  const ran = await runMuster(words, { readyFile, cwd: muster.folder, input: lines })
  expect(ran).toMatchObject({ code: 1, err: expect.stringContaining('line 2 (d1): DeviceAlreadyExists') })
  const array = file('d.json', '[{"deviceId":"d2"},{"deviceId":"d1"}]')
  const dry = await importDevices(array, '--mode', 'create', '--dry-run')
  expect(dry).toMatchObject({ code: 1, err: expect.stringContaining('1 of 2 lines would fail') })
  expect(await run('hub', 'device-identity', 'show', '-d', 'd2')).toMatchObject({ code: 3 })
  expect(await importDevices(array)).toMatchObject({ code: 0 })
})

test('the report has a line for each failure, in the order of the file', async () => {
  const long = `{"id":"long","x":"${'y'.repeat(limits.importLineBytes)}"}`
  const lines = ['{"id":"d1"}', '{', long, '{"id":"a b"}', Buffer.from([0x7b, 0xff, 0x7d]), '{"id":"d2"}']
  const bytes = Buffer.concat(lines.map((line) => Buffer.concat([Buffer.from(line as string), Buffer.from('\n')])))
  expect(await importDevices(file('bad.txt', bytes), '--report', 'r.jsonl')).toMatchObject({
    code: 1,
    err: expect.stringContaining('4 of 6 lines failed; r.jsonl says why'),
  })
  expect(reportOf('r.jsonl')).toMatchObject([
    { line: 2, errorCode: 'DeserializationError' },
    { line: 3, errorCode: 'MessageTooLarge' },
    { line: 4, id: 'a b', errorCode: 'ArgumentInvalid' },
    { line: 5, errorCode: 'DeserializationError', errorStatus: expect.stringContaining('UTF-8') },
  ])
})

test('what stands before a broken quote is imported, and told in the report', async () => {
  const ran = await importDevices(file('b.csv', 'device-id,status\nd1,\nd2,odd\nd3,"x\n'), '--report', 'b.jsonl')
  expect(ran).toMatchObject({ code: 2, err: expect.stringContaining('imported: 1 lines, and 1 failed. Mend the file') })
  expect(reportOf('b.jsonl')).toMatchObject([{ line: 3, id: 'd2' }])
  expect(await device('d1')).toMatchObject({ deviceId: 'd1' })
})

test('a file of which nothing can be read is given up', async () => {
  const bad = Buffer.concat(Array.from({ length: limits.cliImportProblems + 1 }, () => Buffer.from([0x7b, 0xff, 10])))
  const ran = await importDevices(file('junk.jsonl', bad), '--report', 'junk.report')
  expect(ran).toMatchObject({ code: 1, err: expect.stringContaining('10001 that cannot') })
  expect(reportOf('junk.report')).toHaveLength(limits.cliImportProblems + 1)
}, 60_000)

test('more lines than one request takes', async () => {
  const count = 2 * limits.importBatchLines + 7
  const lines = Array.from({ length: count }, (_, n) => `{"id":"many-${n}"}`).join('\n')
  const ran = await importDevices(file('many.jsonl', lines), '--mode', 'create')
  expect(JSON.parse(ran.out)).toMatchObject({ lines: count, succeeded: count, failed: 0 })
  const deleted = await importDevices('many.jsonl', '--mode', 'delete')
  expect(JSON.parse(deleted.out)).toMatchObject({ succeeded: count })
}, 60_000)

const csv = (header: string, ...rows: string[]) => [header, ...rows].join('\n')
const deep = (levels: number) => `[${'['.repeat(levels)}${']'.repeat(levels)}]`

test.each<[string, string, string | Buffer, number, string]>([
  ['an empty file', 'x.jsonl', '', 2, 'found an empty file'],
  ['blank lines only', 'x.jsonl', '\n\n  \n', 2, 'Expected documents to import in x.jsonl, found none'],
  ['an empty array', 'x.json', '[]', 2, 'found none'],
  ['binary data', 'x.jsonl', Buffer.from([1, 2, 0, 3]), 2, 'found binary data'],
  ['one byte', 'x.jsonl', Buffer.from([0xff]), 1, 'Expected text in UTF-8'],
  ['gzip', 'x.csv', gzipSync('device-id\nd1'), 2, 'found gzip. Unpack it first'],
  ['UTF-16', 'x.csv', Buffer.from('\uFEFFdevice-id\nd1', 'utf16le'), 2, 'found UTF-16'],
  [
    'Latin-1 in CSV',
    'x.csv',
    Buffer.from('device-id,status-reason\nd1,caf\xe9', 'latin1'),
    2,
    'Expected text in UTF-8',
  ],
  ['a gigantic line', 'x.jsonl', `{"id":"d1","x":"${'y'.repeat(5_000_000)}"}`, 1, 'line 1: MessageTooLarge'],
  ['a gigantic cell', 'x.csv', csv('device-id', 'y'.repeat(2_000_000)), 2, 'Expected CSV in line 2'],
  [
    'a quote that never ends',
    'x.csv',
    csv('device-id,status', 'd1,"enabled', 'd2,'),
    2,
    'What comes before was imported: 0 lines',
  ],
  [
    'a stray quote',
    'x.csv',
    csv('device-id,status', 'd1,en"abled'),
    2,
    'Expected CSV in line 2, found invalid opening quote',
  ],
  ['a header alone', 'x.csv', 'device-id\n', 2, 'found none'],
  [
    'an unknown column',
    'x.csv',
    csv('device-id,colour', 'd1,red'),
    2,
    'in line 1, separated by commas, found "colour"',
  ],
  ['a column twice', 'x.csv', csv('device-id,status,status', 'd1,,'), 2, 'found status twice'],
  ['no device-id', 'x.csv', csv('status', 'enabled'), 2, 'found none called device-id'],
  ['semicolons', 'x.csv', csv('device-id;status', 'd1;enabled'), 2, 'separated by commas, found "device-id;status"'],
  ['too many cells', 'x.csv', csv('device-id', 'd1,enabled'), 1, 'line 2 (d1): ArgumentInvalid: Expected 1 values'],
  ['odd unicode', 'x.csv', csv('device-id', 'a\u202e\u001b[31mb'), 1, 'device ID must be'],
  ['tags that are no JSON', 'x.csv', csv('device-id,tags', 'd1,{x'), 1, 'Expected tags to be a JSON object'],
  ['tags that name a file', 'x.csv', csv('device-id,tags', 'd1,ready.json'), 1, 'JSON object, found another text'],
  ['half a JSON array', 'x.json', '[{"id":"d1"},', 2, 'Expected a JSON array in'],
  ['a deep array', 'x.json', deep(100_000), 1, 'failed'],
  ['JSON over several lines', 'x.json', '{\n"id": "d1"\n}', 1, 'not JSON'],
  ['text', 'x.txt', 'hello\nworld\n', 1, 'line 2: DeserializationError'],
  [
    'the same device twice',
    'x.csv',
    csv('device-id,import-mode', 'd1,create', 'd1,create'),
    1,
    'line 3 (d1): DeviceAlreadyExists',
  ],
])('%s', async (_, name, content, code, message) => {
  const ran = await importDevices(file(name, content))
  expect(ran).toMatchObject({ code, err: expect.stringContaining(message) })
  // Nothing of a file may steer the terminal.
  expect(ran.err.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  expect(ran.err.length).toBeLessThan(4_000)
})

test('what is exported with its keys and imported again is the same', async () => {
  const scope = { deviceScope: 'ms-azure-iot-edge://edge-1', parentScopes: ['ms-azure-iot-edge://edge-1'] }
  const stamp = { $lastUpdated: '2024-01-01T00:00:00.0000000Z' }
  const desired = {
    rate: 5,
    $metadata: { ...stamp, $lastUpdatedVersion: 4, rate: { ...stamp, $lastUpdatedVersion: 4 } },
    $version: 4,
  }
  const lines = [
    { id: 'edge', capabilities: { iotEdge: true }, tags: { a: { b: 1 } } },
    { id: 'edge', moduleId: 'm1', managedBy: 'iotEdge', properties: { desired } },
    { id: 'leaf', ...scope, status: 'disabled', statusReason: 'x', properties: { desired, reported: { fw: '1' } } },
    { id: 'thumb', authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: 'AB'.repeat(32) } } },
  ]
  await importDevices(file('first.jsonl', lines.map((line) => JSON.stringify(line)).join('\n')))
  const exported = async (name: string, ...more: string[]) => {
    const ran = await run('hub', 'device-identity', 'export', '-f', name, ...more)
    expect(ran).toMatchObject({ code: 0, out: '' })
    return readFileSync(join(muster.folder, name), 'utf8')
  }
  const before = await exported('out.txt', '--keys')
  expect(before.split('\n').filter(Boolean)).toHaveLength(6)
  await importDevices('out.txt', '--mode', 'delete')
  await run('hub', 'device-identity', 'delete', '-d', 'edge')
  expect(await json('hub', 'device-identity', 'list')).toEqual([])
  expect(await importDevices('out.txt', '--mode', 'create')).toMatchObject({ code: 0 })
  const comparable = (text: string) => text.replaceAll(/"eTag":"[^"]+"|-\d{18}"/g, '…')
  expect(comparable(await exported('again.txt', '--keys'))).toEqual(comparable(before))
  expect(await exported('keyless.txt')).not.toMatch(/[A-Za-z0-9+/]{43}=/)

  const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } }
  const webhook = {
    allocationPolicy: 'custom',
    customAllocationDefinition: { webhookUrl: 'http://h/?code=1', apiVersion: '2019-03-31' },
  }
  await run(
    'dps',
    'enrollment',
    'import',
    '-f',
    file('en.json', JSON.stringify([{ registrationId: 'out-1', attestation, ...webhook }])),
  )
  const enrollments = async (...more: string[]) => (await run('dps', 'enrollment', 'export', '-f', '-', ...more)).out
  const listed = await enrollments('--keys')
  await run('dps', 'enrollment', 'delete', '--eid', 'out-1')
  expect(
    await run('dps', 'enrollment', 'import', '-f', file('en.jsonl', listed), '--mode', 'createOrUpdate'),
  ).toMatchObject({ code: 0 })
  const timeless = (text: string) => text.replaceAll(/"(etag|\w+DateTimeUtc)":"[^,]+/g, '…')
  expect(timeless(await enrollments('--keys'))).toEqual(timeless(listed))
  const shown = await enrollments()
  expect(shown).not.toContain(KEY)
  expect(shown).not.toContain('code=1')
})

test('no file, a folder, a report that cannot be written', async () => {
  mkdirSync(join(muster.folder, 'folder'))
  expect(await importDevices('nowhere.csv')).toMatchObject({ code: 2, err: expect.stringContaining('no such file') })
  expect(await importDevices('folder')).toMatchObject({ code: 2, err: expect.stringContaining('found a folder') })
  const words = [file('d.jsonl', '{"id":"d1"}'), '--report', 'folder/none/r.jsonl'] as const
  expect(await importDevices(...words)).toMatchObject({
    code: 1,
    err: expect.stringContaining('Expected to write the report'),
  })
  expect(await json('hub', 'device-identity', 'list')).toEqual([])
})

test('a hub and a provisioning service of Azure', async () => {
  const now = Date.now()
  const authority = await createAuthority({ commonName: 'old root', days: 30, keyType: 'ec', now })
  const leaf = await issueDeviceCertificate({ authority: undefined, commonName: 'x1', days: 30, keyType: 'ec', now })
  const info = certificateInfo(readCertificates(leaf.certificate)[0]!)
  const der = Buffer.from(readCertificates(authority.certificate)[0]!.raw).toString('base64')
  const listed = { value: [{ name: 'root', properties: { certificate: der, isVerified: true, subject: 'old root' } }] }
  const nothing = { tpm: null, symmetricKey: null, x509: null }
  const scope = 'ms-azure-iot-edge://edge-638000000000000000'
  const metadata = { $metadata: { $lastUpdated: '2024-01-01T00:00:00.0000000Z' }, $version: 1 }
  file('certificates.json', JSON.stringify(listed))
  file(
    'groups.json',
    JSON.stringify([
      {
        enrollmentGroupId: 'line-1',
        attestation: { ...nothing, type: 'x509', x509: { caReferences: { primary: 'root', secondary: null } } },
        iotHubs: ['OLD.azure-devices.net'],
        allocationPolicy: 'static',
        etag: '"x"',
      },
      { enrollmentGroupId: 'line-2', attestation: { ...nothing, type: 'symmetricKey' } },
    ]),
  )
  file(
    'enrollments.json',
    JSON.stringify([
      {
        registrationId: 'x1',
        attestation: {
          ...nothing,
          type: 'x509',
          x509: { clientCertificates: { primary: { certificate: null, info } } },
        },
        registrationState: { status: 'assigned', assignedHub: 'old.azure-devices.net' },
        initialTwin: { tags: { a: 1, count: null, version: null }, properties: { desired: {} } },
      },
      {
        registrationId: 's1',
        attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } },
      },
      { registrationId: 's2', attestation: { ...nothing, type: 'symmetricKey' } },
    ]),
  )
  file(
    'devices.txt',
    [
      {
        id: 'leaf',
        eTag: 'MQ==',
        status: 'enabled',
        deviceScope: scope,
        parentScopes: [scope],
        properties: { desired: metadata, reported: metadata },
      },
      {
        id: 'edge',
        moduleId: '$edgeHub',
        managedBy: 'iotEdge',
        authentication: { type: 'none' },
        properties: { desired: { ...metadata, schemaVersion: '1.1' } },
      },
      { id: 'edge', eTag: 'MQ==', status: 'enabled', capabilities: { iotEdge: true }, deviceScope: scope },
    ]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  )
  const [hub] = muster.addresses.hubs
  const words = [
    ...['import', 'azure', '--certificates', 'certificates.json', '--enrollment-groups', 'groups.json'],
    ...['--enrollments', 'enrollments.json', '--devices', 'devices.txt', '--report', 'azure.jsonl'],
  ]
  const map = ['--map', `old.azure-devices.net=${hub!.hostName.split(':')[0]}`]
  const ran = await run(...words, ...map)
  expect({ ...ran, out: JSON.parse(ran.out) }).toMatchObject({
    code: 1,
    out: [
      { kind: 'certificates', succeeded: 1, failed: 0 },
      { kind: 'enrollmentGroups', succeeded: 1, failed: 1 },
      { kind: 'enrollments', succeeded: 2, failed: 1 },
      { kind: 'devices', succeeded: 3, failed: 0 },
    ],
  })
  expect(
    reportOf('azure.jsonl').map(({ source, id, errorStatus }) => [
      source,
      id,
      /az iot dps .*show --show-keys/.test(errorStatus),
    ]),
  ).toEqual([
    ['groups.json', 'line-2', true],
    ['enrollments.json', 's2', true],
  ])
  expect((await device('leaf')).deviceScope).toBe((await device('edge')).deviceScope)
  rmSync(join(muster.folder, 'azure.jsonl'))
  const again = await run(...words, ...map, '--dry-run')
  expect(JSON.parse(again.out).map(({ failed }: { failed: number }) => failed)).toEqual([0, 1, 1, 0])
  expect(await run('import', 'azure')).toMatchObject({ code: 2 })
  expect(await run('import', 'azure', '--devices', 'devices.txt', '--map', 'a=')).toMatchObject({ code: 2 })
})
