import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codes } from '../../src/base/errors.ts'
import { stopClean } from '../support/clean-stop.ts'
import { newKey } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { type Answer, type Rest, restOf } from '../support/rest.ts'
import { succeeded } from '../support/service-client.ts'

// Bad input of every field of devices, modules and bulk changes: Azure's code, words that say what was expected, and
// nothing half written (hub-service.md 2).

let muster: TestMuster
let hub: Rest

beforeAll(async () => {
  muster = await startMuster()
  hub = restOf(muster, hubOf(muster).connectionString)
  succeeded(await hub('PUT', `/devices/parent?${VERSION}`, { body: { deviceId: 'parent' } }))
})
afterAll(() => stopClean(muster))

const VERSION = 'api-version=2021-04-12'

const keys = (primaryKey: unknown, secondaryKey: unknown = primaryKey): object => ({
  authentication: { type: 'sas', symmetricKey: { primaryKey, secondaryKey } },
})
const thumbprints = (x509Thumbprint: unknown): object => ({ authentication: { type: 'selfSigned', x509Thumbprint } })

interface Row {
  readonly what: string
  readonly more: object
  readonly says: RegExp
  readonly name?: string
}
const row = (what: string, more: object, says: RegExp, name = 'ArgumentInvalid'): Row => ({ what, more, says, name })

/** Of devices and modules alike. */
const authentications: readonly Row[] = [
  row('authentication of another kind', { authentication: 'sas' }, /authentication must be an object/),
  row('a type of another kind', { authentication: { type: 1 } }, /type must be a string/),
  row('an unknown type', { authentication: { type: 'password' } }, /one of sas, selfSigned, certificateAuthority/),
  row(
    'symmetricKey of another kind',
    { authentication: { type: 'sas', symmetricKey: 'x' } },
    /symmetricKey must be an object/,
  ),
  row('a key of another kind', keys(1), /primaryKey must be a string/),
  row('a key that is no base64', keys('no base64'), /base64 of 16 to 64 bytes/),
  row('keys of 15 bytes', keys(newKey(15)), /base64 of 16 to 64 bytes/),
  row('keys of 65 bytes', keys(newKey(65)), /base64 of 16 to 64 bytes/),
  row('a secondary key that is no base64', keys(newKey(32), '#'), /secondaryKey must be base64/),
  row('only one key', keys(newKey(32), ''), /secondaryKey must be base64/),
  row(
    'selfSigned without thumbprints',
    { authentication: { type: 'selfSigned' } },
    /x509Thumbprint must be one or two/,
  ),
  row('x509Thumbprint of another kind', thumbprints('AB'), /x509Thumbprint must be an object/),
  row('a thumbprint of another kind', thumbprints({ primaryThumbprint: 1 }), /primaryThumbprint must be a string/),
  row(
    'a thumbprint of 39 digits',
    thumbprints({ primaryThumbprint: 'A'.repeat(39) }),
    /40 \(SHA-1\) or 64 \(SHA-256\)/,
  ),
  row('a thumbprint that is not hexadecimal', thumbprints({ primaryThumbprint: 'G'.repeat(40) }), /hexadecimal/),
  row(
    'a bad secondary thumbprint',
    thumbprints({ primaryThumbprint: 'A'.repeat(40), secondaryThumbprint: 'B' }),
    /secondaryThumbprint/,
  ),
]

const devices: readonly Row[] = [
  row('a deviceId of another kind', { deviceId: 1 }, /deviceId must be a string/),
  row('the deviceId of another device', { deviceId: 'another' }, /deviceId must be/),
  row('a status of another kind', { status: true }, /status must be a string/),
  row('an unknown status', { status: 'on' }, /one of enabled, disabled/),
  row('a statusReason of another kind', { statusReason: 1 }, /statusReason must be a string/),
  row('a statusReason of 129 characters', { statusReason: 'r'.repeat(129) }, /128/),
  row('type none', { authentication: { type: 'none' } }, /sas, selfSigned or certificateAuthority/),
  row('capabilities of another kind', { capabilities: true }, /capabilities must be an object/),
  row('iotEdge of another kind', { capabilities: { iotEdge: 1 } }, /iotEdge must be true or false/),
  row('a deviceScope of another kind', { deviceScope: 1 }, /deviceScope must be a string/),
  row('an unknown deviceScope', { deviceScope: 'ms-azure-iot-edge://no-1' }, /ms-azure-iot-edge/, 'InvalidDeviceScope'),
  row('a deviceScope that is none', { deviceScope: 'parent' }, /scope/, 'InvalidDeviceScope'),
  row('parentScopes of another kind', { parentScopes: 'x' }, /parentScopes must be an array of strings/),
  row('parentScopes of numbers', { parentScopes: [1] }, /parentScopes must be an array of strings/),
  row(
    'two parents',
    { parentScopes: ['ms-azure-iot-edge://a-1', 'ms-azure-iot-edge://b-1'] },
    /one parent/,
    'InvalidDeviceScope',
  ),
  ...authentications,
]

const modules: readonly Row[] = [
  row('a moduleId of another kind', { moduleId: 1 }, /moduleId must be a string/),
  row('the moduleId of another module', { moduleId: 'another' }, /moduleId must be/),
  row('a deviceId of another device', { deviceId: 'another' }, /deviceId must be/),
  row('managedBy of another kind', { managedBy: 1 }, /managedBy must be a string/),
  row('managedBy of 129 characters', { managedBy: 'm'.repeat(129) }, /128/),
  ...authentications,
]

/** Form (a), the same name in header and body (hub-service.md 2.7). */
function expectRefused(answer: Answer, name: string, says: RegExp): void {
  const known = Object.entries(codes).find(([, each]) => each === name)
  expect(answer.status, answer.text).toBe(Math.floor(Number(known?.[0]) / 1000))
  expect(answer.headers['iothub-errorcode']).toBe(name)
  const { Message } = answer.body as { Message: string }
  expect(Message.startsWith(`ErrorCode:${name};`), Message).toBe(true)
  expect(Message).toMatch(says)
}

const BODIES = [
  ['nothing', ''],
  ['no JSON', 'deviceId=bad'],
  ['JSON cut short', '{"deviceId": '],
  ['an array', '[]'],
  ['a text', '"bad"'],
  ['null', 'null'],
] as const

describe.for([
  {
    kind: 'devices',
    collection: '/devices',
    good: (id: string): object => ({ deviceId: id }),
    rows: devices,
    missing: 'DeviceNotFound',
  },
  {
    kind: 'modules',
    collection: '/devices/parent/modules',
    good: (id: string): object => ({ deviceId: 'parent', moduleId: id }),
    rows: modules,
    missing: 'ModuleNotFound',
  },
])('$kind', ({ collection, good, rows, missing }) => {
  const path = (id: string): string => `${collection}/${encodeURIComponent(id)}?${VERSION}`
  const expectAbsent = async (id: string): Promise<void> => expectRefused(await hub('GET', path(id)), missing, /./)

  test.for(rows.map((each, at) => [each.what, each, `bad-${at}`] as const))('%s', async ([, fault, id]) => {
    const { more, says, name = 'ArgumentInvalid' } = fault
    expectRefused(await hub('PUT', path(id), { body: { ...good(id), ...more } }), name, says)
    await expectAbsent(id)

    const kept = `kept-${id}`
    const before = succeeded(await hub('PUT', path(kept), { body: good(kept) }))
    const headers = { 'If-Match': '*' }
    expectRefused(await hub('PUT', path(kept), { body: { ...good(kept), ...more }, headers }), name, says)
    expect((await hub('GET', path(kept))).body).toEqual(before)
    expect((await hub('DELETE', path(kept), { headers })).status).toBe(204)
  })

  test.for(BODIES)('a body of %s', async ([, text]) => {
    const answer = await hub('PUT', path('bad'), { text })
    expect(answer.status, answer.text).toBe(400)
    expectRefused(answer, String(answer.headers['iothub-errorcode']), /./)
    await expectAbsent('bad')
  })

  test('a body beyond 1 MB', async () => {
    const answer = await hub('PUT', path('bad'), { body: { ...good('bad'), x: 'x'.repeat(1024 * 1024) } })
    expect(answer.status).toBe(413)
    await expectAbsent('bad')
  })

  test.for(['a b', 'ü', 'a/b', 'x'.repeat(129), 'a"b', 'a\u0000b', '<a>'])('the id %s', async (id) => {
    expectRefused(await hub('PUT', path(id), { body: good(id) }), 'ArgumentInvalid', /1 to 128 characters/)
    expect((await hub('GET', path(id))).status).toBeGreaterThanOrEqual(400)
    const listed = succeeded(await hub('GET', `${collection}?${VERSION}`)) as unknown as Record<string, unknown>[]
    expect(listed.flatMap((each) => [each['deviceId'], each['moduleId']])).not.toContain(id)
  })

  test('methods that there are not', async () => {
    for (const method of ['POST', 'PATCH']) {
      const answer = await hub(method, path('bad'), { body: good('bad') })
      expect([404, 405], method).toContain(answer.status)
      expect(answer.headers['iothub-errorcode']).toMatch(/^[A-Z][A-Za-z]+$/)
    }
    await expectAbsent('bad')
  })
})

test('a path with a broken percent-encoding, and one with an endless id, in the hub’s own form', async () => {
  expectRefused(await hub('GET', `/devices/%zz?${VERSION}`), 'ArgumentInvalid', /percent-encoding/)
  const answer = await hub('GET', `/devices/${'x'.repeat(2000)}?${VERSION}`)
  expect(Math.floor(answer.status / 100)).toBe(4)
  expect(answer.headers['iothub-errorcode']).toMatch(/^[A-Z][A-Za-z]+$/)
})

test('twins of what is not there, and of ids that may not be', async () => {
  expectRefused(await hub('GET', `/twins/nobody?${VERSION}`), 'DeviceNotFound', /nobody/)
  expectRefused(await hub('GET', `/twins/parent/modules/nobody?${VERSION}`), 'ModuleNotFound', /nobody/)
  for (const path of ['/twins/a%20b', '/twins/parent/modules/a%20b', `/twins/${'x'.repeat(129)}`]) {
    const answer = await hub('GET', `${path}?${VERSION}`)
    expect([400, 404], path).toContain(answer.status)
  }
})

test('a device has fifty modules at most', async () => {
  succeeded(await hub('PUT', `/devices/full?${VERSION}`, { body: { deviceId: 'full' } }))
  const put = (moduleId: string): Promise<Answer> =>
    hub('PUT', `/devices/full/modules/${moduleId}?${VERSION}`, { body: { deviceId: 'full', moduleId } })
  for (let at = 0; at < 50; at++) succeeded(await put(`m${at}`))
  expectRefused(await put('m50'), 'TooManyModulesOnDevice', /50/)
  expect((await hub('GET', `/devices/full/modules?${VERSION}`)).body).toHaveLength(50)
})

describe('bulk', () => {
  const bulk = (body: unknown): Promise<Answer> => hub('POST', `/devices?${VERSION}`, { body })
  const item = (id: string, more: object = {}): object => ({ id, importMode: 'create', ...more })
  const expectAbsent = async (id: string): Promise<void> =>
    expectRefused(await hub('GET', `/devices/${id}?${VERSION}`), 'DeviceNotFound', /./)

  test.for([
    ['an object', item('bulk-1'), 'ArgumentInvalid', /array/],
    ['a text', 'bulk-1', 'ArgumentInvalid', /array/],
    ['an item of another kind', [item('bulk-1'), 'bulk-2'], 'ArgumentInvalid', /object/],
    ['an item without an id', [item('bulk-1'), { importMode: 'create' }], 'ArgumentInvalid', /id must be/],
    [
      'an id of another kind',
      [item('bulk-1'), { id: 1, importMode: 'create' }],
      'ArgumentInvalid',
      /id must be a string/,
    ],
    ['an id twice', [item('bulk-1'), item('bulk-1')], 'DeviceDefinedMultipleTimes', /bulk-1/],
    ['101 items', Array.from({ length: 101 }, (_, at) => item(`bulk-${at}`)), 'TooManyDevices', /100/],
  ] as const)('%s is refused as a whole', async ([, body, name, says]) => {
    expectRefused(await bulk(body), name, says)
    await expectAbsent('bulk-1')
  })

  test.for(BODIES.filter(([what]) => what !== 'an array'))('a body of %s', async ([, text]) => {
    const answer = await hub('POST', `/devices?${VERSION}`, { text })
    expect(answer.status, answer.text).toBe(400)
  })

  const items: readonly Row[] = [
    ...devices.filter(({ what }) => !what.includes('deviceId ')),
    row('an unknown import mode', { importMode: 'upsert' }, /importMode must be/),
    row('tags of another kind', { tags: 'x' }, /tags must be an object/),
    row('a tag that begins with $', { tags: { $x: 1 } }, /\$/),
    row('desired properties of another kind', { properties: { desired: [] } }, /desired must be an object/),
  ]
  test.for(items.map((each, at) => [each.what, each, `item-${at}`] as const))(
    'an item with %s fails alone, or the whole call does',
    async ([, { more, says }, id]) => {
      const beside = `${id}-beside`
      const answer = await bulk([item(id, more), item(beside)])
      await expectAbsent(id)
      if (answer.status === 400) {
        expect((answer.body as { Message: string }).Message).toMatch(says)
        return expectAbsent(beside)
      }
      // C# throws on a name outside the numbered list; the nearest of it stands for the others (hub-service.md 2.6, 12.2).
      const errors = [{ deviceId: id, errorCode: 'ArgumentInvalid', errorStatus: expect.stringMatching(says) }]
      expect(answer.body).toMatchObject({ isSuccessful: false, errors })
      expect((await hub('DELETE', `/devices/${beside}?${VERSION}`)).status).toBe(204)
    },
  )

  test('ids that may not be, in an item', async () => {
    const answer = await bulk([item('a b'), item('x'.repeat(129)), item('bulk-good')])
    if (answer.status === 200) {
      expect(answer.body).toMatchObject({ isSuccessful: false, errors: [{ deviceId: 'a b' }, {}] })
      expect((await hub('DELETE', `/devices/bulk-good?${VERSION}`)).status).toBe(204)
    } else expectRefused(answer, 'ArgumentInvalid', /1 to 128 characters/)
  })
})
