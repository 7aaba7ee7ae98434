import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createCommands } from '../../demo/commands.ts'
import { readBack } from '../../demo/read-back.ts'
import { type FakeService, startFakeService } from '../support/fake-service.ts'

const launcher = join(import.meta.dirname, '..', '..', 'bin', 'muster.js')

test('the demo ends with five devices, each assigned and heard, and leaves nothing behind', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'muster-smoke-'))
  try {
    const env = { ...process.env, TMPDIR: folder }
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [launcher, 'demo'], { env, timeout: 60_000 })
    const rows = stdout.split('\n').filter((line) => line.includes('│ assigned │'))
    expect(rows).toHaveLength(5)
    for (const row of rows) expect(row).toMatch(/│ \S+ +│ site=\w+ +│ partition \d+ +│$/)
    expect(stderr).toBe('')
    // Whatever Node itself puts there is not ours.
    expect(readdirSync(folder).filter((name) => name.startsWith('muster-'))).toEqual([])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 60_000)

let service: FakeService
beforeAll(async () => {
  service = await startFakeService(({ path }) => {
    if (path.endsWith('/devices')) return { body: [{ deviceId: 'd1' }] }
    if (path.startsWith('/twins')) return { body: { tags: { site: 'elsewhere' } } }
    if (path.startsWith('/registrations')) return { body: { status: 'failed', deviceId: 'd1' } }
    if (path === '/IotHubs') return { body: { value: [{ name: 'hub1' }] } }
    if (path.endsWith('/partitions')) return { body: { partitionIds: ['0'] } }
    return { body: { events: [{ position: 0, deviceId: 'd1', properties: { demo: 'somebody-else' } }] } }
  })
})
afterAll(() => service.stop())

test('what is missing is told, one problem at a time', async () => {
  const silent = { say: () => {}, stderr: { write: () => true } }
  const commands = createCommands({ folder: service.folder, readyFile: service.readyFile, ...silent })
  const credential = { kind: 'symmetricKey', key: 'a2V5' } as const
  const device = { provisioningHost: 'h', idScope: 's', registrationId: 'd1', credential }
  const enrolled = { enrollment: 'd1', attestation: 'key', device, tags: { site: 'lisbon' } }
  const [outcome] = await readBack(commands, [enrolled], new Map())
  expect(outcome).toMatchObject({ status: 'failed', message: undefined })
  expect(outcome?.problems).toEqual([
    'expected its registration to be assigned, found failed',
    'expected its twin’s tags, found {"site":"elsewhere"}',
    'expected its message in the log, found none',
  ])
  const [failed] = await readBack(commands, [enrolled], new Map([['d1', '401002']]))
  expect(failed?.problems).toContain('401002')
})
