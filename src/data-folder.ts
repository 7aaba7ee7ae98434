import { X509Certificate } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Clock } from './base/clock.ts'
import { Fields } from './base/json.ts'
import type { Random } from './base/random.ts'
import { type Config, ConfigError } from './config.ts'
import { withoutPort } from './control/hosts.ts'
import type { Seed } from './seed/seed-document.ts'
import type { TlsMaterial } from './wire/listener.ts'

const AUTHORITY_DAYS = 3_650
const SERVER_DAYS = 397
/** Server certificates are made again when less than this is left at a start. */
const RENEW_BEFORE_MS = 60 * 24 * 60 * 60 * 1000

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

/** One process per folder. The lock is the operating system's on an open file, so it dies with its holder. */
function lock(file: string, folder: string): () => void {
  const db = new DatabaseSync(file)
  try {
    chmodSync(file, 0o600)
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch {
    db.close()
    throw new ConfigError(
      `The data folder ${folder} is in use by another muster. Stop that one, or give this one a folder of its own with --data.`,
    )
  }
  return () => db.close()
}

/** Writes a file as a whole or not at all, mode 0600, and makes it durable. */
export function writeSecret(file: string, content: string): void {
  const fresh = `${file}.new`
  const handle = openSync(fresh, 'w', 0o600)
  try {
    writeSync(handle, content)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  renameSync(fresh, file)
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

/** What the server certificates are for: also the hubs that a seed gives names of their own. */
function namesOf(config: Config, seed: Seed | undefined): string[] {
  const ofHubs = seed?.hubs.flatMap(({ document }) => new Fields(document, 'hub').strings('hostNames') ?? []) ?? []
  // Stored with brackets where they are IPv6 addresses (control/hosts.ts).
  const bare = ofHubs.map((name) => withoutPort(name).replace(/^\[|\]$/g, ''))
  const names = [...config.hostNames, config.address, 'localhost', '127.0.0.1', ...bare]
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
  return (
    Date.parse(certificate.validTo) - now > RENEW_BEFORE_MS &&
    names.every((name) => certificate.checkHost(name) !== undefined || certificate.checkIP(name) !== undefined)
  )
}
