import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { Output } from '../src/cli/environment.ts'
import { run } from '../src/cli/program.ts'

/** The command line, as a reader of the demo would type it, in the demo's folder. */
export interface Commands {
  /** Runs `muster …` and answers with what it printed; throws when it did not succeed. */
  muster(...words: readonly string[]): Promise<string>
  /** The same with text on its standard input, for what must not stand on a command line. */
  musterReading(input: string, ...words: readonly string[]): Promise<string>
  /** The same for a command that prints JSON. */
  json(...words: readonly string[]): Promise<unknown>
  /** A file that a command made. */
  file(path: string): Promise<string>
  readonly readyFile: string
}

interface Needs {
  readonly folder: string
  readonly readyFile: string
  readonly say: (line: string) => void
  readonly stderr: Output
}

export function createCommands({ folder, readyFile, say, stderr }: Needs): Commands {
  const execute = async (words: readonly string[], input?: string): Promise<string> => {
    say(`  $ ${input === undefined ? '' : 'echo "$GROUP_KEY" | '}muster ${words.map(quoted).join(' ')}`)
    const printed: string[] = []
    const code = await run(words, {
      stdout: { write: (text) => printed.push(text) },
      stderr,
      ...(input !== undefined && { stdin: Readable.from([input]) }),
      env: { MUSTER_READY_FILE: readyFile },
      cwd: folder,
    })
    if (code !== 0) throw new Error(`Expected "muster ${words.join(' ')}" to succeed, found exit code ${code}.`)
    return printed.join('')
  }
  return {
    muster: (...words) => execute(words),
    musterReading: (input, ...words) => execute(words, input),
    json: async (...words) => JSON.parse(await execute(words)) as unknown,
    file: (path) => readFile(join(folder, path), 'utf8'),
    readyFile,
  }
}

const quoted = (word: string): string => (/^[\w./:@%+=,-]+$/.test(word) ? word : `'${word}'`)
