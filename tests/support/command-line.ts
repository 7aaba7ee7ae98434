import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { Clock } from '../../src/base/clock.ts'
import { run } from '../../src/cli/program.ts'
import type { TestMuster } from './muster.ts'

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

/** Writes the ready file of a Muster in this process, as `muster up` would, and answers with its path. */
export function writeReadyFile({ app, addresses, folder }: TestMuster): string {
  const readyFile = join(folder, 'ready.json')
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, app.managementToken)
  const management = { url: `http://127.0.0.1:${addresses.ports.management}`, tokenFile }
  writeFileSync(readyFile, JSON.stringify({ ...addresses, caFile: app.caFile, management }))
  return readyFile
}
