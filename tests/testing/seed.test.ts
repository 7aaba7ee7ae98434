import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { type Addresses, createApp, createLog, defaults } from '../../src/index.ts'
import { newKey } from '../support/enrollments.ts'
import { restOf } from '../support/rest.ts'

// `muster up --seed FILE`: applied to a data folder once, through the operations of the APIs.

const folders: string[] = []
let folder: string
let seedFile: string
const logged: string[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-seed-'))
  folders.push(folder)
  seedFile = join(folder, 'seed.json')
  logged.length = 0
})
afterAll(() => {
  for (const each of folders) rmSync(each, { recursive: true })
})

interface Started {
  readonly addresses: Addresses
  readonly rest: ReturnType<typeof restOf>
}

/** One run of the service on the data folder. */
async function during<T>(seed: object | undefined, use: (started: Started) => Promise<T>): Promise<T> {
  if (seed !== undefined) writeFileSync(seedFile, JSON.stringify(seed))
  const app = createApp(
    {
      ...defaults,
      dataFolder: join(folder, 'data'),
      hostNames: ['127.0.0.1'],
      ports: { https: 0, mqtts: 0, management: 0 },
      seedFile: seed === undefined ? undefined : seedFile,
    },
    { log: createLog('info', { write: (line) => void logged.push(line) }) },
  )
  const addresses = await app.start()
  try {
    const running = { addresses, ca: readFileSync(app.caFile, 'utf8') }
    return await use({ addresses, rest: restOf(running, addresses.hubs[0]!.connectionString) })
  } finally {
    await app.stop()
  }
}

const VERSION = 'api-version=2021-04-12'
const withDevices = (...ids: string[]) => ({
  provisioningService: { idScope: '0ne00001234' },
  hubs: [{ name: 'muster-hub', devices: ids.map((id) => ({ id })) }],
})

test('once for a data folder: what was deleted since does not come back, a changed seed is not applied', async () => {
  await during(withDevices('a', 'b'), async ({ addresses, rest }) => {
    expect(addresses.idScope).toBe('0ne00001234')
    expect((await rest('GET', `/devices/b?${VERSION}`)).status).toBe(200)
    expect((await rest('DELETE', `/devices/a?${VERSION}`, { headers: { 'If-Match': '*' } })).status).toBe(204)
  })
  await during(withDevices('a', 'b'), async ({ rest }) => {
    expect((await rest('GET', `/devices/a?${VERSION}`)).status).toBe(404)
  })
  expect(logged.filter((line) => line.includes('"level":40'))).toEqual([])
  await during(withDevices('a', 'b', 'c'), async ({ rest }) => {
    expect((await rest('GET', `/devices/c?${VERSION}`)).status).toBe(404)
  })
  expect(logged.some((line) => line.includes('the seed differs'))).toBe(true)
})

test('what is there already stays as it is: so a start that was interrupted is finished by the next', async () => {
  const generation = await during(undefined, async ({ rest }) => {
    const { body } = await rest('PUT', `/devices/a?${VERSION}`, { body: { deviceId: 'a' } })
    return (body as { generationId: string }).generationId
  })
  await during({ hubs: [{ name: 'muster-hub', devices: [{ id: 'a' }, { id: 'b' }] }] }, async ({ rest }) => {
    expect((await rest('GET', `/devices/a?${VERSION}`)).body).toMatchObject({ generationId: generation })
    expect((await rest('GET', `/devices/b?${VERSION}`)).status).toBe(200)
  })
  expect(logged.some((line) => line.includes('"kept":["seed.hubs[0].devices[0]"]'))).toBe(true)
})

test('a seed that an operation refuses makes nothing, not even a data folder, and its keys are not repeated', async () => {
  const primaryKey = `${newKey()}?`
  const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey: newKey() } }
  const seed = { ...withDevices('a'), enrollments: [{ registrationId: 'bad', attestation }] }
  const error = await during(seed, async () => undefined).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(ConfigError)
  expect((error as Error).message).toMatch(/^seed\.enrollments\[0\] \(bad\): .*primaryKey must be /)
  expect((error as Error).message).not.toContain(primaryKey.slice(0, 20))
  expect(existsSync(join(folder, 'data'))).toBe(false)
})

test.each([
  [
    { provisioningService: { idScope: '0ne0' } },
    /^seed\.provisioningService: properties\.idScope must be 0ne and eight/,
  ],
  [{ hubs: [{ name: 'x' }] }, /^seed\.hubs\[0\] \(x\): The name of a hub must be/],
  [{ hubs: [{ name: 'east', devices: [{ id: 'a b' }] }] }, /^seed\.hubs\[0\]\.devices\[0\] \(a b\): /],
  [{ hubs: [{ name: 'east', allocationWeight: 0 }] }, /^seed\.hubs: .*allocationWeight must be/],
  [{ certificates: [{ name: 'root', certificate: 'no PEM' }] }, /^seed\.certificates\[0\] \(root\): /],
  [
    { enrollmentGroups: [{ enrollmentGroupId: 'g', attestation: { type: 'tpm' } }] },
    /^seed\.enrollmentGroups\[0\] \(g\): /,
  ],
])('%j is refused', async (seed, message) => {
  await expect(during(seed, async () => undefined)).rejects.toThrow(message)
})

test('a hub is linked with the policy that may be, whatever stands first', async () => {
  const authorizationPolicies = [
    { keyName: 'device', rights: 'DeviceConnect' },
    { keyName: 'owner', rights: 'RegistryWrite, ServiceConnect' },
  ]
  const seed = { hubs: [{ name: 'east', authorizationPolicies }] }
  await during(seed, async ({ addresses }) => {
    expect(addresses.hubs.map(({ name }) => name)).toEqual(['muster-hub', 'east'])
  })
  const useless = { hubs: [{ name: 'west', authorizationPolicies: authorizationPolicies.slice(0, 1) }] }
  await expect(during(useless, async () => undefined)).rejects.toThrow(
    /^seed\.hubs: .*RegistryWrite and ServiceConnect/,
  )
})

test('another ID scope than the data folder has is refused', async () => {
  await during(undefined, async () => undefined)
  await expect(during(withDevices('a'), async () => undefined)).rejects.toThrow(
    /idScope must be 0ne[0-9A-F]{8}, as the service was created, found "0ne00001234"/,
  )
  await during(undefined, async ({ rest }) => {
    expect((await rest('GET', `/devices/a?${VERSION}`)).status).toBe(404)
  })
})

test('the setting has the names of all settings', () => {
  expect(loadConfig(undefined, { MUSTER_SEED: 'seed.json' }, {}, '/srv').seedFile).toBe('/srv/seed.json')
})
