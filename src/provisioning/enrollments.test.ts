import { describe, expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  certificateClaim,
  create,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  refusal,
  registered,
} from '../../tests/support/provisioning.ts'
import { derivedKey } from '../../tests/support/tokens.ts'
import { limits } from '../base/limits.ts'
import { createAuthority, issueDeviceCertificate } from '../crypto/issuing.ts'
import type { Enrollments } from './enrollment-records.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const symmetricKey = { attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } } }
const all = { query: 'SELECT *' }
const page = (size: number, continuation?: string) => ({ size, continuation })
const etag = (document: object): string => (document as { etag: string }).etag

/** Both kinds behave alike: the name of the id, the room's part, the codes of absent and taken. */
const kinds = [
  ['registrationId', (room: ProvisioningRoom) => room.provisioning.enrollments, 404201, 409201, 400202],
  ['enrollmentGroupId', (room: ProvisioningRoom) => room.provisioning.enrollmentGroups, 404204, 409202, 400204],
] as const

describe.each(kinds)('%s', (idName, of, absent, taken, badId) => {
  const setUp = async (): Promise<{ room: ProvisioningRoom; records: Enrollments }> => {
    const room = await provisioningRoom()
    return { room, records: of(room) }
  }
  const document = (id: string, more: object = {}) => ({ [idName]: id, ...symmetricKey, ...more })

  test('create, get, update, delete', async () => {
    const { room, records } = await setUp()
    const made = await records.put(caller, room.service, 'One', document('One'), create)
    expect(made).toMatchObject({ [idName]: 'One', ...symmetricKey, etag: expect.stringMatching(/^"[0-9a-f-]{36}"$/) })
    expect(await records.get(room.service, 'oNE', API)).toEqual({ ...made, attestation: { type: 'symmetricKey' } })
    expect(await records.attestationMechanism(room.service, 'ONE')).toEqual(symmetricKey.attestation)
    room.clock.advance(1_000)
    const updated = await records.put(
      caller,
      room.service,
      'one',
      document('one', { provisioningStatus: 'disabled' }),
      any,
    )
    expect(updated).toMatchObject({
      [idName]: 'One',
      provisioningStatus: 'disabled',
      createdDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
      lastUpdatedDateTimeUtc: '2026-01-01T00:00:01.0000000Z',
    })
    expect(etag(updated)).not.toBe(etag(made))
    await records.remove(caller, room.service, 'one', { kind: 'absent' })
    for (const call of [
      records.get(room.service, 'one', API),
      records.attestationMechanism(room.service, 'one'),
      records.remove(caller, room.service, 'one', { kind: 'any' }),
      records.put(caller, room.service, 'one', document('one'), any),
      records.put(caller, room.service, 'one', document('one'), { ...any, ifMatch: { kind: 'etag', etag: 'x' } }),
    ])
      expect(await refusal(call)).toMatchObject({ code: absent })
  })

  test('If-Match', async () => {
    const { room, records } = await setUp()
    const put = (ifMatch: Parameters<Enrollments['put']>[4]['ifMatch']) =>
      records.put(caller, room.service, 'one', document('one'), { ifMatch, apiVersion: API })
    const first = await put({ kind: 'absent' })
    expect(await refusal(put({ kind: 'absent' }))).toMatchObject({ code: taken })
    const bare = etag(first).slice(1, -1)
    const second = await put({ kind: 'etag', etag: bare })
    expect(await refusal(put({ kind: 'etag', etag: bare }))).toMatchObject({ code: 412001 })
    expect(await refusal(records.remove(caller, room.service, 'one', { kind: 'etag', etag: bare }))).toMatchObject({
      code: 412001,
    })
    await records.remove(caller, room.service, 'one', { kind: 'etag', etag: etag(second).slice(1, -1) })
  })

  test('of two that create at once one is made; of two updates with one etag one is done', async () => {
    const { room, records } = await setUp()
    const created = await Promise.allSettled(
      [1, 2, 3, 4].map(() => records.put(caller, room.service, 'one', document('one'), create)),
    )
    expect(created.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    const now = etag(await records.get(room.service, 'one', API)).slice(1, -1)
    const options = { ifMatch: { kind: 'etag', etag: now }, apiVersion: API } as const
    const updated = await Promise.allSettled(
      [1, 2, 3, 4].map(() => records.put(caller, room.service, 'one', document('one'), options)),
    )
    expect(updated.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test('a bad id is refused everywhere', async () => {
    const { room, records } = await setUp()
    for (const call of [
      records.get(room.service, 'a b', API),
      records.put(caller, room.service, 'a.', document('a.'), create),
      records.remove(caller, room.service, 'a/b', { kind: 'any' }),
      records.attestationMechanism(room.service, ''),
    ])
      expect(await refusal(call)).toMatchObject({ code: badId })
  })

  test('query: all, by pages, by a condition; of one service only', async () => {
    const { room, records } = await setUp()
    await room.control.provisioningServices.put(caller, 'other', {}, { kind: 'absent' })
    const other = (await room.control.provisioningServices.get('other'))!
    await records.put(caller, other, 'foreign', document('foreign'), create)
    expect(await records.query(room.service, all, page(10), API)).toEqual({ items: [] })
    const ids = Array.from({ length: 25 }, (_, at) => `d-${String(at).padStart(2, '0')}`)
    for (const id of ids) {
      const status = id.endsWith('3') ? 'disabled' : 'enabled'
      await records.put(caller, room.service, id, document(id, { provisioningStatus: status }), create)
    }
    const found: string[] = []
    let continuation: string | undefined
    do {
      const answer = await records.query(room.service, all, page(10, continuation), API)
      found.push(...answer.items.map((item) => String(item[idName])))
      for (const item of answer.items) expect(item['attestation']).toEqual({ type: 'symmetricKey' })
      continuation = answer.continuation
    } while (continuation !== undefined)
    expect(found).toEqual(ids)
    const disabled = { query: "SELECT * WHERE provisioningStatus = 'disabled'" }
    const { items } = await records.query(room.service, disabled, page(100), API)
    expect(items.map((item) => item[idName])).toEqual(['d-03', 'd-13', 'd-23'])
    expect(await refusal(records.query(room.service, all, page(10, 'nonsense'), API))).toMatchObject({ code: 400004 })
  })

  test('bulk: every item on its own', async () => {
    const { room, records } = await setUp()
    const list = idName === 'registrationId' ? 'enrollments' : 'enrollmentGroups'
    const bulk = (mode: string, items: unknown[]) => records.bulk(caller, room.service, { mode, [list]: items }, API)
    expect(await bulk('create', [document('a'), document('b')])).toEqual({ isSuccessful: true, errors: [] })
    const mixed = await bulk('create', [document('b'), document('c'), document('d', { provisioningStatus: 'x' })])
    expect(mixed).toEqual({
      isSuccessful: false,
      errors: [
        { [idName]: 'b', errorCode: taken, errorStatus: expect.stringContaining('already exists') },
        { [idName]: 'd', errorCode: 400004, errorStatus: expect.stringContaining('provisioningStatus must be') },
      ],
    })
    const [a, b] = await Promise.all(['a', 'b'].map((id) => records.get(room.service, id, API)))
    expect(await bulk('update', [document('a'), document('z')])).toMatchObject({
      isSuccessful: false,
      errors: [{ [idName]: 'z', errorCode: absent }],
    })
    expect(
      await bulk('updateIfMatchETag', [
        { ...document('a'), etag: etag(a!) },
        { ...document('b'), etag: etag(b!) },
        document('c'),
      ]),
    ).toMatchObject({
      errors: [
        { [idName]: 'a', errorCode: 412001 },
        { [idName]: 'c', errorCode: 400004 },
      ],
    })
    expect(await bulk('DELETE', [{ [idName]: 'a' }, { [idName]: 'b' }, { [idName]: 'z' }])).toMatchObject({
      errors: [{ [idName]: 'z', errorCode: absent }],
    })
    expect((await records.query(room.service, all, page(10), API)).items.map((item) => item[idName])).toEqual(['c'])
    const many = Array.from({ length: limits.enrollmentBulk + 1 }, (_, at) => document(`x${at}`))
    for (const [body, code] of [
      [{ mode: 'create', [list]: many }, 400205],
      [{ mode: 'create', [list]: [] }, 400004],
      [{ mode: 'create' }, 400004],
      [{ [list]: [document('a')] }, 400004],
      [{ mode: 'upsert', [list]: [document('a')] }, 400004],
      [{ mode: 'create', [list]: [document('a'), document('A')] }, 400206],
      [{ mode: 'create', [list]: ['a'] }, 400004],
      [{ mode: 'create', [list]: [{}] }, 400004],
      [undefined, 400004],
    ] as const)
      expect(await refusal(records.bulk(caller, room.service, body, API))).toMatchObject({ code })
    expect((await records.query(room.service, all, page(10), API)).items).toHaveLength(1)
  })

  test('nothing is made in a service that is being deleted', async () => {
    const { room, records } = await setUp()
    await room.store.commit({ delete: [{ in: room.service.presence.in, id: room.service.presence.id }] })
    expect(await refusal(records.put(caller, room.service, 'one', document('one'), create))).toMatchObject({
      code: 404000,
    })
  })
})

test('an individual enrollment shows its registration, and takes it along', async () => {
  const room = await provisioningRoom()
  const { enrollments, registrations } = room.provisioning
  await enrollments.put(caller, room.service, 'dev', { registrationId: 'dev', ...symmetricKey }, create)
  expect(await enrollments.get(room.service, 'dev', API)).not.toHaveProperty('registrationState')
  const { registrationState } = await registered(room.provisioning, keyClaim(room, 'dev', KEY))
  expect(await enrollments.get(room.service, 'dev', API)).toMatchObject({ registrationState })
  expect((await enrollments.query(room.service, all, page(10), API)).items).toMatchObject([{ registrationState }])
  const updated = await enrollments.put(caller, room.service, 'dev', { registrationId: 'dev', ...symmetricKey }, any)
  expect(updated).toMatchObject({ registrationState })
  expect(await registrations.get(room.service, 'dev', API)).toEqual(registrationState)
  await enrollments.remove(caller, room.service, 'dev', { kind: 'any' })
  expect(await refusal(registrations.get(room.service, 'dev', API))).toMatchObject({ code: 404201 })
})

test('a group: its references exist, verified or not', async () => {
  const room = await provisioningRoom()
  const { enrollmentGroups } = room.provisioning
  const owner = { kind: 'dps', name: 'dps' } as const
  const ca = await createAuthority({ commonName: 'ca', days: 30, keyType: 'ec', now: room.clock.now() })
  await room.control.certificates.put(owner, 'unproven', { certificate: ca.certificate }, { kind: 'absent' })
  const referring = (primary: string, secondary?: string) => ({
    enrollmentGroupId: 'group',
    attestation: { type: 'x509', x509: { caReferences: { primary, secondary } } },
  })
  const put = (document: object) => enrollmentGroups.put(caller, room.service, 'group', document, create)
  const { code, message } = await refusal(put(referring('unproven', 'missing')))
  expect(code).toBe(400004)
  expect(message).toContain('"missing", which does not exist')
  expect(await put(referring('unproven'))).toMatchObject({
    attestation: { type: 'x509', x509: { caReferences: { primary: 'unproven' } } },
  })
})

test('so many groups and no more, also when they are made at once', async () => {
  const room = await provisioningRoom()
  const { enrollmentGroups } = room.provisioning
  const put = (id: string) =>
    enrollmentGroups.put(caller, room.service, id, { enrollmentGroupId: id, ...symmetricKey }, create)
  for (let at = 0; at < limits.enrollmentGroups - 2; at++) await put(`g-${at}`)
  const results = await Promise.allSettled(['w', 'x', 'y', 'z'].map(put))
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
  expect(await refusal(put('late'))).toMatchObject({ code: 403000 })
  await enrollmentGroups.put(caller, room.service, 'g-0', { enrollmentGroupId: 'g-0', ...symmetricKey }, any)
  await enrollmentGroups.remove(caller, room.service, 'g-0', { kind: 'any' })
  await put('late')
})

test('records of a group: by pages, by condition, and after the group is gone', async () => {
  const room = await provisioningRoom()
  const { enrollmentGroups, registrations } = room.provisioning
  await enrollmentGroups.put(caller, room.service, 'Line', { enrollmentGroupId: 'Line', ...symmetricKey }, create)
  expect(await registrations.queryGroup(room.service, 'line', undefined, page(10), API)).toEqual({ items: [] })
  const ids = ['a', 'b', 'c', 'd', 'e']
  for (const id of ids) await registered(room.provisioning, keyClaim(room, id, derivedKey(KEY, id)))
  const first = await registrations.queryGroup(room.service, 'LINE', { query: '*' }, page(3), API)
  expect(first.items).toMatchObject(ids.slice(0, 3).map((registrationId) => ({ registrationId, status: 'assigned' })))
  const second = await registrations.queryGroup(room.service, 'line', undefined, page(3, first.continuation), API)
  expect(second).toMatchObject({ items: [{ registrationId: 'd' }, { registrationId: 'e' }] })
  expect(second).not.toHaveProperty('continuation')
  const some = { query: "SELECT * WHERE registrationId = 'b'" }
  expect((await registrations.queryGroup(room.service, 'line', some, page(10), API)).items).toHaveLength(1)
  await enrollmentGroups.remove(caller, room.service, 'line', { kind: 'any' })
  expect((await registrations.queryGroup(room.service, 'line', undefined, page(10), API)).items).toHaveLength(5)
  expect(await refusal(registrations.register(keyClaim(room, 'a', derivedKey(KEY, 'a')), {}, API))).toMatchObject({
    code: 401002,
  })
  for (const id of ids) await registrations.remove(caller, room.service, id, { kind: 'absent' })
  expect(await refusal(registrations.queryGroup(room.service, 'line', undefined, page(10), API))).toMatchObject({
    code: 404204,
  })
  expect(
    await refusal(registrations.queryGroup(room.service, 'line', undefined, page(10, 'nonsense'), API)),
  ).toMatchObject({ code: 400004 })
  expect(await room.provisioning.contents(room.service)).toBeUndefined()
})

test('the record of an individual device by the same query', async () => {
  const room = await provisioningRoom()
  const { enrollments, registrations } = room.provisioning
  const { certificate } = await issueDeviceCertificate({
    commonName: 'dev',
    days: 1,
    keyType: 'ec',
    now: room.clock.now(),
  })
  const attestation = { type: 'x509', x509: { clientCertificates: { primary: { certificate } } } }
  await enrollments.put(caller, room.service, 'dev', { registrationId: 'dev', attestation }, create)
  expect(await registrations.queryGroup(room.service, 'dev', undefined, page(10), API)).toEqual({ items: [] })
  await registered(room.provisioning, certificateClaim(room, 'dev', certificate))
  const { items } = await registrations.queryGroup(room.service, 'dev', undefined, page(10), API)
  expect(items).toMatchObject([{ registrationId: 'dev', status: 'assigned' }])
  expect(await room.provisioning.contents(room.service)).toBe('1 enrollment, 1 registration')
})

test('registration records: delete with etags', async () => {
  const room = await provisioningRoom()
  const { enrollments, registrations } = room.provisioning
  await enrollments.put(caller, room.service, 'dev', { registrationId: 'dev', ...symmetricKey }, create)
  const first = (await registered(room.provisioning, keyClaim(room, 'dev', KEY))).registrationState!
  const second = (await registered(room.provisioning, keyClaim(room, 'dev', KEY))).registrationState!
  const remove = (text: string) => registrations.remove(caller, room.service, 'DEV', { kind: 'etag', etag: text })
  expect(await refusal(remove(first.etag!))).toMatchObject({ code: 412001 })
  await remove(second.etag!)
  expect(await refusal(remove(second.etag!))).toMatchObject({ code: 404201 })
  expect(await refusal(registrations.get(room.service, 'a b', API))).toMatchObject({ code: 400202 })
})
