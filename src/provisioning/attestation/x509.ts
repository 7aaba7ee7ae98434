import { isoTime } from '../../base/clock.ts'
import { type Certificate, CertificateError, certificateInfo, parseCertificate } from '../../crypto/certificates.ts'
import { type ChainVerdict, validateChain } from '../../crypto/chains.ts'
import { sameName } from '../../crypto/names.ts'
import { slotNames, type X509Attestation } from '../attestation-document.ts'
import type { IndividualEnrollment } from '../enrollment-document.ts'
import { sameId } from '../ids.ts'
import { printableText } from '../trace.ts'
import type { CertificateGroups } from './groups.ts'
import {
  admitted,
  CA_NOT_FOUND,
  INVALID_CERTIFICATE,
  type PresentedCertificate,
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
  const seen: Certificate[] = []
  const verdict = judgeIndividual(proof, enrollment, seen)
  // What came after the leaf was not looked at.
  const ofLeaf = verdict.ok ? 'accepted' : (verdict.steps.at(-1)?.reason ?? NOT_JUDGED)
  return { ...verdict, certificates: seen.map((each) => presentedAs(each, ofLeaf)) }
}

function judgeIndividual(
  proof: X509Proof,
  enrollment: IndividualEnrollment & { readonly attestation: X509Attestation },
  seen: Certificate[],
): Verdict {
  const steps: Step[] = []
  const leaf = readLeaf(proof, steps, seen)
  if (leaf === undefined) return refused(INVALID_CERTIFICATE, steps)
  const { clientCertificates } = enrollment.attestation.x509
  const slot = slotNames.find((name) => clientCertificates?.[name]?.info.sha256Thumbprint === leaf.sha256)
  if (slot === undefined) {
    const presented = { presented: leaf.sha256, presentedSha1: leaf.sha1 }
    steps.push({ reason: 'thumbprint-mismatch', detail: { ...presented, ...expected(clientCertificates) } })
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
  Object.fromEntries(
    slotNames.flatMap((name) => {
      const info = slots?.[name]?.info
      if (info === undefined) return []
      return [
        [name, info.sha256Thumbprint],
        [`${name}Sha1`, info.sha1Thumbprint],
      ]
    }),
  )

/**
 * The chain as presented must reach a verified certificate; then the first group on the way from the leaf's issuer up
 * to the root decides, also when it is disabled (dps.md 8.1, 8.2).
 */
export function attestGroupCertificate(proof: X509Proof, groups: CertificateGroups): Verdict {
  const steps: Step[] = []
  const seen: Certificate[] = []
  const leaf = readLeaf(proof, steps, seen)
  if (leaf === undefined) {
    const reason = steps.at(-1)?.reason ?? NOT_JUDGED
    return { ...refused(INVALID_CERTIFICATE, steps), certificates: seen.map((each) => presentedAs(each, reason)) }
  }
  const presented = readRest(proof.chain.slice(1), steps)
  const verdict = validateWithin(proof, leaf, presented, groups.anchors)
  const certificates = [leaf, ...presented].map((each) => presentedAs(each, roleOf(each, verdict)))
  if (!verdict.ok) {
    const { reason, detail, certificate } = verdict
    steps.push({ reason, detail: { detail, ...(certificate && { certificate: certificate.sha256 }) } })
    if (WITHOUT_AUTHORITY.has(reason)) steps.push(...unverifiedAuthority([leaf, ...presented], groups))
    return { ...refused(WITHOUT_AUTHORITY.has(reason) ? CA_NOT_FOUND : INVALID_CERTIFICATE, steps), certificates }
  }
  return { ...judgeGroups(verdict, leaf, groups, steps), certificates }
}

/** From the leaf's issuer up to the root: the first group decides. */
function judgeGroups(
  verdict: Extract<ChainVerdict, { ok: true }>,
  leaf: Certificate,
  groups: CertificateGroups,
  steps: Step[],
): Verdict {
  const { anchor, path } = verdict
  steps.push({
    reason: 'chain-accepted',
    detail: { anchor: anchor.sha256, anchorName: anchor.subject, length: path.length },
  })
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

const NOT_JUDGED = 'not-judged'

function roleOf({ sha256 }: Certificate, verdict: ChainVerdict): string {
  if (verdict.ok) return verdict.path.some((each) => each.sha256 === sha256) ? 'accepted' : 'not-needed'
  return verdict.certificate?.sha256 === sha256 ? verdict.reason : NOT_JUDGED
}

/** Of parsed certificates: issuers come again and again. */
const facts = new WeakMap<Certificate, Omit<PresentedCertificate, 'verdict'>>()

function presentedAs(certificate: Certificate, verdict: string): PresentedCertificate {
  let known = facts.get(certificate)
  if (known === undefined) {
    const { serialNumber: _, version: __, subjectName, issuerName, ...info } = certificateInfo(certificate)
    known = { subjectName: printableText(subjectName), issuerName: printableText(issuerName), ...info }
    facts.set(certificate, known)
  }
  return { ...known, verdict }
}

/** An authority that the chain needs and that was uploaded, but is not verified yet. */
function unverifiedAuthority(chain: readonly Certificate[], { unverified }: CertificateGroups): Step[] {
  const found = unverified.find(({ certificate }) =>
    chain.some((each) => each.sha256 === certificate.sha256 || sameName(each.issuerName, certificate.subjectName)),
  )
  if (found === undefined) return []
  const { name, certificate } = found
  return [{ reason: 'authority-not-verified', detail: { name, certificate: certificate.sha256 } }]
}

const credentialOf = (leaf: Certificate) => ({ kind: 'x509', thumbprint: leaf.sha256 }) as const

/** The leaf, when it can be read and its common name is the registration id (dps.md 8.1). */
function readLeaf({ chain, registrationId }: X509Proof, steps: Step[], seen: Certificate[]): Certificate | undefined {
  const [der] = chain
  if (der === undefined) {
    steps.push({ reason: 'no-certificate' })
    return undefined
  }
  const leaf = parsed(der, steps)
  if (leaf === undefined) return undefined
  seen.push(leaf)
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
  if (now + skewMs < notBefore)
    return { reason: 'not-yet-valid', detail: { from: isoTime(notBefore), now: isoTime(now) } }
  if (now - skewMs > notAfter) return { reason: 'expired', detail: { until: isoTime(notAfter), now: isoTime(now) } }
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
