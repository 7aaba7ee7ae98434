import { expect, test } from 'vitest'
import { caller, certificateClaim, create, keyClaim, provisioningRoom } from '../../../tests/support/provisioning.ts'
import { derivedKey } from '../../../tests/support/tokens.ts'
import { seededRandom } from '../../base/random.ts'
import { createAuthority, issueDeviceCertificate } from '../../crypto/issuing.ts'
import { createTpmChallenges } from '../tpm-challenge.ts'
import { createAttestation } from './attestation.ts'
import type { Verdict } from './verdict.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')

const reasons = ({ steps }: Verdict): string[] => steps.map(({ reason }) => reason)

test('what was looked at, in order', async () => {
  const room = await provisioningRoom()
  const { store, clock, control, service, provisioning } = room
  const random = seededRandom(1)
  const challenges = createTpmChallenges({ store, clock, random })
  const attest = createAttestation({ store, clock, control, random, challenges, clockSkewMs: 0 })
  const now = clock.now()
  const root = await createAuthority({ commonName: 'root', days: 9, keyType: 'ec', now })
  const middle = await createAuthority({ commonName: 'middle', days: 9, keyType: 'ec', now, issuer: root })
  const leaf = await issueDeviceCertificate({ authority: middle, commonName: 'dev', days: 9, keyType: 'ec', now })
  const claim = certificateClaim(room, 'dev', leaf.certificate + middle.certificate)
  const unknown = { enrollment: undefined }

  expect(reasons(await attest(service, claim, unknown))).toEqual(['no-individual-enrollment', 'issuer-not-found'])
  const input = { certificate: root.certificate, isVerified: true }
  await control.certificates.put({ kind: 'dps', name: 'dps' }, 'Root', input, { kind: 'absent' })
  expect(reasons(await attest(service, claim, unknown))).toEqual([
    'no-individual-enrollment',
    'chain-accepted',
    'no-group-for-authority',
    'no-group-for-authority',
  ])
  const byRoot = { enrollmentGroupId: 'x', attestation: { type: 'x509', x509: { caReferences: { primary: 'root' } } } }
  await provisioning.enrollmentGroups.put(caller, service, 'x', byRoot, create)
  const accepted = await attest(service, claim, unknown)
  expect(reasons(accepted)).toEqual([
    'no-individual-enrollment',
    'chain-accepted',
    'no-group-for-authority',
    'group-for-authority',
  ])
  expect(accepted.steps.at(-1)!.detail).toMatchObject({ enrollmentGroupId: 'x' })

  const keyed = keyClaim(room, 'dev', derivedKey(KEY, 'dev'))
  expect(reasons(await attest(service, keyed, unknown))).toEqual([
    'no-individual-enrollment',
    'token-read',
    'no-group-key-matches',
  ])
  const byKey = {
    enrollmentGroupId: 'k',
    attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } },
  }
  await provisioning.enrollmentGroups.put(caller, service, 'k', byKey, create)
  expect(reasons(await attest(service, keyed, unknown))).toEqual([
    'no-individual-enrollment',
    'token-read',
    'signature-matches-derived-key',
  ])
  const none = { idScope: service.idScope, registrationId: 'dev', kind: 'none' } as const
  expect(reasons(await attest(service, none, unknown))).toEqual(['no-individual-enrollment', 'no-credential'])
})
