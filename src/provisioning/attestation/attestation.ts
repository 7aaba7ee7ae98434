import type { Clock } from '../../base/clock.ts'
import type { ProvisioningService } from '../../control/control.ts'
import type { SymmetricKeyAttestation, X509Attestation } from '../attestation-document.ts'
import type { Claim, RegisterBody } from '../claims.ts'
import type { IndividualEnrollment } from '../enrollment-document.ts'
import { createGroups, type GroupsNeeds } from './groups.ts'
import { attestGroupKey, attestIndividualKey, type SymmetricKeyProof } from './symmetric-key.ts'
import { attestTpm, challengeTpm, type TpmEnrollment, type TpmNeeds } from './tpm.ts'
import { ENROLLMENT_NOT_FOUND, refused, type Step, UNAUTHORIZED, type Verdict } from './verdict.ts'
import { attestGroupCertificate, attestIndividualCertificate } from './x509.ts'

export interface AttestationNeeds extends GroupsNeeds, TpmNeeds {
  readonly clock: Clock
  readonly clockSkewMs: number
}

/** What is known before the credential is looked at. */
export interface Known {
  /** The individual enrollment of the registration id. */
  readonly enrollment: IndividualEnrollment | undefined
  /** Id of the group that admitted the device last time. */
  readonly likelyGroup?: string | undefined
  /** Polls: when the operation was opened. */
  readonly openedAt?: number
  readonly body?: RegisterBody
}

/**
 * Judges a claim (dps.md 8.1): an individual enrollment for the registration id decides alone, also when it is
 * disabled or does not match; otherwise the enrollment groups are asked. Answers with what was looked at, in order,
 * and never throws for what a device did.
 */
export function createAttestation(needs: AttestationNeeds) {
  const { clock, clockSkewMs: skewMs } = needs
  const groups = createGroups(needs)

  return async function attest(service: ProvisioningService, claim: Claim, known: Known): Promise<Verdict> {
    const { enrollment } = known
    const found: Step =
      enrollment === undefined
        ? { reason: 'no-individual-enrollment' }
        : { reason: 'individual-enrollment', detail: describe(enrollment) }
    const verdict = await judge()
    return { ...verdict, steps: [found, ...verdict.steps] }

    async function judge(): Promise<Verdict> {
      switch (claim.kind) {
        case 'none':
          // A TPM device shows its endorsement key first, and no credential.
          if (known.body?.tpm === undefined) return refused(UNAUTHORIZED, [{ reason: 'no-credential' }])
          if (enrollment !== undefined && hasTpm(enrollment))
            return challengeTpm(needs, claim, enrollment, known.body.tpm)
          return refused(ENROLLMENT_NOT_FOUND, [{ reason: 'tpm-not-enrolled' }])
        case 'sas': {
          const proof = { ...proofOf(claim), idScope: claim.idScope, token: claim.token }
          if (enrollment === undefined)
            return attestGroupKey(proof, (await groups.byKey(service)).groups, known.likelyGroup)
          if (hasTpm(enrollment)) return attestTpm(needs, proof, enrollment, known.body?.tpm)
          return hasKeys(enrollment) ? attestIndividualKey(proof, enrollment) : mismatch(enrollment, claim)
        }
        case 'x509': {
          const proof = { ...proofOf(claim), chain: claim.chain }
          if (enrollment === undefined) return attestGroupCertificate(proof, await groups.byCertificate(service))
          return hasCertificates(enrollment)
            ? attestIndividualCertificate(proof, enrollment)
            : mismatch(enrollment, claim)
        }
      }
    }

    function proofOf({ registrationId }: Claim): Omit<SymmetricKeyProof, 'idScope' | 'token'> {
      return { registrationId, now: clock.now(), skewMs, openedAt: known.openedAt }
    }
  }
}

export type Attest = ReturnType<typeof createAttestation>

const describe = ({ registrationId, attestation, provisioningStatus }: IndividualEnrollment) => ({
  registrationId,
  attestation: attestation.type,
  provisioningStatus,
})

const mismatch = ({ attestation }: IndividualEnrollment, { kind }: Claim): Verdict =>
  refused(UNAUTHORIZED, [{ reason: 'attestation-mismatch', detail: { enrolled: attestation.type, shown: kind } }])

const hasKeys = (
  enrollment: IndividualEnrollment,
): enrollment is IndividualEnrollment & { attestation: SymmetricKeyAttestation } =>
  enrollment.attestation.type === 'symmetricKey'

const hasTpm = (enrollment: IndividualEnrollment): enrollment is TpmEnrollment => enrollment.attestation.type === 'tpm'

const hasCertificates = (
  enrollment: IndividualEnrollment,
): enrollment is IndividualEnrollment & { attestation: X509Attestation } => enrollment.attestation.type === 'x509'
