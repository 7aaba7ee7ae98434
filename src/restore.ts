import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type BackupManifest, readManifest, sha256Of } from './backup-manifest.ts'
import type { Clock } from './base/clock.ts'
import { ConfigError } from './config.ts'
import { databaseFiles, FOLDER_FORMAT, lockFolder, RESTORING, syncFolder } from './data-folder.ts'
import { checkCopy, continueCopy, syncFile } from './store/sqlite-copy.ts'

/**
 * Makes a data folder out of a backup: an empty one, or one that does not exist. Every file is compared with the hash in
 * the backup's list, every database checked in itself. What was acknowledged after the backup is lost; versions, etags
 * and fences continue above all that were given out since. An interrupted restore leaves a mark that no Muster starts on;
 * one that fails leaves nothing.
 *
 * @param told says what is being done
 * @throws ConfigError for a backup or a folder that cannot be used; anything else is what the disk said
 */
export async function restoreFolder(
  from: string,
  dataFolder: string,
  clock: Clock,
  told: (step: string) => void,
): Promise<BackupManifest> {
  const manifest = readManifest(from)
  if (manifest.format > FOLDER_FORMAT)
    throw new ConfigError(
      `The backup ${from} was made by Muster ${manifest.version} and has data folder format ${manifest.format}; this version knows ${FOLDER_FORMAT}. Restore it with that version or a newer one.`,
    )
  const made = requireEmpty(dataFolder)
  const unlock = lockFolder(dataFolder)
  try {
    writeFileSync(join(dataFolder, RESTORING), `from ${from}\n`, { mode: 0o600 })
    syncFolder(dataFolder)
    for (const { name, bytes, sha256 } of manifest.files) {
      told(`${name} (${bytes} bytes)`)
      await copyChecked(join(from, name), join(dataFolder, name), sha256)
    }
    told('checking the databases')
    for (const name of databaseFiles) checkDatabase(join(dataFolder, name), manifest)
    continueCopy(join(dataFolder, 'documents.db'), clock.now())
    giveToOwner(dataFolder)
    syncFolder(dataFolder)
    rmSync(join(dataFolder, RESTORING))
    syncFolder(dataFolder)
    unlock()
  } catch (error) {
    unlock()
    for (const name of contentsOf(dataFolder)) rmSync(join(dataFolder, name), { recursive: true, force: true })
    if (made) rmSync(dataFolder, { recursive: true, force: true })
    throw error
  }
  return manifest
}

/** A file system's own folder does not count. */
const contentsOf = (folder: string): string[] => readdirSync(folder).filter((name) => name !== 'lost+found')

/** True: it was made. */
function requireEmpty(folder: string): boolean {
  if (!existsSync(folder)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    return true
  }
  const [found] = contentsOf(folder)
  if (found !== undefined)
    throw new ConfigError(
      `The data folder ${folder} is not empty (${found}). Restore into an empty one, or move what is there out of the way.`,
    )
  return false
}

async function copyChecked(from: string, to: string, sha256: string): Promise<void> {
  if (!existsSync(from)) throw new ConfigError(`The backup lacks ${from}, which its list names. Use another backup.`)
  copyFileSync(from, to, constants.COPYFILE_EXCL)
  chmodSync(to, 0o600)
  syncFile(to) // before the mark goes that says that something is missing
  const found = await sha256Of(to)
  if (found !== sha256)
    throw new ConfigError(
      `${from} was changed or damaged since the backup was made: its SHA-256 is ${found}, the list says ${sha256}. Use another backup.`,
    )
}

function checkDatabase(file: string, { version }: BackupManifest): void {
  try {
    checkCopy(file)
  } catch (error) {
    throw new ConfigError(`The backup of Muster ${version} cannot be used: ${(error as Error).message}`)
  }
}

/** Restored by root for a service that runs as somebody else: what is in the folder belongs to whom the folder belongs. */
function giveToOwner(folder: string): void {
  const { uid, gid } = statSync(folder)
  if (process.getuid?.() !== 0 || uid === 0) return
  for (const name of readdirSync(folder)) chownSync(join(folder, name), uid, gid)
}
