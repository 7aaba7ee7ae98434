import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  commands,
  expectSentence,
  type HostileWorld,
  hostileWorld,
  KEY,
  nameOf,
  pathOf,
} from '../support/command-tree.ts'
import type { Reply, Seen } from '../support/fake-service.ts'

// Issue 4, acceptance 5: IDs of any characters, services that answer anything, and no key on the screen that was not
// asked for, for every command of the tree. src/cli/hostile.test.ts has what is refused before anything is sent.
let world: HostileWorld

beforeAll(async () => {
  world = await hostileWorld()
})
afterAll(() => world.service.stop())

describe.each(commands)('%s', (_path, command) => {
  test('IDs and names of any characters stay within one segment of the path', async () => {
    world.answer = () => ({ status: 404, body: { errorCode: 404201, message: 'not here' } })
    for (const option of command.options.filter(({ flags }) => /<(id|name|host)>/.test(flags)))
      for (const id of ['../..', 'a/b?c#d', '%2e%2e', 'ü\u0000\r\n\u001b[2J', ' ', 'x'.repeat(5_000), '\ud800']) {
        const before = world.service.seen.length
        expectSentence(await world.run(command, ...world.sample(command, option), nameOf(option), id))
        for (const { path } of world.service.seen.slice(before))
          expect(path).toMatch(/^\/[\w/%.~!*'()-]*(\?[\w=&%.+-]*)?$/)
        for (const { path } of world.service.seen.slice(before))
          expect(path.split('?')[0]!.split('/').length).toBeLessThan(7)
      }
  })

  test('keys in answers are not shown', async () => {
    world.answer = tell
    // What these are for.
    const tells = /compute-device-key|connection-string show|derive/.test(pathOf(command).join(' '))
    for (const words of [[], ['-o', 'table'], ['-o', 'tsv'], ['--query', '@'], ['--verbose'], ['--debug']]) {
      const ran = await world.run(command, ...world.sample(command), ...words)
      expectSentence(ran)
      expect(ran.err).not.toContain(KEY)
      if (!tells) expect(ran.out).not.toContain(KEY)
    }
  })

  test.runIf(command.options.some(({ long }) => long === '--show-keys'))('and are shown to who asks', async () => {
    world.answer = tell
    const ran = await world.run(command, ...world.sample(command), '--show-keys')
    expectSentence(ran, 0)
    expect(ran.out).toContain(KEY)
  })

  test('keys in refusals are not shown', async () => {
    const told = `SharedAccessKey=${KEY} and SharedAccessSignature sr=x&sig=${encodeURIComponent(KEY)}&se=1 Bearer ${KEY}`
    // The second has no message of its own, so that its document is told.
    for (const body of [{ errorCode: 400004, message: told }, keysOnly])
      for (const words of [[], ['--debug']]) {
        world.answer = () => ({ status: 400, body })
        const ran = await world.run(command, ...world.sample(command), ...words)
        expectSentence(ran)
        expect(ran.err).not.toContain(encodeURIComponent(KEY))
      }
  })
})

/** An answer that fits most questions, with keys wherever the services have them. */
const keys = { primaryKey: KEY, secondaryKey: KEY }
const keysOnly = { attestation: { symmetricKey: keys }, connectionString: `SharedAccessKey=${KEY}` }
const telling = {
  name: 'x',
  etag: '"1"',
  registrationId: 'x',
  deviceId: 'x',
  moduleId: 'x',
  capabilities: { iotEdge: true },
  deviceScope: 'ms-azure-iot-edge://x-1',
  parentScopes: ['ms-azure-iot-edge://x-1'],
  rotatedKeys: [{ id: 'x', moduleId: null, ...keys }],
  errors: [],
  keyName: 'x',
  rights: 'x',
  ...keys,
  attestation: { type: 'symmetricKey', symmetricKey: keys },
  authentication: { type: 'sas', symmetricKey: keys },
  symmetricKey: keys,
  type: 'symmetricKey',
  customAllocationDefinition: { webhookUrl: `https://x/?code=${KEY}`, apiVersion: '2019-03-31' },
  properties: {
    hostName: 'x.example.net',
    serviceOperationsHostName: 'x.example.net',
    authorizationPolicies: [{ keyName: 'x', ...keys, rights: 'x' }],
    iotHubs: [{ name: 'x', connectionString: `HostName=x;SharedAccessKeyName=y;SharedAccessKey=${KEY}` }],
  },
}

const policies = ['x', 'other'].map((keyName) => ({ keyName, rights: 'x', ...keys }))

/** Lists of the service APIs are arrays, those of the management API members of an object. */
function tell({ path }: Seen): Reply {
  if (/query\?|\/(devices|modules)(\?|$)/.test(path)) return { body: [telling] }
  return { body: { ...telling, value: path.endsWith('/listkeys') ? policies : [telling] } }
}

test.each([
  ['no JSON', { body: '<html>' }],
  ['a text', { body: '"text"' }],
  ['a list of nothing', { body: '[null]' }],
  ['null', { body: 'null' }],
  ['nothing', { status: 200 }],
  ['a redirect', { status: 307, headers: { location: 'https://elsewhere.example.net' } }],
] as const)('a service that answers %s', async (_what, reply) => {
  world.answer = () => reply as Reply
  for (const isFound of [false, true]) {
    world.isFound = isFound
    for (const [, command] of commands) expectSentence(await world.run(command, ...world.sample(command)))
  }
})
