import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { type FakeService, type Reply, type Seen, startFakeService } from '../../tests/support/fake-service.ts'

let service: FakeService
let answer: (seen: Seen) => Reply
const identity = (...words: string[]) =>
  muster(['hub', 'module-identity', ...words], { readyFile: service.readyFile, cwd: service.folder })
const last = () => service.seen.at(-1)!
const keys = { primaryKey: 'cHJpbWFyeQ==', secondaryKey: 'c2Vjb25kYXJ5' }
const module = (moduleId: string, authentication: object = { type: 'sas', symmetricKey: keys }) => ({
  moduleId,
  deviceId: 'd',
  managedBy: null,
  etag: 'MQ==',
  authentication,
})

beforeAll(async () => {
  service = await startFakeService((seen) => answer(seen))
})
beforeEach(() => {
  answer = ({ method, body }) => ({ body: method === 'PUT' ? body : module('m') })
})
afterAll(() => service.stop())

test('create, show, update and delete a module under its device', async () => {
  expect(await identity('create', '-d', 'd', '-m', '$x')).toMatchObject({ code: 0 })
  expect(last()).toMatchObject({
    method: 'PUT',
    path: '/devices/d/modules/%24x?api-version=2021-04-12',
    body: { deviceId: 'd', moduleId: '$x', authentication: { type: 'sas' } },
  })
  const shown = JSON.parse((await identity('show', '-d', 'd', '-m', 'm', '--show-keys')).out)
  expect(shown).toEqual({ ...module('m'), hub: `fake.muster.test:${service.port}` })
  await identity('update', '-d', 'd', '-m', 'm', '--set', 'managedBy=me', '--sk', 'new')
  expect(last()).toMatchObject({
    method: 'PUT',
    headers: { 'if-match': '"MQ=="' },
    body: { managedBy: 'me', authentication: { symmetricKey: { ...keys, secondaryKey: 'new' } } },
  })
  answer = () => ({ status: 204 })
  expect(await identity('delete', '-d', 'd', '-m', 'm')).toEqual({ code: 0, out: '', err: '' })
})

test('list, no more than asked for', async () => {
  answer = () => ({ body: [module('a'), module('b')] })
  expect(JSON.parse((await identity('list', '-d', 'd', '--top', '1')).out)).toMatchObject([{ moduleId: 'a' }])
  expect(last().path).toBe('/devices/d/modules?api-version=2021-04-12')
})

test('renew-key of all means all that have keys', async () => {
  answer = ({ method, body }) =>
    method === 'GET'
      ? { body: [module('$edgeHub', { type: 'none' }), module('m')] }
      : { body: { rotatedKeys: (body as { devices: object[] }).devices, errors: [] } }
  expect(await identity('renew-key', '-d', 'd', '-m', '*', '--kt', 'both')).toMatchObject({ code: 0 })
  expect(last().body).toEqual({ policyKey: 'both', devices: [{ id: 'd', moduleId: 'm' }] })
})

test('a module without keys has no connection string and nothing to renew', async () => {
  answer = () => ({ body: module('$edgeHub', { type: 'none' }) })
  for (const words of [
    ['connection-string', 'show'],
    ['renew-key', '--kt', 'primary'],
  ]) {
    const ran = await identity(...words, '-d', 'd', '-m', '$edgeHub')
    expect(ran).toMatchObject({ code: 1, out: '' })
    expect(ran.err).toContain('found the authentication none')
  }
})

test('a certificate that is made: its thumbprint is sent, its key is private, no file is replaced', async () => {
  const cwd = service.folder
  const create = (id: string, ...words: string[]) =>
    identity('create', '-d', 'd', '-m', id, '--am', 'x509_thumbprint', ...words)
  expect(await create('made', '--od', '.')).toMatchObject({ code: 0 })
  const certificate = new X509Certificate(readFileSync(join(cwd, 'made-cert.pem')))
  expect(certificate.subject).toBe('CN=made')
  expect(last().body).toMatchObject({
    authentication: { x509Thumbprint: { primaryThumbprint: certificate.fingerprint256.replaceAll(':', '') } },
  })
  expect(statSync(join(cwd, 'made-key.pem')).mode & 0o777).toBe(0o600)
  const key = readFileSync(join(cwd, 'made-key.pem'), 'utf8')
  const before = service.seen.length
  expect(await create('made', '--vd', '2')).toMatchObject({ code: 2, out: '' })
  expect(readFileSync(join(cwd, 'made-key.pem'), 'utf8')).toBe(key)
  writeFileSync(join(cwd, 'other-cert.pem'), 'mine')
  expect((await create('other', '--vd', '2')).err).toMatch(/Expected no file .*other-cert.pem yet/)
  expect((await create('x'.repeat(65), '--vd', '2')).err).toContain('No certificate can be made for this identity')
  expect(service.seen).toHaveLength(before)
})

test.each([
  ['no module', ['show', '-d', 'd', '-m', ''], 'Expected --module-id'],
  ['a module with a slash', ['delete', '-d', 'd', '-m', 'a/b'], 'Expected --module-id'],
  [
    'a certificate named outside the folder',
    ['create', '-d', 'd', '-m', '../x', '--am', 'x509_thumbprint', '--vd', '1'],
    'Expected --module-id',
  ],
  [
    'what is the device’s',
    ['update', '-d', 'd', '-m', 'm', '--set', 'status=disabled'],
    'Expected --set of authentication, managedBy',
  ],
  ['a state', ['update', '-d', 'd', '-m', 'm', '--status', 'disabled'], "unknown option '--status'"],
])('%s: wrong usage, and nothing is changed', async (_what, words, complaint) => {
  const before = service.seen.length
  const ran = await identity(...words)
  expect(ran).toMatchObject({ code: 2, out: '' })
  expect(ran.err).toContain(complaint)
  expect(service.seen.slice(before).filter(({ method }) => method !== 'GET')).toEqual([])
})
