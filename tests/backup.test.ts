import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { backupFolder } from '../src/backup.ts'
import { type Clock, systemClock, TestClock } from '../src/base/clock.ts'
import { limits } from '../src/base/limits.ts'
import { createApp } from '../src/index.ts'
import { restoreFolder } from '../src/restore.ts'
import { deviceApi } from './support/device-api.ts'
import { temporaryFolder } from './support/folders.ts'
import { configFor, startMuster, type TestMuster } from './support/muster.ts'

// Backups of a running service over the management API, and what `muster restore` makes of them. Under load: tests/faults.
let muster: TestMuster
let whole: string

const manage = async (method: string, path: string, body?: object) => {
  const answer = await fetch(`http://127.0.0.1:${muster.addresses.ports.management}${path}`, {
    method,
    headers: { authorization: `Bearer ${muster.app.managementToken}` },
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: answer.status, body: (await answer.json()) as { state: string; error?: string; message?: string } }
}

async function backedUp(to: string): Promise<{ state: string; error?: string }> {
  expect((await manage('POST', '/muster/backup', { to })).status).toBe(202)
  for (;;) {
    const { body } = await manage('GET', '/muster/backup?wait=true')
    if (body.state !== 'running') return body
  }
}

beforeAll(async () => {
  muster = await startMuster()
  const devices = deviceApi(muster)
  await devices.settled(await devices.enrolled('before'))
  whole = join(muster.folder, 'backup')
  expect(await backedUp(whole)).toMatchObject({ state: 'succeeded', to: whole })
})
afterAll(() => muster.stop())

const never = () => {}
const restored = (from: string, to = join(temporaryFolder(), 'data'), clock: Clock = systemClock) =>
  restoreFolder(from, to, clock, never)

describe('backup', () => {
  test('it is for its owner only, lists its files, and leaves nothing half beside it', () => {
    expect(statSync(whole).mode & 0o777).toBe(0o700)
    const manifest = JSON.parse(readFileSync(join(whole, 'manifest.json'), 'utf8'))
    const names = readdirSync(whole)
    expect(names.toSorted()).toEqual(
      [...manifest.files.map(({ name }: { name: string }) => name), 'manifest.json'].toSorted(),
    )
    for (const name of names) expect([name, statSync(join(whole, name)).mode & 0o077]).toEqual([name, 0])
    expect(readdirSync(muster.folder).toSorted()).toEqual(['backup', 'data'])
  })

  test.each([
    ['a relative path', { to: 'backup' }, /body\.to must be an absolute path/],
    ['a path that is too long', { to: `/${'x'.repeat(limits.pathLength)}` }, /at most 4096 characters/],
    ['a NUL', { to: '/tmp/a\0b' }, /body\.to must be an absolute path/],
    ['a number', { to: 7 }, /body\.to must be a string/],
    ['nothing', {}, /body\.to/],
  ])('the API refuses %s', async (_name, body, message) => {
    const answer = await manage('POST', '/muster/backup', body)
    expect(answer.status).toBe(400)
    expect(answer.body.message).toMatch(message)
  })

  test('places that cannot be used are named, and nothing is made', async () => {
    const inside = join(muster.folder, 'data', 'backup')
    for (const [to, why] of [
      [whole, /exists already/],
      [inside, /inside the data folder/],
      [join(inside, '..'), /inside the data folder/],
      [join(muster.folder, 'nowhere', 'backup'), /does not exist/],
    ] as const) {
      expect(await backedUp(to)).toMatchObject({ state: 'failed', error: expect.stringMatching(why) })
    }
    expect(existsSync(inside)).toBe(false)
    mkdirSync(join(muster.folder, 'busy.partial'))
    expect(await backedUp(join(muster.folder, 'busy'))).toMatchObject({
      error: expect.stringMatching(/one was interrupted/),
    })
    rmSync(join(muster.folder, 'busy.partial'), { recursive: true })
  })

  test('one that fails on its way leaves nothing', async () => {
    const to = join(temporaryFolder(), 'backup')
    const full = () => {
      throw new Error('database or disk is full')
    }
    await expect(backupFolder(join(muster.folder, 'data'), to, new TestClock(), full)).rejects.toThrow(/disk is full/)
    expect(readdirSync(join(to, '..'))).toEqual([])
  })
})

describe('restore', () => {
  test('the service goes on as it was: same identity, same devices, versions never given twice', async () => {
    const folder = temporaryFolder()
    const manifest = await restored(whole, join(folder, 'data'))
    expect(manifest.version).toMatch(/^\d+\.\d+\.\d+/)
    const config = await configFor(folder, {})
    const app = createApp(config)
    const addresses = await app.start()
    try {
      expect(addresses.idScope).toBe(muster.addresses.idScope)
      expect(app.managementToken).toBe(muster.app.managementToken)
      expect(readFileSync(app.caFile, 'utf8')).toBe(muster.ca)
      const devices = deviceApi({ addresses, ca: muster.ca })
      const answer = await devices.settled(await devices.enrolled('after'))
      expect(answer.json()).toMatchObject({ status: 'assigned' })
    } finally {
      await app.stop()
    }
    const versions = (file: string, id: string): number[] => {
      const db = new DatabaseSync(join(file, 'documents.db'), { readOnly: true })
      const rows = db.prepare("SELECT version FROM c_registrations WHERE id LIKE '%' || ?").all(id)
      db.close()
      return rows.map((row) => Number(row['version']))
    }
    expect(versions(join(folder, 'data'), 'before')).toEqual(versions(whole, 'before'))
    expect(versions(join(folder, 'data'), 'after')[0]).toBeGreaterThan(limits.restoreVersionLeap)
  })

  test('versions of the first restore of a backup are not given again by the second', async () => {
    const counted = async (clock: TestClock): Promise<number> => {
      const folder = join(temporaryFolder(), 'data')
      await restored(whole, folder, clock)
      const db = new DatabaseSync(join(folder, 'documents.db'), { readOnly: true })
      const row = db.prepare('SELECT last FROM counter').get()
      db.close()
      return Number(row?.['last'])
    }
    const clock = new TestClock()
    const first = await counted(clock)
    expect(first).toBeGreaterThan(limits.restoreVersionLeap)
    clock.advance(60_000)
    // More than a minute of commits gives out.
    expect(await counted(clock)).toBeGreaterThan(first + 60 * 50_000)
  })

  test('a folder that holds anything is refused and left alone', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'precious'), 'x')
    await expect(restored(whole, folder)).rejects.toThrow(/is not empty \(precious\)/)
    expect(readdirSync(folder)).toEqual(['precious'])
  })

  /** A copy of the backup with something wrong. */
  function broken(
    change: (folder: string, manifest: Record<string, unknown> & { files: Record<string, unknown>[] }) => void,
  ) {
    const copy = join(temporaryFolder(), 'backup')
    cpSync(whole, copy, { recursive: true })
    const file = join(copy, 'manifest.json')
    const manifest = JSON.parse(readFileSync(file, 'utf8'))
    change(copy, manifest)
    if (existsSync(file)) writeFileSync(file, JSON.stringify(manifest))
    return copy
  }
  const sha256 = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')
  const flip = (file: string, at: number) => {
    const bytes = readFileSync(file)
    bytes.fill(0xa5, at, at + 200)
    writeFileSync(file, bytes)
  }

  test.each([
    ['no list', (copy: string) => rmSync(join(copy, 'manifest.json')), /no manifest\.json/],
    ['a changed byte', (copy: string) => flip(join(copy, 'documents.db'), 9_000), /changed or damaged/],
    ['a missing file', (copy: string) => rmSync(join(copy, 'ca.key.pem')), /lacks .*ca\.key\.pem/],
  ])('%s', async (_name, change, message) => {
    await expect(restored(broken(change))).rejects.toThrow(message)
  })

  test.each([
    ['another form', { backup: 2 }, /form 2; this version of Muster knows form 1/],
    ['a newer data folder', { format: 99, version: '9.9.9' }, /made by Muster 9\.9\.9 and has data folder format 99/],
    ['no files', { files: undefined }, /without version/],
    [
      'a way out',
      { files: [{ name: '../../etc/passwd', bytes: 1, sha256: '0'.repeat(64) }] },
      /unknown file "\.\.\/\.\.\/etc/,
    ],
    ['no hash', { files: [{ name: 'documents.db', bytes: 1 }] }, /no size or SHA-256/],
    ['no databases', { files: [] }, /no documents\.db/],
  ])('a list with %s', async (_name, members, message) => {
    await expect(restored(broken((_copy, manifest) => Object.assign(manifest, members)))).rejects.toThrow(message)
  })

  test('a database that was damaged before it was listed', async () => {
    const copy = broken((folder, { files }) => {
      flip(join(folder, 'documents.db'), 4_096 * 2)
      const entry = files.find(({ name }) => name === 'documents.db')
      Object.assign(entry!, { sha256: sha256(join(folder, 'documents.db')) })
    })
    await expect(restored(copy)).rejects.toThrow(/cannot be used: .*(damaged|malformed)/)
  })

  test('a database of a newer layout', async () => {
    const copy = broken((folder, { files }) => {
      const db = new DatabaseSync(join(folder, 'telemetry.db'))
      db.exec("PRAGMA journal_mode = DELETE; INSERT INTO layout VALUES (99, 'from the future')")
      db.close()
      const entry = files.find(({ name }) => name === 'telemetry.db')
      Object.assign(entry!, { sha256: sha256(join(folder, 'telemetry.db')) })
    })
    await expect(restored(copy)).rejects.toThrow(/layout 99/)
  })

  test('one that fails leaves an empty folder', async () => {
    const folder = temporaryFolder()
    await expect(
      restored(
        broken((copy) => flip(join(copy, 'telemetry.db'), 100)),
        folder,
      ),
    ).rejects.toThrow()
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('the data folder', () => {
  const start = async (prepare: (data: string) => void) => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'data'))
    prepare(join(folder, 'data'))
    const app = createApp(await configFor(folder, {}))
    await app.start().finally(() => app.stop())
  }

  test('with half a backup in it nothing starts', async () => {
    const half = (data: string) => writeFileSync(join(data, 'restore-unfinished'), '')
    await expect(start(half)).rejects.toThrow(/interrupted\. Empty it and restore again/)
  })

  test('one whose version cannot be read is refused', async () => {
    const broken = (data: string) => writeFileSync(join(data, 'version.json'), '{"format"')
    await expect(start(broken)).rejects.toThrow(/Expected .*version\.json, found something else/)
  })

  test('one that a newer Muster has used is refused by name', async () => {
    const newer = (data: string) => writeFileSync(join(data, 'version.json'), '{"format": 2, "version": "9.9.9"}')
    await expect(start(newer)).rejects.toThrow(
      /used by Muster 9\.9\.9 and has its format 2; this is Muster .*knows format 1/,
    )
  })
})
