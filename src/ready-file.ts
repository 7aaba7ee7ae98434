import { version } from './base/version.ts'
import { type DataFolder, writeSecret } from './data-folder.ts'
import type { Addresses } from './instances.ts'

/** The contract of `--ready-file` (ARCHITECTURE.md); a member is absent until its face exists. Scripts rely on it. */
export interface ReadyFile {
  readonly version: string
  readonly pid: number
  readonly address: string
  readonly caFile: string
  readonly idScope: string
  readonly management: { readonly url: string; readonly tokenFile: string }
  readonly dps: { readonly hostName: string; readonly connectionString: string }
  readonly hubs: readonly { readonly name: string; readonly hostName: string; readonly connectionString: string }[]
  readonly ports: { readonly https: number; readonly mqtts: number }
}

export function readyFileOf(
  addresses: Addresses,
  folder: Pick<DataFolder, 'caFile' | 'managementTokenFile'>,
): ReadyFile {
  const { address, idScope, ports, dps, hubs } = addresses
  return {
    version,
    pid: process.pid,
    address,
    caFile: folder.caFile,
    idScope,
    management: { url: `http://127.0.0.1:${ports.management}`, tokenFile: folder.managementTokenFile },
    dps: { hostName: dps.hostName, connectionString: dps.connectionString },
    hubs,
    ports: { https: ports.https, mqtts: ports.mqtts },
  }
}

/** Written as a whole or not at all, mode 0600: it holds connection strings. */
export function writeReadyFile(file: string, ready: ReadyFile): void {
  writeSecret(file, `${JSON.stringify(ready, null, 2)}\n`)
}
