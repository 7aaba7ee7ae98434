import { afterAll, beforeAll, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { type FakeService, startFakeService } from '../../tests/support/fake-service.ts'

// What the az CLI prints for the same answers was seen with its own output module (knack 0.14); its tables have a line
// below the head as well.
const answer = [
  { registrationId: 'b', etag: '"2"', capabilities: { iotEdge: true }, attestation: { type: 'x509' }, tags: [1, 2] },
  { registrationId: 'a\u001b[2J', etag: '"1"', capabilities: { iotEdge: false }, attestation: { type: 'tpm' } },
]
let service: FakeService
const list = (...words: string[]) =>
  muster(['dps', 'enrollment', 'list', ...words], { readyFile: service.readyFile, cwd: service.folder })

beforeAll(async () => {
  service = await startFakeService(() => ({ body: answer }))
})
afterAll(() => service.stop())

test.each([
  [[], `${JSON.stringify(answer, null, 2)}\n`],
  [['--output', 'none'], ''],
  [['-o', 'JSON', '--query', '[].registrationId | [0]'], '"b"\n'],
  [['--query', '[0].nothing'], ''],
  [['--query', '[0].constructor'], ''],
  [['--query', '[].nothing'], '[]\n'],
  [['-o', 'tsv', '--query', '[].registrationId | [0]'], 'b\n'],
  [
    ['--output=tsv', '--query=[].[registrationId, capabilities.iotEdge, tags, capabilities, nothing]'],
    /^b\tTrue\t2\t\tNone\n/,
  ],
  [['-o', 'tsv', '--query', '[].{one: registrationId, edge: capabilities.iotEdge} | [0]'], 'b\tTrue\n'],
  [['-o', 'tsv', '--query', '[].capabilities.iotEdge'], 'true\nfalse\n'],
  [['-o', 'tsv', '--query', '[].nothing'], ''],
  [['-o', 'tsv', '--query', '[?registrationId==`b`].attestation.type'], 'x509\n'],
  [['-o', 'tsv', '--query', '[?capabilities.iotEdge==`true`] | length(@)'], '1\n'],
  [['-o', 'tsv', '--query', "[?contains(registrationId, 'b')].[registrationId, etag]"], 'b\t"2"\n'],
  [['-o', 'tsv', '--query', 'length(@)'], '2\n'],
  [['-o', 'tsv'], /^\t\t"2"\tb\t2\n/],
  [['-o', 'table'], /^Registration ID {2}Attestation .*\nb +x509 .*\na·\[2J +tpm /],
  [
    ['-o', 'table', '--query', '[].{Name: registrationId, Edge: capabilities.iotEdge}'],
    /^Name +Edge\nb +true\na·\[2J +false\n$/,
  ],
  [['-o', 'table', '--query', '[].[registrationId, etag]'], /^Column1 +Column2\nb +"2"\n/],
  [['-o', 'table', '--query', '[0]'], 'RegistrationId\nb\n'],
  [['-o', 'table', '--query', 'length(@)'], 'Result\n2\n'],
  [['-o', 'table', '--query', '[].nothing'], ''],
] as const)('%j', async (words, expected) => {
  const ran = await list(...words)
  expect(ran).toMatchObject({ code: 0, err: '' })
  if (typeof expected === 'string') expect(ran.out).toBe(expected)
  else expect(ran.out).toMatch(expected)
})

test.each([
  [['-o', 'yaml'], 'Expected one of json, table, tsv, none.'],
  [['-o', 'jsonc'], 'Expected one of json, table, tsv, none.'],
  [['--query', '[].{'], 'Expected --query to be a JMESPath expression'],
  [['--query', ''], 'Expected --query to be a JMESPath expression'],
  [['--query', '('.repeat(4_096)], 'nested too deeply'],
  [['--query', 'a'.repeat(4_097)], 'at most 4096 characters, found 4097'],
])('%j is wrong usage, and nothing is sent', async (words, complaint) => {
  const before = service.seen.length
  const ran = await list(...words)
  expect(ran).toMatchObject({ code: 2, out: '' })
  expect(ran.err).toContain(complaint)
  expect(service.seen).toHaveLength(before)
})

test('a function that does not take what the answer holds is a refusal', async () => {
  const ran = await list('--query', 'abs(@)')
  expect(ran).toMatchObject({ code: 1, out: '' })
  expect(ran.err).toMatch(/^muster: Expected --query "abs\(@\)" to fit the answer, found Invalid type/)
})

test('--verbose names the requests, --debug shows them, neither a credential', async () => {
  const verbose = await list('--verbose', '-o', 'none')
  expect(verbose.err).toMatch(
    /^(muster: \w+ http:\/\/127.*\n)*muster: POST https:\/\/127\.0\.0\.1:\d+\/enrollments\/query\?api-version=2021-10-01 200, \d+ ms\n$/,
  )
  const debug = await list('--debug', '-o', 'none')
  expect(debug.err).toContain('muster: > {"query":"SELECT *"}\n')
  expect(debug.err).toContain('muster: < [{"registrationId":"b"')
  expect(debug.err).not.toMatch(/SharedAccessSignature|sig=/i)
})

test('what the az CLI takes everywhere is taken', async () => {
  const ran = await list('-g', 'group', '--subscription', 'mine', '--auth-type', 'key', '--only-show-errors')
  expect(ran).toMatchObject({ code: 0, err: '' })
  const login = await list('--auth-type', 'login')
  expect([login.code, login.err]).toEqual([2, expect.stringContaining('Microsoft Entra ID is not here')])
})
