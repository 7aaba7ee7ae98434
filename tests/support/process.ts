import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ReadyFile } from '../../src/index.ts'

const launcher = join(import.meta.dirname, '..', '..', 'bin', 'muster.js')

/** A Muster in a process of its own, as users run it. */
export interface MusterProcess {
  readonly ready: ReadyFile
  readonly pid: number
  readonly ca: string
  readonly token: string
  /** Milliseconds from spawn to the ready file. */
  readonly startMs: number
  /** The newest of what it wrote, log and screen. */
  output(): string
  /** `kill -9`. */
  kill(): Promise<void>
  /** SIGTERM; answers with the exit code. */
  stop(): Promise<number | null>
}

export interface StartedProcess extends MusterProcess {
  /** Reads what it writes no longer, as a pipe whose other end has gone. */
  leave(): void
}

/** Starts `muster up` on any free ports and waits (at most 30 s) until it is ready. */
export async function startProcess(
  dataFolder: string,
  flags: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<StartedProcess> {
  const readyFile = join(dataFolder, '..', 'ready.json')
  rmSync(readyFile, { force: true })
  const started = performance.now()
  const ports = ['--https-port', '0', '--mqtts-port', '0', '--log-level', 'warn']
  const child = spawn(
    process.execPath,
    [launcher, 'up', '--data', dataFolder, '--ready-file', readyFile, ...ports, ...flags],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-10_000)
    })
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  await waitReady(child, readyFile, () => output)
  const startMs = performance.now() - started
  const ready = JSON.parse(readFileSync(readyFile, 'utf8')) as ReadyFile
  return {
    ready,
    startMs,
    output: () => output,
    pid: child.pid ?? 0,
    ca: readFileSync(ready.caFile, 'utf8'),
    token: readFileSync(ready.management.tokenFile, 'utf8').trim(),
    leave: () => {
      child.stdout.destroy()
      child.stderr.destroy()
    },
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}

async function waitReady(child: ChildProcess, readyFile: string, output: () => string): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!existsSync(readyFile)) {
    if (child.exitCode !== null) throw new Error(`muster up ended with ${child.exitCode}:\n${output()}`)
    if (performance.now() > deadline) {
      child.kill('SIGKILL')
      throw new Error(`muster up was not ready within 30 s:\n${output()}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
