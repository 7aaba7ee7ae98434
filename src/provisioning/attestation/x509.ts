import { type Certificate, CertificateError, parseCertificate } from '../../crypto/certificates.ts'
import { type ChainVerdict, validateChain } from '../../crypto/chains.ts'
import { slotNames, type X509Attestation } from '../attestation-document.ts'
import type { IndividualEnrollment } from '../enrollment-document.ts'
import { sameId } from '../ids.ts'
import type { CertificateGroups } from './groups.ts'
import {
  admitted,
  CA_NOT_FOUND,
  INVALID_CERTIFICATE,
  refused,
  type Step,
  UNAUTHORIZED,
  type Verdict,
} from './verdict.ts'

export interface X509Proof {
  readonly registrationId: string
  /** The certificates presented in TLS: DER, leaf first. TLS has proven that the device holds the leaf's key. */
  readonly chain: readonly Buffer[]
  /** Milliseconds since 1970. */
  readonly now: number
  readonly skewMs: number
}

/** The leaf is exactly one of the enrollment's certificates; no chain is needed (dps.md 8.2). */
export function attestIndividualCertificate(
  proof: X509Proof,
  enrollment: IndividualEnrollment & { readonly attestation: X509Attestation },
): Verdict {
  const steps: Step[] = []
  const leaf = readLeaf(proof, steps)
  if (leaf === undefined) return refused(INVALID_CERTIFICATE, steps)
  const { clientCertificates } = enrollment.attestation.x509
  const slot = slotNames.find((name) => clientCertificates?.[name]?.info.sha256Thumbprint === leaf.sha256)
  if (slot === undefined) {
    steps.push({ reason: 'thumbprint-mismatch', detail: { presented: leaf.sha256, ...expected(clientCertificates) } })
    return refused(INVALID_CERTIFICATE, steps)
  }
  steps.push({ reason: 'thumbprint-matches', detail: { slot, thumbprint: leaf.sha256 } })
  const fault = timeFault(leaf, proof)
  if (fault !== undefined) {
    steps.push(fault)
    return refused(INVALID_CERTIFICATE, steps)
  }
  const admittedBy = { kind: 'individual', id: enrollment.registrationId } as const
  return admitted({ admittedBy, document: enrollment, credential: credentialOf(leaf) }, steps)
}

const expected = (slots: X509Attestation['x509']['clientCertificates']): Record<string, string> =>
  Object.fromEntries(slotNames.flatMap((name) => (slots?.[name] ? [[name, slots[name].info.sha256Thumbprint]] : [])))

/**
 * The chain as presented must reach a verified certificate; then the first group on the way from the leaf's issuer up
 * to the root decides, also when it is disabled (dps.md 8.1, 8.2).
 */
export function attestGroupCertificate(proof: X509Proof, groups: CertificateGroups): Verdict {
  const steps: Step[] = []
  const leaf = readLeaf(proof, steps)
  if (leaf === undefined) return refused(INVALID_CERTIFICATE, steps)
  const presented = readRest(proof.chain.slice(1), steps)
  const verdict = validateWithin(proof, leaf, presented, groups.anchors)
  if (!verdict.ok) {
    const { reason, detail, certificate } = verdict
    steps.push({ reason, detail: { detail, ...(certificate && { certificate: certificate.sha256 }) } })
    return refused(WITHOUT_AUTHORITY.has(reason) ? CA_NOT_FOUND : INVALID_CERTIFICATE, steps)
  }
  steps.push({ reason: 'chain-accepted', detail: { anchor: verdict.anchor.sha256, length: verdict.path.length } })
  for (const authority of [...verdict.path.slice(1), ...verdict.above]) {
    const document = groups.byCertificate.get(authority.sha256)
    if (document === undefined) {
      steps.push({ reason: 'no-group-for-authority', detail: { certificate: authority.sha256 } })
      continue
    }
    const id = document.enrollmentGroupId
    steps.push({ reason: 'group-for-authority', detail: { certificate: authority.sha256, enrollmentGroupId: id } })
    return admitted({ admittedBy: { kind: 'group', id }, document, credential: credentialOf(leaf) }, steps)
  }
  return refused(UNAUTHORIZED, steps)
}

/** Faults that sending or verifying a CA certificate would cure. */
const WITHOUT_AUTHORITY: ReadonlySet<string> = new Set(['issuer-not-found', 'self-signed', 'untrusted-root'])

const credentialOf = (leaf: Certificate) => ({ kind: 'x509', thumbprint: leaf.sha256 }) as const

/** The leaf, when it can be read and its common name is the registration id (dps.md 8.1). */
function readLeaf({ chain, registrationId }: X509Proof, steps: Step[]): Certificate | undefined {
  const [der] = chain
  if (der === undefined) {
    steps.push({ reason: 'no-certificate' })
    return undefined
  }
  const leaf = parsed(der, steps)
  if (leaf === undefined) return undefined
  if (leaf.commonName !== undefined && sameId(leaf.commonName, registrationId)) return leaf
  steps.push({
    reason: 'common-name-mismatch',
    detail: { expected: registrationId, found: leaf.commonName ?? 'none, or several' },
  })
  return undefined
}

/** What cannot be read cannot vouch for anybody, and does no harm. */
const readRest = (chain: readonly Buffer[], steps: Step[]): Certificate[] =>
  chain.flatMap((der) => parsed(der, steps) ?? [])

function parsed(der: Buffer, steps: Step[]): Certificate | undefined {
  try {
    return parseCertificate(der)
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error
    steps.push({ reason: 'certificate-malformed', detail: { detail: error.message } })
    return undefined
  }
}

function timeFault({ notBefore, notAfter }: Certificate, { now, skewMs }: X509Proof): Step | undefined {
  if (now + skewMs < notBefore) return { reason: 'not-yet-valid', detail: { from: notBefore, now } }
  if (now - skewMs > notAfter) return { reason: 'expired', detail: { until: notAfter, now } }
  return undefined
}

/** A device's clock, or that of its authority, may be a little off: such a chain is judged at the end of the tolerance. */
function validateWithin(
  { now, skewMs }: X509Proof,
  leaf: Certificate,
  presented: readonly Certificate[],
  anchors: readonly Certificate[],
): ChainVerdict {
  const verdict = validateChain({ leaf, presented, anchors, now })
  if (verdict.ok) return verdict
  if (verdict.reason === 'expired') return validateChain({ leaf, presented, anchors, now: now - skewMs })
  if (verdict.reason === 'not-yet-valid') return validateChain({ leaf, presented, anchors, now: now + skewMs })
  return verdict
}
