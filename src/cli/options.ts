import { type Command, InvalidArgumentError, Option } from 'commander'
import { formats } from './output.ts'

/** Options that many commands share, under the names of `az iot dps` and `az iot hub`. */

const GLOBAL = 'Global options:'

/** For every command that answers with a document: how it is written, what is said beside it. */
export const answerOptions = (command: Command, output: Option = outputOption()): Command =>
  command
    .addOption(output)
    .addOption(new Option('--query <jmespath>', 'write only what this JMESPath expression selects').helpGroup(GLOBAL))
    .addOption(new Option('--only-show-errors', 'no hints on standard error').helpGroup(GLOBAL))
    .addOption(new Option('--verbose', 'show each request on standard error').helpGroup(GLOBAL))
    .addOption(new Option('--debug', 'show requests and answers whole, without keys').helpGroup(GLOBAL))
    // Every example of the az CLI names a subscription or a resource group; there is nothing here that they could mean.
    .addOption(new Option('-g, --resource-group <name>').hideHelp())
    .addOption(new Option('--subscription <name>').hideHelp())

/** `--output`; a command with a form of its own has it first and by default. */
export const outputOption = (...own: readonly string[]): Option => {
  const choices = [...own, ...formats]
  return choiceOption('-o, --output <format>', 'form of the answer', choices).default(choices[0]).helpGroup(GLOBAL)
}

const SERVICE = 'Service options:'

export const readyFileOption = (): Option =>
  new Option(
    '--ready-file <file>',
    'what "muster up --ready-file" wrote (default: MUSTER_READY_FILE, else ready.json in the data folder)',
  ).helpGroup(SERVICE)

/** Which provisioning service, and how the answer is printed. */
export const dpsTargetOptions = (command: Command): Command =>
  serviceTargetOptions(command.addOption(dpsNameOption('-n, --dps-name <name>')))

/** Which hub, and how the answer is printed. */
export const hubTargetOptions = (command: Command): Command =>
  serviceTargetOptions(
    command.addOption(
      new Option('-n, --hub-name <name>', 'name of the hub; not needed when there is only one').helpGroup(SERVICE),
    ),
  )

const serviceTargetOptions = (command: Command): Command =>
  answerOptions(
    command
      .addOption(readyFileOption())
      .addOption(
        new Option(
          '-l, --login <string>',
          'connection string of a shared access policy, in place of the ready file',
        ).helpGroup(SERVICE),
      )
      .addOption(
        new Option('--ca <file>', 'certificate authority of the service, PEM (default: the ready file’s)').helpGroup(
          SERVICE,
        ),
      )
      .addOption(new Option('--auth-type <type>').argParser(keyOnly).hideHelp()),
  )

/** The az CLI's other way is Microsoft Entra ID. */
function keyOnly(value: string): string {
  if (value === 'key') return value
  throw new InvalidArgumentError('Expected key: Microsoft Entra ID is not here. Use --login or the ready file.')
}

/** For commands over the management API. `-n` stays free for the thing that they name. */
export const managementTargetOptions = (command: Command): Command =>
  answerOptions(command.addOption(readyFileOption()))

export const dpsNameOption = (flags = '--dps-name <name>'): Option =>
  new Option(flags, 'name of the provisioning service; not needed when there is only one').helpGroup(SERVICE)

export const hubNameOption = (): Option =>
  new Option('--hub-name <name>', 'name of the hub; not needed when there is only one').helpGroup(SERVICE)

/** An option with more spellings than commander's two; the others are not in the help. */
export function addSpelled(command: Command, option: Option, ...spellings: readonly string[]): Command {
  const value = option.flags.replace(/^.*?(?= [<[]|$)/, '')
  for (const spelling of spellings) {
    const other = new Option(`${spelling}${value}`).hideHelp()
    other.attributeName = () => option.attributeName()
    if (option.parseArg !== undefined) other.argParser(option.parseArg)
    if (option.presetArg !== undefined) other.preset(option.presetArg)
    command.addOption(other)
  }
  return command.addOption(option)
}

export const etagOption = (): Option => new Option('-e, --etag <etag>', 'only if the record still has this etag')

export const topOption = (): Option =>
  new Option('--top <number>', 'at most so many; -1: all').argParser((value) => {
    const number = Number(value)
    if (!Number.isInteger(number) || number === 0 || number < -1)
      throw new InvalidArgumentError('Expected a whole number from 1, or -1.')
    return number === -1 ? Number.POSITIVE_INFINITY : number
  })

/** An option with a closed set of values, in any case as in the az CLI; help and completion name them. */
export const choiceOption = (flags: string, description: string, choices: readonly string[]): Option =>
  new Option(flags, description).choices([...choices]).argParser(anyCase(...choices))

/** The same for several values, with blanks between or, as the resources write them, with commas. */
export const choiceListOption = (flags: string, description: string, choices: readonly string[]): Option =>
  new Option(flags, description)
    .choices([...choices])
    .argParser((value: string, earlier: readonly string[] | undefined) => [
      ...(earlier ?? []),
      ...value
        .split(/[\s,]+/)
        .filter(Boolean)
        .map(anyCase(...choices)),
    ])

/** An option of the az CLI for something that is not here: refused by name, not in the help. */
export const absentOption = (flags: string, why: string): Option =>
  new Option(flags)
    .preset('true')
    .argParser(() => {
      throw new InvalidArgumentError(why)
    })
    .hideHelp()

/** The value in the set's own spelling; the az CLI compares without regard to case. */
const anyCase =
  (...allowed: readonly string[]) =>
  (value: string): string => {
    const found = allowed.find((each) => each.toLowerCase() === value.toLowerCase())
    if (found === undefined) throw new InvalidArgumentError(`Expected one of ${allowed.join(', ')}.`)
    return found
  }

/** The az CLI's three-state flag: absent, `--flag`, `--flag true|false`. */
export const flagOption = (flags: string, description: string): Option =>
  new Option(`${flags} [true|false]`, description)
    .choices(['true', 'false'])
    .preset('true')
    .argParser((value) => anyCase('true', 'false')(value) === 'true')

export const showKeysOption = (): Option => flagOption('--keys, --show-keys', 'show symmetric keys too')

export const wholeNumber =
  (most: number, of: string) =>
  (value: string): number => {
    const number = Number(value)
    if (!/^\d+$/.test(value) || number < 1 || number > most)
      throw new InvalidArgumentError(`Expected a whole number${of} from 1 to ${most}.`)
    return number
  }

/** Days of validity, up to 100 years. */
export const days = wholeNumber(36_500, ' of days')

/** Allocation weight of a linked hub (dps.md 7.1). */
export const weight = wholeNumber(1_000, '')
