import { isoTime } from '../../base/clock.ts'
import { limits } from '../../base/limits.ts'
import { decodeKey, deriveDeviceKey, fingerprintOf } from '../../crypto/keys.ts'
import { parseSasToken, resourceOf, resourcesOf, type SasToken, verifySas } from '../../crypto/sas.ts'
import { type SymmetricKeyAttestation, slotNames } from '../attestation-document.ts'
import type { IndividualEnrollment } from '../enrollment-document.ts'
import { sameId } from '../ids.ts'
import { printableText } from '../trace.ts'
import type { SymmetricKeyGroup } from './groups.ts'
import { admitted, refused, type Step, UNAUTHORIZED, type Verdict } from './verdict.ts'

/** A token that a device shows; TPM devices show one, too. */
export interface SymmetricKeyProof {
  readonly idScope: string
  /** As the device wrote it. */
  readonly registrationId: string
  /** `SharedAccessSignature …` */
  readonly token: string
  /** Milliseconds since 1970. */
  readonly now: number
  readonly skewMs: number
  /**
   * Polls: when the operation was opened. A token that was valid then is accepted while the operation is remembered:
   * the identity service signs for 30 s and polls with the same token (edge.md 4.2).
   */
  readonly openedAt?: number | undefined
}

/** Primary key, then secondary key of the device's own enrollment (dps.md 1.7). */
export function attestIndividualKey(
  proof: SymmetricKeyProof,
  enrollment: IndividualEnrollment & { readonly attestation: SymmetricKeyAttestation },
): Verdict {
  const steps: Step[] = []
  const token = readToken(proof, steps)
  if (token === undefined) return refused(UNAUTHORIZED, steps)
  const { primaryKey, secondaryKey } = enrollment.attestation.symmetricKey
  const keys = [
    ['primary', primaryKey],
    ['secondary', secondaryKey],
  ] as const
  for (const [name, text] of keys) {
    const key = decodeKey(text)
    if (key === undefined || !verifySas(token, key)) continue
    steps.push({ reason: 'signature-matches', detail: { key: name, fingerprint: fingerprintOf(text) } })
    const admittedBy = { kind: 'individual', id: enrollment.registrationId } as const
    return admitted({ admittedBy, document: enrollment, credential: { kind: 'symmetricKey' } }, steps)
  }
  for (const [key, text] of keys) steps.push({ reason: 'key-tried', detail: { key, fingerprint: fingerprintOf(text) } })
  steps.push({ reason: 'signature-mismatch', detail: { keys: 'primary, secondary' } })
  return refused(UNAUTHORIZED, steps)
}

/**
 * The group whose derived key made the signature: both keys of every group, for the id as sent and in lower case
 * (dps.md 1.8). `likely` is tried first: the group that admitted the device last time.
 */
export function attestGroupKey(
  proof: SymmetricKeyProof,
  groups: readonly SymmetricKeyGroup[],
  likely: string | undefined,
): Verdict {
  const steps: Step[] = []
  const token = readToken(proof, steps)
  if (token === undefined) return refused(UNAUTHORIZED, steps)
  const first = groups.filter(({ document }) => document.enrollmentGroupId === likely)
  const spellings = [...new Set([proof.registrationId, proof.registrationId.toLowerCase()])]
  for (const { document, keys } of [...first, ...groups.filter((group) => !first.includes(group))])
    for (const [at, key] of keys.entries())
      for (const spelling of spellings) {
        const derived = deriveDeviceKey(key, spelling)
        const id = document.enrollmentGroupId
        const tried = () => ({
          enrollmentGroupId: id,
          key: slotNames[at] ?? '',
          derivedFrom: spelling,
          fingerprint: fingerprintOf(derived.toString('base64')),
        })
        if (!verifySas(token, derived)) {
          if (steps.length <= limits.attemptKeys) steps.push({ reason: 'key-tried', detail: tried() })
          continue
        }
        steps.push({ reason: 'signature-matches-derived-key', detail: tried() })
        const credential = { kind: 'symmetricKey', derivedFrom: spelling } as const
        return admitted({ admittedBy: { kind: 'group', id }, document, credential }, steps)
      }
  steps.push(groupKeyItself(token, groups) ?? { reason: 'no-group-key-matches', detail: { groups: groups.length } })
  return refused(UNAUTHORIZED, steps)
}

/** The commonest mistake with groups: the device has the key of the group in place of one derived from it. */
function groupKeyItself(token: SasToken, groups: readonly SymmetricKeyGroup[]): Step | undefined {
  for (const { document, keys } of groups)
    for (const [at, key] of keys.entries())
      if (verifySas(token, key)) {
        const { enrollmentGroupId } = document
        return { reason: 'group-key-itself', detail: { enrollmentGroupId, key: slotNames[at] ?? '' } }
      }
  return undefined
}

/** The token when it is for this device and in time; which key made it is not judged here. */
export function readToken(proof: SymmetricKeyProof, steps: Step[]): SasToken | undefined {
  const token = parseSasToken(proof.token)
  if (token === undefined) {
    steps.push({ reason: 'token-malformed' })
    return undefined
  }
  const resource = `${proof.idScope}/registrations/${proof.registrationId}`
  if (!resourcesOf(token).some((each) => sameId(each, resource))) {
    steps.push({
      reason: 'token-for-another-resource',
      detail: { expected: resource, found: printableText(resourceOf(token)) },
    })
    return undefined
  }
  const times = { expiresAt: timeOf(token.se), now: isoTime(proof.now) }
  if (isInTime(token, proof)) {
    steps.push({ reason: 'token-read', detail: { resource, ...times } })
    return token
  }
  steps.push({ reason: 'token-expired', detail: times })
  return undefined
}

/** Unix seconds as a time; what is beyond the calendar as it stands. */
const timeOf = (seconds: number): string => (seconds < 8.64e12 ? isoTime(seconds * 1000) : String(seconds))

function isInTime({ se }: SasToken, { now, skewMs, openedAt }: SymmetricKeyProof): boolean {
  const end = se * 1000 + skewMs
  return now <= end || (openedAt !== undefined && openedAt <= end && now - openedAt <= limits.operationHistoryMs)
}
