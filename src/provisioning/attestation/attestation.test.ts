import { expect, test } from 'vitest'
import {
  API,
  caller,
  certificateClaim,
  create,
  keyClaim,
  provisioningRoom,
} from '../../../tests/support/provisioning.ts'
import { derivedKey } from '../../../tests/support/tokens.ts'
import { ServiceError } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { createAuthority, issueDeviceCertificate } from '../../crypto/issuing.ts'
import { createDeviceRegistrations } from '../registrations.ts'
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

test('a full node tells new devices to come back, at different times, and reads nothing for them', async () => {
  const { store, clock, control, service } = await provisioningRoom()
  const worker = { dueAt: () => 0, accept: () => {}, remind: () => {}, isFull: () => true }
  const attest = () => Promise.reject(new Error('not to be asked'))
  const needs = {
    store,
    clock,
    control,
    attest,
    attempts: { refused: () => {}, admitted: () => {} },
    worker,
    random: seededRandom(1),
    log: silentLog,
    retryAfterSeconds: 3,
    hubName: (hub: string) => hub,
    count: { answered: () => {}, refused: () => {} },
  }
  const { register } = createDeviceRegistrations(needs)
  const waits = new Set<number | undefined>()
  for (let at = 0; at < 50; at++) {
    const claim = { idScope: service.idScope, registrationId: `d${at}`, kind: 'none' } as const
    const error: unknown = await register(claim, {}, API).catch((thrown: unknown) => thrown)
    if (!(error instanceof ServiceError)) throw error
    expect(error.code).toBe(429001)
    waits.add(error.retryAfter)
  }
  expect([...waits].sort()).toEqual([3, 4, 5, 6, 7, 8])
})
