import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { type FakeService, type Reply, type Seen, startFakeService } from '../../tests/support/fake-service.ts'

let service: FakeService
let answer: (seen: Seen) => Reply
const identity = (...words: string[]) => muster(['hub', 'device-identity', ...words], { readyFile: service.readyFile })
const last = () => service.seen.at(-1)!
const keys = { primaryKey: 'cHJpbWFyeQ==', secondaryKey: 'c2Vjb25kYXJ5' }

beforeAll(async () => {
  service = await startFakeService((seen) => answer(seen))
})
beforeEach(() => {
  answer = ({ body }) => ({ body })
})
afterAll(() => service.stop())

test('create sends the device document of the registry', async () => {
  const ran = await identity('create', '-d', 'Dev 1#', '--ee', '--sta', 'disabled', '--star', 'lost')
  expect(ran.code).toBe(0)
  expect(last()).toMatchObject({ method: 'PUT', path: '/devices/Dev%201%23?api-version=2021-04-12' })
  expect(last().body).toEqual({
    deviceId: 'Dev 1#',
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

test('keys are shown to who asks for them and to nobody else', async () => {
  answer = () => ({ body: { deviceId: 'd', authentication: { type: 'sas', symmetricKey: keys } } })
  expect(JSON.parse((await identity('show', '-d', 'd')).out)).toEqual({
    deviceId: 'd',
    authentication: { type: 'sas', symmetricKey: {} },
  })
  expect(JSON.parse((await identity('show', '-d', 'd', '--show-keys')).out).authentication.symmetricKey).toEqual(keys)
})

test('list, all or Edge devices only', async () => {
  answer = () => ({
    body: [
      { deviceId: 'leaf', status: 'enabled', authentication: { type: 'sas' }, capabilities: { iotEdge: false } },
      { deviceId: 'edge', status: 'enabled', authentication: { type: 'selfSigned' }, capabilities: { iotEdge: true } },
    ],
  })
  const table = await identity('list', '-o', 'table')
  expect(last().path).toBe('/devices?top=1000&api-version=2021-04-12')
  expect(table.out).toBe(
    [
      'Device ID  Status   Authentication  Edge   Connection  Last activity',
      'leaf       enabled  sas             false',
      'edge       enabled  selfSigned      true',
      '',
    ].join('\n'),
  )
  expect(JSON.parse((await identity('list', '--ee')).out)).toMatchObject([{ deviceId: 'edge' }])
})

test('delete', async () => {
  answer = () => ({ status: 204 })
  expect(await identity('delete', '-d', 'd', '-e', 'MQ==')).toEqual({ code: 0, out: '', err: '' })
  expect(last()).toMatchObject({ method: 'DELETE', headers: { 'if-match': 'MQ==' } })
})

const wrong: readonly [string, string[], string][] = [
  ['one key of two', ['--pk', 'a'], 'both --primary-key and --secondary-key'],
  ['keys with x509_ca', ['--am', 'x509_ca', '--sk', 'a'], 'only with --auth-method shared_private_key'],
  ['x509_thumbprint without one', ['--am', 'x509_thumbprint'], 'Expected --primary-thumbprint'],
  ['a thumbprint with keys', ['--stp', 'AA'], 'only with --auth-method x509_thumbprint'],
  ['a method that is none', ['--am', 'password'], 'Expected one of shared_private_key'],
]

test.each(wrong)('%s: wrong usage, and nothing is sent', async (_what, words, complaint) => {
  const before = service.seen.length
  const ran = await identity('create', '-d', 'd', ...words)
  expect(ran).toMatchObject({ code: 2, out: '' })
  expect(ran.err).toContain(complaint)
  expect(service.seen).toHaveLength(before)
})
