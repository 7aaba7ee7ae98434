import { createAuthority, type Issued, issueDeviceCertificate, type KeyType } from '../../src/crypto/issuing.ts'

const DAY_MS = 24 * 60 * 60 * 1000

/** What a client presents in TLS: its certificate, whatever it sends after it, and its key, as PEM. */
export interface ClientCertificate {
  readonly cert: string
  readonly key: string
}

/** A root with two intermediates below one another, as a factory has them. */
export interface Pki {
  readonly root: Issued
  readonly first: Issued
  /** Signs the devices. */
  readonly second: Issued
}

export async function createPki(name: string, keyType: KeyType = 'ec'): Promise<Pki> {
  const common = { days: 365, keyType, now: Date.now() } as const
  const root = await createAuthority({ ...common, commonName: `${name} root` })
  const first = await createAuthority({ ...common, commonName: `${name} intermediate 1`, issuer: root })
  const second = await createAuthority({ ...common, commonName: `${name} intermediate 2`, issuer: first })
  return { root, first, second }
}

export interface DeviceOptions {
  readonly keyType?: KeyType
  /** The certificate ended so many days ago. */
  readonly expiredDays?: number
}

/** A device certificate; without an authority it signs itself. */
export function deviceCertificate(
  commonName: string,
  authority?: Issued,
  { keyType = 'ec', expiredDays }: DeviceOptions = {},
): Promise<Issued> {
  const validity =
    expiredDays === undefined
      ? { days: 30, now: Date.now() }
      : { days: 1, now: Date.now() - (expiredDays + 1) * DAY_MS }
  return issueDeviceCertificate({ authority, commonName, keyType, ...validity })
}

/** The certificates of a chain one by one: the leaf first, the root last. */
export const blocksOf = (pem: string): string[] =>
  pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g) ?? []

/** What a device sends that keeps the root to itself: the leaf and every intermediate. */
export const withoutRoot = ({ chain, key }: Issued): ClientCertificate => ({
  cert: blocksOf(chain).slice(0, -1).join(''),
  key,
})

export const leafOnly = ({ certificate, key }: Issued): ClientCertificate => ({ cert: certificate, key })

/** A file such as certGen.sh makes: leaf, intermediates and the root. */
export const fullChain = ({ chain, key }: Issued): ClientCertificate => ({ cert: chain, key })
