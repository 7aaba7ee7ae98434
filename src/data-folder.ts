import { createPrivateKey, X509Certificate } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Clock } from './base/clock.ts'
import { Fields } from './base/json.ts'
import type { Random } from './base/random.ts'
import { version } from './base/version.ts'
import { type Config, ConfigError } from './config.ts'
import { withoutPort } from './control/hosts.ts'
import type { Seed } from './seed/seed-document.ts'
import type { TlsMaterial } from './wire/listener.ts'

const AUTHORITY_DAYS = 3_650
const SERVER_DAYS = 397
/** Server certificates are made again when less than this is left at a start. */
const RENEW_BEFORE_MS = 60 * 24 * 60 * 60 * 1000

/**
 * What a Muster must know to open the folder. Raised, with a fixture in `tests/upgrade`, when an older one would misread
 * what a newer one has written; the layout of the databases has a number of its own (`store/migrations`).
 */
export const FOLDER_FORMAT = 1

/** Files of the folder besides the databases; what a backup takes along. */
export const folderFiles = [
  'version.json',
  'management-token',
  'ca.pem',
  'ca.key.pem',
  'server-ec.pem',
  'server-ec.key.pem',
  'server-rsa.pem',
  'server-rsa.key.pem',
] as const
export const databaseFiles = ['documents.db', 'telemetry.db'] as const

/** Stands in a folder while a backup is being restored into it. */
export const RESTORING = 'restore-unfinished'

/** What a data folder holds, opened for one process. */
export interface DataFolder {
  readonly documentsFile: string
  readonly telemetryFile: string
  /** PEM file of the CA that clients must trust. */
  readonly caFile: string
  readonly tls: TlsMaterial
  readonly managementTokenFile: string
  readonly managementToken: string
  /** Gives the folder free for another process. */
  close(): void
}

/** Opens (and on first start fills) the data folder. Everything secret is made here, mode 0600; there are no default keys. */
export async function openDataFolder(config: Config, clock: Clock, random: Random, seed?: Seed): Promise<DataFolder> {
  const at = (name: string): string => join(config.dataFolder, name)
  mkdirSync(config.dataFolder, { recursive: true, mode: 0o700 })
  const unlock = lock(at('lock.db'), config.dataFolder)
  try {
    requireWhole(at(RESTORING), config.dataFolder)
    requireFormat(at('version.json'), config.dataFolder)
    const managementToken = readOrMake(at('management-token'), () => random.bytes(32).toString('base64url'))
    return {
      documentsFile: at('documents.db'),
      telemetryFile: at('telemetry.db'),
      caFile: config.ownCertificate?.certificateFile ?? at('ca.pem'),
      tls: config.ownCertificate
        ? ownCertificate(config.ownCertificate)
        : await privateCertificates(at, namesOf(config, seed), clock),
      managementTokenFile: at('management-token'),
      managementToken,
      close: unlock,
    }
  } catch (error) {
    unlock()
    throw error
  }
}

/** Takes a folder that no Muster uses, so that none begins meanwhile. */
export const lockFolder = (folder: string): (() => void) => lock(join(folder, 'lock.db'), folder)

/** For commands that make no folder of their own. */
export function requireDataFolder(folder: string): void {
  if (!existsSync(join(folder, databaseFiles[0])))
    throw new ConfigError(`Expected the data folder of a Muster in ${folder}, found no ${databaseFiles[0]} there.`)
}

function requireWhole(marker: string, folder: string): void {
  if (existsSync(marker))
    throw new ConfigError(
      `The data folder ${folder} holds a part of a backup: "muster restore" was interrupted. Empty it and restore again.`,
    )
}

/** Refuses a folder that a newer Muster has changed, and notes who used it last. */
function requireFormat(file: string, folder: string): void {
  const found = existsSync(file) ? readVersion(file) : {}
  if (Number(found.format ?? FOLDER_FORMAT) > FOLDER_FORMAT)
    throw new ConfigError(
      `The data folder ${folder} was used by Muster ${String(found.version)} and has its format ${String(found.format)}; ` +
        `this is Muster ${version}, which knows format ${FOLDER_FORMAT}. Start the newer version, or restore a backup made before the upgrade.`,
    )
  if (found.version !== version || found.format !== FOLDER_FORMAT)
    writeSecret(file, `${JSON.stringify({ format: FOLDER_FORMAT, version })}\n`)
}

function readVersion(file: string): { readonly format?: unknown; readonly version?: unknown } {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as object
  } catch {
    throw new ConfigError(
      `Expected {"format", "version"} as JSON in ${file}, found something else. Restore the data folder.`,
    )
  }
}

/** One process per folder. The lock is the operating system's on an open file, so it dies with its holder. */
function lock(file: string, folder: string): () => void {
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(file)
    chmodSync(file, 0o600)
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (cause) {
    db?.close()
    const { errcode, message } = cause as { errcode?: number; message: string }
    throw new ConfigError(
      errcode === SQLITE_BUSY
        ? `The data folder ${folder} is in use by another muster. Stop that one, or give this one a folder of its own with --data.`
        : `The data folder ${folder} cannot be used: ${file}: ${message}. It must belong to the user who starts muster.`,
    )
  }
  return () => db.close()
}

const SQLITE_BUSY = 5

/** Writes a file as a whole or not at all, mode 0600, and makes it durable. */
export function writeSecret(file: string, content: string): void {
  const fresh = `${file}.new`
  // What lies there, left by a crash or put there by somebody else, would keep its mode, or lead elsewhere.
  rmSync(fresh, { force: true })
  const handle = openSync(fresh, 'wx', 0o600)
  try {
    writeFileSync(handle, content) // all of it: writeSync stops where a disk is full
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  renameSync(fresh, file)
}

/** What was made or renamed in a folder survives power loss only after this. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function readOrMake(file: string, make: () => string): string {
  if (!existsSync(file)) writeSecret(file, make())
  return readFileSync(file, 'utf8').trim()
}

function ownCertificate(own: { certificateFile: string; keyFile: string }): TlsMaterial {
  const pair = { cert: readPem(own.certificateFile), key: readPem(own.keyFile) }
  // One kind of key for every client: those that cannot use it fail their handshake.
  return { ec: pair, rsa: pair }
}

function readPem(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new ConfigError(
      `Cannot read the PEM file ${file}: ${cause instanceof Error ? cause.message : 'unknown cause'}.`,
    )
  }
}

/**
 * A private CA and two server certificates, P-256 and RSA, so that old clients find theirs. Certificates that lack a
 * name, or are about to expire, are made again from the same CA: clients keep trusting it.
 */
async function privateCertificates(
  at: (name: string) => string,
  names: readonly string[],
  clock: Clock,
): Promise<TlsMaterial> {
  const files = { ec: serverFiles(at, 'ec'), rsa: serverFiles(at, 'rsa') }
  const stale = (['ec', 'rsa'] as const).filter((kind) => !stillGood(files[kind], names, clock.now()))
  if (stale.length > 0) {
    const issuing = await import('./crypto/issuing.ts')
    const authority = existsSync(at('ca.pem'))
      ? { certificate: readPem(at('ca.pem')), key: readPem(at('ca.key.pem')), chain: readPem(at('ca.pem')) }
      : await issuing.createAuthority({
          commonName: 'Muster private CA',
          days: AUTHORITY_DAYS,
          keyType: 'ec',
          now: clock.now(),
        })
    // Key first: a crash between the two leaves no certificate, and the next start makes both again.
    if (!existsSync(at('ca.pem'))) {
      writeSecret(at('ca.key.pem'), authority.key)
      writeSecret(at('ca.pem'), authority.certificate)
    }
    await Promise.all(
      stale.map(async (keyType) => {
        const issued = await issuing.issueServerCertificate({
          authority,
          names,
          keyType,
          days: SERVER_DAYS,
          now: clock.now(),
        })
        writeSecret(files[keyType].key, issued.key)
        writeSecret(files[keyType].cert, issued.certificate)
      }),
    )
  }
  const read = (kind: 'ec' | 'rsa') => ({ cert: readPem(files[kind].cert), key: readPem(files[kind].key) })
  return { ec: read('ec'), rsa: read('rsa') }
}

/** Names that further hubs and services get when they are made (control/control.ts). */
export const namesOfLater = ['*.hub.localhost', '*.dps.localhost']

/** What the server certificates are for: also the hubs that a seed gives names of their own. */
function namesOf(config: Config, seed: Seed | undefined): string[] {
  const ofHubs = seed?.hubs.flatMap(({ document }) => new Fields(document, 'hub').strings('hostNames') ?? []) ?? []
  // Stored with brackets where they are IPv6 addresses (control/hosts.ts).
  const bare = ofHubs.map((name) => withoutPort(name).replace(/^\[|\]$/g, ''))
  const names = [...config.hostNames, config.address, 'localhost', '127.0.0.1', ...namesOfLater, ...bare]
  return [...new Set(names)].filter((name) => name !== '0.0.0.0')
}

interface ServerFiles {
  readonly cert: string
  readonly key: string
}

const serverFiles = (at: (name: string) => string, kind: 'ec' | 'rsa'): ServerFiles => ({
  cert: at(`server-${kind}.pem`),
  key: at(`server-${kind}.key.pem`),
})

function stillGood(files: ServerFiles, names: readonly string[], now: number): boolean {
  if (!existsSync(files.cert) || !existsSync(files.key)) return false
  const certificate = new X509Certificate(readPem(files.cert))
  // Each throws for what is of the other kind.
  const isFor = (name: string): boolean =>
    (isIP(name) === 0 ? certificate.checkHost(name.replace('*', 'any')) : certificate.checkIP(name)) !== undefined
  return (
    // A crash between the two files leaves a key without its certificate.
    certificate.checkPrivateKey(createPrivateKey(readPem(files.key))) &&
    Date.parse(certificate.validTo) - now > RENEW_BEFORE_MS &&
    names.every(isFor)
  )
}
