import { limits } from '../base/limits.ts'
import { type Environment, readStdin, usage } from './environment.ts'
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
  const { decodeKey, deriveDeviceKey } = await import('../crypto/keys.ts')
  if (registrationId === '' || registrationId.length > limits.idLength)
    throw usage(`Expected --registration-id of 1 to ${limits.idLength} characters, found ${registrationId.length}.`)
  const text = key === '-' ? await readStdin(environment, limits.cliFileBytes, 'the group key') : key
  const groupKey = decodeKey(text.trim())
  if (groupKey === undefined)
    throw usage('Expected the group key as base64 of 16 to 64 bytes, found something else. Copy it again, whole.')
  environment.stdout.write(`${deriveDeviceKey(groupKey, registrationId).toString('base64')}\n`)
}
