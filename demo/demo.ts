import { rmSync } from 'node:fs'
import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Environment, Output } from '../src/cli/environment.ts'
import { type Commands, createCommands } from './commands.ts'
import type { Device } from './device.ts'
import { runDevices } from './devices.ts'
import { enroll, makeCertificates, proveRoot } from './enrollments.ts'
import { type Outcome, readBack } from './read-back.ts'
import { startService } from './service.ts'
import { tableOf } from './table.ts'

/** One device of the demo: how it is enrolled, and what must be true of it in the end. */
export interface Enrolled {
  readonly enrollment: string
  readonly attestation: string
  readonly device: Device
  readonly tags: Readonly<Record<string, string>>
}

/**
 * The main job on real input, from nothing: a service, a CA with proof of possession, an enrollment of each kind, and
 * one device of each provisioned, connected and heard through the unmodified Azure SDKs.
 * @returns what is missing, in a sentence; undefined when everything is as it must be
 */
export async function runDemo(
  options: { readonly keep?: boolean },
  { stdout, stderr }: Pick<Environment, 'stdout' | 'stderr'>,
): Promise<string | undefined> {
  const started = performance.now()
  const folder = await mkdtemp(join(tmpdir(), 'muster-demo-'))
  const endings: (() => Promise<unknown>)[] = []
  const end = async (): Promise<void> => {
    for (const ending of endings.splice(0).reverse()) await ending()
    if (options.keep === true) stdout.write(`Kept: ${folder}\n`)
    // At once: a command that is under way at a Ctrl-C must not write into the folder while it goes.
    else rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
  const interrupt = onInterrupt(end)
  /** After Ctrl-C everything that is under way fails, and nobody needs to know how. */
  const unlessInterrupted = (output: Output): Output => ({ write: (text) => interrupt.came() || output.write(text) })
  const say = (line: string): void => void unlessInterrupted(stdout).write(`${line}\n`)
  try {
    say('Muster demo: one device of each kind, through the unmodified Azure SDKs for Node.')
    const service = await startService(folder, (stop) => endings.push(stop))
    say(`A service of its own listens on ${service.address}, ports 443 (HTTPS) and 8883 (MQTT).`)
    const commands = createCommands({
      folder,
      readyFile: service.readyFile,
      say,
      stderr: unlessInterrupted(stderr),
    })
    const outcomes = await story(commands, say, (stop) => endings.push(stop))
    say(`\n${tableOf(outcomes)}`)
    say(`${((performance.now() - started) / 1000).toFixed(1)} s.`)
    return missingOf(outcomes)
  } finally {
    if (interrupt.came()) await interrupt.exit
    interrupt.forget()
    await end()
  }
}

async function story(
  commands: Commands,
  say: (line: string) => void,
  started: (stop: () => Promise<void>) => void,
): Promise<readonly Outcome[]> {
  say('\nCertificates: a root, intermediates below it, devices.')
  await makeCertificates(commands)
  say('\nProof of possession of the root.')
  await proveRoot(commands)
  say('\nEnrollments.')
  const enrolled = await enroll(commands)
  say('\nDevices: provisioned over HTTPS, connected over MQTT, one message each.')
  const { caFile } = JSON.parse(await readFile(commands.readyFile, 'utf8')) as { caFile: string }
  const devices = enrolled.map(({ device }) => device)
  const failures = await runDevices(devices, caFile, say, started)
  say('\nWhat the service has of them: records, registry, twins, log.')
  return readBack(commands, enrolled, failures)
}

function missingOf(outcomes: readonly Outcome[]): string | undefined {
  const missing = outcomes.flatMap(({ enrolled, problems }) =>
    problems.map((problem) => `${enrolled.device.registrationId}: ${problem}`),
  )
  return missing.length === 0 ? undefined : `The demo is incomplete.\n  ${missing.join('\n  ')}`
}

interface Interrupt {
  came(): boolean
  forget(): void
  /** Never settles: the process ends as soon as everything is cleaned up. */
  readonly exit: Promise<never>
}

/** Ctrl-C leaves nothing behind: no process, no folder. */
function onInterrupt(end: () => Promise<void>): Interrupt {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  let came = false
  const stop = (): void => {
    came = true
    void end().finally(() => process.exit(130))
  }
  for (const signal of signals) process.once(signal, stop)
  return {
    came: () => came,
    forget: () => {
      for (const signal of signals) process.off(signal, stop)
    },
    exit: new Promise<never>(() => {}),
  }
}
