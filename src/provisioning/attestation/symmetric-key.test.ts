import { describe, expect, test } from 'vitest'
import { derivedKey, dpsTokens, sasToken } from '../../../tests/support/tokens.ts'
import { limits } from '../../base/limits.ts'
import { decodeKey } from '../../crypto/keys.ts'
import type { SymmetricKeyAttestation } from '../attestation-document.ts'
import type { EnrollmentGroup, IndividualEnrollment } from '../enrollment-document.ts'
import type { SymmetricKeyGroup } from './groups.ts'
import { attestGroupKey, attestIndividualKey, type SymmetricKeyProof } from './symmetric-key.ts'
import type { Verdict } from './verdict.ts'

const SCOPE = '0neABCDEF01'
const now = Date.UTC(2026, 0, 1)
const seconds = now / 1000
const [PRIMARY, SECONDARY, WRONG] = [1, 2, 3].map((byte) => Buffer.alloc(64, byte).toString('base64')) as [
  string,
  string,
  string,
]

const enrollment = {
  registrationId: 'Dev-1',
  attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: PRIMARY, secondaryKey: SECONDARY } },
} as IndividualEnrollment & { attestation: SymmetricKeyAttestation }

const proof = (token: string, more: Partial<SymmetricKeyProof> = {}): SymmetricKeyProof => ({
  idScope: SCOPE,
  registrationId: 'Dev-1',
  token,
  now,
  skewMs: 300_000,
  ...more,
})

const group = (id: string, primaryKey: string, secondaryKey: string): SymmetricKeyGroup => ({
  document: { enrollmentGroupId: id } as EnrollmentGroup,
  keys: [decodeKey(primaryKey)!, decodeKey(secondaryKey)!],
})

const reason = ({ steps }: Verdict): string | undefined => steps.at(-1)?.reason

describe.each(Object.entries(dpsTokens))('the token of %s', (_client, token) => {
  test('individual: either key, nothing else', () => {
    for (const key of [PRIMARY, SECONDARY]) {
      const verdict = attestIndividualKey(proof(token(SCOPE, 'Dev-1', key, seconds)), enrollment)
      expect(verdict).toMatchObject({
        ok: true,
        admission: { admittedBy: { kind: 'individual', id: 'Dev-1' }, credential: { kind: 'symmetricKey' } },
      })
    }
    const verdict = attestIndividualKey(proof(token(SCOPE, 'Dev-1', WRONG, seconds)), enrollment)
    expect(verdict).toMatchObject({ ok: false, refusal: { code: 401002, message: 'Unauthorized' } })
    expect(reason(verdict)).toBe('signature-mismatch')
  })

  test('group: a key derived from either group key, for the id as sent or in lower case', () => {
    const groups = [group('other', WRONG, WRONG), group('Line', PRIMARY, SECONDARY)]
    for (const key of [PRIMARY, SECONDARY])
      for (const spelling of ['Dev-1', 'dev-1']) {
        const signed = token(SCOPE, 'Dev-1', derivedKey(key, spelling), seconds)
        expect(attestGroupKey(proof(signed), groups, undefined)).toMatchObject({
          ok: true,
          admission: {
            admittedBy: { kind: 'group', id: 'Line' },
            credential: { kind: 'symmetricKey', derivedFrom: spelling },
          },
        })
      }
  })
})

test('the vector of the documentation', () => {
  const key = '8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=='
  const id = 'sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6'
  const token = dpsTokens['node']!(SCOPE, id, 'Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=', seconds)
  expect(attestGroupKey(proof(token, { registrationId: id }), [group('g', key, WRONG)], undefined).ok).toBe(true)
})

test('the group key itself is no device key', () => {
  for (const key of [PRIMARY, SECONDARY]) {
    const token = dpsTokens['node']!(SCOPE, 'Dev-1', key, seconds)
    const verdict = attestGroupKey(proof(token), [group('Line', PRIMARY, SECONDARY)], undefined)
    expect(verdict).toMatchObject({ ok: false, refusal: { code: 401002 } })
    expect(reason(verdict)).toBe('group-key-itself')
  }
})

test('a key of another device of the group is refused', () => {
  const token = dpsTokens['node']!(SCOPE, 'Dev-1', derivedKey(PRIMARY, 'Dev-2'), seconds)
  expect(attestGroupKey(proof(token), [group('Line', PRIMARY, SECONDARY)], undefined).ok).toBe(false)
})

test('the group of the last time is tried first; among equals the oldest decides', () => {
  const groups = [group('a', PRIMARY, PRIMARY), group('b', PRIMARY, PRIMARY)]
  const token = dpsTokens['node']!(SCOPE, 'Dev-1', derivedKey(PRIMARY, 'Dev-1'), seconds)
  expect(attestGroupKey(proof(token), groups, undefined)).toMatchObject({ admission: { admittedBy: { id: 'a' } } })
  expect(attestGroupKey(proof(token), groups, 'b')).toMatchObject({ admission: { admittedBy: { id: 'b' } } })
  expect(attestGroupKey(proof(token), [], 'b').ok).toBe(false)
})

const sr = `${SCOPE}/registrations/Dev-1`

test.each([
  ['token-malformed', 'Bearer abc'],
  ['token-malformed', ''],
  ['token-malformed', `SharedAccessSignature sr=${sr}&se=${seconds}`],
  ['token-malformed', sasToken({ sr: sr + 'x'.repeat(limits.sasTokenLength), key: PRIMARY, se: seconds })],
  ['token-for-another-resource', sasToken({ sr: `${SCOPE}/registrations/Dev-2`, key: PRIMARY, se: seconds + 60 })],
  ['token-for-another-resource', sasToken({ sr: SCOPE, key: PRIMARY, se: seconds + 60 })],
  ['token-for-another-resource', sasToken({ sr: `${sr}/more`, key: PRIMARY, se: seconds + 60 })],
  ['token-for-another-resource', sasToken({ sr: `0neABCDEF02/registrations/Dev-1`, key: PRIMARY, se: seconds + 60 })],
  ['token-expired', sasToken({ sr, key: PRIMARY, se: seconds - 301 })],
])('%s', (expected, token) => {
  for (const verdict of [
    attestIndividualKey(proof(token), enrollment),
    attestGroupKey(proof(token), [group('Line', PRIMARY, SECONDARY)], undefined),
  ]) {
    expect(verdict).toMatchObject({ ok: false, refusal: { code: 401002, message: 'Unauthorized' } })
    expect(reason(verdict)).toBe(expected)
  }
})

test('a token may be five minutes late, and of any age in a poll of what it opened', () => {
  const token = sasToken({ sr, key: PRIMARY, se: seconds })
  const at = (later: number, openedAt?: number) =>
    attestIndividualKey(proof(token, { now: now + later, openedAt }), enrollment).ok
  expect(at(300_000)).toBe(true)
  expect(at(300_001)).toBe(false)
  expect(at(300_001, now + 300_000)).toBe(true)
  expect(at(300_002, now + 300_001)).toBe(false)
  expect(at(300_000 + limits.operationHistoryMs, now + 300_000)).toBe(true)
  expect(at(300_001 + limits.operationHistoryMs, now + 300_000)).toBe(false)
})

test('steps tell no key and no signature', () => {
  const token = dpsTokens['node']!(SCOPE, 'Dev-1', derivedKey(PRIMARY, 'Dev-1'), seconds)
  const verdicts = [
    attestGroupKey(proof(token), [group('Line', PRIMARY, SECONDARY)], undefined),
    attestGroupKey(proof(token), [group('Line', WRONG, WRONG)], undefined),
    attestIndividualKey(proof(token), enrollment),
  ]
  const said = JSON.stringify(verdicts.map(({ steps }) => steps))
  const sig = /sig=([^&]+)/.exec(token)![1]!
  for (const secret of [PRIMARY, SECONDARY, WRONG, derivedKey(PRIMARY, 'Dev-1'), sig])
    expect(said).not.toContain(secret)
})
