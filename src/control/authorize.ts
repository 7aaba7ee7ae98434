import { type Clock, isoTime } from '../base/clock.ts'
import { type Code, ServiceError } from '../base/errors.ts'
import { withoutEnd } from '../base/text.ts'
import { decodeKey } from '../crypto/keys.ts'
import { covers, parseSasToken, resourceOf, resourcesOf, type SasToken, verifySas } from '../crypto/sas.ts'
import { isNamed } from './hosts.ts'
import { type Caller, findPolicy, grants, type Policy, rightsText } from './policies.ts'

/** Which code refuses a token that proves nothing, and which one a valid token that does not reach so far. */
export interface Refusals {
  readonly invalid: Code
  readonly forbidden: Code
}

/** DPS answers 401002 to both (dps.md 1.6, 6.7). */
export const dpsRefusals: Refusals = { invalid: 401002, forbidden: 401002 }

/** The hub: 401003 for a bad or expired signature, 401002 for a missing right (hub-service.md 1.1). */
export const hubRefusals: Refusals = { invalid: 401003, forbidden: 401002 }

/**
 * Judges the token of a service call and answers with the policy that signed it, or throws a 401 that says why.
 *
 * @param policies those of the instance that is addressed
 * @param hostNames every name of that instance; ports do not matter
 * @param token the Authorization header, or what stands for it on other protocols
 * @param right what the operation needs; of several, any one is enough
 * @param resource `host/path` that is asked for, path decoded; its host is not looked at
 * @param refusals `dpsRefusals` or `hubRefusals`
 */
export type Authorize = <R extends string>(
  policies: readonly Policy<R>[],
  hostNames: readonly string[],
  token: string | undefined,
  right: R | readonly R[],
  resource: string,
  refusals: Refusals,
) => Caller

/** Bearer tokens of Microsoft Entra ID: Azure takes them, a local installation has no issuer to ask (dps.md 6.7). */
const BEARER = /^Bearer(\s|$)/i

export function createAuthorize(clock: Clock): Authorize {
  return (policies, hostNames, text, right, resource, refusals) => {
    const token = readToken(text, refusals.invalid)
    const policy = policyOf(policies, token, refusals.invalid)
    if (token.se * 1000 <= clock.now())
      throw new ServiceError(
        refusals.invalid,
        `Unauthorized: the token of policy ${policy.keyName} expired at ${isoTime(token.se * 1000)}. Sign a new one, and compare the clocks.`,
      )
    if (!reaches(token, hostNames, resource))
      throw new ServiceError(
        refusals.forbidden,
        `Unauthorized: the token's resource (sr) must be ${hostNames.join(' or ')} or a path below it that holds the one asked for, found ${JSON.stringify(resourceOf(token))}.`,
      )
    const wanted = typeof right === 'string' ? [right] : right
    if (!wanted.some((each) => grants(policy, each)))
      throw new ServiceError(
        refusals.forbidden,
        `Unauthorized: this operation needs the right ${wanted.join(' or ')}, policy ${policy.keyName} has ${rightsText(policy) || 'none'}.`,
      )
    return { kind: 'policy', name: policy.keyName }
  }
}

function readToken(text: string | undefined, code: Code): SasToken {
  const expected = 'Unauthorized: expected "SharedAccessSignature sr=…&sig=…&se=…&skn=…"'
  if (text === undefined || text.trim() === '') throw new ServiceError(code, `${expected}, found no Authorization.`)
  if (BEARER.test(text))
    throw new ServiceError(
      code,
      `${expected}, found a Bearer token. Microsoft Entra ID is not available here: use the connection string of a shared access policy.`,
    )
  const token = parseSasToken(text)
  if (token === undefined) throw new ServiceError(code, `${expected}, found something else.`)
  return token
}

/** The policy that `skn` names, if one of its keys made the signature. Primary first, then secondary. */
function policyOf<R extends string>(policies: readonly Policy<R>[], token: SasToken, code: Code): Policy<R> {
  if (token.skn === undefined)
    throw new ServiceError(
      code,
      'Unauthorized: the token names no shared access policy (skn), which a service call needs.',
    )
  const policy = findPolicy(policies, token.skn)
  if (policy !== undefined && keysOf(policy).some((key) => verifySas(token, key))) return policy
  // One text for both: a stranger does not learn which policies exist.
  throw new ServiceError(
    code,
    `Unauthorized: there is no policy ${JSON.stringify(token.skn)} with a key that made this signature. Compare the connection string with the policy's keys.`,
  )
}

const decodedKeys = new WeakMap<Policy<string>, readonly Buffer[]>()

function keysOf(policy: Policy<string>): readonly Buffer[] {
  const known = decodedKeys.get(policy)
  if (known !== undefined) return known
  const keys = [policy.primaryKey, policy.secondaryKey].flatMap((key) => decodeKey(key) ?? [])
  decodedKeys.set(policy, keys)
  return keys
}

/** Whether the token's resource is one of the hosts, or a path on it that ends at or above the one asked for. */
function reaches(token: SasToken, hostNames: readonly string[], resource: string): boolean {
  const requested = pathOf(resource)
  return resourcesOf(token).some((scope) => {
    const host = scope.split('/', 1)[0] ?? ''
    const path = pathOf(scope)
    return isNamed(hostNames, host) && (path === '' || covers(path, requested))
  })
}

/** What follows the host, its collection words (`devices`, `enrollments`) in lower case; ids keep theirs. */
const pathOf = (resource: string): string =>
  withoutEnd(resource, '/')
    .split('/')
    .slice(1)
    .map((segment, at) => (at % 2 === 0 ? segment.toLowerCase() : segment))
    .join('/')
