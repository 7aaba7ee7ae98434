import { expect, test } from 'vitest'
import { refusal } from '../../tests/support/provisioning.ts'
import { isSince, requireApiVersion } from './api-version.ts'
import { parseRegisterBody } from './claims.ts'
import { isRegistrationId, requireId, storeId } from './ids.ts'

test.each(['a', '7', '-', 'sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6', 'Dev:1.a_b-', 'x'.repeat(128)])(
  '%s is a registration id',
  (id) => expect(isRegistrationId(id)).toBe(true),
)

test.each(['', 'a.', 'a_', 'a:', 'a b', 'a/b', 'ä', 'a%41', 'a\n', 'x'.repeat(129), '$a'])(
  '%j is no registration id',
  async (id) => {
    expect(isRegistrationId(id)).toBe(false)
    expect(await refusal(() => requireId('registrationId', id))).toMatchObject({ code: 400202 })
    expect(await refusal(() => requireId('enrollmentGroupId', id))).toMatchObject({ code: 400204 })
  },
)

test('a complaint shows no more of an id than ids may have', async () => {
  const { message } = await refusal(() => requireId('registrationId', `${'y'.repeat(10_000)}.`))
  expect(message.length).toBeLessThan(400)
})

test('documents of a service stand together, whatever the letter case', () => {
  expect(storeId('0neABCDEF01', 'Dev-1')).toBe('0neabcdef01/dev-1')
})

test.each(['2017-08-31-preview', '2018-11-01', '2019-03-31', '2021-06-01', '2026-11-02-preview'])(
  '%s is an api-version',
  (version) => expect(requireApiVersion(version)).toBe(version),
)

test.each([undefined, '', '2021', '2021-6-1', '2021-06-01-beta', 'latest', '2021-06-01 ', "2021-06-01'"])(
  '%j is no api-version',
  async (version) => {
    const { code, message } = await refusal(() => requireApiVersion(version))
    expect(code).toBe(400001)
    expect(message).toContain('api-version=YYYY-MM-DD')
  },
)

test('versions are compared by date', () => {
  expect(isSince('2019-04-15', '2019-04-15')).toBe(true)
  expect(isSince('2019-04-15-preview', '2019-04-15')).toBe(true)
  expect(isSince('2019-03-31', '2019-04-15')).toBe(false)
})

test('register bodies', () => {
  expect(parseRegisterBody(undefined, 'dev')).toEqual({})
  expect(parseRegisterBody(null, 'dev')).toEqual({})
  expect(parseRegisterBody({}, 'dev')).toEqual({})
  expect(parseRegisterBody({ registrationId: 'DEV', payload: { a: 1 }, extra: 7 }, 'dev')).toEqual({
    registrationId: 'DEV',
    payload: { a: 1 },
  })
  expect(parseRegisterBody({ payload: 'text of a Java client' }, 'dev').payload).toBe('text of a Java client')
  expect(parseRegisterBody({ tpm: { endorsementKey: 'RQ==' }, csr: 'MIIB' }, 'dev')).toEqual({
    tpm: { endorsementKey: 'RQ==' },
    csr: 'MIIB',
  })
  expect(parseRegisterBody({ clientCertificateCsr: 'MIIB' }, 'dev')).toEqual({ csr: 'MIIB' })
})

test.each([
  [[], 400004, /body must be a JSON object, found an array/],
  ['text', 400004, /body must be a JSON object, found a string/],
  [{ registrationId: 'other' }, 400202, /body.registrationId must be .* "dev", or absent; found "other"/],
  [{ registrationId: 3 }, 400004, /body.registrationId must be a string/],
  [{ tpm: 'x' }, 400004, /body.tpm must be an object/],
  [{ tpm: {} }, 400004, /body.tpm.endorsementKey must be a value/],
  [{ tpm: { endorsementKey: 'a', storageRootKey: 1 } }, 400004, /storageRootKey must be a string/],
  [{ csr: {} }, 400004, /body.csr must be a string/],
])('a register body is refused: %j', async (body, code, message) => {
  const found = await refusal(() => parseRegisterBody(body, 'dev'))
  expect(found.code).toBe(code)
  expect(found.message).toMatch(message)
})
