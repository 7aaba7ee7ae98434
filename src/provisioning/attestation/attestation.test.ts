import { expect, test } from 'vitest'
import {
  caller,
  certificateClaim,
  create,
  keyClaim,
  provisioningRoom,
  registered,
} from '../../../tests/support/provisioning.ts'
import { derivedKey } from '../../../tests/support/tokens.ts'
import { limits } from '../../base/limits.ts'
import { seededRandom } from '../../base/random.ts'
import { createAuthority, issueDeviceCertificate } from '../../crypto/issuing.ts'
import { storeId } from '../ids.ts'
import { enrollmentGroups } from '../schema.ts'
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

test('every group is asked, however large their documents are together', async () => {
  const room = await provisioningRoom()
  const { service, provisioning, store } = room
  const symmetricKey = { primaryKey: KEY, secondaryKey: KEY }
  const last = { enrollmentGroupId: 'z', attestation: { type: 'symmetricKey', symmetricKey } }
  await provisioning.enrollmentGroups.put(caller, service, 'z', last, create)
  const { value } = (await store.get(enrollmentGroups, storeId(service.idScope, 'z')))!
  const other = Buffer.alloc(64, 1).toString('base64')
  const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: other, secondaryKey: other } } as const
  const tags = { filler: 'x'.repeat(limits.storeValueBytes / 2) }
  for (let at = 0; at <= (2 * limits.storePageBytes) / limits.storeValueBytes; at++) {
    const large = {
      ...value,
      enrollmentGroupId: `g${at}`,
      attestation,
      initialTwin: { tags, properties: { desired: {} } },
    }
    await store.commit({
      put: [{ collection: enrollmentGroups, id: storeId(service.idScope, `g${at}`), value: large }],
    })
  }
  expect(await registered(provisioning, keyClaim(room, 'dev', derivedKey(KEY, 'dev')))).toMatchObject({
    status: 'assigned',
  })
})
