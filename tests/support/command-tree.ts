import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command, Option } from 'commander'
import { expect } from 'vitest'
import { createProgram } from '../../src/cli/program.ts'
import { muster, type Ran } from './command-line.ts'
import { type FakeService, type Reply, type Seen, startFakeService } from './fake-service.ts'

/** A key that must not be on a screen. */
export const KEY = Buffer.from('a key that nobody asked for, of 64 bytes; it must not be shown!!').toString('base64')

const nothing = { write: () => undefined }
const program = createProgram({ stdout: nothing, stderr: nothing, env: {}, cwd: '/', verbosity: { level: 'notices' } })

const leavesOf = (command: Command): Command[] =>
  command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf)
export const pathOf = (command: Command): string[] =>
  command.parent === null ? [] : [...pathOf(command.parent), command.name()]

/** Every command that asks a service, by its words, out of the tree: a new one is here without being named. */
export const commands = leavesOf(program)
  .filter((command) => command.options.some(({ long }) => long === '--ready-file') && command.name() !== 'up')
  .map((command) => [pathOf(command).join(' '), command] as const)

export const nameOf = ({ long, short }: Option): string => long ?? short ?? ''

/** The options without which the command is not run. */
export const required = (command: Command): Option[] =>
  command.options.filter(({ mandatory, defaultValue }) => mandatory && defaultValue === undefined)

/** What some commands want besides, which their options cannot say: one of two, or all or none. */
const WANTED: Readonly<Record<string, readonly string[]>> = {
  'dps policy create': ['--policy-name', 'new'],
  'hub policy create': ['--name', 'new'],
  'hub device-identity children remove': ['--child-list', 'x'],
  'dps linked-hub create': ['--hub-name', 'x'],
  'dps linked-hub update': ['--allocation-weight', '1'],
  'dps enrollment create': ['--attestation-type', 'symmetricKey'],
  'dps enrollment-group compute-device-key': ['--enrollment-id', 'x'],
  'dps compute-device-key': ['--enrollment-id', 'x'],
  'dps registration explain': ['--registration-id', 'x'],
  // What they write must not be a file that others read.
  'dps enrollment export': ['--file', '-'],
  'dps enrollment-group export': ['--file', '-'],
  'hub device-identity export': ['--file', '-'],
}

/** A service that answers as told, files that are wrong in every way, and commands run against the two. */
export interface HostileWorld {
  readonly service: FakeService
  answer: (seen: Seen) => Reply
  /** What commands are about is found by them, and `answer` told the rest; false: that is asked of `answer` as well. */
  isFound: boolean
  file(name: string): string
  run(command: Command, ...words: string[]): Promise<Ran>
  /** Words with which the command is run, without those of one option. */
  sample(command: Command, without?: Option): string[]
}

export async function hostileWorld(): Promise<HostileWorld> {
  let isManaging = false
  const service = await startFakeService(
    (seen) => world.answer(seen),
    () => world.isFound && !isManaging,
  )
  const file = (name: string): string => join(service.folder, name)
  mkdirSync(file('folder'))
  writeFileSync(file('empty'), '')
  writeFileSync(file('binary'), Buffer.from([0, 255, 254, 13, 10, 0, 200]))
  writeFileSync(file('large'), Buffer.alloc(1024 * 1024 + 1, 'x'))
  writeFileSync(file('secret.json'), `{"password": "${KEY}", broken}`)
  writeFileSync(file('key.pem'), `-----BEGIN PRIVATE KEY-----\n${KEY}\n-----END PRIVATE KEY-----\n`)
  const world: HostileWorld = {
    service,
    answer: () => ({}),
    isFound: true,
    file,
    run: (command, ...words) => {
      // Those of the management API itself have no other service to find.
      isManaging = command.options.every(({ long }) => long !== '--login')
      return muster([...pathOf(command), ...words], { readyFile: service.readyFile, cwd: service.folder })
    },
    sample: (command, without) => {
      const wanted = WANTED[pathOf(command).join(' ')] ?? []
      const certificate = without !== undefined && nameOf(without).endsWith('certificate-path')
      const besides = certificate && wanted.includes('symmetricKey') ? ['--attestation-type', 'x509'] : wanted
      const options = required(command).filter((option) => option !== without && !besides.includes(nameOf(option)))
      const own = options.flatMap((option) => [nameOf(option), ...sampleOf(option, service)])
      return [...own, ...(without !== undefined && besides.includes(nameOf(without)) ? [] : besides)]
    },
  }
  return world
}

/** A value that the option takes. */
function sampleOf({ flags, argChoices }: Option, { caFile }: FakeService): string[] {
  const [, placeholder = ''] = /<(\w+)/.exec(flags) ?? []
  if (argChoices !== undefined) return [argChoices[0]!]
  const samples: Readonly<Record<string, string>> = { file: caFile, json: '{}', base64: KEY, number: '1' }
  return placeholder === '' ? [] : [samples[placeholder] ?? 'x']
}

/** A command ends with a sentence and an exit code of its own, never with a stack trace or the key. */
export function expectSentence({ code, err }: Ran, expectedCode?: number): void {
  if (expectedCode === undefined) expect([0, 1, 2, 3]).toContain(code)
  else expect(code, err).toBe(expectedCode)
  if (code !== 0) expect(err).toMatch(/^(muster|error): ./m)
  expect(err, 'a stack trace').not.toMatch(/\n\s+at /)
  expect(err).not.toContain(KEY)
}
