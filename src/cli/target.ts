import { type Environment, usage } from './environment.ts'
import { readNamed } from './files.ts'
import { isHostName, splitHost } from './host-names.ts'
import type { ReadyFile } from './ready-file.ts'

/** A REST endpoint that takes SAS tokens of a shared access policy. */
export interface ServiceTarget {
  readonly kind: 'sas'
  /** As in the connection string; may carry `:port`. Signed into the token and checked against the certificate. */
  readonly hostName: string
  /** Where the connection goes: another address than the name may resolve to, when the ready file tells one. */
  readonly dial: { readonly host: string; readonly port: number }
  readonly policy: string
  readonly key: string
  /** PEM; undefined: the machine's own trust. */
  readonly ca: string | undefined
}

/** The management API: a bearer token on loopback. */
export interface ManagementTarget {
  readonly kind: 'bearer'
  readonly url: URL
  readonly token: string
}

export type Target = ServiceTarget | ManagementTarget

/** A service of the ready file; the connection goes to the listeners' address, whatever the name resolves to. */
export async function readyTarget(
  ready: ReadyFile,
  connectionString: string,
  ca: string | undefined,
  environment: Environment,
): Promise<ServiceTarget> {
  const parts = parseConnectionString(connectionString)
  const named = splitHost(parts.hostName)
  return {
    kind: 'sas',
    ...parts,
    dial: { host: reachable(ready.address), port: named.port ?? ready.httpsPort ?? 443 },
    ca: await readCa(ca ?? ready.caFile, environment),
  }
}

/** A service named by a connection string alone. */
export async function loginTarget(
  login: string,
  ca: string | undefined,
  environment: Environment,
): Promise<ServiceTarget> {
  const parts = parseConnectionString(login)
  const { host, port } = splitHost(parts.hostName)
  return { kind: 'sas', ...parts, dial: { host, port: port ?? 443 }, ca: await readCa(ca, environment) }
}

/** `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`, names in any case and order; the value may hold `=`. */
export function parseConnectionString(text: string): { hostName: string; policy: string; key: string } {
  const parts = new Map(
    text.split(';').map((part) => {
      const at = part.indexOf('=')
      return [part.slice(0, Math.max(at, 0)).trim().toLowerCase(), part.slice(at + 1).trim()]
    }),
  )
  const [hostName, policy, key] = ['HostName', 'SharedAccessKeyName', 'SharedAccessKey'].map((name) => {
    const value = parts.get(name.toLowerCase())
    if (value === undefined || value === '')
      throw usage(
        `Expected a connection string of HostName, SharedAccessKeyName and SharedAccessKey with semicolons between, found no ${name}.`,
      )
    return value
  }) as [string, string, string]
  if (!isHostName(hostName))
    throw usage(
      'Expected HostName in the connection string to be a name or an address, with :port where it is not 443, found something else.',
    )
  return { hostName, policy, key }
}

/** A listener on every address is reached on loopback. */
const reachable = (address: string): string =>
  address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address

async function readCa(file: string | undefined, environment: Environment): Promise<string | undefined> {
  if (file === undefined) return undefined
  const text = (await readNamed(file, 'the CA certificate', environment)).toString('utf8')
  if (/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.test(text)) return text
  throw usage(`Expected the CA certificate in ${file} as PEM, found no certificate. The ready file calls it caFile.`)
}
