import { afterAll, beforeAll, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { type Answer, type Rest, restOf, signedRest } from '../support/rest.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { sasToken, unixNow } from '../support/tokens.ts'

// Bad input of register, of polls and of the registration records: Azure's code, words that say what was expected, and
// no record, no device half made (dps.md 1.3, 1.6, 1.9, 6.2).

let muster: TestMuster
let dps: Enrolling
let hub: Rest
/** Signs as the device `bad`. */
let device: Rest

beforeAll(async () => {
  muster = await startMuster()
  dps = enrolling(muster)
  hub = restOf(muster, hubOf(muster).connectionString)
  const key = newKey()
  await dps.enroll('bad', symmetricKeys(key, newKey()))
  const sr = `${muster.addresses.idScope}/registrations/bad`
  device = signedRest(muster, 'global.example.net', () => sasToken({ sr, key, se: unixNow() + 60 }))
})
afterAll(() => stopClean(muster))

const SERVICE = 'api-version=2021-10-01'
const path = (tail: string): string => `/${muster.addresses.idScope}/registrations/${tail}`
const register = (text: string): Promise<Answer> => device('PUT', path('bad/register?api-version=2019-03-31'), { text })

async function expectNothingMade(): Promise<void> {
  expect((await dps.rest('GET', `/registrations/bad?${SERVICE}`)).status).toBe(404)
  expect((await hub('GET', '/devices/bad?api-version=2021-04-12')).status).toBe(404)
}

function expectRefused(answer: Answer, code: number, says: RegExp): void {
  expect(answer.status, answer.text).toBe(Math.floor(code / 1000))
  expect(answer.body).toMatchObject({ errorCode: code, message: expect.stringMatching(says) })
  expect(answer.headers['x-ms-error-code']).toBe(String(code))
}

test.for([
  ['no JSON', 'registrationId=bad', 400004, /not valid JSON/],
  ['JSON cut short', '{"registrationId":', 400004, /not valid JSON/],
  ['an array', '[]', 400004, /JSON object/],
  ['a number', '1', 400004, /JSON object/],
  ['a text', '"bad"', 400004, /JSON object/],
  ['an id of another kind', '{"registrationId":1}', 400004, /registrationId must be a string/],
  ['the id of another device', '{"registrationId":"other"}', 400202, /registrationId must be/],
  ['tpm of another kind', '{"tpm":"AToA"}', 400004, /tpm must be an object/],
  ['tpm without an endorsement key', '{"tpm":{}}', 400004, /endorsementKey/],
  ['an endorsement key of another kind', '{"tpm":{"endorsementKey":1}}', 400004, /endorsementKey must be a string/],
  [
    'a storage root key of another kind',
    '{"tpm":{"endorsementKey":"AA","storageRootKey":1}}',
    400004,
    /storageRootKey/,
  ],
  ['a csr of another kind', '{"csr":1}', 400004, /csr must be a string/],
] as const)('register with %s', async ([, text, code, says]) => {
  expectRefused(await register(text), code, says)
  await expectNothingMade()
})

test('register with a certificate request that nothing is configured for is refused, not ignored', async () => {
  const answer = await register('{"registrationId":"bad","csr":"MIIB"}')
  if (answer.status === 202) {
    // Or it ends failed with the code of the earlier preview (dps.md 9.1).
    const { operationId } = answer.body as { operationId: string }
    let final: Answer
    do final = await device('GET', path(`bad/operations/${operationId}?api-version=2025-07-01-preview`))
    while (final.status === 202)
    expect(final.body).toMatchObject({ status: 'failed', registrationState: { errorCode: 400000 } })
    await dps.rest('DELETE', `/registrations/bad?${SERVICE}`)
  } else expect(Math.floor(answer.status / 100)).toBe(4)
  await expectNothingMade()
})

test('register with more than 96 KB', async () => {
  const answer = await register(JSON.stringify({ payload: 'x'.repeat(96 * 1024) }))
  expect(answer.status).toBe(413)
  await expectNothingMade()
})

test('register with a payload as deep as 96 KB allow is no trouble', async () => {
  const deep = `${'['.repeat(40_000)}${']'.repeat(40_000)}`
  const answer = await register(`{"payload":${deep}}`)
  expect([202, 400]).toContain(answer.status)
  if (answer.status === 202) {
    const { operationId } = answer.body as { operationId: string }
    while ((await device('GET', path(`bad/operations/${operationId}?api-version=2019-03-31`))).status === 202);
    await dps.rest('DELETE', `/registrations/bad?${SERVICE}`)
    await hub('DELETE', '/devices/bad?api-version=2021-04-12')
  }
  await expectNothingMade()
})

test.for(['a%20b', 'ends.', '%C3%BC', 'a%2Fb', 'x'.repeat(129), 'under_', '%00'])(
  'the registration id %s is refused before anything else',
  async (id) => {
    const answer = await device('PUT', path(`${id}/register?api-version=2019-03-31`), { text: '{}' })
    expect(answer.status, answer.text).toBeGreaterThanOrEqual(400)
    expect(answer.status, answer.text).toBeLessThan(500)
    expect(answer.body).toMatchObject({ errorCode: expect.any(Number), message: expect.any(String) })
    await expectNothingMade()
  },
)

test.for([
  ['empty', ''],
  ['of one letter', 'x'],
  ['that climbs', '../../x'],
  ['that climbs, encoded', '%2e%2e'],
  ['of 2,000 characters', 'x'.repeat(2000)],
  ['with a zero byte', '5.0000000000000000.%00'],
] as const)('a poll for an operation %s', async ([, operationId]) => {
  const answer = await device('GET', path(`bad/operations/${operationId}?api-version=2019-03-31`))
  expect(answer.status, answer.text).toBeGreaterThanOrEqual(400)
  expect(answer.status, answer.text).toBeLessThan(500)
  expect(answer.body).toMatchObject({ errorCode: expect.any(Number) })
  await expectNothingMade()
})

test('methods that an address does not have', async () => {
  for (const [method, tail] of [
    ['POST', 'bad/register'],
    ['GET', 'bad/register'],
    ['DELETE', 'bad/register'],
    ['PUT', 'bad/operations/5.x'],
    ['DELETE', 'bad'],
  ] as const) {
    const answer = await device(method, path(`${tail}?api-version=2019-03-31`), method === 'GET' ? {} : { text: '{}' })
    expect([404, 405], `${method} ${tail}`).toContain(answer.status)
    expect(answer.body).toMatchObject({ errorCode: expect.any(Number) })
  }
  await expectNothingMade()
})

test.for(['a%20b', 'x'.repeat(129), '%C3%BC'])('the record of "%s"', async (id) => {
  for (const method of ['GET', 'DELETE'])
    expectRefused(await dps.rest(method, `/registrations/${id}?${SERVICE}`), 400202, /1 to 128/)
})

test('a record that is not there', async () => {
  for (const method of ['GET', 'DELETE']) {
    const answer = await dps.rest(method, `/registrations/nobody?${SERVICE}`)
    expect(answer.status).toBe(404)
    expect(answer.body).toMatchObject({ message: expect.stringContaining('nobody') })
  }
})

test('queries of a group’s records', async () => {
  await dps.enrollGroup('records', { attestation: { type: 'symmetricKey' } })
  const query = (call: { text?: string; headers?: Record<string, string> }): Promise<Answer> =>
    dps.rest('POST', `/registrations/records/query?${SERVICE}`, call)
  expect((await query({})).status).toBe(200)
  expectRefused(await query({ text: '{"query":1}' }), 400004, /query must be a string/)
  expectRefused(await query({ text: '{"query":"DROP TABLE x"}' }), 400004, /SELECT \*/)
  expectRefused(await query({ text: 'x' }), 400004, /not valid JSON/)
  expectRefused(await query({ headers: { 'x-ms-max-item-count': 'all' } }), 400004, /x-ms-max-item-count/)
  expect((await query({ headers: { 'x-ms-continuation': 'bm90IGEgY3Vyc29y' } })).status).toBe(400)
  expect((await dps.rest('POST', `/registrations/no-such-group/query?${SERVICE}`)).status).toBe(404)
})
