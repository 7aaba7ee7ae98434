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

test('an instance that does not exist is refused by name', async () => {
  const ran = await run('dps', 'certificate', 'list', '--dps-name', 'dps-2')
  expect(ran.code).toBe(3)
  expect(ran.err).toContain('dps-2')
})
