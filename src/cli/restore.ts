import type { Command } from 'commander'
import { systemClock } from '../base/clock.ts'
import { type Environment, refused, typed } from './environment.ts'
import { absolute } from './ready-file.ts'

interface RestoreOptions {
  readonly from: string
  readonly data: string
}

/** `muster restore`: makes a data folder out of a backup, for a service that does not run yet. */
export function restoreCommand(program: Command, environment: Environment): void {
  program
    .command('restore')
    .description('make a data folder out of a backup; hashes and databases are checked')
    .requiredOption('--from <folder>', 'what "muster backup" has made')
    .requiredOption('--data <folder>', 'data folder: empty, or not there yet')
    .action((options: RestoreOptions) => restore(options, environment))
}

async function restore(options: RestoreOptions, environment: Environment): Promise<void> {
  const [from, data] = [options.from, options.data].map((path) => absolute(environment.cwd, path)) as [string, string]
  const { restoreFolder } = await import('../restore.ts')
  const told = (step: string): void => void environment.stderr.write(`${step}\n`)
  const { version, createdAt } = await restoreFolder(from, data, environment.clock ?? systemClock, told).catch(
    (error: unknown) => {
      throw refused((error as Error).message, error)
    },
  )
  environment.stdout.write(
    `${data} is as it was at ${createdAt} (Muster ${version}). Start it with: muster up --data ${typed(data)}\n` +
      'The original must not run any more: both would answer under the same names with the same keys.\n',
  )
}
