import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { clientCertificates, newKey } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { deviceCertificate } from '../support/pki.ts'
import { type Answer, type Rest, restOf } from '../support/rest.ts'
import { succeeded } from '../support/service-client.ts'

// Bad input of every field of the enrollment documents: Azure's code, words that say what was expected, and nothing
// half written (dps.md 6.3, 6.6).

let muster: TestMuster
let dps: Rest
let certificate: string

beforeAll(async () => {
  muster = await startMuster()
  dps = restOf(muster, muster.addresses.dps.connectionString)
  certificate = (await deviceCertificate('bad')).certificate
})
afterAll(() => stopClean(muster))

const VERSION = 'api-version=2021-10-01'

const key = { type: 'symmetricKey' }
const keys = (primaryKey: unknown): object => ({
  attestation: { ...key, symmetricKey: { primaryKey, secondaryKey: '' } },
})
const client = (clientCertificates: unknown): object => ({
  attestation: { type: 'x509', x509: { clientCertificates } },
})
const twin = (initialTwin: unknown): object => ({ initialTwin })
/** An object `levels` deep. */
const nested = (levels: number): object => JSON.parse(`${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`) as object
const deeper = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`

interface Row {
  readonly what: string
  /** Members on top of a good document. */
  readonly more: object | ((certificate: string) => object)
  /** What the message says. */
  readonly says: RegExp
  readonly code?: number
  /**
   * What the fault means for a bulk call: its item fails alone; the call fails, because an error could not name the
   * item; or nothing, because an item's id stands nowhere else.
   */
  readonly bulk?: 'item' | 'call' | 'nothing'
}
const row = (what: string, more: Row['more'], says: RegExp, code = 400004): Row => ({ what, more, says, code })

/** Members that individual enrollments and groups have in common. */
const common: readonly Row[] = [
  row('attestation absent', { attestation: undefined }, /attestation must be a value/),
  row('attestation of another kind', { attestation: 'symmetricKey' }, /attestation must be an object/),
  row('attestation without a type', { attestation: {} }, /attestation\.type must be a value/),
  row('attestation.type of another kind', { attestation: { type: 3 } }, /attestation\.type must be a string/),
  row('attestation.type unknown', { attestation: { type: 'password' } }, /one of none, tpm, x509, symmetricKey/),
  row('attestation.type none', { attestation: { type: 'none' } }, /x509 or symmetricKey/),
  row('two attestations', { attestation: { ...key, tpm: { endorsementKey: 'AToA' } } }, /tpm must be absent/),
  row(
    'symmetricKey of another kind',
    { attestation: { ...key, symmetricKey: 'secret' } },
    /symmetricKey must be an object/,
  ),
  row('a key of another kind', keys(12), /primaryKey must be a string/),
  row('a key that is not base64', keys('not base64!'), /primaryKey must be base64 of 16 to 64 bytes/),
  row('a key of 15 bytes', keys(newKey(15)), /16 to 64 bytes/),
  row('a key of 65 bytes', keys(newKey(65)), /16 to 64 bytes/),
  row('a key in base64url', keys(Buffer.alloc(33, 255).toString('base64url')), /16 to 64 bytes/),
  row('x509 absent', { attestation: { type: 'x509' } }, /x509 must be a value/),
  row('x509 of another kind', { attestation: { type: 'x509', x509: 'pem' } }, /x509 must be an object/),
  row('x509 without certificates', { attestation: { type: 'x509', x509: {} } }, /nothing else, found none/),
  row(
    'x509 of two sorts',
    (pem) => ({
      attestation: {
        type: 'x509',
        x509: { clientCertificates: { primary: { certificate: pem } }, caReferences: { primary: 'a' } },
      },
    }),
    /and nothing else/,
  ),
  row('capabilities of another kind', { capabilities: true }, /capabilities must be an object/),
  row('iotEdge of another kind', { capabilities: { iotEdge: 'yes' } }, /iotEdge must be true or false/),
  row('provisioningStatus of another kind', { provisioningStatus: true }, /provisioningStatus must be a string/),
  row('provisioningStatus unknown', { provisioningStatus: 'on' }, /one of enabled, disabled, found "on"/),
  row('reprovisionPolicy of another kind', { reprovisionPolicy: 'never' }, /reprovisionPolicy must be an object/),
  row('updateHubAssignment of another kind', { reprovisionPolicy: { updateHubAssignment: 1 } }, /true or false/),
  row('migrateDeviceData of another kind', { reprovisionPolicy: { migrateDeviceData: 'x' } }, /true or false/),
  row('allocationPolicy of another kind', { allocationPolicy: 1 }, /allocationPolicy must be a string/),
  row('allocationPolicy unknown', { allocationPolicy: 'random' }, /one of hashed, geoLatency, static, custom/),
  row('static without a hub', { allocationPolicy: 'static' }, /exactly one hub/),
  row('custom without a webhook', { allocationPolicy: 'custom' }, /allocationPolicy|customAllocationDefinition/),
  row(
    'a webhook without custom',
    { customAllocationDefinition: { webhookUrl: 'https://x' } },
    /customAllocationDefinition/,
  ),
  row('credentialPolicyName', { credentialPolicyName: 'policy' }, /credentialPolicyName/),
  row('iotHubs of another kind', { iotHubs: 'hub.example.net' }, /iotHubs must be an array of strings/),
  row('iotHubs with a number', { iotHubs: [1] }, /iotHubs must be an array of strings/),
  row('a hub that is not linked', { iotHubs: ['nowhere.example.net'] }, /linked hubs.*nowhere\.example\.net/),
  row('iotHubHostName of another kind', { iotHubHostName: {} }, /iotHubHostName must be a string/),
  row('iotHubHostName that is not linked', { iotHubHostName: 'nowhere.example.net' }, /linked hubs/),
  row('initialTwin of another kind', twin('x'), /initialTwin must be an object/),
  row('tags of another kind', twin({ tags: [] }), /tags must be an object/),
  row('properties of another kind', twin({ properties: 1 }), /properties must be an object/),
  row('desired of another kind', twin({ properties: { desired: 'x' } }), /desired must be an object/),
  row('a tag that begins with $', twin({ tags: { $secret: 1 } }), /\$/),
  row('a property name with a dot', twin({ properties: { desired: { 'a.b': 1 } } }), /\./),
  row('tags eleven levels deep', twin({ tags: nested(11) }), /10/),
  row('desired eleven levels deep', twin({ properties: { desired: nested(11) } }), /10/),
  row('tags beyond 8 KB', twin({ tags: { a: 'x'.repeat(4000), b: 'x'.repeat(4000), c: 'x'.repeat(4000) } }), /8/),
  row(
    'desired beyond 32 KB',
    twin({ properties: { desired: Object.fromEntries([...'abcdefghij'].map((name) => [name, 'x'.repeat(4000)])) } }),
    /32/,
  ),
]

const individual: readonly Row[] = [
  { ...row('registrationId absent', { registrationId: undefined }, /registrationId must be a value/), bulk: 'call' },
  { ...row('registrationId of another kind', { registrationId: 5 }, /registrationId must be a string/), bulk: 'call' },
  {
    ...row('registrationId of another enrollment', { registrationId: 'another' }, /the id in the path/),
    bulk: 'nothing',
  },
  row('deviceId of another kind', { deviceId: 7 }, /deviceId must be a string/),
  row('deviceId with a blank', { deviceId: 'a b' }, /deviceId must be/),
  row('deviceId of 129 characters', { deviceId: 'd'.repeat(129) }, /128/),
  row('optionalDeviceInformation of another kind', { optionalDeviceInformation: [1] }, /must be an object/),
  row('optionalDeviceInformation too deep', { optionalDeviceInformation: nested(11) }, /10 levels/),
  row('tpm without its keys', { attestation: { type: 'tpm' } }, /tpm must be a value/),
  row('tpm without an endorsement key', { attestation: { type: 'tpm', tpm: {} } }, /endorsementKey must be a value/),
  row(
    'tpm with no endorsement key',
    { attestation: { type: 'tpm', tpm: { endorsementKey: 'AAAA' } } },
    /endorsementKey must be a storage key's TPM2B_PUBLIC/,
    400201,
  ),
  row('clientCertificates of another kind', client('pem'), /clientCertificates must be an object/),
  row('clientCertificates empty', client({}), /primary must be given, or secondary/),
  row('a slot of another kind', client({ primary: 'pem' }), /primary must be an object/),
  row('a certificate of another kind', client({ primary: { certificate: 1 } }), /certificate must be a string/),
  row(
    'a certificate of rubbish',
    client({ primary: { certificate: 'rubbish' } }),
    /certificate must be a certificate: PEM/,
  ),
  row(
    'a certificate cut short',
    (pem) => client({ primary: { certificate: pem.replace(/\n[^\n]+\n-----END/, '\n-----END') } }),
    /certificate must be a certificate/,
  ),
  row('info without a certificate', client({ primary: { info: { sha256Thumbprint: 'AB' } } }), /certificate must be/),
  row(
    'signingCertificates',
    (pem) => ({ attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: pem } } } } }),
    /clientCertificates and nothing else/,
  ),
  row(
    'caReferences',
    { attestation: { type: 'x509', x509: { caReferences: { primary: 'root' } } } },
    /clientCertificates and nothing else/,
  ),
]

const group: readonly Row[] = [
  {
    ...row('enrollmentGroupId absent', { enrollmentGroupId: undefined }, /enrollmentGroupId must be a value/),
    bulk: 'call',
  },
  {
    ...row('enrollmentGroupId of another group', { enrollmentGroupId: 'another' }, /the id in the path/),
    bulk: 'nothing',
  },
  row('tpm', { attestation: { type: 'tpm', tpm: { endorsementKey: 'AToA' } } }, /individual enrollments only/),
  row('clientCertificates', (pem) => clientCertificates(pem), /signingCertificates or caReferences/),
  row('caReferences empty', { attestation: { type: 'x509', x509: { caReferences: {} } } }, /primary must be given/),
  row(
    'a reference of another kind',
    { attestation: { type: 'x509', x509: { caReferences: { primary: 1 } } } },
    /string/,
  ),
  row(
    'a reference that is too long',
    { attestation: { type: 'x509', x509: { caReferences: { primary: 'n'.repeat(65) } } } },
    /64/,
  ),
  row(
    'a signing certificate of rubbish',
    { attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: 'MIIB' } } } } },
    /certificate must be a certificate/,
  ),
]

function expectRefused(answer: Answer, code: number, says: RegExp): void {
  expect(answer.status, answer.text).toBe(Math.floor(code / 1000))
  expect(answer.body).toEqual({
    errorCode: code,
    trackingId: expect.any(String),
    message: expect.stringMatching(says),
    timestampUtc: expect.any(String),
  })
  expect(answer.headers['x-ms-error-code']).toBe(String(code))
}

describe.for([
  { collection: 'enrollments', idName: 'registrationId', rows: [...individual, ...common], missing: 404201 },
  { collection: 'enrollmentGroups', idName: 'enrollmentGroupId', rows: [...group, ...common], missing: undefined },
])('$collection', ({ collection, idName, rows, missing }) => {
  const path = (id: string): string => `/${collection}/${encodeURIComponent(id)}?${VERSION}`
  const good = (id: string): object => ({ [idName]: id, attestation: key })

  const expectAbsent = async (id: string): Promise<void> => {
    const answer = await dps('GET', path(id))
    expect(answer.status).toBe(404)
    if (missing !== undefined) expect(answer.body).toMatchObject({ errorCode: missing })
  }

  test.for(rows.map((each, at) => [each.what, each, `bad-${at}`] as const))('%s', async ([, fault, id]) => {
    const { more, says, code = 400004, bulk = 'item' } = fault
    const members = typeof more === 'function' ? more(certificate) : more
    expectRefused(await dps('PUT', path(id), { body: { ...good(id), ...members } }), code, says)
    await expectAbsent(id)

    const kept = `kept-${id}`
    succeeded(await dps('PUT', path(kept), { body: good(kept) }))
    const before = (await dps('GET', path(kept))).body
    const replaced = { ...good(kept), ...members }
    expectRefused(await dps('PUT', path(kept), { body: replaced, headers: { 'If-Match': '*' } }), code, says)
    expect((await dps('GET', path(kept))).body).toEqual(before)
    await dps('DELETE', path(kept))

    if (bulk === 'nothing') return
    const beside = `beside-${id}`
    const items = [{ ...good(id), ...members }, good(beside)]
    const answer = await dps('POST', `/${collection}?${VERSION}`, { body: { mode: 'create', [collection]: items } })
    await expectAbsent(id)
    if (bulk === 'call') {
      expectRefused(answer, code, says)
      return expectAbsent(beside)
    }
    expect(answer.body).toMatchObject({ isSuccessful: false, errors: [{ [idName]: id, errorCode: code }] })
    expect(succeeded(answer)['errors']).toHaveLength(1)
    expect((await dps('DELETE', path(beside))).status).toBe(204)
  })

  test.for([
    ['nothing', '', /./],
    ['no JSON', 'registrationId=bad', /not valid JSON/],
    ['JSON cut short', '{"attestation": {', /not valid JSON/],
    ['an array', '[]', /must be a JSON object, found an array/],
    ['a text', '"bad"', /must be a JSON object, found a string/],
    ['null', 'null', /must be a JSON object/],
    ['twelve thousand levels', deeper(12_000), /./],
  ] as const)('a body of %s', async ([, text, says]) => {
    expectRefused(await dps('PUT', path('bad'), { text }), 400004, says)
    await expectAbsent('bad')
  })

  test('tags of twelve thousand levels', async () => {
    const text = JSON.stringify({ ...good('bad'), initialTwin: { tags: { a: 0 } } }).replace('0', deeper(12_000))
    expectRefused(await dps('PUT', path('bad'), { text }), 400004, /10/)
    await expectAbsent('bad')
  })

  test('a body beyond 96 KB', async () => {
    const text = JSON.stringify({ ...good('bad'), optionalDeviceInformation: { a: 'x'.repeat(96 * 1024) } })
    const answer = await dps('PUT', path('bad'), { text })
    expect(answer.status).toBe(413)
    await expectAbsent('bad')
  })

  test.for(['a b', 'ends-with.', 'under_', 'ü', 'a/b', 'a\\b', 'x'.repeat(129), '%', "a'b"])(
    'the id %s',
    async (id) => {
      const code = idName === 'registrationId' ? 400202 : 400204
      expectRefused(await dps('PUT', path(id), { body: good(id) }), code, /1 to 128 letters, digits and - \. _ :/)
      const body = { mode: 'create', [collection]: [good(id)] }
      const bulk = succeeded(await dps('POST', `/${collection}?${VERSION}`, { body }))
      expect(bulk).toMatchObject({ isSuccessful: false, errors: [{ errorCode: code }] })
      const all = (await dps('POST', `/${collection}/query?${VERSION}`, { body: { query: '*' } })).body
      expect((all as Record<string, unknown>[]).map((each) => each[idName])).not.toContain(id)
    },
  )

  test('ids that may not be, and ids of nothing, for every operation that names one', async () => {
    const of = (id: string, tail = ''): string => `/${collection}/${encodeURIComponent(id)}${tail}?${VERSION}`
    for (const [method, tail] of [
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/attestationmechanism'],
    ] as const) {
      expectRefused(await dps(method, of('a b', tail)), idName === 'registrationId' ? 400202 : 400204, /1 to 128/)
      const absent = await dps(method, of('nothing', tail))
      expect(absent.status, `${method} ${tail}`).toBe(404)
      expect(absent.body).toMatchObject({ message: expect.stringContaining('nothing') })
    }
    // An update of what is not there (dps.md 6.5).
    for (const etag of ['*', '"00000000-0000-0000-0000-000000000000"'])
      expect((await dps('PUT', of('nothing'), { body: good('nothing'), headers: { 'If-Match': etag } })).status).toBe(
        404,
      )
    await expectAbsent('nothing')
  })

  test('a path with a broken percent-encoding', async () => {
    expect((await dps('PUT', `/${collection}/%zz?${VERSION}`, { body: good('bad') })).status).toBe(400)
  })

  describe('bulk', () => {
    const bulk = (body: unknown): Promise<Answer> => dps('POST', `/${collection}?${VERSION}`, { body })
    const items = Array.from({ length: 11 }, (_, at) => good(`bulk-${at}`))

    test.for([
      ['no body', undefined, /./],
      ['an array', [good('bulk-0')], /must be a JSON object/],
      ['no mode', { [collection]: [good('bulk-0')] }, /mode must be a value/],
      ['a mode of another kind', { mode: 1, [collection]: [good('bulk-0')] }, /mode must be a string/],
      [
        'an unknown mode',
        { mode: 'upsert', [collection]: [good('bulk-0')] },
        /one of create, update, updateIfMatchETag, delete/,
      ],
      ['no items', { mode: 'create' }, /must be/],
      ['items of another kind', { mode: 'create', [collection]: good('bulk-0') }, /must be an array/],
      ['eleven items', { mode: 'create', [collection]: items }, /10/],
    ] as const)('%s', async ([, body, says]) => {
      const answer = await bulk(body)
      expect(answer.status).toBe(400)
      expect(answer.body).toMatchObject({ message: expect.stringMatching(says) })
      await expectAbsent('bulk-0')
    })

    test('an item that is no object, and one twice', async () => {
      const odd = await bulk({ mode: 'create', [collection]: ['bulk-0', good('bulk-1')] })
      expect([200, 400]).toContain(odd.status)
      if (odd.status === 200) expect(odd.body).toMatchObject({ isSuccessful: false })
      await dps('DELETE', path('bulk-1'))
      const twice = await bulk({ mode: 'create', [collection]: [good('bulk-2'), good('bulk-2')] })
      if (twice.status === 200) expect(twice.body).toMatchObject({ isSuccessful: false })
      else expectRefused(twice, 400206, /./)
      await dps('DELETE', path('bulk-2'))
    })

    test('an update of what is not there', async () => {
      const answer = await bulk({ mode: 'update', [collection]: [good('bulk-3')] })
      expect(answer.body).toMatchObject({
        isSuccessful: false,
        errors: [{ [idName]: 'bulk-3', errorCode: expect.any(Number), errorStatus: expect.any(String) }],
      })
      await expectAbsent('bulk-3')
    })
  })

  describe('query', () => {
    const query = (body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
      dps('POST', `/${collection}/query?${VERSION}`, { body, headers })

    test.for([
      ['no body', undefined, /./],
      ['no query', {}, /query must be a value/],
      ['a query of another kind', { query: 1 }, /query must be a string/],
      ['a statement that changes', { query: 'DELETE FROM enrollments' }, /SELECT \*/],
      ['an operator that is not supported', { query: "SELECT * WHERE deviceId LIKE 'a%'" }, /WHERE/],
      ['a text of 100,000 characters', { query: `SELECT * WHERE a = '${'x'.repeat(90_000)}'` }, /characters/],
    ] as const)('%s', async ([, body, says]) => {
      expectRefused(await query(body), 400004, says)
    })

    test.for(['0', '-2', '1.5', 'ten', '1e9999'])('x-ms-max-item-count %s', async (count) => {
      expectRefused(await query({ query: 'SELECT *' }, { 'x-ms-max-item-count': count }), 400004, /x-ms-max-item-count/)
    })

    test('a continuation that nobody gave out', async () => {
      const answer = await query({ query: 'SELECT *' }, { 'x-ms-continuation': 'bm90IGEgY3Vyc29y' })
      expect(answer.status).toBe(400)
    })
  })
})
