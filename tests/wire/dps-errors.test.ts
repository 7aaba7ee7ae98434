import { afterAll, beforeAll, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
import {
  DEVICE_VERSION,
  type DeviceApi,
  deviceApi,
  GUID,
  headersOf,
  ISO_TIME,
  operationOf,
} from '../support/device-api.ts'
import { caReferences, clientCertificates, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, leafOnly, type Pki, withoutRoot } from '../support/pki.ts'
import type { RawAnswer } from '../support/raw-https.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { sasToken, unixNow } from '../support/tokens.ts'

// How the device API refuses: the code, the words and the headers of the real service (dps.md 1.6, 1.7).

let muster: TestMuster
let device: DeviceApi
let dps: Enrolling
let scope: string
let pki: Pki

beforeAll(async () => {
  muster = await startMuster()
  device = deviceApi(muster)
  dps = enrolling(muster)
  scope = muster.addresses.idScope
  pki = await createPki('Errors')
  await uploadCa(muster, 'errors', pki.root.certificate)
  await dps.enrollGroup('errors', caReferences('errors'))
})
afterAll(() => stopClean(muster))

const COMMON_HEADERS = {
  'content-type': 'application/json; charset=utf-8',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-ms-request-id': expect.stringMatching(GUID),
}

const expectError = (answer: RawAnswer, errorCode: number, message: string | RegExp = /./): void => {
  expect(answer.json()).toEqual({
    errorCode,
    trackingId: expect.stringMatching(GUID),
    message: expect.stringMatching(message),
    timestampUtc: expect.stringMatching(ISO_TIME),
  })
  expect(answer.status).toBe(Math.floor(errorCode / 1000))
  expect(headersOf(answer)).toMatchObject({ ...COMMON_HEADERS, 'x-ms-error-code': String(errorCode) })
  expect(answer.header('x-ms-request-id')).toBe((answer.json() as { trackingId: string }).trackingId)
}

test('a wrong key', async () => {
  await device.enrolled('error-key')
  expectError(
    await device.register({ registrationId: 'error-key', authorization: device.token('error-key', newKey()) }),
    401002,
    /^Unauthorized$/,
  )
})

test('no enrollment at all', async () => {
  const authorization = device.token('error-nobody', newKey())
  expectError(await device.register({ registrationId: 'error-nobody', authorization }), 401002, /^Unauthorized$/)
})

test('no credential', async () => {
  await device.enrolled('error-none')
  expectError(await device.register({ registrationId: 'error-none' }), 401002, /^Unauthorized$/)
})

test('an unknown ID scope', async () => {
  const key = newKey()
  const answer = await device.register({
    registrationId: 'error-scope',
    idScope: '0ne00000000',
    authorization: device.token('error-scope', key, '0ne00000000'),
  })
  expect(answer.status).toBe(401)
  expectError(answer, 401002)
})

test.for([
  ['expired beyond the tolerance', { se: unixNow() - 301 }],
  ['of another registration id', { sr: 'other' }],
  ['of another scope', { sr: 'scope' }],
  ['without a signature', { text: 'SharedAccessSignature sr=x&se=1' }],
  ['of another scheme', { text: 'Bearer eyJhbGciOiJub25lIn0.e30.' }],
  ['with a changed expiry', { swap: true }],
] as const)('a token %s', async ([, fault]) => {
  const key = newKey()
  await dps.enroll('error-token', symmetricKeys(key, newKey()))
  const own = `${scope}/registrations/error-token`
  const sr = !('sr' in fault)
    ? own
    : fault.sr === 'other'
      ? `${scope}/registrations/error-tokens`
      : own.replace(scope, '0ne11111111')
  const token = sasToken({ sr, key, se: 'se' in fault ? fault.se : unixNow() + 60, skn: 'registration' })
  const authorization =
    'text' in fault ? fault.text : 'swap' in fault ? token.replace(/se=\d+/, 'se=4102444800') : token
  expectError(await device.register({ registrationId: 'error-token', authorization }), 401002, /^Unauthorized$/)
})

test('a token that expired a moment ago is accepted: clocks differ', async () => {
  const key = newKey()
  await dps.enroll('error-late', symmetricKeys(key, newKey()))
  const sr = `${scope}/registrations/error-late`.toLowerCase()
  const authorization = sasToken({ sr, key, se: unixNow() - 60, skn: 'registration' })
  expect((await device.settled({ registrationId: 'error-late', authorization })).json()).toMatchObject({
    status: 'assigned',
  })
})

test('certificates', async () => {
  const own = await deviceCertificate('error-cert')
  await dps.enroll('error-cert', clientCertificates(own.certificate))
  const stranger = leafOnly(await deviceCertificate('error-cert'))
  expectError(
    await device.register({ registrationId: 'error-cert', certificate: stranger }),
    401002,
    /^Invalid certificate\.?$/,
  )
  const member = await deviceCertificate('error-chain', pki.second)
  expectError(
    await device.register({ registrationId: 'error-chain', certificate: leafOnly(member) }),
    401002,
    /^CA certificate not found$/,
  )
  expectError(
    await device.register({ registrationId: 'error-other', certificate: withoutRoot(member) }),
    401002,
    /^Invalid certificate\.?$/,
  )
})

test('an endorsement key that nobody enrolled', async () => {
  const body = JSON.stringify({ registrationId: 'error-tpm', tpm: { endorsementKey: 'AToAAQALAAMAsgAg' } })
  expectError(await device.register({ registrationId: 'error-tpm', body }), 404201)
})

test('an operation that there is not, and one of another device', async () => {
  const [meter, other] = [await device.enrolled('error-operation'), await device.enrolled('error-operations')]
  await device.settled(meter)
  expect((await device.poll(meter, '5.0000000000000000.00000000-0000-0000-0000-000000000000')).status).toBe(404)
  const foreign = operationOf(await device.register(other))
  expect((await device.poll(meter, foreign)).status).toBe(404)
  expectError(
    await device.poll({ ...meter, authorization: device.token('error-operation', newKey()) }, foreign),
    401002,
  )
})

test('a path that leads nowhere', async () => {
  const answer = await device.ask('GET', `/${scope}/registrations?api-version=${DEVICE_VERSION}`, {
    registrationId: '',
  })
  expect(answer.json()).toMatchObject({ errorCode: 404000, trackingId: expect.stringMatching(GUID) })
  expect(answer.header('x-ms-error-code')).toBe('404000')
})
