import { Readable } from 'node:stream'
import type { Clock } from '../../src/base/clock.ts'
import { run } from '../../src/cli/program.ts'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

interface Options {
  readonly cwd?: string
  readonly input?: string
  readonly readyFile?: string
  readonly clock?: Clock
}

/** Runs `muster <words>` in this process. */
export async function muster(words: readonly string[], options: Options = {}): Promise<Ran> {
  const out: string[] = []
  const err: string[] = []
  const code = await run(words, {
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text) },
    ...(options.input !== undefined && { stdin: Readable.from([options.input]) }),
    ...(options.clock && { clock: options.clock }),
    env: options.readyFile === undefined ? {} : { MUSTER_READY_FILE: options.readyFile },
    cwd: options.cwd ?? '/nonexistent',
  })
  return { code, out: out.join(''), err: err.join('') }
}
