import { resolve } from 'node:path'
import type { Command } from 'commander'
import { systemClock } from '../base/clock.ts'
import { Fields } from '../base/json.ts'
import { type Environment, refused, usage } from './environment.ts'
import { readyFileOption } from './options.ts'
import { absolute } from './ready-file.ts'
import type { ManagementOptions } from './services.ts'

interface BackupOptions extends ManagementOptions {
  readonly to: string
  readonly data?: string
}

/** `muster backup`: of the running service through its management API, or with `--data` of a folder at rest. */
export function backupCommand(program: Command, environment: Environment): void {
  program
    .command('backup')
    .description('copy databases, keys and certificates into a new folder; the service goes on meanwhile')
    .requiredOption('--to <folder>', 'folder that does not exist yet; the service makes it, on its own machine')
    .addOption(readyFileOption())
    .option('--data <folder>', 'data folder of a service that does not run, in place of the ready file')
    .action((options: BackupOptions) => backup(options, environment))
}

async function backup(options: BackupOptions, environment: Environment): Promise<void> {
  const { data, readyFile } = options
  if (data !== undefined && readyFile !== undefined)
    throw usage('Expected either --data (a service that does not run) or --ready-file (one that does), found both.')
  const to = resolve(environment.cwd, options.to)
  const progress = createProgress(environment)
  if (data === undefined) await ofRunning(options, to, environment, progress)
  else await ofResting(absolute(environment.cwd, data), to, environment, progress)
  environment.stdout.write(
    `${to} is complete. It holds private keys, connection secrets and the management token: keep it as safe as the service itself.\n`,
  )
}

type Progress = (bytes: number, ofBytes: number) => void

async function ofResting(data: string, to: string, environment: Environment, progress: Progress): Promise<void> {
  const { backupFolder } = await import('../backup.ts')
  const { lockFolder, requireDataFolder } = await import('../data-folder.ts')
  const clock = environment.clock ?? systemClock
  try {
    requireDataFolder(data)
    const unlock = lockFolder(data)
    await backupFolder(data, to, clock, progress).finally(unlock)
  } catch (error) {
    throw refused((error as Error).message, error)
  }
}

async function ofRunning(
  options: ManagementOptions,
  to: string,
  environment: Environment,
  progress: Progress,
): Promise<void> {
  const { managementRest } = await import('./services.ts')
  const rest = await managementRest(options, environment)
  let { body } = await rest({ method: 'POST', path: '/muster/backup', body: { to } })
  for (;;) {
    const state = new Fields(body, 'answer')
    if (state.string('to') !== to)
      throw refused('Another backup was begun meanwhile. Ask the service log how this one ended.')
    const how = state.string('state')
    if (how === 'failed')
      throw refused(state.string('error') ?? 'The backup failed; the cause is in the log of the service.')
    if (how === 'succeeded') return
    if (how !== 'running') throw refused(`Expected the state of a backup as the answer, found ${how ?? 'none'}.`)
    progress(state.number('bytes') ?? 0, state.number('ofBytes') ?? 0)
    body = (await rest({ method: 'GET', path: '/muster/backup?wait=true' })).body
  }
}

/** A line for every quarter, on standard error. */
function createProgress({ stderr }: Environment): Progress {
  let told = 0
  return (bytes, ofBytes) => {
    const quarter = ofBytes === 0 ? 0 : Math.min(4, Math.floor((4 * bytes) / ofBytes))
    if (quarter <= told) return
    told = quarter
    stderr.write(`${25 * quarter} % of ${megabytes(ofBytes)} MB copied\n`)
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1)
