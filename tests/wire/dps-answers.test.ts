import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { managed, uploadCa } from '../support/control-plane.ts'
import { caReferences, clientCertificates, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, leafOnly, type Pki, withoutRoot } from '../support/pki.ts'
import { exchangeRaw, type RawAnswer, type RawTarget, requestText } from '../support/raw-https.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey, dpsTokens, sasToken, unixNow } from '../support/tokens.ts'

// The device API's answers, byte for byte where a client looks (dps.md 1.4 to 1.6, 5.1, 5.3).

let muster: TestMuster
/** Another that leaves a registration assigning long enough to be asked about meanwhile. */
let slow: TestMuster
let dps: Enrolling
let scope: string
let pki: Pki

beforeAll(async () => {
  muster = await startMuster()
  slow = await startMuster({ config: { registration: { assigningMs: 700, retryAfterSeconds: 7 } } })
  dps = enrolling(muster)
  scope = muster.addresses.idScope
  pki = await createPki('Answers')
  await uploadCa(muster, 'answers', pki.root.certificate)
  await dps.enrollGroup('answers', caReferences('answers'))
})
afterAll(() => Promise.all([stopClean(muster), stopClean(slow)]))

const HOST = 'dps.example.net'

interface Asking {
  readonly registrationId: string
  readonly idScope?: string
  /** The whole header; absent: none. */
  readonly authorization?: string
  readonly certificate?: RawTarget['credential']
  readonly apiVersion?: string
  readonly body?: string
  /** Default: `muster`. */
  readonly of?: TestMuster
}

function ask(method: string, path: string, asking: Asking): Promise<RawAnswer> {
  const { authorization, certificate, body = '', of = muster } = asking
  const { address, ports } = of.addresses
  const head = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${HOST}`,
    'Content-Type: application/json; charset=utf-8',
    'Content-Length: {length}',
    ...(authorization === undefined ? [] : [`Authorization: ${authorization}`]),
  ]
  const target = { address, port: ports.https, ca: of.ca, credential: certificate }
  return exchangeRaw(target, requestText(head.join('\n'), body))
}

const registrationPath = ({ registrationId, of = muster, idScope = of.addresses.idScope }: Asking): string =>
  `/${idScope}/registrations/${encodeURIComponent(registrationId)}`

const VERSION = '2019-03-31'

const register = (asking: Asking): Promise<RawAnswer> =>
  ask('PUT', `${registrationPath(asking)}/register?api-version=${asking.apiVersion ?? VERSION}`, {
    body: JSON.stringify({ registrationId: asking.registrationId }),
    ...asking,
  })

const poll = (asking: Asking, operationId: string): Promise<RawAnswer> =>
  ask('GET', `${registrationPath(asking)}/operations/${operationId}?api-version=${asking.apiVersion ?? VERSION}`, {
    ...asking,
    body: '',
  })

const operationOf = (answer: RawAnswer): string => (answer.json() as { operationId: string }).operationId

/** Polls until the answer is final. */
async function settle(asking: Asking, operationId: string): Promise<RawAnswer> {
  for (const deadline = Date.now() + 5_000; ; ) {
    const answer = await poll(asking, operationId)
    if (answer.status !== 202 || Date.now() > deadline) return answer
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const settled = async (asking: Asking): Promise<RawAnswer> => settle(asking, operationOf(await register(asking)))

const nodeToken = (registrationId: string, key: string, idScope = scope): string =>
  dpsTokens['node']?.(idScope, registrationId, key, unixNow()) ?? ''

/** A device of its own enrollment, with a fresh key. */
async function keyDevice(registrationId: string, document: object = {}): Promise<Asking> {
  const key = newKey()
  await dps.enroll(registrationId, { ...symmetricKeys(key, newKey()), ...document })
  return { registrationId, authorization: nodeToken(registrationId, key) }
}

const OPERATION_ID = /^[45]\.[0-9a-f]{16}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/

const COMMON_HEADERS = {
  'content-type': 'application/json; charset=utf-8',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-ms-request-id': expect.stringMatching(GUID),
}

const headersOf = (answer: RawAnswer): Record<string, string> =>
  Object.fromEntries(answer.headers.map(([name, value]) => [name.toLowerCase(), value]))

describe('an assignment from register to the end', () => {
  test('symmetric key', async () => {
    const device = await keyDevice('answers-key')
    const registered = await register(device)
    expect(registered.statusLine).toBe('HTTP/1.1 202 Accepted')
    expect(headersOf(registered)).toMatchObject({
      ...COMMON_HEADERS,
      'retry-after': '3',
      location: `https://${HOST}/${scope}/registrations/answers-key/register`,
    })
    const operationId = operationOf(registered)
    expect(operationId).toMatch(OPERATION_ID)
    expect(registered.body).toBe(JSON.stringify({ operationId, status: 'assigning' }))

    const final = await settle(device, operationId)
    expect(final.statusLine).toBe('HTTP/1.1 200 OK')
    expect(headersOf(final)).toMatchObject(COMMON_HEADERS)
    expect(final.header('retry-after')).toBeUndefined()
    expect(final.json()).toEqual({
      operationId,
      status: 'assigned',
      registrationState: {
        registrationId: 'answers-key',
        createdDateTimeUtc: expect.stringMatching(ISO),
        assignedHub: muster.addresses.hubs[0]?.hostName,
        deviceId: 'answers-key',
        status: 'assigned',
        substatus: 'initialAssignment',
        lastUpdatedDateTimeUtc: expect.stringMatching(ISO),
        etag: expect.any(String),
      },
    })
    // Null breaks typed clients (dps.md 0.3, 1).
    for (const answer of [registered, final]) expect(answer.body).not.toContain('null')
    // Asked again, the same operation answers the same: polls are not throttled and end nothing.
    expect((await poll(device, operationId)).json()).toEqual(final.json())
  })

  test('while it is running, with the Retry-After of the settings', async () => {
    const key = newKey()
    await enrolling(slow).enroll('answers-slow', symmetricKeys(key, newKey()))
    const authorization = nodeToken('answers-slow', key, slow.addresses.idScope)
    const device = { registrationId: 'answers-slow', authorization, of: slow }
    const operationId = operationOf(await register(device))
    const running = await poll(device, operationId)
    expect(running.statusLine).toBe('HTTP/1.1 202 Accepted')
    expect(headersOf(running)).toMatchObject({ ...COMMON_HEADERS, 'retry-after': '7' })
    expect(running.json()).toEqual({
      operationId,
      status: 'assigning',
      registrationState: { registrationId: 'answers-slow', status: 'assigning' },
    })
    expect((await settle(device, operationId)).json()).toMatchObject({ status: 'assigned' })
  })

  test('X.509: the etag decodes to a quoted text, and Java finds no half certificateInfo', async () => {
    const issued = await deviceCertificate('answers-cert', pki.second)
    const device = { registrationId: 'answers-cert', certificate: withoutRoot(issued) }
    const { registrationState } = (await settled(device)).json() as { registrationState: Record<string, unknown> }
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
    const device = { registrationId: 'hubless', idScope, authorization: nodeToken('hubless', key, idScope) }
    const registered = await register(device)
    expect(registered.status).toBe(202)
    const final = await settle(device, operationOf(registered))
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
    const device = await keyDevice('answers-disabled', { provisioningStatus: 'disabled' })
    const registered = await register(device)
    expect(registered.status).toBe(202)
    expect(registered.json()).toEqual({ operationId: expect.stringMatching(OPERATION_ID), status: 'assigning' })
    const final = await settle(device, operationOf(registered))
    expect(final.statusLine).toBe('HTTP/1.1 200 OK')
    expect(final.json()).toEqual({
      operationId: '',
      status: 'disabled',
      registrationState: { registrationId: 'answers-disabled', status: 'disabled' },
    })
  })

  test('several register calls at once: each is accepted or told of the race, and the device is assigned', async () => {
    const device = await keyDevice('answers-race')
    const answers = await Promise.all(Array.from({ length: 6 }, () => register(device)))
    const accepted = answers.filter(({ status }) => status === 202)
    expect(accepted.length).toBeGreaterThan(0)
    for (const answer of answers) if (answer.status !== 202) expect(answer.json()).toMatchObject({ errorCode: 409203 })
    const finals = await Promise.all(accepted.map((answer) => settle(device, operationOf(answer))))
    for (const final of finals) expect(final.json()).toMatchObject({ status: 'assigned' })
  })
})

describe('paths and bodies', () => {
  test('literal segments without regard to case, ids percent-encoded, the scope in lower case', async () => {
    const device = await keyDevice('Answers:Path.1')
    const head = `/${scope.toLowerCase()}/Registrations/Answers%3aPath.1`
    const registered = await ask('PUT', `${head}/Register?API-VERSION=${VERSION}&forceRegistration=true`, {
      ...device,
      body: JSON.stringify({ registrationId: 'Answers:Path.1' }),
    })
    expect(registered.status).toBe(202)
    const path = `${head}/OPERATIONS/${operationOf(registered)}?api-version=${VERSION}`
    expect([200, 202]).toContain((await ask('GET', path, device)).status)
  })

  test.for([
    ['an empty body', ''],
    ['an empty object', '{}'],
    ['a payload without an id', '{"payload":{"a":[1,null]}}'],
    ['members of later versions', '{"registrationId":"answers-body","connectionProfile":"classic","x":{"y":1}}'],
    ['a payload of any JSON', '{"registrationId":"answers-body","payload":[1,"two",null]}'],
  ])('%s is accepted', async ([, body]) => {
    const device = await keyDevice('answers-body')
    expect((await register({ ...device, body: body as string })).status).toBe(202)
  })

  test('no Content-Type at all', async () => {
    const { authorization = '' } = await keyDevice('answers-untyped')
    const { address, ports } = muster.addresses
    const request = requestText(
      `PUT /${scope}/registrations/answers-untyped/register?api-version=${VERSION} HTTP/1.1
      Host: ${HOST}:443
      Authorization: ${authorization}
      Content-Length: 0`,
    )
    expect((await exchangeRaw({ address, port: ports.https, ca: muster.ca }, request)).status).toBe(202)
  })
})

describe('api-version', () => {
  test.for([
    '2017-08-31-preview',
    '2018-09-01-preview',
    '2018-11-01',
    '2019-03-31',
    '2019-04-15',
    '2021-06-01',
    '2021-10-01',
    '2021-11-01-preview',
    '2025-07-01-preview',
    '2026-11-01',
    '2026-11-02-preview',
    '2026-11-15-preview',
  ])('%s is accepted', async (apiVersion) => {
    const device = { ...(await keyDevice(`version-${apiVersion}`)), apiVersion }
    const registered = await register(device)
    expect(registered.status).toBe(202)
    expect((await settle(device, operationOf(registered))).json()).toMatchObject({ status: 'assigned' })
  })

  test.for(['', '1', '2019-3-31', '2019-03-31-beta', '2019-03-31-preview-2', 'latest', '2019-03-31%27'])(
    '"%s" is refused with 400',
    async (apiVersion) => {
      const device = { ...(await keyDevice('version-bad')), apiVersion }
      const refused = await register(device)
      expect(refused.status).toBe(400)
      expect(refused.json()).toMatchObject({ message: expect.stringContaining('YYYY-MM-DD') })
      expect((await dps.rest('GET', '/registrations/version-bad?api-version=2021-10-01')).status).toBe(404)
    },
  )

  test('none is refused with 400', async () => {
    const device = await keyDevice('version-none')
    expect((await ask('PUT', `${registrationPath(device)}/register`, device)).status).toBe(400)
  })
})

describe('substatus of a device that registers again and stays', () => {
  test.for([
    ['2018-11-01', 'initialAssignment'],
    ['2019-03-31', 'initialAssignment'],
    ['2019-04-15', 'reprovisionedToInitialAssignment'],
    ['2021-06-01', 'reprovisionedToInitialAssignment'],
    ['2026-11-02-preview', 'reprovisionedToInitialAssignment'],
  ])('api-version %s: %s', async ([apiVersion, substatus]) => {
    const device = { ...(await keyDevice(`again-${apiVersion}`)), apiVersion: apiVersion as string }
    const first = (await settled(device)).json() as { registrationState: Record<string, unknown> }
    expect(first.registrationState).toMatchObject({ substatus: 'initialAssignment' })
    const second = (await settled(device)).json() as { registrationState: Record<string, unknown> }
    expect(second.registrationState).toMatchObject({ substatus, deviceId: `again-${apiVersion}` })
    expect(second.registrationState['etag']).not.toBe(first.registrationState['etag'])
  })
})

describe('the pre-release device clients (mission B9)', () => {
  test('an empty register body is answered exactly 202 assigning, then assigned to a classic hub', async () => {
    const issued = await deviceCertificate('next-generation', pki.second)
    const device = {
      registrationId: 'next-generation',
      certificate: withoutRoot(issued),
      apiVersion: '2026-11-02-preview',
      body: '',
    }
    const registered = await register(device)
    expect(registered.statusLine).toBe('HTTP/1.1 202 Accepted')
    expect(registered.json()).toEqual({ operationId: expect.any(String), status: 'assigning' })
    const final = (await settle(device, operationOf(registered))).json() as { registrationState: object }
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
    const device = { registrationId, authorization: nodeToken(registrationId, printed) }
    expect((await settled(device)).json()).toMatchObject({
      status: 'assigned',
      registrationState: { deviceId: registrationId },
    })
    const itself = await register({ registrationId, authorization: nodeToken(registrationId, groupKey) })
    expect(itself.json()).toMatchObject({ errorCode: 401002 })
  })
})

describe('the state lookup', () => {
  const lookup = (device: Asking, body: object = { registrationId: device.registrationId }): Promise<RawAnswer> =>
    ask('POST', `${registrationPath(device)}?api-version=${VERSION}`, { ...device, body: JSON.stringify(body) })

  test('answers with the registration state for the credential of register', async () => {
    const key = newKey()
    await dps.enroll('looked-up', symmetricKeys(key, newKey()))
    const cli = dpsTokens['cli']?.(scope, 'looked-up', key, unixNow()) ?? ''
    const device = { registrationId: 'looked-up', authorization: cli }
    expect((await lookup(device)).status).toBe(404)
    const final = (await settled(device)).json() as { registrationState: object }
    const found = await lookup(device)
    expect(found.statusLine).toBe('HTTP/1.1 200 OK')
    expect(found.json()).toEqual(final.registrationState)
  })

  test('refuses a stranger, and a certificate request with 400', async () => {
    const device = await keyDevice('looked-csr')
    await settled(device)
    const stranger = await lookup({ ...device, authorization: nodeToken('looked-csr', newKey()) })
    expect(stranger.json()).toMatchObject({ errorCode: 401002 })
    const csr = await lookup(device, { registrationId: 'looked-csr', csr: 'MIIB' })
    expect(csr.status).toBe(400)
  })
})

describe('errors', () => {
  const expectError = (answer: RawAnswer, errorCode: number, message: string | RegExp = /./): void => {
    expect(answer.json()).toEqual({
      errorCode,
      trackingId: expect.stringMatching(GUID),
      message: expect.stringMatching(message),
      timestampUtc: expect.stringMatching(ISO),
    })
    expect(answer.status).toBe(Math.floor(errorCode / 1000))
    expect(headersOf(answer)).toMatchObject({ ...COMMON_HEADERS, 'x-ms-error-code': String(errorCode) })
    expect(answer.header('x-ms-request-id')).toBe((answer.json() as { trackingId: string }).trackingId)
  }

  test('a wrong key', async () => {
    await keyDevice('error-key')
    expectError(
      await register({ registrationId: 'error-key', authorization: nodeToken('error-key', newKey()) }),
      401002,
      /^Unauthorized$/,
    )
  })

  test('no enrollment at all', async () => {
    const authorization = nodeToken('error-nobody', newKey())
    expectError(await register({ registrationId: 'error-nobody', authorization }), 401002, /^Unauthorized$/)
  })

  test('no credential', async () => {
    await keyDevice('error-none')
    expectError(await register({ registrationId: 'error-none' }), 401002, /^Unauthorized$/)
  })

  test('an unknown ID scope', async () => {
    const key = newKey()
    const answer = await register({
      registrationId: 'error-scope',
      idScope: '0ne00000000',
      authorization: nodeToken('error-scope', key, '0ne00000000'),
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
    expectError(await register({ registrationId: 'error-token', authorization }), 401002, /^Unauthorized$/)
  })

  test('a token that expired a moment ago is accepted: clocks differ', async () => {
    const key = newKey()
    await dps.enroll('error-late', symmetricKeys(key, newKey()))
    const sr = `${scope}/registrations/error-late`.toLowerCase()
    const authorization = sasToken({ sr, key, se: unixNow() - 60, skn: 'registration' })
    expect((await settled({ registrationId: 'error-late', authorization })).json()).toMatchObject({
      status: 'assigned',
    })
  })

  test('certificates', async () => {
    const own = await deviceCertificate('error-cert')
    await dps.enroll('error-cert', clientCertificates(own.certificate))
    const stranger = leafOnly(await deviceCertificate('error-cert'))
    expectError(
      await register({ registrationId: 'error-cert', certificate: stranger }),
      401002,
      /^Invalid certificate\.?$/,
    )
    const member = await deviceCertificate('error-chain', pki.second)
    expectError(
      await register({ registrationId: 'error-chain', certificate: leafOnly(member) }),
      401002,
      /^CA certificate not found$/,
    )
    expectError(
      await register({ registrationId: 'error-other', certificate: withoutRoot(member) }),
      401002,
      /^Invalid certificate\.?$/,
    )
  })

  test('an endorsement key that nobody enrolled', async () => {
    const body = JSON.stringify({ registrationId: 'error-tpm', tpm: { endorsementKey: 'AToAAQALAAMAsgAg' } })
    expectError(await register({ registrationId: 'error-tpm', body }), 404201)
  })

  test('an operation that there is not, and one of another device', async () => {
    const [device, other] = [await keyDevice('error-operation'), await keyDevice('error-operations')]
    await settled(device)
    expect((await poll(device, '5.0000000000000000.00000000-0000-0000-0000-000000000000')).status).toBe(404)
    const foreign = operationOf(await register(other))
    expect((await poll(device, foreign)).status).toBe(404)
    expectError(await poll({ ...device, authorization: nodeToken('error-operation', newKey()) }, foreign), 401002)
  })

  test('a path that leads nowhere', async () => {
    const answer = await ask('GET', `/${scope}/registrations?api-version=${VERSION}`, { registrationId: '' })
    expect(answer.json()).toMatchObject({ errorCode: 404000, trackingId: expect.stringMatching(GUID) })
    expect(answer.header('x-ms-error-code')).toBe('404000')
  })
})
