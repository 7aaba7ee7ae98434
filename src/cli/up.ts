import { mkdirSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { createLog } from '../base/log.ts'
import { ConfigError, loadConfig, settings, type Values } from '../config.ts'
import { CommandError, type Environment, exitCodes, refused, usage } from './environment.ts'

/** `muster up`: starts the services and stays until it is told to stop. */
export function upCommand(program: Command, environment: Environment): void {
  const command = program
    .command('up')
    .description('start the provisioning service and a hub; the data folder is made at the first start')
    .option('--config <file>', 'JSON file of the settings below')
    .option('--ready-file <file>', 'write addresses and credentials there (JSON, mode 0600) once everything listens')
  for (const { name, help } of settings) {
    if (name === 'host') command.option('--host <name...>', help)
    else command.option(`--${name} <${PATHS.get(name) ?? 'value'}>`, help)
  }
  command.action(async (flags: Record<string, string | string[] | undefined>) => {
    await up(flags, environment)
  })
}

/** Settings that are paths: help says so, and completion offers files. */
const PATHS: ReadonlyMap<string, string> = new Map([
  ['data', 'folder'],
  ['certificate', 'file'],
  ['certificate-key', 'file'],
  ['outbound-ca', 'file'],
])

async function up(flags: Record<string, string | string[] | undefined>, environment: Environment): Promise<void> {
  const absolute = (path: string): string => (isAbsolute(path) ? path : resolve(environment.cwd, path))
  const config = await configOf(flags, environment)
  const log = createLog(config.logLevel)
  const { supervise } = await import('../supervisor.ts')
  const { readyFileOf, writeReadyFile } = await import('../ready-file.ts')
  const file = flags['readyFile'] === undefined ? undefined : absolute(String(flags['readyFile']))
  // The data folder's own copy is what other commands look for by themselves.
  const readyFiles = [join(config.dataFolder, 'ready.json'), ...(file === undefined ? [] : [file])]
  // What an earlier run left there would be taken for this one's, before anything listens.
  const opened = (): void => {
    for (const each of readyFiles) withReadyFile(each, () => rmSync(each, { force: true }))
  }
  const service = await supervise(config, log, opened).catch((error: unknown) => {
    throw startError(error)
  })
  // Before anybody is told that it runs: whoever reads the ready file may stop it at once.
  const stopped = stopSignal()
  try {
    const ready = readyFileOf(service.addresses, service.folder)
    for (const each of readyFiles)
      withReadyFile(each, () => {
        mkdirSync(dirname(each), { recursive: true })
        writeReadyFile(each, ready)
      })
    environment.stdout.write(greeting(ready, config.dataFolder, config.hostNames))
    const ended = await Promise.race([stopped, service.failed])
    if (ended instanceof Error) throw new CommandError(exitCodes.refused, `The store failed: ${ended.message}`)
    environment.stdout.write('Stopping.\n')
  } finally {
    // After a failure too: threads that live on would keep a process that nobody restarts.
    await service.stop()
  }
}

/** Without its ready file nobody would ever be told that it runs. */
function withReadyFile(file: string, work: () => void): void {
  try {
    work()
  } catch (cause) {
    throw refused(
      `Expected to write the ready file ${file}, found ${(cause as Error).message}. Muster has stopped.`,
      cause,
    )
  }
}

async function configOf(flags: Record<string, string | string[] | undefined>, environment: Environment) {
  try {
    const file = flags['config'] === undefined ? undefined : await readConfigFile(String(flags['config']), environment)
    // commander hands over `--https-port` as httpsPort
    const values: Values = Object.fromEntries(
      settings.map(({ name }) => [name, flags[name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())]]),
    )
    return loadConfig(file, environment.env, values, environment.cwd)
  } catch (error) {
    if (error instanceof ConfigError) throw usage(error.message, error)
    throw error
  }
}

async function readConfigFile(path: string, environment: Environment): Promise<unknown> {
  try {
    return JSON.parse(await readFile(resolve(environment.cwd, path), 'utf8')) as unknown
  } catch (cause) {
    throw usage(
      `Cannot read the configuration file ${path}: ${cause instanceof Error ? cause.message : 'unknown'}.`,
      cause,
    )
  }
}

const startError = (error: unknown): CommandError =>
  error instanceof ConfigError
    ? usage(error.message, error)
    : new CommandError(exitCodes.refused, error instanceof Error ? error.message : String(error), { cause: error })

const stopSignal = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve())
  })

interface Greeted {
  readonly caFile: string
  readonly idScope: string
  readonly management: { readonly url: string; readonly tokenFile: string }
  readonly dps: { readonly hostName: string }
  readonly hubs: readonly { readonly name: string; readonly hostName: string }[]
  readonly address: string
}

/** What a person needs next: where things are, never a key. */
function greeting(ready: Greeted, dataFolder: string, hostNames: readonly string[]): string {
  const names = hostNames.filter((name) => name !== ready.address && name !== 'localhost')
  return [
    'Muster is ready.',
    `  provisioning   ${ready.dps.hostName}   ID scope ${ready.idScope}`,
    ...ready.hubs.map((hub) => `  hub            ${hub.hostName}   (${hub.name})`),
    `  management     ${ready.management.url}   token in ${ready.management.tokenFile}`,
    `  trust this CA  ${ready.caFile}   (Node SDKs: NODE_EXTRA_CA_CERTS)`,
    `  everything a script needs: ${join(dataFolder, 'ready.json')}`,
    ...(names.length === 0
      ? []
      : [`  if the names do not resolve, add to /etc/hosts:  ${ready.address} ${names.join(' ')}`]),
    'Stop with Ctrl-C.',
    '',
  ].join('\n')
}
