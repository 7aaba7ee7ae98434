import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { type FakeService, type Reply, type Seen, startFakeService } from '../../tests/support/fake-service.ts'
import { TestClock } from '../base/clock.ts'
import { parseSasToken, verifySas } from '../crypto/sas.ts'

let service: FakeService
let answer: (seen: Seen) => Reply = () => ({ body: [] })
const clock = new TestClock()
const list = (...words: string[]) =>
  muster(['dps', 'enrollment', 'list', ...words], { readyFile: service.readyFile, clock })

beforeAll(async () => {
  service = await startFakeService((seen) => answer(seen))
})
beforeEach(() => {
  answer = () => ({ body: [] })
})
afterAll(() => service.stop())

test('a token of the policy goes to the host of the ready file, at the address of its listeners', async () => {
  expect(await list()).toEqual({ code: 0, out: '[]\n', err: '' })
  const { headers, method, path } = service.seen.at(-1)!
  expect({ method, path }).toEqual({ method: 'POST', path: '/enrollments/query?api-version=2021-10-01' })
  expect(headers.host).toBe(`fake.muster.test:${service.port}`)
  const token = parseSasToken(headers.authorization!)!
  expect(token).toMatchObject({
    sr: `fake.muster.test%3A${service.port}`,
    skn: 'provisioningserviceowner',
    se: clock.now() / 1000 + 600,
  })
  expect(verifySas(token, Buffer.alloc(32, 7))).toBe(true)
})

test('pages are followed to the end, and not beyond --top', async () => {
  answer = ({ headers }) =>
    headers['x-ms-continuation'] === undefined
      ? { body: [{ registrationId: 'a' }, { registrationId: 'b' }], headers: { 'x-ms-continuation': 'next' } }
      : { body: [{ registrationId: 'c' }] }
  const all = await list()
  expect(JSON.parse(all.out)).toEqual([{ registrationId: 'a' }, { registrationId: 'b' }, { registrationId: 'c' }])
  expect(service.seen.at(-1)!.headers['x-ms-continuation']).toBe('next')
  const some = await list('--top', '2')
  expect(JSON.parse(some.out)).toHaveLength(2)
  expect(service.seen.at(-1)!.headers['x-ms-max-item-count']).toBe('2')
})

const refusals: readonly [string, Reply, string][] = [
  [
    'DPS',
    { status: 401, body: { errorCode: 401002, trackingId: 't-1', message: 'Unauthorized', timestampUtc: '' } },
    'muster: the service refused POST /enrollments/query with 401 401002: Unauthorized (tracking ID t-1)\n',
  ],
  [
    'hub',
    { status: 404, body: { Message: 'ErrorCode:DeviceNotFound;dev1', ExceptionMessage: 'Tracking ID:t-2-G:0' } },
    'muster: the service refused POST /enrollments/query with 404 DeviceNotFound: dev1 (tracking ID t-2-G:0)\n',
  ],
  [
    'control plane',
    { status: 412, body: { code: 412001, httpStatusCode: 'PreconditionFailed', message: 'Read it again.' } },
    'muster: the service refused POST /enrollments/query with 412 412001: Read it again.\n',
  ],
  [
    'stranger',
    { status: 502, body: '<html>' },
    'muster: the service refused POST /enrollments/query with 502: <html>\n',
  ],
]

test.each(refusals)('a refusal of a %s is told in its own words', async (_who, reply, err) => {
  answer = () => reply
  expect(await list()).toEqual({ code: reply.status === 404 ? 3 : 1, out: '', err })
})

test('a secret that a refusal repeats is taken out', async () => {
  answer = () => ({ status: 400, body: { errorCode: 400004, message: 'bad SharedAccessKey=abc123= and sig=xyz' } })
  const { err } = await list()
  expect(err).toContain('SharedAccessKey=[redacted] and sig=[redacted]')
})

const login = (hostName: string, ...words: string[]) =>
  muster([
    'dps',
    'enrollment',
    'list',
    '--login',
    service.connectionString.replace(/HostName=[^;]+/, `HostName=${hostName}`),
    ...words,
  ])

test('--login needs no ready file', async () => {
  expect(await login(`127.0.0.1:${service.port}`, '--ca', service.caFile)).toMatchObject({ code: 0, out: '[]\n' })
})

test('without its CA the service is not trusted, and the way out is told', async () => {
  const ran = await login(`127.0.0.1:${service.port}`)
  expect(ran.code).toBe(1)
  expect(ran.err).toContain('name it with --ca FILE')
})

test('a name that the certificate does not carry is refused', async () => {
  const ran = await login(`localhost:${service.port}`, '--ca', service.caFile)
  expect(ran.code).toBe(1)
  expect(ran.err).toContain('The certificate is for other names')
})

test('nobody there is told as such', async () => {
  const gone = await startFakeService(() => ({}))
  await gone.stop()
  const ran = await login(`127.0.0.1:${gone.port}`, '--ca', service.caFile)
  expect(ran.code).toBe(1)
  expect(ran.err).toContain('Nothing listens there: start "muster up"')
})

test.each([
  ['HostName=h;SharedAccessKeyName=p', 'SharedAccessKey'],
  ['SharedAccessKeyName=p;SharedAccessKey=k', 'HostName'],
  ['nonsense', 'HostName'],
])('the connection string %j is refused for its %s', async (text, missing) => {
  const ran = await muster(['dps', 'enrollment', 'list', '--login', text])
  expect(ran.code).toBe(2)
  expect(ran.err).toContain(`found no ${missing}.`)
})

test('a missing ready file is told with what to do', async () => {
  const ran = await muster(['dps', 'enrollment', 'list', '--ready-file', 'absent.json'], { cwd: service.folder })
  expect(ran.code).toBe(2)
  expect(ran.err).toContain('absent.json, found no such file. Start one with "muster up"')
})

test('a file that is no ready file is told so', async () => {
  const ran = await muster(['dps', 'enrollment', 'list', '--ready-file', service.caFile])
  expect(ran.code).toBe(2)
  expect(ran.err).toContain('Expected the ready file that "muster up" writes')
})
