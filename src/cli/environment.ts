import type { Clock } from '../base/clock.ts'

/** Where a command writes; `process.stdout` fits, and so does a list in a test. */
export interface Output {
  write(text: string): unknown
  /** Whether a person looks at it, who is shown a bar of progress. */
  readonly isTTY?: boolean
}

/** Everything a command knows of the world around it. `main.ts` fills it from `process`, tests by hand. */
export interface Environment {
  readonly stdout: Output
  readonly stderr: Output
  /** Read only by commands that ask for it (`--key -`). */
  readonly stdin?: AsyncIterable<string | Uint8Array> & { readonly isTTY?: boolean }
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Default: the machine's. */
  readonly clock?: Clock
  /** How much is said beside the answer; `run` sets it from the options of the command. Default: notices. */
  readonly verbosity?: { level: Verbosity }
}

/** On standard error: errors only; hints too; a line for each request; what is in each request and answer. */
export type Verbosity = 'errors' | 'notices' | 'verbose' | 'debug'

/** A hint beside the answer, which `--only-show-errors` leaves out. */
export function notice({ stderr, verbosity }: Environment, text: string): void {
  if (verbosity?.level !== 'errors') stderr.write(`muster: ${text}\n`)
}

/** A word of a command that is told to be typed: ids may hold what a shell would take for its own. */
export const typed = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

/** Exit codes, the az CLI's: a script can tell "the service said no" from "you asked wrongly" and "it is not there". */
export const exitCodes = { ok: 0, refused: 1, usage: 2, notFound: 3 } as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** Ends a command with a message for its user: what was expected, what was found, what to do. Never a secret. */
export class CommandError extends Error {
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message: string, options: { cause?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {})
    this.name = 'CommandError'
    this.exitCode = exitCode
  }
}

/** The command line, or a file it names, is not what the command needs (exit code 2). */
export const usage = (message: string, cause?: unknown): CommandError =>
  new CommandError(exitCodes.usage, message, cause === undefined ? {} : { cause })

/** The service, the network or the file system said no (exit code 1). */
export const refused = (message: string, cause?: unknown): CommandError =>
  new CommandError(exitCodes.refused, message, cause === undefined ? {} : { cause })

/** The service does not have what the command names (exit code 3). */
export const notFound = (message: string): CommandError => new CommandError(exitCodes.notFound, message)

/** The whole of standard input as text, at most `bytes` long. */
export async function readStdin(environment: Environment, bytes: number, what: string): Promise<string> {
  const { stdin } = environment
  if (stdin === undefined || stdin.isTTY === true)
    throw usage(`Expected ${what} on standard input, found a terminal. Pipe it in, as in: muster … < file`)
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stdin) {
    const piece = Buffer.from(chunk as string)
    length += piece.length
    if (length > bytes) throw usage(`Expected ${what} of at most ${bytes} bytes on standard input, found more.`)
    chunks.push(piece)
  }
  return Buffer.concat(chunks).toString('utf8')
}
