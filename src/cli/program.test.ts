import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { Command } from 'commander'
import { expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { createProgram } from './program.ts'

const golden = join(import.meta.dirname, '..', '..', 'tests', 'golden', 'cli')

/** Every command with subcommands or options of its own; the text is a contract with people and their notes. */
const commands = [
  '',
  'certs',
  'certs root',
  'certs intermediate',
  'certs device',
  'certs verification',
  'certs create-root-and-intermediate',
  'completion',
  'derive-key',
  'demo',
  'dps',
  'dps create',
  'dps update',
  'dps allocation-policy update',
  'dps connection-string show',
  'dps enrollment',
  'dps enrollment create',
  'dps enrollment update',
  'dps enrollment registration show',
  'dps enrollment-group compute-device-key',
  'dps enrollment-group create',
  'dps enrollment-group list',
  'dps registration list',
  'dps registration explain',
  'dps certificate create',
  'dps certificate verify',
  'dps linked-hub create',
  'dps linked-hub update',
  'dps policy create',
  'dps policy renew-key',
  'tpm',
  'hub',
  'hub list',
  'hub create',
  'hub policy create',
  'hub device-identity create',
  'hub device-identity update',
  'hub device-identity renew-key',
  'hub device-identity children',
  'hub module-identity create',
]

test.each(commands)('help of "muster %s" reads as it did', async (command) => {
  const ran = await muster([...command.split(' ').filter(Boolean), '--help'])
  expect(ran).toMatchObject({ code: 0, err: '' })
  const file = join(golden, `help${command === '' ? '' : `-${command.replaceAll(' ', '-')}`}.txt`)
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, ran.out)
  expect(ran.out, 'UPDATE_GOLDEN=1 rewrites it').toBe(readFileSync(file, 'utf8'))
})

test('every command and every option says what it is, and those that answer have the same options for it', () => {
  const silent = { write: () => undefined }
  const tree = createProgram({ stdout: silent, stderr: silent, env: {}, cwd: '/', verbosity: { level: 'notices' } })
  const check = (command: Command): void => {
    const help = command.createHelp()
    for (const child of help.visibleCommands(command)) expect(child.description(), child.name()).not.toBe('')
    const options = help.visibleOptions(command)
    for (const option of options) expect(option.description, `${command.name()} ${option.flags}`).not.toBe('')
    const names = options.map(({ long }) => long)
    if (names.includes('--output'))
      expect(names).toEqual(expect.arrayContaining(['--query', '--only-show-errors', '--verbose', '--debug']))
    expect(new Set(options.flatMap(({ short, long }) => [short, long].filter(Boolean))).size).toBe(
      options.flatMap(({ short, long }) => [short, long].filter(Boolean)).length,
    )
    for (const child of command.commands) check(child)
  }
  check(tree)
})

test('the version is the package’s', async () => {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8'))
  expect(await muster(['--version'])).toEqual({ code: 0, out: `${version}\n`, err: '' })
})

test.each([[[]], [['frobnicate']], [['dps']], [['dps', 'enrollment', 'create']], [['derive-key', '--colour', 'red']]])(
  'wrong usage %j ends with code 2 and says so',
  async (words) => {
    const ran = await muster(words)
    expect(ran).toMatchObject({ code: 2, out: '' })
    expect(ran.err).not.toBe('')
  },
)

/** What `muster --help` loads: the files that imports reach without a command being run. */
function loadedBy(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen
  seen.add(file)
  const imports = readFileSync(file, 'utf8').matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)'/gm)
  for (const [, target = ''] of imports) {
    if (target.startsWith('.')) loadedBy(join(dirname(file), target), seen)
    else seen.add(target)
  }
  return seen
}

test('help loads the words of the commands, and nothing that they work with', () => {
  const loaded = [...loadedBy(join(import.meta.dirname, 'program.ts'))]
  const packages = loaded.filter((name) => !name.startsWith('/') && !name.startsWith('node:'))
  expect(packages.sort()).toEqual(['commander', 'pino'])
  const rooms = new Set(
    loaded
      .filter((name) => name.startsWith('/'))
      .map((name) => dirname(relative(join(import.meta.dirname, '..'), name))),
  )
  expect([...rooms].sort()).toEqual(['.', 'base', 'cli'])
})
