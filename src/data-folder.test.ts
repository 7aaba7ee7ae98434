import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../tests/support/folders.ts'
import { systemClock } from './base/clock.ts'
import { systemRandom } from './base/random.ts'
import { defaults } from './config.ts'
import { lockFolder, openDataFolder, writeSecret } from './data-folder.ts'

test('what lies beside a secret already gives neither its mode nor its place', () => {
  const folder = temporaryFolder()
  const file = join(folder, 'ready.json')
  writeFileSync(`${file}.new`, 'of somebody else', { mode: 0o644 })
  writeSecret(file, 'first')
  expect([statSync(file).mode & 0o777, readFileSync(file, 'utf8')]).toEqual([0o600, 'first'])
  symlinkSync(join(folder, 'elsewhere'), `${file}.new`)
  writeSecret(file, 'second')
  expect([statSync(file).mode & 0o777, readFileSync(file, 'utf8')]).toEqual([0o600, 'second'])
  expect(existsSync(join(folder, 'elsewhere'))).toBe(false)
})

test('only a folder that is in use is said to be', () => {
  const folder = temporaryFolder()
  const unlock = lockFolder(folder)
  expect(() => lockFolder(folder)).toThrow(/is in use by another muster/)
  unlock()
  lockFolder(folder)()
  rmSync(join(folder, 'lock.db'))
  mkdirSync(join(folder, 'lock.db'))
  expect(() => lockFolder(folder)).toThrow(/cannot be used: .*lock\.db: unable to open/)
  rmSync(join(folder, 'lock.db'), { recursive: true })
  writeFileSync(join(folder, 'lock.db'), 'no database'.repeat(1000))
  expect(() => lockFolder(folder)).toThrow(/cannot be used: .*lock\.db: file is not a database/)
})

test('a server key whose certificate was not written any more is made again with it', async () => {
  const config = { ...defaults, dataFolder: temporaryFolder(), hostNames: ['muster.example'] }
  const open = () => openDataFolder(config, systemClock, systemRandom)
  const before = await open()
  before.close()
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(join(config.dataFolder, 'server-ec.key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const { tls, close } = await open()
  close()
  expect(createSecureContext(tls.ec)).toBeDefined()
  expect(tls.rsa).toEqual(before.tls.rsa)
})
