import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { type FakeService, type Reply, type Seen, startFakeService } from '../../tests/support/fake-service.ts'

// What `update` makes of an enrollment: everything that is not named stays (dps.md 6.3).
let service: FakeService
let stored: Record<string, unknown>
let answer: (seen: Seen) => Reply
const dps = (...words: string[]) => muster(['dps', ...words], { readyFile: service.readyFile, cwd: service.folder })
const puts = () => service.seen.filter(({ method }) => method === 'PUT')

const KEYS = { primaryKey: 'Zmlyc3Q=', secondaryKey: 'c2Vjb25k' }
const record = {
  registrationId: 'd1',
  deviceId: 'device',
  capabilities: { iotEdge: true },
  initialTwin: { tags: { site: 'x' }, properties: { desired: { rate: 5 } } },
  provisioningStatus: 'enabled',
  registrationState: { registrationId: 'd1', status: 'assigned' },
  iotHubHostName: 'old.example.net',
  createdDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
  etag: '"7"',
}
const symmetric = { ...record, attestation: { type: 'symmetricKey' } }
const x509 = (kind: string, ...slots: ('primary' | 'secondary')[]) => ({
  ...record,
  attestation: { type: 'x509', x509: { [kind]: Object.fromEntries(slots.map((slot) => [slot, { info: slot }])) } },
})

beforeAll(async () => {
  service = await startFakeService((seen) => answer(seen))
  await muster(['certs', 'root', '--out', service.folder])
  writeFileSync(join(service.folder, 'tags.json'), '{"site": "y"}')
})
beforeEach(() => {
  stored = symmetric
  answer = ({ method, body }) => {
    if (method === 'POST') return { body: { type: 'symmetricKey', symmetricKey: KEYS } }
    return { body: method === 'PUT' ? body : stored }
  }
})
afterAll(() => service.stop())

const CERTIFICATE = 'certs/azure-iot-test-only.root.ca.cert.pem'
const update = (...words: string[]) => dps('enrollment', 'update', '--eid', 'd1', ...words)
const updateGroup = (...words: string[]) => dps('enrollment-group', 'update', '--eid', 'g1', ...words)
const sent = () => puts().at(-1)!

test('what is not named stays; the record of the device and nothing else is left out', async () => {
  expect(await update('--ps', 'disabled', '--show-keys')).toMatchObject({ code: 0, err: '' })
  const { registrationState: _out, ...kept } = record
  expect(sent()).toMatchObject({ path: '/enrollments/d1?api-version=2021-10-01', headers: { 'if-match': '"7"' } })
  expect(sent().body).toEqual({
    ...kept,
    attestation: { type: 'symmetricKey', symmetricKey: KEYS },
    provisioningStatus: 'disabled',
  })
})

test('every option has its place', async () => {
  const ran = await update(
    ...[
      '--did',
      'other',
      '--ee',
      'false',
      '--tags',
      'tags.json',
      '--props',
      '',
      '--info',
      `{'a': True, 'b': 'say "x"'}`,
    ],
    ...['--rp', 'never', '--ap', 'Hashed', '--ih', 'a.example.net', 'b.example.net', '--sk', 'bmV3', '--etag', '*'],
  )
  expect(ran.code).toBe(0)
  expect(sent().headers['if-match']).toBe('*')
  expect(sent().body).toEqual({
    registrationId: 'd1',
    deviceId: 'other',
    capabilities: { iotEdge: false },
    initialTwin: { tags: { site: 'y' }, properties: { desired: {} } },
    provisioningStatus: 'enabled',
    createdDateTimeUtc: record.createdDateTimeUtc,
    etag: '"7"',
    attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEYS.primaryKey, secondaryKey: 'bmV3' } },
    optionalDeviceInformation: { a: true, b: 'say "x"' },
    reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
    allocationPolicy: 'hashed',
    iotHubs: ['a.example.net', 'b.example.net'],
  })
})

test('one hub, the older way', async () => {
  await update('--iot-hub-host-name', 'a.example.net')
  expect(sent().body).toMatchObject({ allocationPolicy: 'static', iotHubs: ['a.example.net'] })
  expect(sent().body).not.toHaveProperty('iotHubHostName')
  expect(await update('--hn', 'a.example.net', '--ap', 'static')).toMatchObject({ code: 2, out: '' })
})

test('the webhook of custom allocation changes by halves, and only there', async () => {
  const definition = { webhookUrl: 'https://old.example.net/?code=abc', apiVersion: '2019-03-31' }
  stored = { ...symmetric, allocationPolicy: 'custom', customAllocationDefinition: definition }
  const ran = await update('--webhook-url', 'https://new.example.net/?code=xyz')
  expect(sent().body).toMatchObject({
    customAllocationDefinition: { ...definition, webhookUrl: 'https://new.example.net/?code=xyz' },
  })
  expect(ran.out).toContain('code=****')
  stored = symmetric
  for (const words of [
    ['--wh', 'https://x'],
    ['--ap', 'custom', '--wh', 'https://x'],
    ['--av', '2019-03-31'],
  ])
    expect(await update(...words)).toMatchObject({ code: 2, out: '' })
})

test('slots of certificates: one is replaced, one is taken away, the last one stays', async () => {
  stored = x509('clientCertificates', 'primary', 'secondary')
  await update('--cp', CERTIFICATE, '--rsc')
  expect(sent().body).toMatchObject({
    attestation: { x509: { clientCertificates: { primary: { certificate: expect.stringContaining('-----BEGIN') } } } },
  })
  expect(JSON.stringify(sent().body)).not.toContain('secondary')
  await update('--rc')
  expect(sent().body).toMatchObject({
    attestation: { x509: { clientCertificates: { secondary: { info: 'secondary' } } } },
  })
  stored = x509('clientCertificates', 'primary')
  const ran = await update('--remove-certificate')
  expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('Expected a certificate to be left')])
})

test('a group goes over to a CA of the service, and back', async () => {
  stored = x509('signingCertificates', 'primary', 'secondary')
  await updateGroup('--ca-name', 'root', '--secondary-ca-name', 'next')
  expect(sent().path).toBe('/enrollmentGroups/g1?api-version=2021-10-01')
  expect(sent().body).toMatchObject({ attestation: { x509: { caReferences: { primary: 'root', secondary: 'next' } } } })
  expect(JSON.stringify(sent().body)).not.toContain('signingCertificates')
  stored = { ...record, attestation: { type: 'x509', x509: { caReferences: { primary: 'root', secondary: 'next' } } } }
  await updateGroup('--scn', 'third', '--rc')
  expect(sent().body).toMatchObject({ attestation: { x509: { caReferences: { secondary: 'third' } } } })
  await updateGroup('--certificate-path', CERTIFICATE)
  expect(JSON.stringify(sent().body)).not.toContain('caReferences')
})

test.each([
  [['--cp', CERTIFICATE], 'found --certificate-path'],
  [['--remove-certificate'], 'found --remove-certificate'],
  [['--ek', 'x'], 'found --endorsement-key'],
])('options of another attestation, %j, are refused before anything is changed', async (words, complaint) => {
  const before = puts().length
  const ran = await update(...words)
  expect([ran.code, ran.err]).toEqual([2, expect.stringContaining(complaint)])
  expect(puts()).toHaveLength(before)
})

test('a TPM’s keys', async () => {
  stored = { ...record, attestation: { type: 'tpm', tpm: { endorsementKey: 'old', storageRootKey: 'root' } } }
  await update('--ek', 'new')
  expect(sent().body).toMatchObject({ attestation: { tpm: { endorsementKey: 'new', storageRootKey: 'root' } } })
})

test('an enrollment that changed in the meantime is not overwritten', async () => {
  answer = ({ method, headers }) =>
    method === 'PUT' && headers['if-match'] === '"7"'
      ? { status: 412, body: { errorCode: 412001, message: 'It has changed. Read it again.' } }
      : { body: method === 'POST' ? { type: 'symmetricKey', symmetricKey: KEYS } : stored }
  const ran = await update('--ps', 'disabled')
  expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('with 412 412001')])
})

test('an enrollment that is not there ends with code 3', async () => {
  answer = () => ({ status: 404, body: { errorCode: 404201, message: 'no' } })
  expect(await update('--ps', 'disabled')).toMatchObject({ code: 3, out: '' })
})

test('credential policies are refused by name', async () => {
  const ran = await update('--credential-policy', 'x')
  expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('Expected no credential policy')])
})
