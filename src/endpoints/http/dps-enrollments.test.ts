import { expect, test } from 'vitest'
import { dpsFaces, HOST } from '../../../tests/support/dps-faces.ts'
import { caller, HUB_A, HUB_B } from '../../../tests/support/provisioning.ts'
import { limits } from '../../base/limits.ts'

const { room, ask, policyToken } = await dpsFaces()
const V = 'api-version=2021-10-01'
const policies = [
  ...room.service.policies.map(({ rights, ...policy }) => ({ ...policy, rights: rights.join(', ') })),
  { keyName: 'reads', rights: 'EnrollmentRead' },
  { keyName: 'writes', rights: 'EnrollmentWrite' },
  { keyName: 'records', rights: 'RegistrationStatusWrite' },
  { keyName: 'config', rights: 'ServiceConfig' },
]
await room.control.provisioningServices.put(caller, 'dps', { authorizationPolicies: policies }, { kind: 'any' })
const service = await room.current()
const attestation = { type: 'symmetricKey' }

/** Every operation once, on a record that exists, with the rights that admit it. */
const operations: [string, 'GET' | 'PUT' | 'POST' | 'DELETE', string, unknown, readonly string[]][] = [
  ['get', 'GET', '/enrollments/a', undefined, ['reads', 'writes']],
  ['put', 'PUT', '/enrollments/a', { registrationId: 'a', attestation }, ['writes']],
  ['mechanism', 'POST', '/enrollments/a/attestationmechanism', undefined, ['reads', 'writes']],
  ['query', 'POST', '/enrollments/query', { query: '*' }, ['reads', 'writes']],
  ['bulk', 'POST', '/enrollments', { mode: 'update', enrollments: [{ registrationId: 'a', attestation }] }, ['writes']],
  ['get group', 'GET', '/enrollmentGroups/a', undefined, ['reads', 'writes']],
  ['put group', 'PUT', '/enrollmentGroups/a', { enrollmentGroupId: 'a', attestation }, ['writes']],
  ['group mechanism', 'POST', '/enrollmentGroups/a/attestationmechanism', undefined, ['reads', 'writes']],
  ['query groups', 'POST', '/enrollmentGroups/query', { query: '*' }, ['reads', 'writes']],
  [
    'bulk groups',
    'POST',
    '/enrollmentGroups',
    { mode: 'update', enrollmentGroups: [{ enrollmentGroupId: 'a', attestation }] },
    ['writes'],
  ],
  ['query records', 'POST', '/registrations/a/query', undefined, ['records']],
  ['get record', 'GET', '/registrations/a', undefined, ['records']],
  ['delete record', 'DELETE', '/registrations/a', undefined, ['records']],
  ['delete', 'DELETE', '/enrollments/a', undefined, ['writes']],
  ['delete group', 'DELETE', '/enrollmentGroups/a', undefined, ['writes']],
]

test.each(operations)('%s: who may', async (name, method, path, body, admitted) => {
  await ask('PUT', `/enrollments/a?${V}`, { body: { registrationId: 'a', attestation } })
  await ask('PUT', `/enrollmentGroups/a?${V}`, { body: { enrollmentGroupId: 'a', attestation } })
  const call = (token: string | undefined) => ask(method, `${path}?${V}`, { token, body, headers: { 'if-match': '*' } })
  for (const keyName of ['reads', 'writes', 'records', 'config'].filter((each) => !admitted.includes(each)))
    expect([keyName, (await call(policyToken(keyName, HOST, service))).status]).toEqual([keyName, 401])
  expect((await call(undefined)).json()['errorCode']).toBe(401002)
  const expected = name.endsWith('record') ? 404 : method === 'DELETE' ? 204 : 200
  for (const keyName of admitted) {
    const { status } = await call(policyToken(keyName, HOST, service))
    // The second of two deletes finds nothing; that is still past the door.
    expect([keyName, [expected, 404].includes(status)]).toEqual([keyName, true])
  }
})

test('create, update, delete: statuses, headers, bodies', async () => {
  const made = await ask('PUT', `/enrollments/Life?${V}`, {
    body: { registrationId: 'Life', attestation, allocationPolicy: 'STATIC', iotHubs: [HUB_B] },
  })
  expect([made.status, made.headers['content-type'], made.headers['x-ms-request-id']]).toEqual([
    200,
    'application/json; charset=utf-8',
    expect.any(String),
  ])
  expect(made.json()).toMatchObject({ registrationId: 'Life', allocationPolicy: 'static', iotHubs: [HUB_B] })
  const etag = String(made.json()['etag'])
  const body = { registrationId: 'life', attestation, iotHubs: [HUB_A] }
  expect((await ask('PUT', `/enrollments/life?${V}`, { body })).json()['errorCode']).toBe(409201)
  for (const [spelling, status] of [
    ['"stale"', 412],
    [etag, 200],
    [etag, 412],
    ['"*"', 200],
  ] as const)
    expect([
      spelling,
      (await ask('PUT', `/Enrollments/life/?${V}`, { body, headers: { 'if-match': spelling } })).status,
    ]).toEqual([spelling, status])
  const gone = await ask('DELETE', `/enrollments/LIFE?${V}`)
  expect([gone.status, gone.text]).toEqual([204, ''])
  const missing = await ask('DELETE', `/enrollments/life?${V}`)
  expect([missing.status, missing.json()['errorCode']]).toEqual([404, 404201])
})

test('query: the item type always, the continuation only where there is more', async () => {
  for (const [list, id, type] of [
    ['enrollments', 'registrationId', 'Enrollment'],
    ['enrollmentGroups', 'enrollmentGroupId', 'EnrollmentGroup'],
  ] as const) {
    const empty = await ask('POST', `/${list}/query?${V}`, { body: { query: "SELECT * WHERE a = 'b'" } })
    expect([empty.headers['x-ms-item-type'], empty.text]).toEqual([type, '[]'])
    for (const each of ['p-1', 'p-2', 'p-3'])
      await ask('PUT', `/${list}/${each}?${V}`, { body: { [id]: each, attestation } })
    const query = (headers: Record<string, string>) =>
      ask('POST', `/${list}/query?${V}`, {
        body: { query: "{'additional_properties': {}, 'query': 'SELECT *'}" },
        headers: { 'cache-control': 'no-cache, must-revalidate', ...headers },
      })
    const first = await query({ 'x-ms-max-item-count': '2' })
    expect(first.headers).toMatchObject({ 'x-ms-max-item-count': '2', 'x-ms-continuation': expect.any(String) })
    const rest = await query({ 'x-ms-continuation': String(first.headers['x-ms-continuation']) })
    expect(rest.headers).not.toHaveProperty('x-ms-continuation')
    const items = [...JSON.parse(first.text), ...JSON.parse(rest.text)] as Record<string, unknown>[]
    expect(items.map((item) => item[id]).filter((each) => String(each).startsWith('p-'))).toEqual(['p-1', 'p-2', 'p-3'])
    for (const [headers, code] of [
      [{ 'x-ms-max-item-count': 'many' }, 400004],
      [{ 'x-ms-max-item-count': '0' }, 400004],
      [{ 'x-ms-continuation': 'AAAA' }, 400004],
    ] as const)
      expect((await query(headers)).json()['errorCode']).toBe(code)
  }
})

test.each([
  ['no JSON', '{', 400004],
  ['nothing', '', 400004],
  ['a list', '[]', 400004],
  ['too large', `{"optionalDeviceInformation":"${'x'.repeat(limits.dpsBodyBytes)}"}`, 413001],
])('a body is refused: %s', async (_what, body, code) => {
  for (const [method, path] of [
    ['PUT', '/enrollments/b'],
    ['PUT', '/enrollmentGroups/b'],
    ['POST', '/enrollments/query'],
    ['POST', '/enrollmentGroups/query'],
    ['POST', '/enrollments'],
    ['POST', '/enrollmentGroups'],
  ] as const) {
    const answer = await ask(method, `${path}?${V}`, { body })
    expect([path, answer.status, answer.json()['errorCode']]).toEqual([path, Math.floor(code / 1000), code])
  }
  expect((await ask('GET', `/enrollments/b?${V}`)).status).toBe(404)
})

test('a path without an id is 405, one that leads nowhere 404', async () => {
  for (const path of ['/enrollments', '/enrollmentGroups/', '/registrations/'])
    for (const method of ['GET', 'DELETE'] as const) {
      const answer = await ask(method, `${path}?${V}`)
      expect([path, method, answer.status, answer.json()['errorCode']]).toEqual([path, method, 405, 405000])
    }
  expect((await ask('PATCH', `/enrollments/a?${V}`)).status).toBe(404)
  expect((await ask('POST', `/enrollments/a/secrets?${V}`)).status).toBe(404)
})

test('api-version is needed, after the right to call', async () => {
  expect((await ask('GET', '/enrollments/a')).json()['errorCode']).toBe(400001)
  expect((await ask('GET', '/enrollments/a', { token: undefined })).json()['errorCode']).toBe(401002)
})

test('of several services the host name chooses', async () => {
  await room.control.provisioningServices.put(caller, 'second', {}, { kind: 'absent' })
  const second = (await room.control.provisioningServices.get('second'))!
  await ask('PUT', `/enrollments/only-first?${V}`, { body: { registrationId: 'only-first', attestation } })
  const host = second.serviceHostNames[0]!
  const token = policyToken('provisioningserviceowner', `${host}:8443`, second)
  const other = (path: string) => ask('GET', `${path}?${V}`, { token, headers: { host: `${host}:8443` } })
  expect((await other('/enrollments/only-first')).status).toBe(404)
  expect((await ask('GET', `/enrollments/only-first?${V}`)).status).toBe(200)
  expect((await ask('GET', `/enrollments/only-first?${V}`, { token })).status).toBe(401)
  const nobody = await ask('GET', `/enrollments/a?${V}`, { headers: { host: 'unknown.example' } })
  expect([nobody.status, nobody.json()['errorCode']]).toEqual([404, 404000])
})
