import tls from 'node:tls'
import { systemClock } from '../base/clock.ts'
import { namesOfLater } from '../data-folder.ts'
import type { TlsMaterial } from '../wire/listener.ts'
import { ownAddresses } from './loopback.ts'

/** What a Muster of this process shows its clients. */
export interface ServerCertificates {
  /** PEM of the one that clients must trust. */
  readonly ca: string
  readonly tls: TlsMaterial
}

const DAYS = 30

let shared: Promise<Made> | undefined

interface Made extends ServerCertificates {
  readonly names: ReadonlySet<string>
  issueFor(names: readonly string[]): Promise<TlsMaterial>
}

/**
 * Server certificates of an authority that lives as long as this process. Every Muster of the process shares it: keys are
 * what costs most at a start, and clients that trust once can reach all. Issued in real time, as clients check them.
 */
export async function serverCertificates(names: readonly string[]): Promise<ServerCertificates> {
  shared ??= makeShared()
  const made = await shared
  if (names.every((name) => made.names.has(name))) return made
  return { ca: made.ca, tls: await made.issueFor([...made.names, ...names]) }
}

async function makeShared(): Promise<Made> {
  const { createAuthority, issueServerCertificate } = await import('../crypto/issuing.ts')
  const common = { days: DAYS, now: systemClock.now() }
  const authority = await createAuthority({ ...common, commonName: 'Muster test CA', keyType: 'ec' })
  const issueFor = async (names: readonly string[]): Promise<TlsMaterial> => {
    const { certificate: cert, key } = await issueServerCertificate({ ...common, authority, names, keyType: 'ec' })
    // No RSA key for clients without elliptic curves: making one may take half a second.
    return { ec: { cert, key }, rsa: { cert, key } }
  }
  const names = ['localhost', '127.0.0.1', ...namesOfLater, ...ownAddresses()]
  return { ca: authority.certificate, tls: await issueFor(names), names: new Set(names), issueFor }
}

let trusted = false

/**
 * Lets clients in this process that use Node's defaults trust the authority from here on: most SDKs have no option for
 * it. Verification stays on. @throws Error where Node cannot do that (22.18)
 */
export function trustHere(ca: string): void {
  if (trusted) return
  if (typeof tls.setDefaultCACertificates !== 'function')
    throw new Error(
      `Expected Node 22.19 or newer, so that clients in this process can trust the CA, found ${process.versions.node}. ` +
        'Start with trust: false, and give each client the CA (ca, caFile) yourself.',
    )
  tls.setDefaultCACertificates([...tls.getCACertificates('default'), ca])
  trusted = true
}
