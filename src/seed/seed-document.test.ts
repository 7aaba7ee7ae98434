import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { limits } from '../base/limits.ts'
import { parseSeed, readSeed, SeedError } from './seed-document.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-seed-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const refused: readonly (readonly [document: unknown, message: string])[] = [
  [[], 'seed must be a JSON object, found an array.'],
  [
    { devices: [] },
    'seed must have no other members than provisioningService, hubs, certificates, enrollmentGroups, enrollments, found "devices".',
  ],
  [{ hubs: {} }, 'seed.hubs must be an array, found an object.'],
  [{ hubs: [{}] }, 'seed.hubs[0].name must be a value, found nothing.'],
  [{ hubs: [{ name: 'a', sku: {} }] }, 'seed.hubs[0] must have no other members than name, hostNames,'],
  [
    { hubs: [{ name: 'a', devices: [{ deviceId: 'x' }] }] },
    'seed.hubs[0].devices[0].id must be a value, found nothing.',
  ],
  [
    { enrollments: [{ registrationId: 'a' }, { registrationId: 'a' }] },
    'seed.enrollments[1].registrationId must be another one than seed.enrollments[0] has, found "a".',
  ],
  [{ provisioningService: { idScope: 7 } }, 'seed.provisioningService.idScope must be a string, found a number.'],
  [{ provisioningService: { name: 'x' } }, 'seed.provisioningService must have no other members than'],
  [
    { certificates: [{ name: 'root' }] },
    'seed.certificates[0].certificate must be PEM text, or certificateFile a file of it, found neither.',
  ],
  [{ certificates: [{ name: 'root', certificate: 'x', certificateFile: 'y' }] }, 'found both.'],
  [
    { certificates: [{ name: 'root', certificateFile: 'none.pem' }] },
    'seed.certificates[0].certificateFile must be a file that can be read, found no such file at',
  ],
]

test.each(refused)('%j is refused with its place', async (document, message) => {
  const error = await parseSeed(document, folder).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(SeedError)
  expect((error as Error).message).toContain(message)
})

test('files are read beside the seed file, member names in any letter case', async () => {
  writeFileSync(join(folder, 'root.pem'), 'a certificate')
  const file = join(folder, 'seed.json')
  const hub = { Name: 'muster-hub', allocationWeight: 3, devices: [{ id: 'd' }, { id: 'd', moduleId: 'm' }] }
  writeFileSync(file, JSON.stringify({ Hubs: [hub], certificates: [{ name: 'root', certificateFile: 'root.pem' }] }))
  const seed = await readSeed(file)
  expect(seed.hubs).toMatchObject([{ id: 'muster-hub', link: { allocationWeight: 3 }, document: {} }])
  expect(seed.hubs[0]?.devices.map(({ path }) => path)).toEqual(['seed.hubs[0].devices[0]', 'seed.hubs[0].devices[1]'])
  expect(seed.certificates).toMatchObject([{ document: { certificate: 'a certificate', isVerified: true } }])
})

test('a file that is too long or no JSON is refused', async () => {
  const file = join(folder, 'long.json')
  writeFileSync(file, Buffer.alloc(limits.seedBytes + 1, ' '))
  await expect(readSeed(file)).rejects.toThrow(`at most ${limits.seedBytes} bytes`)
  writeFileSync(file, '{')
  await expect(readSeed(file)).rejects.toThrow('is not valid JSON')
})
