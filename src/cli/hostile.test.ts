import { writeFileSync } from 'node:fs'
import type { Command, Option } from 'commander'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import {
  commands,
  expectSentence,
  type HostileWorld,
  hostileWorld,
  KEY,
  nameOf,
  required,
} from '../../tests/support/command-tree.ts'

// Issue 4, acceptance 5, as far as nothing is sent: whatever is typed, a command ends with a sentence and an exit code.
// tests/strangers/command-line.test.ts has what services answer.
let world: HostileWorld

beforeAll(async () => {
  world = await hostileWorld()
})
afterAll(() => world.service.stop())

/** As `expectSentence`, and the service was not asked. */
async function refusedUnsent(command: Command, words: readonly string[], complaint: string | RegExp): Promise<void> {
  const { seen } = world.service
  const before = seen.length
  const ran = await world.run(command, ...words)
  expectSentence(ran, 2)
  expect(ran.err).toMatch(complaint)
  expect(ran.out).toBe('')
  expect(seen).toHaveLength(before)
}

test('there are commands', () => expect(commands.length).toBeGreaterThan(40))

/** Options that an earlier command of the same group has not had: the others are read by the same code. */
function firstOfTheirKind(command: Command, wanted: (option: Option) => boolean): Option[] {
  return command.options.filter(wanted).filter(({ flags }) => {
    const kind = `${command.parent?.name()} ${flags}`
    return !met.has(kind) && met.add(kind)
  })
}
const met = new Set<string>()

describe.each(commands)('%s', (_path, command) => {
  test('an unknown option', () => refusedUnsent(command, [...world.sample(command), '--frobnicate'], /'--frobnicate'/))

  test('each option that must be there is missed by name', async () => {
    for (const option of required(command))
      await refusedUnsent(command, world.sample(command, option), `required option '${option.flags}' not specified`)
  })

  test('options with a closed set of values take no other', async () => {
    for (const option of firstOfTheirKind(command, ({ argChoices }) => argChoices !== undefined))
      await refusedUnsent(command, [...world.sample(command, option), nameOf(option), 'nonsense'], /Expected one of /)
  })

  test('files that are none', async () => {
    for (const option of firstOfTheirKind(command, ({ flags }) => flags.includes('<file>'))) {
      const given = async (name: string, complaint: RegExp): Promise<void> => {
        const words = [...world.sample(command, option), nameOf(option), world.file(name)]
        // The CA counts only where a service is named.
        const login = nameOf(option) === '--ca' ? ['--login', world.service.connectionString] : []
        await refusedUnsent(command, [...words, ...login], complaint)
      }
      await given('absent', /no such file/)
      await given('folder', /found a folder/)
      await given('large', /more than 1048576 bytes/)
      for (const name of ['empty', 'binary', 'secret.json', 'key.pem']) await given(name, /^muster: Expected /)
    }
  })

  test('JSON that is none', async () => {
    for (const option of command.options.filter(({ flags }) => flags.includes('<json>'))) {
      const rest = [...world.sample(command, option), nameOf(option)]
      for (const text of ['{', `{"password": "${KEY}", broken}`, `{'a': '${KEY}'`, '{"a":1}}'])
        await refusedUnsent(command, [...rest, text], /found text that is not JSON/)
      for (const name of ['secret.json', 'binary'])
        await refusedUnsent(command, [...rest, world.file(name)], /not JSON/)
      await refusedUnsent(command, [...rest, '[1]'], /no such file/)
      await refusedUnsent(command, [...rest, world.file('folder')], /found a folder/)
    }
  })
})

const service1 = 'SharedAccessKeyName=p;SharedAccessKey='

test('a key in a place where none belongs is not repeated', async () => {
  const [, command] = commands[0]!
  await refusedUnsent(command, [`--primary-kye=${KEY}`], /unknown option '--primary-kye'/)
  await refusedUnsent(command, ['-o', 'json', KEY, KEY], /too many arguments/)
})

test.each([
  ['', 'found no HostName'],
  [';;;', 'found no HostName'],
  ['=;=', 'found no HostName'],
  [`HostName=;${service1}${KEY}`, 'found no HostName'],
  [`HostName=h;SharedAccessKey=${KEY}`, 'found no SharedAccessKeyName'],
  [`HostName=h;${service1}`, 'found no SharedAccessKey'],
  [`HostName=h;${service1}not base64 ${KEY}`, 'Expected SharedAccessKey to be base64'],
  [`HostName=h;${service1}c2hvcnQ=`, 'Expected SharedAccessKey to be base64'],
  ...['a b', 'https://h', 'h/path', 'u@h', 'h:0', 'h:99999', 'h:', '[::1', 'h\r\nX: y', 'ü'].map((host) => [
    `HostName=${host};${service1}${KEY}`,
    'Expected HostName in the connection string to be',
  ]),
])('the connection string %j', async (login, complaint) => {
  const ran = await muster(['dps', 'enrollment', 'list', '--login', login])
  expectSentence(ran, 2)
  expect(ran.err).toContain(complaint)
})

test.each([
  ['text', `${KEY}`],
  ['broken JSON', `{"dps": {"connectionString": "HostName=h;${service1}${KEY}" "x`],
  ['a list', '[]'],
  ['another document', `{"primaryKey": "${KEY}"}`],
  ['no URL', `{"address": "x", "management": {"url": "not a url", "tokenFile": "x"}}`],
])('a ready file that is %s', async (_what, content) => {
  writeFileSync(world.file('other.json'), content)
  for (const words of [['enrollment', 'list'], ['list']]) {
    const ran = await muster(['dps', ...words, '--ready-file', world.file('other.json')])
    expectSentence(ran, 2)
    expect(ran.err).toContain('Expected the ready file that "muster up" writes at')
  }
})
