import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { type FakeService, type Reply, type Seen, startFakeService } from '../../tests/support/fake-service.ts'

let service: FakeService
let answer: (seen: Seen) => Reply
const dps = (...words: string[]) => muster(['dps', ...words], { readyFile: service.readyFile, cwd: service.folder })
const last = () => service.seen.at(-1)!

beforeAll(async () => {
  service = await startFakeService((seen) => answer(seen))
  await muster(['certs', 'create-root-and-intermediate', '--out', service.folder])
  await muster(['certs', 'device', 'd1', '--out', service.folder])
})
beforeEach(() => {
  answer = ({ body }) => ({ body })
})
afterAll(() => service.stop())

const DEVICE = 'certs/iot-edge-device-identity-d1.cert.pem'
const INTERMEDIATE = 'certs/azure-iot-test-only.intermediate.cert.pem'
const slot = { certificate: expect.stringMatching(/^-----BEGIN CERTIFICATE-----\n[^-]+-----END CERTIFICATE-----\n$/) }

test('every option of an individual enrollment has its place in the document', async () => {
  const ran = await dps(
    ...['enrollment', 'create', '--eid', 'd:1', '--at', 'X509', '--cp', DEVICE, '--did', 'Device1', '--ee'],
    ...['--tags', '{"site": "x"}', '--props', '{"rate": 5}', '--ps', 'Disabled', '--rp', 'reprovisionandresetdata'],
    ...['--ap', 'geolatency', '--ih', 'a.example.net', 'b.example.net c.example.net'],
  )
  expect(ran.code).toBe(0)
  expect(last()).toMatchObject({ method: 'PUT', path: '/enrollments/d%3A1?api-version=2021-10-01' })
  expect(last().headers['if-match']).toBeUndefined()
  expect(last().body).toEqual({
    registrationId: 'd:1',
    deviceId: 'Device1',
    attestation: { type: 'x509', x509: { clientCertificates: { primary: slot } } },
    capabilities: { iotEdge: true },
    initialTwin: { tags: { site: 'x' }, properties: { desired: { rate: 5 } } },
    provisioningStatus: 'disabled',
    reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false },
    allocationPolicy: 'geoLatency',
    iotHubs: ['a.example.net', 'b.example.net', 'c.example.net'],
  })
})

test('custom allocation names its webhook, and nothing else does', async () => {
  const webhook = ['--webhook-url', 'http://localhost:7071/api/x?code=1', '--av', '2019-03-31']
  await dps('enrollment-group', 'create', '--eid', 'c1', '--ap', 'Custom', ...webhook)
  expect(last().body).toMatchObject({
    allocationPolicy: 'custom',
    customAllocationDefinition: { webhookUrl: 'http://localhost:7071/api/x?code=1', apiVersion: '2019-03-31' },
  })
  for (const words of [['--ap', 'custom'], ['--ap', 'hashed', ...webhook], webhook, webhook.slice(0, 2)])
    expect(await dps('enrollment-group', 'create', '--eid', 'c1', ...words)).toMatchObject({ code: 2, out: '' })
})

test('a group is attested by a CA of the service, by an uploaded intermediate, else by a key', async () => {
  await dps('enrollment-group', 'create', '--eid', 'g1', '--root-ca-name', 'root', '--scn', 'next')
  expect(last().body).toMatchObject({
    enrollmentGroupId: 'g1',
    attestation: { type: 'x509', x509: { caReferences: { primary: 'root', secondary: 'next' } } },
  })
  await dps('enrollment-group', 'create', '--eid', 'g2', '--cp', INTERMEDIATE)
  expect(last().body).toMatchObject({
    attestation: { type: 'x509', x509: { signingCertificates: { primary: slot } } },
  })
  await dps('enrollment-group', 'create', '--eid', 'g3', '--ee', 'false')
  expect(last().body).toEqual({
    enrollmentGroupId: 'g3',
    attestation: { type: 'symmetricKey', symmetricKey: {} },
    capabilities: { iotEdge: false },
  })
  expect(last().path).toBe('/enrollmentGroups/g3?api-version=2021-10-01')
})

test('keys are shown to who asks for them and to nobody else', async () => {
  const keys = { primaryKey: 'cHJpbWFyeQ==', secondaryKey: 'c2Vjb25kYXJ5' }
  answer = () => ({ body: { registrationId: 'd1', attestation: { type: 'symmetricKey', symmetricKey: keys } } })
  const silent = await dps('enrollment', 'create', '--eid', 'd1', '--at', 'symmetrickey')
  expect(silent.out + silent.err).not.toMatch(/cHJpbWFyeQ==|c2Vjb25kYXJ5/)
  expect(silent.err).toContain('muster dps enrollment show --eid d1 --show-keys shows them')
  const asked = await dps('enrollment', 'create', '--eid', 'd1', '--at', 'symmetricKey', '--show-keys')
  expect(JSON.parse(asked.out).attestation.symmetricKey).toEqual(keys)
})

test('show --show-keys asks for the attestation mechanism as well', async () => {
  const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: 'cHJpbWFyeQ==' } }
  answer = ({ method }) =>
    method === 'POST'
      ? { body: attestation }
      : { body: { enrollmentGroupId: 'g', attestation: { type: 'symmetricKey' } } }
  const ran = await dps('enrollment-group', 'show', '--eid', 'g', '--show-keys')
  expect(JSON.parse(ran.out)).toEqual({ enrollmentGroupId: 'g', attestation })
  expect(last()).toMatchObject({
    method: 'POST',
    path: '/enrollmentGroups/g/attestationmechanism?api-version=2021-10-01',
  })
})

test('of a full chain the device’s own certificate is taken, and that is said', async () => {
  const full = 'certs/iot-edge-device-identity-d1-full-chain.cert.pem'
  const ran = await dps('enrollment', 'create', '--eid', 'd1', '--at', 'x509', '--cp', full)
  expect(ran.code).toBe(0)
  expect(ran.err).toContain('holds 3 certificates; taking the first, CN=d1')
  expect(last().body).toMatchObject({ attestation: { x509: { clientCertificates: { primary: slot } } } })
})

test('a private key never leaves the machine', async () => {
  const before = service.seen.length
  const key = 'private/iot-edge-device-identity-d1.key.pem'
  const ran = await dps('enrollment', 'create', '--eid', 'd1', '--at', 'x509', '--cp', key)
  expect(ran.code).toBe(2)
  expect(ran.err).toContain('found a private key. Keep that to yourself')
  expect(service.seen).toHaveLength(before)
})

test('delete is unconditional unless an etag is named', async () => {
  answer = () => ({ status: 204 })
  expect(await dps('enrollment', 'delete', '--eid', 'd1')).toEqual({ code: 0, out: '', err: '' })
  expect(last()).toMatchObject({ method: 'DELETE', headers: { 'if-match': '*' } })
  await dps('enrollment-group', 'delete', '--eid', 'g1', '--etag', '"abc"')
  expect(last()).toMatchObject({
    path: '/enrollmentGroups/g1?api-version=2021-10-01',
    headers: { 'if-match': '"abc"' },
  })
})

test('registration records', async () => {
  const record = { registrationId: 'd1', status: 'assigned', substatus: 'initialAssignment', deviceId: 'd1' }
  answer = ({ method }) => (method === 'POST' ? { body: [record] } : { body: record })
  const listed = await dps('registration', 'list', '--eid', 'g1', '--output', 'table')
  expect(last().path).toBe('/registrations/g1/query?api-version=2021-10-01')
  expect(listed.out).toMatch(/^Registration ID {2}Status/)
  expect(listed.out).toContain('assigned')
  expect(JSON.parse((await dps('registration', 'show', '--rid', 'd1')).out)).toEqual(record)
  answer = () => ({ status: 204 })
  expect((await dps('registration', 'delete', '--rid', 'd1')).code).toBe(0)
})

const wrong: readonly [string, string[], string][] = [
  ['an attestation that is none', ['enrollment', 'create', '--eid', 'd', '--at', 'password'], 'Expected one of x509'],
  ['x509 without a certificate', ['enrollment', 'create', '--eid', 'd', '--at', 'x509'], 'Expected --certificate-path'],
  ['tpm without its key', ['enrollment', 'create', '--eid', 'd', '--at', 'tpm'], 'Expected --endorsement-key'],
  [
    'options of another attestation',
    ['enrollment', 'create', '--eid', 'd', '--at', 'x509', '--cp', DEVICE, '--pk', 'x'],
    'found --primary-key',
  ],
  [
    'two attestations of a group',
    ['enrollment-group', 'create', '--eid', 'g', '--cn', 'r', '--cp', DEVICE],
    'found several',
  ],
  ['tags that are a list', ['enrollment-group', 'create', '--eid', 'g', '--tags', 'list.json'], 'a JSON object'],
  ['tags that are no JSON', ['enrollment-group', 'create', '--eid', 'g', '--tags', '{site:1}'], 'not JSON'],
  [
    'tags in a file that is not there',
    ['enrollment-group', 'create', '--eid', 'g', '--tags', 'no.json'],
    'no such file',
  ],
  [
    'a certificate that is none',
    ['enrollment', 'create', '--eid', 'd', '--at', 'x509', '--cp', 'list.json'],
    'PEM or DER',
  ],
  ['no enrollment ID', ['enrollment', 'show'], '--enrollment-id <id>'],
  ['a --top of 0', ['enrollment', 'list', '--top', '0'], 'Expected a whole number'],
]

test.each(wrong)('%s: wrong usage, and nothing is sent', async (_what, words, complaint) => {
  writeFileSync(join(service.folder, 'list.json'), '[1]')
  const before = service.seen.length
  const ran = await dps(...words)
  expect(ran).toMatchObject({ code: 2, out: '' })
  expect(ran.err).toContain(complaint)
  expect(service.seen).toHaveLength(before)
})
