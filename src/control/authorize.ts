import type { Clock } from '../base/clock.ts'
import { type Code, ServiceError } from '../base/errors.ts'
import { decodeKey } from '../crypto/keys.ts'
import { covers, parseSasToken, resourceOf, type SasToken, verifySas } from '../crypto/sas.ts'
import { withoutPort } from './hosts.ts'
import type { Caller, Policy } from './policies.ts'

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
