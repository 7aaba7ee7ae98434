import { type Command, InvalidArgumentError, Option } from 'commander'

/** Options that many commands share, under the names of `az iot dps` and `az iot hub`. */

/** `--output`, for every command that answers with a document. */
export const outputOption = (): Option =>
  new Option('-o, --output <format>', 'form of the answer').choices(['json', 'table', 'none']).default('json')

export const readyFileOption = (): Option =>
  new Option(
    '--ready-file <file>',
    'what "muster up --ready-file" wrote (default: MUSTER_READY_FILE, else ready.json in the data folder)',
  )

/** Which provisioning service, and how the answer is printed. */
export const dpsTargetOptions = (command: Command): Command =>
  serviceTargetOptions(command.option('-n, --dps-name <name>', 'name of the provisioning service'))

/** Which hub, and how the answer is printed. */
export const hubTargetOptions = (command: Command): Command =>
  serviceTargetOptions(command.option('-n, --hub-name <name>', 'name of the hub; not needed when there is only one'))

const serviceTargetOptions = (command: Command): Command =>
  command
    .addOption(readyFileOption())
    .option('-l, --login <string>', 'connection string of a shared access policy, in place of the ready file')
    .option('--ca <file>', 'certificate authority of the service, PEM (default: the ready file’s)')
    .addOption(outputOption())

/** For commands over the management API. `-n` stays free for the thing that they name. */
export const managementTargetOptions = (command: Command): Command =>
  command.addOption(readyFileOption()).addOption(outputOption())

export const dpsNameOption = (): Option =>
  new Option('--dps-name <name>', 'name of the provisioning service; not needed when there is only one')

export const etagOption = (): Option => new Option('-e, --etag <etag>', 'only if the record still has this etag')

export const topOption = (): Option =>
  new Option('--top <number>', 'at most so many; -1: all').argParser((value) => {
    const number = Number(value)
    if (!Number.isInteger(number) || number === 0 || number < -1)
      throw new InvalidArgumentError('Expected a whole number from 1, or -1.')
    return number === -1 ? Number.POSITIVE_INFINITY : number
  })

/** The value in the set's own spelling; the az CLI compares without regard to case. */
export const anyCase =
  (...allowed: readonly string[]) =>
  (value: string): string => {
    const found = allowed.find((each) => each.toLowerCase() === value.toLowerCase())
    if (found === undefined) throw new InvalidArgumentError(`Expected one of ${allowed.join(', ')}.`)
    return found
  }

/** The az CLI's three-state flag: absent, `--flag`, `--flag true|false`. */
export const flagOption = (flags: string, description: string): Option =>
  new Option(`${flags} [true|false]`, description)
    .preset('true')
    .argParser((value) => anyCase('true', 'false')(value) === 'true')

const wholeNumber =
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
