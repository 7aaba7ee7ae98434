import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { type BackupFile, type BackupManifest, MANIFEST, sha256Of } from './backup-manifest.ts'
import type { Clock } from './base/clock.ts'
import { version } from './base/version.ts'
import { ConfigError } from './config.ts'
import { databaseFiles, FOLDER_FORMAT, folderFiles, syncFolder, writeSecret } from './data-folder.ts'
import { freeBytes } from './health.ts'
import { type Snapshot, snapshotStore } from './store/sqlite-copy.ts'

/** How far a backup is. */
export type Copied = (bytes: number, ofBytes: number) => void

/**
 * Writes a copy of a data folder, in use or not, into a new folder `to`: databases, keys, certificates and the management
 * token. All of it is one moment: the documents' first, the telemetry's right after it, so that whatever a document says
 * of the telemetry is in there; the copying comes later and holds up nobody. The folder appears under its name when it
 * is whole and on the disk, or not at all.
 *
 * @throws ConfigError for a place that cannot be used; anything else is what the disk said
 */
export async function backupFolder(
  dataFolder: string,
  to: string,
  clock: Clock,
  copied: Copied,
): Promise<BackupManifest> {
  requirePlace(dataFolder, to)
  const partial = `${to}.partial`
  const createdAt = new Date(clock.now()).toISOString()
  const snapshots = holdBoth(dataFolder)
  const bytes = snapshots.reduce((sum, each) => sum + each.bytes, 0)
  try {
    requireRoom(dataFolder, to, bytes)
    mkdirSync(partial, { mode: 0o700 })
    try {
      const files = [
        ...(await copySmall(dataFolder, partial)),
        ...(await copyDatabases(snapshots, partial, (done) => copied(done, bytes))),
      ]
      const manifest: BackupManifest = { backup: 1, version, format: FOLDER_FORMAT, createdAt, files }
      writeSecret(join(partial, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`)
      syncFolder(partial)
      renameSync(partial, to)
      syncFolder(dirname(to))
      return manifest
    } catch (error) {
      rmSync(partial, { recursive: true, force: true })
      throw error
    }
  } finally {
    for (const { release } of snapshots) release()
  }
}

function requirePlace(dataFolder: string, to: string): void {
  if (!existsSync(dirname(to)))
    throw new ConfigError(`The folder ${dirname(to)} of the backup does not exist. Make it first.`)
  const way = relative(realpathSync(dataFolder), join(realpathSync(dirname(to)), basename(to)))
  if (way !== '..' && !way.startsWith('../'))
    throw new ConfigError(`The backup must not be inside the data folder ${dataFolder}, with which it would be lost.`)
  if (existsSync(to)) throw new ConfigError(`${to} exists already. Give each backup a name of its own.`)
  if (existsSync(`${to}.partial`))
    throw new ConfigError(
      `${to}.partial exists already: another backup is on its way there, or one was interrupted. Delete it if none is running, or use another name.`,
    )
}

/** Documents first. Whoever fails to take the second lets go of the first. */
function holdBoth(dataFolder: string): readonly Snapshot[] {
  const held: Snapshot[] = []
  try {
    for (const name of databaseFiles) held.push(snapshotStore(join(dataFolder, name)))
    return held
  } catch (error) {
    for (const { release } of held) release()
    throw error
  }
}

/** A disk that the backup fills up is often the service's own. */
function requireRoom(dataFolder: string, to: string, bytes: number): void {
  const free = freeBytes(dirname(to))
  if (free <= bytes)
    throw new ConfigError(`The backup of ${dataFolder} needs ${bytes} bytes, and ${dirname(to)} has ${free} left.`)
}

/** Some are absent where the operator's own certificates are used. */
async function copySmall(dataFolder: string, to: string): Promise<BackupFile[]> {
  const present = folderFiles.filter((name) => existsSync(join(dataFolder, name)))
  for (const name of present) writeSecret(join(to, name), readFileSync(join(dataFolder, name), 'utf8'))
  return Promise.all(present.map((name) => entryOf(to, name)))
}

const entryOf = async (folder: string, name: string): Promise<BackupFile> => ({
  name,
  bytes: statSync(join(folder, name)).size,
  sha256: await sha256Of(join(folder, name)),
})

async function copyDatabases(
  snapshots: readonly Snapshot[],
  to: string,
  copied: (bytes: number) => void,
): Promise<BackupFile[]> {
  const files: BackupFile[] = []
  let before = 0
  for (const [at, { bytes, layout, copy }] of snapshots.entries()) {
    const name = databaseFiles[at]!
    await copy(join(to, name), (done) => copied(before + done))
    before += bytes
    copied(before)
    files.push({ ...(await entryOf(to, name)), layout })
  }
  return files
}
