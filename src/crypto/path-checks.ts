import type { Certificate } from './certificates.ts'
import { ANY_PURPOSE, CLIENT_AUTH } from './extensions.ts'
import { brokenNameConstraint } from './name-constraints.ts'
import { sameName, shownName } from './names.ts'
import { keyWeakness } from './signatures.ts'

/** Why a complete path of good signatures is still not accepted. */
export type PathFault =
  | 'expired'
  | 'not-yet-valid'
  | 'unknown-critical-extension'
  | 'weak-key'
  | 'not-a-ca'
  | 'key-usage-not-cert-sign'
  | 'path-length-exceeded'
  | 'not-for-client-auth'
  | 'name-constraint-broken'

export interface PathRefusal {
  readonly ok: false
  readonly reason: PathFault
  readonly detail: string
  readonly certificate: Certificate
}

export interface PathRules {
  /** Milliseconds since 1970. */
  readonly now: number
  readonly requireClientAuth: boolean
  readonly checkAnchorTime: boolean
}

export const isSelfIssued = (certificate: Certificate): boolean =>
  sameName(certificate.subjectName, certificate.issuerName)

/**
 * Judges a path whose signatures hold, from the anchor down to the leaf (attestation-crypto.md B4 step 4, RFC 5280 6.1
 * without policies). `path` is leaf first, anchor last. The first fault found, or undefined.
 */
export function pathFault(path: readonly Certificate[], rules: PathRules): PathRefusal | undefined {
  for (let at = path.length - 1; at >= 0; at--) {
    const certificate = path[at]!
    const fault =
      timeFault(certificate, at, path, rules) ??
      criticalFault(certificate) ??
      strengthFault(certificate) ??
      (at > 0 ? authorityFault(certificate, at, path) : undefined) ??
      purposeFault(certificate, at, path, rules) ??
      constraintFault(certificate, at, path)
    if (fault !== undefined) return { ok: false, certificate, ...fault }
  }
  return undefined
}

type Fault = { readonly reason: PathFault; readonly detail: string }

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ')

const isAnchor = (at: number, path: readonly Certificate[]): boolean => at > 0 && at === path.length - 1

function timeFault(
  { subject, notBefore, notAfter }: Certificate,
  at: number,
  path: readonly Certificate[],
  { now, checkAnchorTime }: PathRules,
): Fault | undefined {
  if (isAnchor(at, path) && !checkAnchorTime) return undefined
  if (now < notBefore)
    return {
      reason: 'not-yet-valid',
      detail: `The certificate ${shownName(subject)} is valid from ${day(notBefore)} UTC only.`,
    }
  if (now > notAfter)
    return { reason: 'expired', detail: `The certificate ${shownName(subject)} expired on ${day(notAfter)} UTC.` }
  return undefined
}

function criticalFault({ subject, extensions }: Certificate): Fault | undefined {
  const [id] = extensions.unknownCritical
  return id === undefined
    ? undefined
    : {
        reason: 'unknown-critical-extension',
        detail: `The certificate ${shownName(subject)} has the critical extension ${id}, which is not understood here.`,
      }
}

function strengthFault(certificate: Certificate): Fault | undefined {
  const weakness = keyWeakness(certificate)
  return weakness === undefined
    ? undefined
    : { reason: 'weak-key', detail: `The certificate ${shownName(certificate.subject)} has ${weakness}.` }
}

/** Whether a certificate may issue: v3 with CA:TRUE; a trust anchor may be v1, which cannot say so. */
function authorityFault(certificate: Certificate, at: number, path: readonly Certificate[]): Fault | undefined {
  const { subject, version, extensions } = certificate
  const { basicConstraints, keyUsage } = extensions
  if (basicConstraints?.ca !== true && !(version < 3 && isAnchor(at, path)))
    return {
      reason: 'not-a-ca',
      detail: `The certificate ${shownName(subject)} issued another one but is not a certificate authority (basic constraints CA:TRUE).`,
    }
  if (keyUsage?.keyCertSign === false)
    return {
      reason: 'key-usage-not-cert-sign',
      detail: `The certificate ${shownName(subject)} issued another one, but its key usage does not contain keyCertSign.`,
    }
  const below = path.slice(1, at).filter((each) => !isSelfIssued(each)).length
  const allowed = basicConstraints?.pathLength
  if (allowed !== undefined && below > allowed)
    return {
      reason: 'path-length-exceeded',
      detail: `The certificate ${shownName(subject)} allows ${allowed} intermediate certificates below it, the chain has ${below}.`,
    }
  return undefined
}

function purposeFault(
  { subject, extensions }: Certificate,
  at: number,
  path: readonly Certificate[],
  { requireClientAuth }: PathRules,
): Fault | undefined {
  const purposes = extensions.extendedKeyUsage
  if (!requireClientAuth || purposes === undefined || isAnchor(at, path)) return undefined
  if (purposes.includes(CLIENT_AUTH) || purposes.includes(ANY_PURPOSE)) return undefined
  return {
    reason: 'not-for-client-auth',
    detail: `The certificate ${shownName(subject)} has an extended key usage without client authentication.`,
  }
}

/** Constraints of every authority above apply, except to intermediates that issued themselves (RFC 5280 6.1.3). */
function constraintFault(certificate: Certificate, at: number, path: readonly Certificate[]): Fault | undefined {
  if (at > 0 && isSelfIssued(certificate)) return undefined
  for (const authority of path.slice(at + 1)) {
    const broken = brokenNameConstraint(certificate, authority)
    if (broken !== undefined)
      return {
        reason: 'name-constraint-broken',
        detail: `The certificate ${shownName(certificate.subject)} breaks the name constraints of ${shownName(authority.subject)}: ${broken}.`,
      }
  }
  return undefined
}
