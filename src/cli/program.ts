import { Command, CommanderError, Help, type Option } from 'commander'
import { redactText } from '../base/log.ts'
import { version } from '../base/version.ts'
import { backupCommand } from './backup.ts'
import { certsCommand } from './certs.ts'
import { completionCommand } from './completion.ts'
import { demoCommand } from './demo.ts'
import { deriveKeyCommand } from './derive-key.ts'
import { dpsCommand } from './dps.ts'
import { CommandError, type Environment, exitCodes, type Verbosity } from './environment.ts'
import { healthCommand } from './health.ts'
import { hubCommand } from './hub.ts'
import { restoreCommand } from './restore.ts'
import { tpmCommand } from './tpm.ts'
import { upCommand } from './up.ts'

/**
 * Adds one command to the program. Only its words are here (names, options, help); what it does is imported when it
 * runs, so that `muster --help` and `muster derive-key` load neither the service nor a certificate library.
 */
export type Register = (program: Command, environment: Environment) => void

const commands: readonly Register[] = [
  upCommand,
  demoCommand,
  certsCommand,
  deriveKeyCommand,
  tpmCommand,
  dpsCommand,
  hubCommand,
  healthCommand,
  backupCommand,
  restoreCommand,
  completionCommand,
]

/**
 * The command line as a value: runs one command and answers with its exit code (0 done, 1 refused, 2 wrong usage, 3 not there).
 * @param argv the arguments after the program's own name
 */
export async function run(argv: readonly string[], world: Environment): Promise<number> {
  const environment = { ...world, verbosity: { level: 'notices' as Verbosity } }
  try {
    await createProgram(environment).parseAsync(argv, { from: 'user' })
    return exitCodes.ok
  } catch (error) {
    return complain(error, environment)
  }
}

/** The tree of commands, for one run. */
export function createProgram(environment: Environment & Required<Pick<Environment, 'verbosity'>>): Command {
  const program = new Command('muster')
    .description('A self-hosted provisioning service and IoT hub that unmodified Azure IoT clients talk to.')
    .version(version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'explain a command')
    .showHelpAfterError('(--help explains the options)')
    .exitOverride()
    .configureHelp({ optionDescription: describeOption, groupItems: ownOptionsFirst })
    .configureOutput({
      writeOut: (text) => void environment.stdout.write(text),
      writeErr: (text) => void environment.stderr.write(text),
      outputError: (text, write) => write(withoutValues(text)),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
    })
  program.hook('preAction', async (_program, command) => {
    const { query } = command.opts<{ readonly query?: string }>()
    environment.verbosity.level = verbosityOf(command.opts())
    if (query !== undefined) await (await import('./query.ts')).checkQuery(query)
  })
  for (const register of commands) register(program, environment)
  return program
}

/** A value in the wrong place may be a key: commander would repeat it. */
const withoutValues = (complaint: string): string =>
  redactText(complaint)
    .replace(/(unknown option '[^'=]*)=[^']*/, '$1')
    .replace(/(too many arguments.* but got \d+): .*$/ms, '$1.')

/** What a command has of its own comes before what all have. */
function ownOptionsFirst<T extends Command | Option>(
  unsorted: T[],
  visible: T[],
  groupOf: (item: T) => string,
): Map<string, T[]> {
  const groups = new Help().groupItems(unsorted, visible, groupOf)
  const own = groups.get(OWN)
  return own === undefined ? groups : new Map([[OWN, own], ...groups])
}

const OWN = 'Options:'

function verbosityOf(options: { onlyShowErrors?: boolean; verbose?: boolean; debug?: boolean }): Verbosity {
  if (options.onlyShowErrors === true) return 'errors'
  return options.debug === true ? 'debug' : options.verbose === true ? 'verbose' : 'notices'
}

/** Commander says what an option defaults to, and not that it must be given. */
function describeOption(option: Option): string {
  const { description, mandatory, defaultValue, argChoices } = option
  const notes = [
    ...(mandatory && defaultValue === undefined ? ['required'] : []),
    ...(argChoices === undefined || option.optional ? [] : [argChoices.join(', ')]),
    ...(defaultValue === undefined ? [] : [`default: ${defaultValue}`]),
  ]
  return notes.length === 0 ? description : `${description} (${notes.join('; ')})`
}

/** Says what went wrong, once, and turns it into an exit code. Commander has already written its own complaints. */
function complain(error: unknown, { stderr }: Environment): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  const message = error instanceof Error ? error.message : String(error)
  stderr.write(`muster: ${redactText(message)}\n`)
  return error instanceof CommandError ? error.exitCode : exitCodes.refused
}
