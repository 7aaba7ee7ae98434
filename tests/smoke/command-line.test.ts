import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Ran, muster as runMuster, writeReadyFile } from '../support/command-line.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { tpmDouble } from '../support/tpm-double.ts'

// The commands against the service itself: what the tests beside them say of a fake one must be true of this one.
let muster: TestMuster
let readyFile: string
const run = (...words: string[]): Promise<Ran> => runMuster(words, { readyFile, cwd: muster.folder })
const json = async (...words: string[]) => {
  const ran = await run(...words)
  expect(ran).toMatchObject({ code: 0, err: '' })
  return ran.out === '' ? undefined : JSON.parse(ran.out)
}

beforeAll(async () => {
  muster = await startMuster()
  readyFile = writeReadyFile(muster)
})
afterAll(() => muster.stop())

test('an individual enrollment is created, shown, listed and deleted', async () => {
  const made = await json(
    ...['dps', 'enrollment', 'create', '--eid', 'meter-1', '--at', 'symmetricKey', '--show-keys'],
    ...['--did', 'Meter1', '--ee', '--tags', '{"site":"x"}', '--rp', 'never', '--ap', 'hashed'],
  )
  expect(made).toMatchObject({
    registrationId: 'meter-1',
    deviceId: 'Meter1',
    capabilities: { iotEdge: true },
    initialTwin: { tags: { site: 'x' } },
    reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
    allocationPolicy: 'hashed',
    provisioningStatus: 'enabled',
  })
  const shown = await json('dps', 'enrollment', 'show', '--eid', 'meter-1', '--show-keys')
  expect(shown.attestation).toEqual(made.attestation)
  expect(JSON.stringify(await json('dps', 'enrollment', 'show', '--eid', 'meter-1'))).not.toContain('primaryKey')
  const table = await run('dps', 'enrollment', 'list', '--output', 'table')
  expect(table.out).toMatch(/^meter-1 +symmetricKey +enabled +true/m)
  await json('dps', 'enrollment', 'delete', '--eid', 'meter-1', '--etag', shown.etag)
  expect(await json('dps', 'enrollment', 'list')).toEqual([])
})

test('an enrollment by TPM', async () => {
  const { endorsementKey } = tpmDouble()
  const create = (id: string, key: string) => ['dps', 'enrollment', 'create', '--eid', id, '--at', 'tpm', '--ek', key]
  expect((await json(...create('tpm-1', endorsementKey))).attestation).toEqual({ type: 'tpm', tpm: { endorsementKey } })
  const refused = await run(...create('tpm-2', 'AAAA'))
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('endorsementKey must be')])
  await json('dps', 'enrollment', 'delete', '--eid', 'tpm-1')
})

test('a service is found by its name through the management API', async () => {
  expect(await json('dps', 'enrollment-group', 'list', '--dps-name', 'muster-dps')).toEqual([])
  expect(await json('hub', 'device-identity', 'list', '--hub-name', 'muster-hub')).toEqual([])
  const ran = await run('dps', 'enrollment', 'list', '-n', 'nobody')
  expect(ran.code).toBe(3)
  expect(ran.err).toContain('nobody')
})

test('a group, and what the service refuses of it', async () => {
  const group = ['dps', 'enrollment-group', 'create', '--eid', 'valves', '--output', 'none'] as const
  expect((await run(...group)).code).toBe(0)
  const again = await run(...group)
  expect(again).toMatchObject({ code: 1, out: '' })
  expect(again.err).toMatch(
    /^muster: the service refused PUT \/enrollmentGroups\/valves with 409 409\d{3}: .+ \(tracking ID/,
  )
  expect(await json('dps', 'registration', 'list', '--eid', 'valves')).toEqual([])
  const missing = await run('dps', 'registration', 'show', '--rid', 'nobody')
  expect(missing.code).toBe(3)
  expect(missing.err).toMatch(/with 404 404\d{3}: /)
  const stale = await run('dps', 'enrollment-group', 'delete', '--eid', 'valves', '--etag', '"0"')
  expect(stale.err).toContain('with 412')
  expect((await run('dps', 'enrollment-group', 'delete', '--eid', 'valves')).code).toBe(0)
})

test('a device identity is created, shown, listed and deleted', async () => {
  const created = await json('hub', 'device-identity', 'create', '-d', 'Device-1', '--ee', '--show-keys')
  expect(created).toMatchObject({ deviceId: 'Device-1', status: 'enabled', capabilities: { iotEdge: true } })
  expect(created.authentication.symmetricKey.primaryKey).toMatch(/^[\w+/]{20,}={0,2}$/)
  const table = await run('hub', 'device-identity', 'list', '-o', 'table', '--ee')
  expect(table.out).toMatch(/^Device-1 +enabled +sas +true +Disconnected/m)
  await json('hub', 'device-identity', 'delete', '-d', 'Device-1', '--etag', created.etag)
  const gone = await run('hub', 'device-identity', 'show', '-d', 'Device-1')
  expect(gone.code).toBe(3)
  expect(gone.err).toMatch(/with 404 DeviceNotFound: /)
})

test('device identities by certificate', async () => {
  const thumbprint = 'AB'.repeat(32)
  const byThumbprint = await json(
    'hub',
    'device-identity',
    'create',
    '-d',
    't',
    '--am',
    'x509_thumbprint',
    '--ptp',
    thumbprint,
  )
  expect(byThumbprint.authentication).toMatchObject({
    type: 'selfSigned',
    x509Thumbprint: { primaryThumbprint: thumbprint },
  })
  const byCa = await json('hub', 'device-identity', 'create', '-d', 'c', '--am', 'x509_ca')
  expect(byCa.authentication.type).toBe('certificateAuthority')
})

test('linked hubs and hubs', async () => {
  const dialled = muster.addresses.hubs[0]?.hostName
  // Names are stored without our port, so that it may change.
  expect(await json('dps', 'linked-hub', 'list')).toMatchObject([{ name: dialled?.replace(/:\d+$/, '') }])
  expect(await json('hub', 'list')).toMatchObject([{ name: 'muster-hub', properties: { hostName: dialled } }])
})
