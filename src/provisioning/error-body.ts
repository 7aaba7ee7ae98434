import { isoTime } from '../base/clock.ts'
import type { ServiceError } from '../base/errors.ts'

/** What a caller of the provisioning service is told of a refusal, by whatever protocol (dps.md 1.6). */
export interface ErrorBody {
  readonly errorCode: number
  readonly trackingId: string
  readonly message: string
  readonly timestampUtc: string
}

/** @param now milliseconds since 1970 */
export const errorBody = ({ code, message }: ServiceError, trackingId: string, now: number): ErrorBody => ({
  errorCode: code,
  trackingId,
  message,
  timestampUtc: isoTime(now),
})
