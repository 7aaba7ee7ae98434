import { expect, test } from 'vitest'
import { dpsFaces } from '../../../tests/support/dps-faces.ts'
import { caller, create, keyClaim, registered } from '../../../tests/support/provisioning.ts'
import { derivedKey } from '../../../tests/support/tokens.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const V = 'api-version=2021-10-01'
const { room, ask } = await dpsFaces()
const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } }
const document = { enrollmentGroupId: 'line', attestation }
await room.provisioning.enrollmentGroups.put(caller, room.service, 'line', document, create)
for (const id of ['r-1', 'r-2', 'r-3']) await registered(room.provisioning, keyClaim(room, id, derivedKey(KEY, id)))

test('a record: get and delete, with its etag', async () => {
  const found = await ask('GET', `/registrations/R-1?${V}`)
  expect(found.status).toBe(200)
  expect(found.json()).toEqual({
    registrationId: 'r-1',
    createdDateTimeUtc: expect.stringMatching(/\.\d{7}Z$/),
    assignedHub: expect.any(String),
    deviceId: 'r-1',
    status: 'assigned',
    substatus: 'initialAssignment',
    lastUpdatedDateTimeUtc: expect.stringMatching(/\.\d{7}Z$/),
    etag: expect.any(String),
  })
  const remove = (etag: string) => ask('DELETE', `/registrations/r-1?${V}`, { headers: { 'if-match': etag } })
  expect((await remove('"stale"')).status).toBe(412)
  expect((await remove(String(found.json()['etag']))).status).toBe(204)
  const missing = await remove('*')
  expect([missing.status, missing.json()['errorCode']]).toEqual([404, 404201])
  expect((await ask('GET', `/registrations/r-1?${V}`)).json()['errorCode']).toBe(404201)
  expect((await ask('GET', `/registrations/a%20b?${V}`)).json()['errorCode']).toBe(400202)
})

test('records of a group: as the CLI and as Node ask', async () => {
  const query = (asked: Parameters<typeof ask>[2] = {}, id = 'line') =>
    ask('POST', `/registrations/${id}/query?${V}`, asked)
  const ids = ({ text }: { text: string }) =>
    (JSON.parse(text) as { registrationId: string }[]).map(({ registrationId }) => registrationId)
  const all = await query()
  expect([all.status, all.headers['x-ms-item-type'], ids(all)]).toEqual([200, 'DeviceRegistration', ['r-2', 'r-3']])
  expect(ids(await query({ body: { query: '*' } }))).toEqual(['r-2', 'r-3'])
  const first = await query({ headers: { 'x-ms-max-item-count': '1' } })
  expect(ids(first)).toEqual(['r-2'])
  const continuation = String(first.headers['x-ms-continuation'])
  expect(ids(await query({ headers: { 'x-ms-continuation': continuation } }))).toEqual(['r-3'])
  expect((await query({ headers: { 'x-ms-continuation': 'no' } })).json()['errorCode']).toBe(400004)
  expect((await query({ body: { query: 'DELETE *' } })).json()['errorCode']).toBe(400004)
  expect((await query({ body: '{' })).json()['errorCode']).toBe(400004)
  expect((await query({}, 'nowhere')).json()['errorCode']).toBe(404204)
})
