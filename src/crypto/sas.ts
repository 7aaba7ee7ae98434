import { createHmac } from 'node:crypto'
import { limits } from '../base/limits.ts'
import { withoutEnd } from '../base/text.ts'
import { sameBytes } from './keys.ts'

/** A shared access signature as it was sent (dps.md 1.7, hub-device.md 1.1, hub-service.md 1.3). */
export interface SasToken {
  /** The resource exactly as written: encoded, double-encoded or raw, because the signature covers this text. */
  readonly sr: string
  /** The signature: percent-decoded, still base64. */
  readonly sig: string
  /** Expiry, unix seconds. */
  readonly se: number
  /** Expiry exactly as written: the signature covers this text. */
  readonly seText: string
  /** The policy whose key signed; undefined for device keys. Java and C send `skn=` empty and mean none. */
  readonly skn: string | undefined
}

const SCHEME = /^SharedAccessSignature +/i
/** Base64 of 32 bytes; some clients leave the padding off. */
const SIGNATURE = /^[A-Za-z0-9+/]{43}=?$/
const EXPIRY = /^\d{1,15}(\.\d{1,9})?$/

/**
 * Reads `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`: scheme in any case, parameters in any order, unknown ones
 * ignored. Undefined for anything else, a repeated parameter included.
 */
export function parseSasToken(text: string): SasToken | undefined {
  if (text.length > limits.sasTokenLength) return undefined
  const scheme = SCHEME.exec(text)
  if (scheme === null) return undefined
  const fields = new Map<string, string>()
  for (const part of text.slice(scheme[0].length).trimEnd().split('&')) {
    const at = part.indexOf('=')
    const name = part.slice(0, Math.max(at, 0)).toLowerCase()
    if (fields.has(name)) return undefined
    fields.set(name, part.slice(at + 1))
  }
  const [sr, sig, seText, skn] = ['sr', 'sig', 'se', 'skn'].map((name) => fields.get(name) ?? '')
  const signature = percentDecoded(sig ?? '')
  if (!sr || !signature || seText === undefined || !EXPIRY.test(seText)) return undefined
  // A form decoder on the way turns a raw `+` of base64 into a space; no other space can stand here.
  const policy = percentDecoded(skn ?? '') ?? skn
  return { sr, sig: signature.replaceAll(' ', '+'), se: Number(seText), seText, skn: policy || undefined }
}

/**
 * Whether `key` made the token's signature. The text that was signed is the literal `sr`; a few clients sign the
 * decoded or an encoded form of what they send, so these are tried after it (hub-service.md 1.3). Expiry, policy and
 * resource are the caller's to judge.
 */
export function verifySas(token: SasToken, key: Buffer): boolean {
  if (!SIGNATURE.test(token.sig)) return false
  const given = Buffer.from(token.sig, 'base64')
  const decoded = resourceOf(token)
  const forms = new Set([token.sr, decoded, encodeURIComponent(decoded)])
  for (const sr of forms) if (sameBytes(given, signature(sr, token.seText, key))) return true
  return false
}

/** The resource percent-decoded once; as written where the escapes are malformed (C sends ids raw, `%` included). */
export const resourceOf = (token: SasToken): string => percentDecoded(token.sr) ?? token.sr

/**
 * Every reading of the resource that authorization has to compare: decoded once, decoded twice (C# encodes ids twice),
 * and as written (C does not encode), without repetition (hub-device.md 1.1).
 */
export function resourcesOf(token: SasToken): readonly string[] {
  const once = resourceOf(token)
  return [...new Set([once, percentDecoded(once) ?? once, token.sr])]
}

export interface SasInput {
  /** Unencoded, such as `{host}/devices/{id}` or `{idScope}/registrations/{id}`. */
  readonly resource: string
  /** The decoded key. */
  readonly key: Buffer
  /** Unix seconds. */
  readonly expiresAt: number
  readonly policy?: string
  /** Whether the resource is percent-encoded, as most SDKs do; default true. */
  readonly encode?: boolean
}

/** A token, in the order of parameters that the SDKs use. */
export function signSas({ resource, key, expiresAt, policy, encode = true }: SasInput): string {
  const sr = encode ? encodeURIComponent(resource) : resource
  const se = String(Math.floor(expiresAt))
  const sig = encodeURIComponent(signature(sr, se, key).toString('base64'))
  return `SharedAccessSignature sr=${sr}&sig=${sig}&se=${se}${policy === undefined ? '' : `&skn=${encodeURIComponent(policy)}`}`
}

/**
 * Whether a token for `resource` admits `requested`: the same, or a prefix that ends where a segment ends
 * (hub-device.md 1.1). Both decoded; where case does not matter (host names) the caller lower-cases both.
 */
export function covers(resource: string, requested: string): boolean {
  const scope = segmentsOf(resource)
  const wanted = segmentsOf(requested)
  return scope[0] !== '' && scope.length <= wanted.length && scope.every((segment, at) => segment === wanted[at])
}

/** What stands between the slashes of a resource; slashes around the whole mean nothing. */
export const segmentsOf = (resource: string): string[] => withoutEnd(resource, '/').replace(/^\/+/, '').split('/')

const signature = (sr: string, se: string, key: Buffer): Buffer =>
  createHmac('sha256', key).update(`${sr}\n${se}`).digest()

function percentDecoded(text: string): string | undefined {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
