import { unknownVariant } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { type Certificate, rememberIssuers } from './certificates.ts'
import { sameName, shownName } from './names.ts'
import { isSelfIssued, type PathFault, type PathRules, pathFault } from './path-checks.ts'
import { checkSignature, rememberSignatures, type SignatureVerdict } from './signatures.ts'

/** Why no path from the leaf to an anchor could even be put together. */
export type LinkFault =
  | 'issuer-not-found'
  | 'issuer-key-mismatch'
  | 'signature-invalid'
  | 'signature-weak'
  | 'signature-unsupported'
  | 'self-signed'
  | 'untrusted-root'
  | 'too-deep'
  | 'too-many-signatures'

export type ChainReason = LinkFault | PathFault

export interface ChainRefusal {
  readonly ok: false
  /** Stable word for traces, tests and documents. */
  readonly reason: ChainReason
  /** One sentence: what was found and what would help. */
  readonly detail: string
  /** The certificate at fault. */
  readonly certificate?: Certificate
}

export type ChainVerdict =
  | {
      readonly ok: true
      /** Leaf first, anchor last. */
      readonly path: readonly Certificate[]
      readonly anchor: Certificate
      /**
       * Further anchors that stand above `anchor`, nearest first, each with the certificates in between: where an
       * intermediate and its root are both trusted, the path ends at the nearer and goes on here (dps.md 5, 7.3).
       */
      readonly above: readonly Certificate[]
      /** Milliseconds since 1970: the earliest end of validity on the path. */
      readonly validUntil: number
    }
  | ChainRefusal

export interface ChainInput {
  readonly leaf: Certificate
  /** What came with it, in any order, without the leaf. */
  readonly presented: readonly Certificate[]
  /** Trusted on the operator's word: roots, and intermediates in their own right. */
  readonly anchors: readonly Certificate[]
  /** Milliseconds since 1970. */
  readonly now: number
  /** Whether an extended key usage, where there is one, must allow client authentication; default true. */
  readonly requireClientAuth?: boolean
  /** Whether an anchor must be within its own validity; default true (unverified for the real service). */
  readonly checkAnchorTime?: boolean
}

/**
 * Validates a client's chain (attestation-crypto.md B4): depth-first search from the leaf through anchors, then what was
 * presented, over at most `limits.chainDepth` certificates and `limits.chainSignatureChecks` links; every check of
 * `path-checks`. Never throws, and ends soon whatever is presented.
 */
export function validateChain(input: ChainInput): ChainVerdict {
  const { requireClientAuth = true, checkAnchorTime = true, now } = input
  const rules = { now, requireClientAuth, checkAnchorTime }
  const search = new Search(input)
  const found = firstGoodPath(search.from([input.leaf]), rules)
  if (!('path' in found)) return found.refusal ?? { ok: false, ...search.deadEnd }
  const { path } = found
  rememberIssuers(path)
  rememberSignatures(path)
  return {
    ok: true,
    path,
    anchor: path.at(-1)!,
    above: continued(input, path, rules),
    validUntil: Math.min(...path.map((each) => each.notAfter)),
  }
}

/** Whether `ca` issued `child`: names and signature, nothing else (proof of possession, dps.md 7.3). */
export function proveSignedBy(child: Certificate, ca: Certificate): { readonly ok: true } | ChainRefusal {
  if (!sameName(child.issuerName, ca.subjectName))
    return {
      ok: false,
      reason: 'issuer-not-found',
      detail: `The certificate names the issuer ${shownName(child.issuer)}, but the authority is ${shownName(ca.subject)}.`,
      certificate: child,
    }
  const verdict = checkSignature(child, ca)
  return verdict === 'valid' ? { ok: true } : { ok: false, ...signatureFault(child, ca, verdict), certificate: child }
}

/** The first path without a fault, or the fault of the first path that had one. */
function firstGoodPath(
  paths: Iterable<readonly Certificate[]>,
  rules: PathRules,
): { readonly path: readonly Certificate[] } | { readonly refusal: ChainRefusal | undefined } {
  let refusal: ChainRefusal | undefined
  let judged = 0
  for (const path of paths) {
    const fault = pathFault(path, rules)
    if (fault === undefined) return { path }
    refusal ??= fault
    judged += 1
    if (judged >= limits.chainPaths) break
  }
  return { refusal }
}

/** The way on from the anchor of an accepted path to further anchors, as far as the whole remains acceptable. */
function continued(input: ChainInput, path: readonly Certificate[], rules: PathRules): readonly Certificate[] {
  let whole = path
  while (!isSelfIssued(whole.at(-1)!)) {
    const rest = input.anchors.filter((anchor) => !whole.some((each) => each.sha256 === anchor.sha256))
    const found = firstGoodPath(new Search({ ...input, anchors: rest }).from(whole), rules)
    if (!('path' in found)) break
    whole = found.path
    rememberIssuers(whole)
    rememberSignatures(whole)
  }
  return whole.slice(path.length)
}

interface DeadEnd {
  readonly reason: LinkFault
  readonly detail: string
  readonly certificate: Certificate
}

/** One walk over the graph of who could have issued whom; remembers the most telling dead end. */
class Search {
  readonly #anchors: readonly Certificate[]
  readonly #presented: readonly Certificate[]
  readonly #checked = new Map<string, SignatureVerdict>()
  #links = 0
  #misses = 0
  #deadEnd: DeadEnd | undefined
  #deadEndDepth = 0

  constructor({ anchors, presented }: Pick<ChainInput, 'anchors' | 'presented'>) {
    this.#anchors = anchors
    this.#presented = presented
  }

  /** What to tell when nothing led to an anchor. */
  get deadEnd(): DeadEnd {
    return this.#deadEnd!
  }

  /** Every chain of good signatures from the end of `path` to an anchor; anchors are tried before what was presented. */
  *from(path: readonly Certificate[]): Generator<readonly Certificate[]> {
    const last = path.at(-1)!
    if (path.length === 1 && this.#anchors.some((anchor) => anchor.sha256 === last.sha256)) yield path
    const candidates = this.#candidates(path)
    if (candidates.length > 0 && path.length >= limits.chainDepth) return this.#note(tooDeep(last), path.length)
    let fault: DeadEnd | undefined = issuerMissing(last, path.length)
    for (const { issuer, trusted } of candidates) {
      if (this.#links >= limits.chainSignatureChecks || this.#misses >= limits.chainMisses)
        return this.#note(tooManyLinks(last), Number.POSITIVE_INFINITY)
      const broken = this.#brokenLink(last, issuer, trusted)
      if (broken !== undefined) {
        // A root that is not trusted, beside a trusted namesake: what matters is that it is not trusted.
        if (!isSelfIssued(last)) fault &&= broken
        continue
      }
      fault = undefined
      if (trusted) yield [...path, issuer]
      else yield* this.from([...path, issuer])
    }
    if (fault !== undefined) this.#note(fault, path.length)
  }

  /** Who bears the issuer's name and is not on the path yet, by subject and key: cross-signed loops end here. */
  #candidates(path: readonly Certificate[]): { readonly issuer: Certificate; readonly trusted: boolean }[] {
    const last = path.at(-1)!
    const fits = (issuer: Certificate): boolean =>
      sameName(issuer.subjectName, last.issuerName) &&
      !path.some((each) => each.keyId === issuer.keyId && sameName(each.subjectName, issuer.subjectName))
    const anchors = this.#anchors.filter(fits)
    const others = this.#presented.filter((each) => fits(each) && !anchors.some(({ sha256 }) => sha256 === each.sha256))
    return [
      ...anchors.map((issuer) => ({ issuer, trusted: true })),
      ...others.map((issuer) => ({ issuer, trusted: false })),
    ]
  }

  #brokenLink(child: Certificate, issuer: Certificate, trusted: boolean): DeadEnd | undefined {
    const { authorityKeyId } = child.extensions
    const { subjectKeyId } = issuer.extensions
    if (authorityKeyId !== undefined && subjectKeyId !== undefined && authorityKeyId !== subjectKeyId)
      return otherKey(child)
    this.#links += 1
    const link = `${child.sha256}:${issuer.keyId}`
    const known = this.#checked.get(link)
    const verdict = known ?? checkSignature(child, issuer)
    this.#checked.set(link, verdict)
    if (known === undefined && verdict !== 'valid' && !trusted) this.#misses += 1
    return verdict === 'valid' ? undefined : { ...signatureFault(child, issuer, verdict), certificate: child }
  }

  /** The dead end that got farthest tells most. */
  #note(deadEnd: DeadEnd, depth: number): void {
    if (depth <= this.#deadEndDepth) return
    this.#deadEnd = deadEnd
    this.#deadEndDepth = depth
  }
}

function issuerMissing(last: Certificate, depth: number): DeadEnd {
  if (!isSelfIssued(last))
    return {
      reason: 'issuer-not-found',
      detail: `The issuer ${shownName(last.issuer)} of the certificate ${shownName(last.subject)} was not presented and is not trusted here. Present the missing intermediate certificate, or upload and verify its authority.`,
      certificate: last,
    }
  if (depth === 1)
    return {
      reason: 'self-signed',
      detail: `The certificate ${shownName(last.subject)} is self-signed and no trusted authority vouches for it.`,
      certificate: last,
    }
  return {
    reason: 'untrusted-root',
    detail: `The chain ends at ${shownName(last.subject)}, which is not a trusted authority here. Upload and verify it.`,
    certificate: last,
  }
}

const otherKey = (child: Certificate): DeadEnd => ({
  reason: 'issuer-key-mismatch',
  detail: `The certificate ${shownName(child.subject)} was issued with another key than that of the present ${shownName(child.issuer)} (authority key identifier). The authority was probably made anew; issue the certificate again.`,
  certificate: child,
})

const tooDeep = (last: Certificate): DeadEnd => ({
  reason: 'too-deep',
  detail: `The chain is longer than ${limits.chainDepth} certificates.`,
  certificate: last,
})

const tooManyLinks = (last: Certificate): DeadEnd => ({
  reason: 'too-many-signatures',
  detail:
    'No path was found within the signature checks that one chain may cost. Present only the certificates of the chain.',
  certificate: last,
})

function signatureFault(
  child: Certificate,
  issuer: Certificate,
  verdict: Exclude<SignatureVerdict, 'valid'>,
): Pick<DeadEnd, 'reason' | 'detail'> {
  const what = `The signature of the certificate ${shownName(child.subject)}`
  switch (verdict) {
    case 'invalid':
      return {
        reason: 'signature-invalid',
        detail: `${what} was not made with the key of ${shownName(issuer.subject)}: the certificate was altered, or another authority bears the same name.`,
      }
    case 'weak':
      return {
        reason: 'signature-weak',
        detail: `${what} uses MD5 or SHA-1, which can be forged. Issue it with SHA-256 or better.`,
      }
    case 'unsupported':
      return {
        reason: 'signature-unsupported',
        detail: `${what} or the key of ${shownName(issuer.subject)} is of a kind that is not supported here.`,
      }
    default:
      return unknownVariant('signature verdict', verdict)
  }
}
