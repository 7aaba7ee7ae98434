import { limits } from '../../base/limits.ts'
import type { Random } from '../../base/random.ts'
import { decodeKey, fingerprintOf, generateKey } from '../../crypto/keys.ts'
import { verifySas } from '../../crypto/sas.ts'
import { activationBlob, readTpmPublic, TpmError, type TpmPublic } from '../../crypto/tpm.ts'
import type { TpmAttestation } from '../attestation-document.ts'
import type { RegisterBody } from '../claims.ts'
import type { IndividualEnrollment } from '../enrollment-document.ts'
import { storeId } from '../ids.ts'
import type { TpmChallenges } from '../tpm-challenge.ts'
import { readToken, type SymmetricKeyProof } from './symmetric-key.ts'
import { admitted, refused, type Step, UNAUTHORIZED, type Verdict } from './verdict.ts'

export type TpmEnrollment = IndividualEnrollment & { readonly attestation: TpmAttestation }

export interface TpmNeeds {
  readonly challenges: TpmChallenges
  readonly random: Random
}

/**
 * The first step (dps.md 4.1): the device shows its keys and no credential. An enrolled one is told, in a form that
 * only its TPM can read, what to sign with.
 */
export async function challengeTpm(
  { challenges, random }: TpmNeeds,
  { idScope, registrationId }: { readonly idScope: string; readonly registrationId: string },
  enrollment: TpmEnrollment,
  shown: NonNullable<RegisterBody['tpm']>,
): Promise<Verdict> {
  const { endorsementKey } = enrollment.attestation.tpm
  const stranger = notTheTpm(endorsementKey, shown.endorsementKey)
  if (stranger !== undefined) return refused(UNAUTHORIZED, [stranger])
  if (shown.storageRootKey === undefined) return storageRefused('it is missing')
  try {
    const keys = { endorsementKey: readTpmPublic(endorsementKey), storageRootKey: readTpmPublic(shown.storageRootKey) }
    const storage = keys.storageRootKey.bytes.toString('base64')
    const { key } = await challenges.issue(storeId(idScope, registrationId), endorsementKey, storage)
    const activation = { ...keys, key: Buffer.from(key, 'base64'), uri: `${idScope}/registrations/${registrationId}` }
    const authenticationKey = activationBlob(activation, random).toString('base64')
    const steps = [{ reason: 'challenged', detail: { storageKey: keys.storageRootKey.type } }]
    const refusal = { code: 401000, message: 'Authorization required.' } as const
    return refused({ ...refusal, authenticationKey }, steps)
  } catch (error) {
    if (!(error instanceof TpmError)) throw error
    return storageRefused(error.message)
  }
}

const KEY_BYTES = 32

const storageRefused = (why: string): Verdict =>
  refused(
    {
      code: 400203,
      message: `body.tpm.storageRootKey must be the TPM2B_PUBLIC of the storage root key in base64, found none: ${why}.`,
    },
    [{ reason: 'storage-root-key-invalid', detail: { why } }],
  )

/** The second step, and every poll: a token signed with a key that only the enrolled TPM could unwrap. */
export async function attestTpm(
  { challenges, random }: TpmNeeds,
  proof: SymmetricKeyProof,
  enrollment: TpmEnrollment,
  shown: RegisterBody['tpm'],
): Promise<Verdict> {
  const { registrationId } = enrollment
  const { endorsementKey } = enrollment.attestation.tpm
  // Node and C# repeat the keys, Rust does not (dps.md 4.1).
  const stranger = shown === undefined ? undefined : notTheTpm(endorsementKey, shown.endorsementKey)
  if (stranger !== undefined) return refused(UNAUTHORIZED, [stranger])
  const steps: Step[] = []
  const token = readToken(proof, steps)
  if (token === undefined) return refused(UNAUTHORIZED, steps)
  const keys = await challenges.keys(storeId(proof.idScope, registrationId), endorsementKey, judgedAt(proof))
  for (const { key, storageRootKey } of keys) {
    const bytes = decodeKey(key)
    if (bytes === undefined || !verifySas(token, bytes)) continue
    steps.push({ reason: 'signature-matches', detail: { key: 'challenge' } })
    const admittedBy = { kind: 'individual', id: registrationId } as const
    const hubKey = generateKey(random, KEY_BYTES)
    const credential = { kind: 'tpm', endorsementKey, storageRootKey, hubKey } as const
    return admitted({ admittedBy, document: enrollment, credential }, steps)
  }
  const reason = keys.length === 0 ? 'no-challenge-open' : 'signature-mismatch'
  steps.push({ reason, detail: { keys: keys.length === 0 ? 'none' : 'challenge' } })
  return refused(UNAUTHORIZED, steps)
}

/** Polls are judged as of when their operation was opened: a device keeps its token to the end. */
const judgedAt = ({ now, openedAt }: SymmetricKeyProof): number =>
  openedAt !== undefined && now - openedAt <= limits.operationHistoryMs ? openedAt : now

function notTheTpm(enrolled: string, shown: string): Step | undefined {
  const expected = fingerprintOf(enrolled)
  const key = readable(shown)
  if (key === undefined) return { reason: 'endorsement-key-malformed', detail: { expected } }
  const found = key.bytes.toString('base64')
  if (found === enrolled) return undefined
  return { reason: 'endorsement-key-mismatch', detail: { expected, found: fingerprintOf(found) } }
}

function readable(base64: string): TpmPublic | undefined {
  try {
    return readTpmPublic(base64)
  } catch (error) {
    if (error instanceof TpmError) return undefined
    throw error
  }
}
