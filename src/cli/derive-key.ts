import { limits } from '../base/limits.ts'
import { type Environment, readStdin } from './environment.ts'
import type { Register } from './program.ts'

interface Options {
  readonly key: string
  readonly registrationId: string
}

/** `muster derive-key`: the key of one device of a symmetric-key group (edge.md 8.4). */
export const deriveKeyCommand: Register = (program, environment) => {
  program
    .command('derive-key')
    .description("derive a device's key from the key of its enrollment group")
    .requiredOption('--rid, --registration-id <id>', 'registration ID, spelled as the device will send it')
    .option('--key <base64>', "the group's primary or secondary key; - reads it from standard input", '-')
    .addHelpText(
      'after',
      '\nA key on the command line can be seen by every user of the machine; prefer: … | muster derive-key --rid ID',
    )
    .action((options: Options) => deriveKey(options, environment))
}

async function deriveKey({ key, registrationId }: Options, environment: Environment): Promise<void> {
  const { deviceKey } = await import('./device-keys.ts')
  const groupKey = key === '-' ? await readStdin(environment, limits.cliFileBytes, 'the group key') : key
  environment.stdout.write(`${deviceKey(groupKey, registrationId)}\n`)
}
