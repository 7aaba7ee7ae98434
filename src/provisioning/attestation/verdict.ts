import type { Code } from '../../base/errors.ts'
import type { EnrollmentGroup, IndividualEnrollment } from '../enrollment-document.ts'
import type { AdmittedBy, Credential } from '../registration-record.ts'

/** One thing that was looked at on the way to a verdict, in order. Never holds a key, a token or a blob. */
export interface Step {
  /** Stable, kebab-case. */
  readonly reason: string
  readonly detail?: Readonly<Record<string, string | number | boolean>>
}

/** One certificate of the chain that the device presented, under the names of dps.md 6.3, and what became of it. */
export interface PresentedCertificate {
  readonly subjectName: string
  readonly issuerName: string
  readonly sha1Thumbprint: string
  readonly sha256Thumbprint: string
  readonly notBeforeUtc: string
  readonly notAfterUtc: string
  /** `accepted`, `not-needed`, `not-judged`, or the reason why it was refused. */
  readonly verdict: string
}

/** The device is who it says, and this enrollment speaks for it; a disabled one admits too, to the outcome `disabled`. */
export interface Admission {
  readonly admittedBy: AdmittedBy
  readonly document: IndividualEnrollment | EnrollmentGroup
  readonly credential: Credential
}

/** What the device is told: Azure's code and Azure's words. Why is in the steps. */
export interface Refusal {
  readonly code: Code
  readonly message: string
  /** TPM: what the device has to sign with, wrapped for it alone, base64. */
  readonly authenticationKey?: string
}

export type Verdict = {
  readonly steps: readonly Step[]
  /** As presented, leaf first; absent where none was. */
  readonly certificates?: readonly PresentedCertificate[]
} & ({ readonly ok: true; readonly admission: Admission } | { readonly ok: false; readonly refusal: Refusal })

/** Wrong key, no such enrollment, no credential (dps.md 1.6). */
export const UNAUTHORIZED: Refusal = { code: 401002, message: 'Unauthorized' }
export const INVALID_CERTIFICATE: Refusal = { code: 401002, message: 'Invalid certificate' }
/** The chain does not reach a verified certificate (dps.md 8.2). */
export const CA_NOT_FOUND: Refusal = { code: 401002, message: 'CA certificate not found' }
/** No TPM enrollment has this registration id (dps.md 1.6). */
export const ENROLLMENT_NOT_FOUND: Refusal = { code: 404201, message: 'Enrollment not found' }

export const refused = (refusal: Refusal, steps: readonly Step[]): Verdict => ({ ok: false, refusal, steps })

export const admitted = (admission: Admission, steps: readonly Step[]): Verdict => ({ ok: true, admission, steps })
