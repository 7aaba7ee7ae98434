import { limits } from '../../base/limits.ts'
import { decodeKey, deriveDeviceKey } from '../../crypto/keys.ts'
import { parseSasToken, resourcesOf, type SasToken, verifySas } from '../../crypto/sas.ts'
import type { SymmetricKeyAttestation } from '../attestation-document.ts'
import type { IndividualEnrollment } from '../enrollment-document.ts'
import { sameId } from '../ids.ts'
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
  for (const [name, text] of [
    ['primary', primaryKey],
    ['secondary', secondaryKey],
  ] as const) {
    const key = decodeKey(text)
    if (key === undefined || !verifySas(token, key)) continue
    steps.push({ reason: 'signature-matches', detail: { key: name } })
    const admittedBy = { kind: 'individual', id: enrollment.registrationId } as const
    return admitted({ admittedBy, document: enrollment, credential: { kind: 'symmetricKey' } }, steps)
  }
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
        if (!verifySas(token, deriveDeviceKey(key, spelling))) continue
        const id = document.enrollmentGroupId
        steps.push({
          reason: 'signature-matches-derived-key',
          detail: { enrollmentGroupId: id, key: at === 0 ? 'primary' : 'secondary', derivedFrom: spelling },
        })
        const credential = { kind: 'symmetricKey', derivedFrom: spelling } as const
        return admitted({ admittedBy: { kind: 'group', id }, document, credential }, steps)
      }
  steps.push({ reason: 'no-group-key-matches', detail: { groups: groups.length } })
  return refused(UNAUTHORIZED, steps)
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
    steps.push({ reason: 'token-for-another-resource', detail: { expected: resource } })
    return undefined
  }
  if (isInTime(token, proof)) return token
  steps.push({ reason: 'token-expired', detail: { expiresAt: token.se, now: Math.floor(proof.now / 1000) } })
  return undefined
}

function isInTime({ se }: SasToken, { now, skewMs, openedAt }: SymmetricKeyProof): boolean {
  const end = se * 1000 + skewMs
  return now <= end || (openedAt !== undefined && openedAt <= end && now - openedAt <= limits.operationHistoryMs)
}
