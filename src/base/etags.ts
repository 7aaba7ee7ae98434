import { ServiceError } from './errors.ts'
import { withoutEnd } from './text.ts'

/**
 * What an If-Match header asks for. Clients write it as `*`, `"*"`, `"<etag>"`, `<etag>`, `W/"<etag>"`, and with the
 * quotes of a stored DPS etag escaped or doubled (dps.md 6.5, hub-service.md 2.4).
 */
export type IfMatch =
  | { readonly kind: 'absent' }
  | { readonly kind: 'any' }
  | { readonly kind: 'etag'; readonly etag: string }

export function parseIfMatch(header: string | undefined): IfMatch {
  if (header === undefined || header.trim() === '') return { kind: 'absent' }
  const etag = bareEtag(header)
  return etag === '*' ? { kind: 'any' } : { kind: 'etag', etag }
}

/** An etag without `W/`, escapes and quotes: the form in which two spellings of one etag are equal. */
export function bareEtag(text: string): string {
  const bare = text.trim().replace(/^W\//, '').replaceAll('\\"', '"').replace(/^"+/, '')
  return withoutEnd(bare, '"')
}

/** Throws 412 unless `ifMatch` admits a record that now carries `etag`. */
export function requireMatch(ifMatch: IfMatch, etag: string): void {
  if (ifMatch.kind !== 'etag' || ifMatch.etag === bareEtag(etag)) return
  throw new ServiceError(
    412001,
    `Precondition failed: the If-Match header names etag ${ifMatch.etag}, the record is now at ${bareEtag(etag)}. Read it again and repeat the change.`,
  )
}

/** The hub's identity etag: base64 of a decimal number (hub-service.md 2.2). */
export const identityEtag = (version: number): string => Buffer.from(String(version)).toString('base64')

/** The twin's etag: base64 of an 8-byte big-endian counter (hub-service.md 4.2). */
export function twinEtag(version: number): string {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(version))
  return bytes.toString('base64')
}

/** Of instances and CA certificates: base64 of an 8-byte counter, `AAAAABcmgEY=` (dps.md 7.1, 7.3). */
export const resourceEtag = twinEtag

/** The text inside a DPS etag: a GUID whose first group is the version (dps.md 1.5 shows the shape). */
const dpsEtagGuid = (version: number): string => {
  const hex = version.toString(16).padStart(16, '0')
  return `${hex.slice(8)}-0000-0000-0000-0000${hex.slice(0, 8)}`
}

/** Enrollment etag: its JSON value includes its quotes (dps.md 6.3). */
export const enrollmentEtag = (version: number): string => `"${dpsEtagGuid(version)}"`

/** Registration etag: base64 of the quoted GUID (dps.md 1.5). */
export const registrationEtag = (version: number): string => Buffer.from(enrollmentEtag(version)).toString('base64')
