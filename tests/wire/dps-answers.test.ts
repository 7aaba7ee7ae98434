import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { managed, uploadCa } from '../support/control-plane.ts'
import {
  type Asking,
  DEVICE_HOST,
  DEVICE_VERSION,
  type DeviceApi,
  deviceApi,
  GUID,
  headersOf,
  ISO_TIME,
  operationOf,
} from '../support/device-api.ts'
import { caReferences, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, type Pki, withoutRoot } from '../support/pki.ts'
import { exchangeRaw, type RawAnswer, requestText } from '../support/raw-https.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey, dpsTokens, unixNow } from '../support/tokens.ts'

// The device API's answers, byte for byte where a client looks (dps.md 1.4, 1.5, 5.1).

let muster: TestMuster
/** Another that leaves a registration assigning long enough to be asked about meanwhile. */
let slow: TestMuster
let device: DeviceApi
let dps: Enrolling
let scope: string
let pki: Pki

beforeAll(async () => {
  muster = await startMuster()
  slow = await startMuster({ config: { registration: { assigningMs: 700, retryAfterSeconds: 7 } } })
  device = deviceApi(muster)
  dps = enrolling(muster)
  scope = muster.addresses.idScope
  pki = await createPki('Answers')
  await uploadCa(muster, 'answers', pki.root.certificate)
  await dps.enrollGroup('answers', caReferences('answers'))
})
afterAll(() => Promise.all([stopClean(muster), stopClean(slow)]))

const OPERATION_ID = /^[45]\.[0-9a-f]{16}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const COMMON_HEADERS = {
  'content-type': 'application/json; charset=utf-8',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-ms-request-id': expect.stringMatching(GUID),
}

describe('an assignment from register to the end', () => {
  test('symmetric key', async () => {
    const meter = await device.enrolled('answers-key')
    const registered = await device.register(meter)
    expect(registered.statusLine).toBe('HTTP/1.1 202 Accepted')
    expect(headersOf(registered)).toMatchObject({
      ...COMMON_HEADERS,
      'retry-after': '3',
      location: `https://${DEVICE_HOST}/${scope}/registrations/answers-key/register`,
    })
    const operationId = operationOf(registered)
    expect(operationId).toMatch(OPERATION_ID)
    expect(registered.body).toBe(JSON.stringify({ operationId, status: 'assigning' }))

    const final = await device.settle(meter, operationId)
    expect(final.statusLine).toBe('HTTP/1.1 200 OK')
    expect(headersOf(final)).toMatchObject(COMMON_HEADERS)
    expect(final.header('retry-after')).toBeUndefined()
    expect(final.json()).toEqual({
      operationId,
      status: 'assigned',
      registrationState: {
        registrationId: 'answers-key',
        createdDateTimeUtc: expect.stringMatching(ISO_TIME),
        assignedHub: muster.addresses.hubs[0]?.hostName,
        deviceId: 'answers-key',
        status: 'assigned',
        substatus: 'initialAssignment',
        lastUpdatedDateTimeUtc: expect.stringMatching(ISO_TIME),
        etag: expect.any(String),
      },
    })
    // Null breaks typed clients (dps.md 0.3, 1).
    for (const answer of [registered, final]) expect(answer.body).not.toContain('null')
    // Asked again, the same operation answers the same: polls are not throttled and end nothing.
    expect((await device.poll(meter, operationId)).json()).toEqual(final.json())
  })

  test('while it is running, with the Retry-After of the settings', async () => {
    const key = newKey()
    await enrolling(slow).enroll('answers-slow', symmetricKeys(key, newKey()))
    const authorization = device.token('answers-slow', key, slow.addresses.idScope)
    const [meter, patient] = [{ registrationId: 'answers-slow', authorization }, deviceApi(slow)]
    const operationId = operationOf(await patient.register(meter))
    const running = await patient.poll(meter, operationId)
    expect(running.statusLine).toBe('HTTP/1.1 202 Accepted')
    expect(headersOf(running)).toMatchObject({ ...COMMON_HEADERS, 'retry-after': '7' })
    expect(running.json()).toEqual({
      operationId,
      status: 'assigning',
      registrationState: { registrationId: 'answers-slow', status: 'assigning' },
    })
    expect((await patient.settle(meter, operationId)).json()).toMatchObject({ status: 'assigned' })
  })

  test('X.509: the etag decodes to a quoted text, and Java finds no half certificateInfo', async () => {
    const issued = await deviceCertificate('answers-cert', pki.second)
    const meter = { registrationId: 'answers-cert', certificate: withoutRoot(issued) }
    const { registrationState } = (await device.settled(meter)).json() as { registrationState: Record<string, unknown> }
    expect(registrationState['x509'] ?? {}).toEqual({})
    expect(Buffer.from(String(registrationState['etag']), 'base64').toString()).toMatch(/^"[0-9a-f-]{36}"$/)
    const record = await dps.rest('GET', '/registrations/answers-cert?api-version=2021-10-01')
    expect(record.body).toMatchObject({ etag: registrationState['etag'], deviceId: 'answers-cert' })
  })

  test('failed: HTTP 200, the code and the words in registrationState', async () => {
    const { properties } = (await managed(muster, 'PUT', '/provisioningServices/no-hub', {
      body: { properties: { iotHubs: [] } },
    })) as { properties: { idScope: string; serviceOperationsHostName: string } }
    const { value } = (await managed(muster, 'POST', '/provisioningServices/no-hub/listkeys')) as {
      value: { keyName: string; primaryKey: string }[]
    }
    const [policy] = value
    const lonely = enrolling(
      muster,
      `HostName=${properties.serviceOperationsHostName};SharedAccessKeyName=${policy?.keyName};SharedAccessKey=${policy?.primaryKey}`,
    )
    const key = newKey()
    await lonely.enroll('hubless', symmetricKeys(key, newKey()))
    const { idScope } = properties
    const meter = { registrationId: 'hubless', idScope, authorization: device.token('hubless', key, idScope) }
    const registered = await device.register(meter)
    expect(registered.status).toBe(202)
    const final = await device.settle(meter, operationOf(registered))
    expect(final.statusLine).toBe('HTTP/1.1 200 OK')
    expect(final.json()).toMatchObject({
      operationId: operationOf(registered),
      status: 'failed',
      registrationState: {
        registrationId: 'hubless',
        status: 'failed',
        errorCode: 400208,
        errorMessage: expect.stringMatching(/hub/i),
        etag: expect.any(String),
      },
    })
    expect((await lonely.rest('GET', '/registrations/hubless?api-version=2021-10-01')).body).toMatchObject({
      status: 'failed',
      errorCode: 400208,
      etag: expect.any(String),
    })
  })

  test('disabled: accepted first, then 200 with the status alone', async () => {
    const meter = await device.enrolled('answers-disabled', { provisioningStatus: 'disabled' })
    const registered = await device.register(meter)
    expect(registered.status).toBe(202)
    expect(registered.json()).toEqual({ operationId: expect.stringMatching(OPERATION_ID), status: 'assigning' })
    const final = await device.settle(meter, operationOf(registered))
    expect(final.statusLine).toBe('HTTP/1.1 200 OK')
    expect(final.json()).toEqual({
      operationId: '',
      status: 'disabled',
      registrationState: { registrationId: 'answers-disabled', status: 'disabled' },
    })
  })

  test('several register calls at once: each is accepted or told of the race, and the device is assigned', async () => {
    const meter = await device.enrolled('answers-race')
    const answers = await Promise.all(Array.from({ length: 6 }, () => device.register(meter)))
    const accepted = answers.filter(({ status }) => status === 202)
    expect(accepted.length).toBeGreaterThan(0)
    for (const answer of answers) if (answer.status !== 202) expect(answer.json()).toMatchObject({ errorCode: 409203 })
    const finals = await Promise.all(accepted.map((answer) => device.settle(meter, operationOf(answer))))
    for (const final of finals) expect(final.json()).toMatchObject({ status: 'assigned' })
  })
})

describe('paths and bodies', () => {
  test('literal segments without regard to case, ids percent-encoded, the scope in lower case', async () => {
    const meter = await device.enrolled('Answers:Path.1')
    const head = `/${scope.toLowerCase()}/Registrations/Answers%3aPath.1`
    const registered = await device.ask(
      'PUT',
      `${head}/Register?API-VERSION=${DEVICE_VERSION}&forceRegistration=true`,
      {
        ...meter,
        body: JSON.stringify({ registrationId: 'Answers:Path.1' }),
      },
    )
    expect(registered.status).toBe(202)
    const path = `${head}/OPERATIONS/${operationOf(registered)}?api-version=${DEVICE_VERSION}`
    expect([200, 202]).toContain((await device.ask('GET', path, meter)).status)
  })

  test.for([
    ['an empty body', ''],
    ['an empty object', '{}'],
    ['a payload without an id', '{"payload":{"a":[1,null]}}'],
    ['members of later versions', '{"registrationId":"answers-body","connectionProfile":"classic","x":{"y":1}}'],
    ['a payload of any JSON', '{"registrationId":"answers-body","payload":[1,"two",null]}'],
  ])('%s is accepted', async ([, body]) => {
    const meter = await device.enrolled('answers-body')
    expect((await device.register({ ...meter, body: body as string })).status).toBe(202)
  })

  test('no Content-Type at all', async () => {
    const { authorization = '' } = await device.enrolled('answers-untyped')
    const { address, ports } = muster.addresses
    const request = requestText(
      `PUT /${scope}/registrations/answers-untyped/register?api-version=${DEVICE_VERSION} HTTP/1.1
      Host: ${DEVICE_HOST}:443
      Authorization: ${authorization}
      Content-Length: 0`,
    )
    expect((await exchangeRaw({ address, port: ports.https, ca: muster.ca }, request)).status).toBe(202)
  })
})

describe('the pre-release device clients (mission B9)', () => {
  test('an empty register body is answered exactly 202 assigning, then assigned to a classic hub', async () => {
    const issued = await deviceCertificate('next-generation', pki.second)
    const meter = {
      registrationId: 'next-generation',
      certificate: withoutRoot(issued),
      apiVersion: '2026-11-02-preview',
      body: '',
    }
    const registered = await device.register(meter)
    expect(registered.statusLine).toBe('HTTP/1.1 202 Accepted')
    expect(registered.json()).toEqual({ operationId: expect.any(String), status: 'assigning' })
    const final = (await device.settle(meter, operationOf(registered))).json() as { registrationState: object }
    expect(final).toMatchObject({ status: 'assigned', registrationState: { deviceId: 'next-generation' } })
    // Absent means classic; any other value makes the client fail closed (users-and-lessons.md 6).
    expect({ connectionProfile: 'classic', ...final.registrationState }).toMatchObject({ connectionProfile: 'classic' })
  })
})

describe('the vector of mission P10', () => {
  test('a device with the printed derived key is assigned', async () => {
    const groupKey = '8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=='
    const registrationId = 'sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6'
    const printed = 'Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc='
    expect(derivedKey(groupKey, registrationId)).toBe(printed)
    await dps.enrollGroup('p10', symmetricKeys(groupKey, newKey()))
    const meter = { registrationId, authorization: device.token(registrationId, printed) }
    expect((await device.settled(meter)).json()).toMatchObject({
      status: 'assigned',
      registrationState: { deviceId: registrationId },
    })
    const itself = await device.register({ registrationId, authorization: device.token(registrationId, groupKey) })
    expect(itself.json()).toMatchObject({ errorCode: 401002 })
  })
})

describe('the state lookup', () => {
  const lookup = (meter: Asking, body: object = { registrationId: meter.registrationId }): Promise<RawAnswer> =>
    device.ask('POST', `${device.path(meter)}?api-version=${DEVICE_VERSION}`, { ...meter, body: JSON.stringify(body) })

  test('answers with the registration state for the credential of register', async () => {
    const key = newKey()
    await dps.enroll('looked-up', symmetricKeys(key, newKey()))
    const cli = dpsTokens['cli']?.(scope, 'looked-up', key, unixNow()) ?? ''
    const meter = { registrationId: 'looked-up', authorization: cli }
    expect((await lookup(meter)).status).toBe(404)
    const final = (await device.settled(meter)).json() as { registrationState: object }
    const found = await lookup(meter)
    expect(found.statusLine).toBe('HTTP/1.1 200 OK')
    expect(found.json()).toEqual(final.registrationState)
  })

  test('refuses a stranger, and a certificate request with 400', async () => {
    const meter = await device.enrolled('looked-csr')
    await device.settled(meter)
    const stranger = await lookup({ ...meter, authorization: device.token('looked-csr', newKey()) })
    expect(stranger.json()).toMatchObject({ errorCode: 401002 })
    const csr = await lookup(meter, { registrationId: 'looked-csr', csr: 'MIIB' })
    expect(csr.status).toBe(400)
  })
})
