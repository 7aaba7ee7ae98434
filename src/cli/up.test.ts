import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { temporaryFolder } from '../../tests/support/folders.ts'
import type { Supervised } from '../supervisor.ts'
import { run } from './program.ts'

const supervise = vi.hoisted(() => vi.fn<typeof import('../supervisor.ts').supervise>())
vi.mock('../supervisor.ts', () => ({ supervise }))

test('a store that fails ends the service with its process', async () => {
  const folder = temporaryFolder()
  const readyFile = join(folder, 'ready.json')
  writeFileSync(readyFile, 'of an earlier run')
  const stop = vi.fn(async () => {})
  supervise.mockImplementation(async (_config, _log, opened) => {
    opened?.()
    expect(existsSync(readyFile)).toBe(false)
    return { ...running(folder), failed: Promise.resolve(new Error('its thread ended')), stop }
  })
  let complaints = ''
  const stderr = { write: (text: string) => (complaints += text) }
  const argv = ['up', '--data', folder, '--log-level', 'silent', '--ready-file', readyFile]
  const code = await run(argv, { stdout: { write: () => true }, stderr, env: {}, cwd: folder })
  expect([code, complaints]).toEqual([1, 'muster: The store failed: its thread ended\n'])
  expect(existsSync(readyFile)).toBe(true)
  expect(stop).toHaveBeenCalledOnce()
})

const running = (folder: string): Pick<Supervised, 'addresses' | 'folder'> => ({
  addresses: {
    address: '127.0.0.1',
    ports: { https: 1, mqtts: 2, management: 3 },
    idScope: '0ne00000000',
    dps: { name: 'dps', hostName: 'localhost', connectionString: '' },
    hubs: [],
  },
  folder: {
    ...{ documentsFile: '', telemetryFile: '', managementToken: '' },
    ...{ caFile: join(folder, 'ca.pem'), managementTokenFile: join(folder, 'management-token') },
    tls: { ec: { cert: '', key: '' }, rsa: { cert: '', key: '' } },
    close: () => {},
  },
})
