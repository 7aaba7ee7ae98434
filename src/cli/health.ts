import type { Command } from 'commander'
import { isObject } from '../base/json.ts'
import { type Environment, refused } from './environment.ts'
import { readyFileOption } from './options.ts'
import type { ManagementOptions } from './services.ts'

/** `muster health`: for the HEALTHCHECK of a container and for people; exit code 0 when ready, 1 when not. */
export function healthCommand(program: Command, environment: Environment): void {
  program
    .command('health')
    .description('say whether the running service is ready, and what is missing')
    .addOption(readyFileOption())
    .action((options: ManagementOptions) => health(options, environment))
}

async function health(options: ManagementOptions, environment: Environment): Promise<void> {
  const { managementRest } = await import('./services.ts')
  const rest = await managementRest(options, environment).catch((error: Error) => {
    if (options.readyFile !== undefined) throw error
    // No service yet where it is looked for. The health checks of containers know the codes 0 and 1 only.
    throw refused(`Not ready: ${error.message}`, error)
  })
  const { body } = await rest({ method: 'GET', path: '/muster/status' })
  const { ready, missing } = isObject(body) ? body : {}
  if (ready !== true) throw refused(`Not ready: ${[missing].flat().join('; ')}.`)
  environment.stdout.write('ready\n')
}
