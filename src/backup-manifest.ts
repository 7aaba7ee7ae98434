import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { isObject } from './base/json.ts'
import { limits } from './base/limits.ts'
import { ConfigError } from './config.ts'
import { databaseFiles, folderFiles } from './data-folder.ts'

/** What a backup holds: written last, so a folder without it is no backup. */
export interface BackupManifest {
  /** Of this document. */
  readonly backup: 1
  /** Of the Muster that made it. */
  readonly version: string
  /** Of its data folder (`FOLDER_FORMAT`). */
  readonly format: number
  /** ISO 8601. */
  readonly createdAt: string
  readonly files: readonly BackupFile[]
}

export interface BackupFile {
  readonly name: string
  readonly bytes: number
  /** Hexadecimal. */
  readonly sha256: string
  /** Of a database. */
  readonly layout?: number
}

export const MANIFEST = 'manifest.json'

/** Only these may be in a backup: a name from elsewhere leads nowhere. */
const KNOWN: readonly string[] = [...databaseFiles, ...folderFiles]

/** Reads and checks the list of files of a backup; ConfigError says what is wrong with it. */
export function readManifest(folder: string): BackupManifest {
  const file = join(folder, MANIFEST)
  const wrong = (found: string): ConfigError =>
    new ConfigError(`Expected a backup made by "muster backup" in ${folder}, found ${found}.`)
  if (!existsSync(file)) throw wrong(`no ${MANIFEST}`)
  if (statSync(file).size > limits.backupManifestBytes) throw wrong(`a ${MANIFEST} that is too large`)
  let document: unknown
  try {
    document = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    throw wrong(`a ${MANIFEST} that is not JSON`)
  }
  if (!isObject(document)) throw wrong(`a ${MANIFEST} that is no object`)
  const { backup, version, format, createdAt, files } = document
  if (backup !== 1)
    throw wrong(
      `a backup of form ${JSON.stringify(backup)}; this version of Muster knows form 1. Use the one that made it`,
    )
  if (
    typeof version !== 'string' ||
    typeof format !== 'number' ||
    typeof createdAt !== 'string' ||
    !Array.isArray(files)
  )
    throw wrong(`a ${MANIFEST} without version, format, createdAt and files`)
  const listed = files.map((each: unknown) => readFileEntry(each, wrong))
  const missing = databaseFiles.find((name) => !listed.some((each) => each.name === name))
  if (missing !== undefined) throw wrong(`no ${missing} in ${MANIFEST}`)
  if (new Set(listed.map(({ name }) => name)).size !== listed.length) throw wrong(`a file twice in ${MANIFEST}`)
  return { backup, version, format, createdAt, files: listed }
}

function readFileEntry(entry: unknown, wrong: (found: string) => ConfigError): BackupFile {
  const { name, bytes, sha256, layout } = isObject(entry) ? entry : {}
  if (typeof name !== 'string' || !KNOWN.includes(name))
    throw wrong(`an unknown file ${JSON.stringify(name)?.slice(0, 80)} in ${MANIFEST}`)
  if (!Number.isSafeInteger(bytes) || typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256))
    throw wrong(`no size or SHA-256 of ${name} in ${MANIFEST}`)
  return { name, bytes: bytes as number, sha256, ...(typeof layout === 'number' && { layout }) }
}

/** SHA-256 of a file, hexadecimal; it is read piece by piece. */
export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file, { highWaterMark: 1024 * 1024 })) hash.update(piece as Buffer)
  return hash.digest('hex')
}
