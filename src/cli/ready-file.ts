import { isAbsolute, join, resolve } from 'node:path'
import { ServiceError } from '../base/errors.ts'
import { Fields, jsonErrorPlace } from '../base/json.ts'
import { readBounded } from './bounded-file.ts'
import { type Environment, usage } from './environment.ts'
import { splitHost } from './host-names.ts'

/** What `muster up --ready-file` tells a script, as far as commands need it; a member is absent until its face exists. */
export interface ReadyFile {
  readonly path: string
  /** The address that the listeners bind. */
  readonly address: string
  readonly caFile: string | undefined
  readonly idScope: string | undefined
  readonly httpsPort: number | undefined
  readonly management: { readonly url: URL; readonly tokenFile: string } | undefined
  readonly dps: { readonly hostName: string; readonly connectionString: string } | undefined
  readonly hubs: readonly { readonly name: string; readonly hostName: string; readonly connectionString: string }[]
}

/** The name of the ready file inside a data folder. */
const READY_FILE = 'ready.json'
/** The data folder of `muster up` when nothing else is said. */
const DATA_FOLDER = 'muster-data'

/**
 * Reads the ready file: `--ready-file`, else `MUSTER_READY_FILE`, else the one in the data folder
 * (`MUSTER_DATA`, else `./muster-data`).
 */
export async function readReadyFile(chosen: string | undefined, { env, cwd }: Environment): Promise<ReadyFile> {
  const path = absolute(cwd, chosen ?? env['MUSTER_READY_FILE'] ?? join(env['MUSTER_DATA'] ?? DATA_FOLDER, READY_FILE))
  const content = await readBounded(path)
  if (typeof content === 'string')
    throw usage(
      `Expected the ready file of a running service at ${path}, found ${content}. ` +
        `Start one with "muster up", name its file with --ready-file FILE or MUSTER_READY_FILE, ` +
        `or name the service with --login CONNECTION_STRING --ca FILE.`,
    )
  try {
    return parseReadyFile(path, JSON.parse(content.toString('utf8')))
  } catch (cause) {
    const why = cause instanceof ServiceError ? cause.message : `text that is not JSON${jsonErrorPlace(cause)}.`
    throw usage(`Expected the ready file that "muster up" writes at ${path}, found something else: ${why}`, cause)
  }
}

function parseReadyFile(path: string, document: unknown): ReadyFile {
  const fields = new Fields(document, 'ready file')
  const management = fields.fields('management')
  const dps = fields.fields('dps')
  const text = (from: Fields, name: string): string => from.required(name, from.string(name))
  return {
    path,
    address: text(fields, 'address'),
    caFile: fields.string('caFile'),
    idScope: fields.string('idScope'),
    httpsPort: fields.fields('ports')?.number('https'),
    management: management && { url: urlOf(management), tokenFile: text(management, 'tokenFile') },
    dps: dps && { hostName: text(dps, 'hostName'), connectionString: text(dps, 'connectionString') },
    hubs: (fields.array('hubs') ?? []).map((item, index) => {
      const hub = new Fields(item, `ready file.hubs[${index}]`)
      return {
        name: text(hub, 'name'),
        hostName: text(hub, 'hostName'),
        connectionString: text(hub, 'connectionString'),
      }
    }),
  }
}

function urlOf(management: Fields): URL {
  const url = management.required('url', management.string('url'))
  return URL.parse(url) ?? management.fail('url', 'a URL', JSON.stringify(url))
}

/** A host name as clients must be told it: stored names have no port, which the service may change (ARCHITECTURE.md). */
export const dialledAs = (hostName: string, { httpsPort = 443 }: ReadyFile): string =>
  httpsPort === 443 || splitHost(hostName).port !== undefined ? hostName : `${hostName}:${httpsPort}`

export const absolute = (cwd: string, path: string): string => (isAbsolute(path) ? path : resolve(cwd, path))
