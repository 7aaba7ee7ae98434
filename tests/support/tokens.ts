import { createHmac } from 'node:crypto'

type Parameter = 'sr' | 'sig' | 'se' | 'skn'

export interface TokenParts {
  /** Exactly as it stands in the token: the signature is over this text. */
  readonly sr: string
  /** Base64. */
  readonly key: string
  /** Unix seconds. */
  readonly se: number
  /** Absent: the token has no `skn`; empty: it has an empty one. */
  readonly skn?: string
  readonly order?: readonly Parameter[]
  /** How the client percent-encodes the signature. */
  readonly encode?: (text: string) => string
}

/** A SAS token in a client's own spelling; made without the product's code, so that the two check each other. */
export function sasToken({ sr, key, se, skn, order, encode = encodeURIComponent }: TokenParts): string {
  const sig = createHmac('sha256', Buffer.from(key, 'base64')).update(`${sr}\n${se}`).digest('base64')
  const values = { sr, sig: encode(sig), se: String(se), skn }
  const parameters = (order ?? (['sr', 'sig', 'se', 'skn'] as const))
    .filter((name) => values[name] !== undefined)
    .map((name) => `${name}=${values[name]}`)
  return `SharedAccessSignature ${parameters.join('&')}`
}

/** `deviceKey = base64(HMAC-SHA256(group key, registration id))` (dps.md 1.8). */
export const derivedKey = (groupKey: string, registrationId: string): string =>
  createHmac('sha256', Buffer.from(groupKey, 'base64')).update(registrationId, 'utf8').digest('base64')

/** C escapes with lower-case hex digits. */
export const lowerHex = (text: string): string =>
  encodeURIComponent(text).replace(/%[0-9A-F]{2}/g, (octet) => octet.toLowerCase())

/** .NET's WebUtility.UrlEncode: as a form, a space is `+`. */
const webUtility = (text: string): string => encodeURIComponent(text).replaceAll('%20', '+')

/** Python's quote(): `/` stays. */
const quote = (text: string): string => encodeURIComponent(text).replaceAll('%2F', '/')

/** What every client puts into its token towards DPS (dps.md 1.7, edge.md 1.6.1 and 4.2). */
export const dpsTokens: Readonly<
  Record<string, (scope: string, registrationId: string, key: string, now: number) => string>
> = {
  node: (scope, id, key, now) =>
    sasToken({
      sr: `${scope}/registrations/${id}`,
      key,
      se: now + 3600,
      skn: 'registration',
      order: ['sr', 'sig', 'skn', 'se'],
    }),
  python: (scope, id, key, now) =>
    sasToken({ sr: encodeURIComponent(`${scope}/registrations/${id}`), key, se: now + 3600, encode: quote }),
  csharp: (scope, id, key, now) =>
    sasToken({
      sr: webUtility(`${scope}/registrations/${id}`),
      key,
      se: now + 86_400,
      skn: 'registration',
      encode: webUtility,
    }),
  c: (scope, id, key, now) =>
    sasToken({
      sr: lowerHex(`${scope}/registrations/${id}`),
      key,
      se: now + 2400,
      skn: 'registration',
      encode: lowerHex,
    }),
  java: (scope, id, key, now) => sasToken({ sr: `${scope}/registrations/${id}`, key, se: now + 3600, skn: '' }),
  rust: (scope, id, key, now) =>
    sasToken({ sr: `${scope}/registrations/${id}`.toLowerCase(), key, se: now + 30, skn: 'registration' }),
  edge11: (scope, id, key, now) =>
    sasToken({
      sr: `${scope}/registrations/${id}`.toLowerCase().replaceAll('/', '%2F').replaceAll('=', '%3D'),
      key,
      se: now + 3600,
      skn: 'registration',
    }),
  cli: (scope, id, key, now) =>
    sasToken({ sr: `${scope}%2Fregistrations%2F${id}`, key, se: now + 6 * 3600, skn: 'registration' }),
}

export const unixNow = (): number => Math.floor(Date.now() / 1000)
