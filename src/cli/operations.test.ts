import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type FakeService, type Seen, startFakeService } from '../../tests/support/fake-service.ts'
import { temporaryFolder } from '../../tests/support/folders.ts'
import { run } from './program.ts'

// `muster health`, `backup` and `restore` as words and exit codes; what they do is in tests/backup.test.ts and tests/faults.
let answers: unknown[] = []
let service: FakeService
beforeAll(async () => {
  service = await startFakeService(() => ({ status: 200, body: JSON.stringify(answers.shift()) }))
})
afterAll(() => service.stop())
beforeEach(() => {
  answers = []
})

async function muster(...argv: string[]) {
  const [out, err]: string[][] = [[], []]
  const code = await run(argv, {
    stdout: { write: (text) => out!.push(text) },
    stderr: { write: (text) => err!.push(text) },
    env: {},
    cwd: service.folder,
  })
  return { code, out: out!.join(''), err: err!.join('') }
}

const asked = (): readonly Seen[] => service.seen

test('health is exit code 0 when ready, and 1 with the reasons when not', async () => {
  const ready = ['health', '--ready-file', service.readyFile]
  answers = [{ ready: true, missing: [] }]
  expect(await muster(...ready)).toEqual({ code: 0, out: 'ready\n', err: '' })
  expect(asked().at(-1)).toMatchObject({ method: 'GET', path: '/muster/status' })
  answers = [{ ready: false, missing: ['1 of 2 threads do not listen', 'the telemetry store cannot be written: full'] }]
  const refused = await muster(...ready)
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('do not listen; the telemetry store') })
})

test('health without a service is not ready; a wrong --ready-file is a wrong command line', async () => {
  expect(await muster('health')).toMatchObject({ code: 1, err: expect.stringContaining('Not ready: ') })
  expect(await muster('health', '--ready-file', 'nowhere.json')).toMatchObject({ code: 2 })
})

test('backup asks until it is complete, shows how far it is, and says what is in it', async () => {
  const to = join(service.folder, 'copy')
  answers = [
    { state: 'running', to, bytes: 0, ofBytes: 4_000_000 },
    { state: 'running', to, bytes: 2_100_000, ofBytes: 4_000_000 },
    { state: 'succeeded', to, bytes: 4_000_000 },
  ]
  const { code, out, err } = await muster('backup', '--to', 'copy', '--ready-file', service.readyFile)
  expect([code, err]).toEqual([0, '50 % of 4.0 MB copied\n'])
  expect(out).toMatch(/copy is complete\. It holds private keys/)
  expect(
    asked()
      .slice(-3)
      .map(({ method, path, body }) => [method, path, body]),
  ).toEqual([
    ['POST', '/muster/backup', { to }],
    ['GET', '/muster/backup?wait=true', undefined],
    ['GET', '/muster/backup?wait=true', undefined],
  ])
})

test('a backup that fails, and one that somebody else began meanwhile, are told', async () => {
  const to = join(service.folder, 'copy')
  const argv = ['backup', '--to', to, '--ready-file', service.readyFile]
  answers = [{ state: 'failed', to, error: 'The disk is full.' }]
  expect(await muster(...argv)).toMatchObject({ code: 1, err: expect.stringContaining('The disk is full.') })
  answers = [
    { state: 'running', to },
    { state: 'running', to: '/other' },
  ]
  expect(await muster(...argv)).toMatchObject({ code: 1, err: expect.stringContaining('Another backup') })
})

test('a folder at rest is named with --data, and must be one', async () => {
  const folder = temporaryFolder()
  const to = join(folder, 'copy')
  expect(await muster('backup', '--to', to, '--data', folder)).toMatchObject({
    code: 1,
    err: expect.stringContaining('found no documents.db there'),
  })
  expect(readdirSync(folder)).toEqual([])
  const both = ['backup', '--to', to, '--data', folder, '--ready-file', service.readyFile]
  expect(await muster(...both)).toMatchObject({ code: 2, err: expect.stringContaining('found both') })
})

test('restore says what is wrong with a folder that is no backup, and makes nothing', async () => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'from'))
  writeFileSync(join(folder, 'from', 'manifest.json'), 'nonsense')
  const argv = ['restore', '--from', join(folder, 'from'), '--data', join(folder, 'data')]
  expect(await muster(...argv)).toMatchObject({ code: 1, err: expect.stringContaining('that is not JSON') })
  expect(readdirSync(folder)).toEqual(['from'])
})
