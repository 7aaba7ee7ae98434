import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readEvents } from '../support/events.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { type Answer, ask, connectDevice, derivedKey, sas } from '../support/raw-client.ts'
import { devicePath, dpsService, dpsToken, hubService, target } from './clients.ts'

// The disk of the data folder fills up under a running service, as somebody else's files make it do: clear errors, nothing
// acknowledged is lost, and it goes on by itself when there is room again.
const folder = mkdtempSync(join(tmpdir(), 'muster-full-'))
const disk = join(folder, 'disk')
const ballast = join(disk, 'ballast')
const GROUP_KEY = Buffer.alloc(64, 3).toString('base64')

const mounted = (() => {
  mkdirSync(disk)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'muster-test', disk], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()
if (!mounted) console.warn('full disk: skipped, it needs the right to mount a small file system.')
afterAll(() => {
  if (mounted) execFileSync('umount', ['--lazy', disk])
  rmSync(folder, { recursive: true, force: true })
})

/** Takes every byte that is left. */
function fillDisk(): void {
  const handle = openSync(ballast, 'a')
  for (const size of [65_536, 4_096, 1])
    try {
      for (;;) writeSync(handle, Buffer.alloc(size))
    } catch {
      // ENOSPC: the next smaller piece
    }
  closeSync(handle)
}

const register = (muster: MusterProcess, id: string): Promise<Answer> =>
  ask(target(muster), {
    method: 'PUT',
    path: devicePath(muster, id, 'register'),
    headers: { authorization: dpsToken(muster, id, derivedKey(GROUP_KEY, id)) },
    body: { registrationId: id },
  })

const recordOf = async (muster: MusterProcess, id: string): Promise<unknown> =>
  ((await dpsService(muster, 'GET', `/registrations/${id}`)).body as { status?: string }).status

const connected = (muster: MusterProcess, deviceId: string) => {
  const hubHost = muster.ready.hubs[0]!.hostName
  const password = sas(`${hubHost}/devices/${deviceId}`, derivedKey(GROUP_KEY, deviceId))
  return connectDevice(target(muster, 'mqtts'), { hubHost, deviceId, password })
}

const management = (muster: MusterProcess, path: string, init: RequestInit = {}) =>
  fetch(`${muster.ready.management.url}${path}`, { ...init, headers: { authorization: `Bearer ${muster.token}` } })

async function eventually(condition: () => Promise<boolean>, what: string): Promise<void> {
  for (const deadline = performance.now() + 20_000; !(await condition()); ) {
    if (performance.now() > deadline) throw new Error(`Not within 20 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const isReady = async (muster: MusterProcess): Promise<boolean> =>
  (await management(muster, '/health/ready')).status === 200

test.runIf(mounted)(
  'a full disk: 503 with Retry-After, not ready, nothing lost, and it goes on by itself',
  async () => {
    const data = join(disk, 'data')
    let muster = await startProcess(data)
    const symmetricKey = { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY }
    await dpsService(muster, 'PUT', '/enrollmentGroups/keys', {
      enrollmentGroupId: 'keys',
      attestation: { type: 'symmetricKey', symmetricKey },
    })
    const admitted: string[] = []
    for (let n = 0; n < 10; n++) {
      expect((await register(muster, `early-${n}`)).status).toBe(202)
      admitted.push(`early-${n}`)
    }
    await eventually(async () => (await recordOf(muster, 'early-9')) === 'assigned', 'the devices are assigned')
    const device = await connected(muster, 'early-0')
    const acknowledged: string[] = []
    const sending = (async () => {
      for (let n = 0; ; n++) {
        await device.publish('devices/early-0/messages/events/', `message ${n}`)
        acknowledged.push(`message ${n}`)
      }
    })().catch((error: Error) => error.message)
    await eventually(async () => acknowledged.length > 20, 'messages are acknowledged')
    await eventually(() => isReady(muster), 'every thread listens')

    fillDisk()

    // A device that sends loses its connection without the PUBACK; one that registers is told when to come back.
    expect(await sending).toMatch(/connection ended/)
    const refused = await register(muster, 'late')
    expect([refused.status, refused.headers['retry-after'], refused.body]).toEqual([
      503,
      '10',
      expect.objectContaining({ errorCode: 503001, message: expect.stringContaining('Try again later') }),
    ])
    await eventually(async () => !(await isReady(muster)), 'it says that it is not ready')
    expect(await (await management(muster, '/health/ready')).text()).toBe('not ready')
    const status = (await (await management(muster, '/muster/status')).json()) as { missing: string[] }
    expect(status.missing.join()).toMatch(/the documents store cannot be written: .*full/)
    const complaint = muster
      .output()
      .split('\n')
      .find((line) => line.includes('"not ready'))
    expect(complaint).toContain(data)
    expect(complaint).toContain('make room')
    const metrics = await (await management(muster, '/metrics')).text()
    expect(metrics).toMatch(/^muster_ready 0$/m)
    expect(metrics).toMatch(/^muster_store_transactions_total\{store="documents",result="failed"\} [1-9]/m)
    // Reading goes on.
    expect(await recordOf(muster, 'early-3')).toBe('assigned')

    // A backup onto the same disk is refused, and takes nothing of what is left.
    const to = join(disk, 'backup')
    await management(muster, '/muster/backup', { method: 'POST', body: JSON.stringify({ to }) })
    const backup = (await (await management(muster, '/muster/backup?wait=true')).json()) as object
    expect(backup).toMatchObject({
      state: 'failed',
      error: expect.stringMatching(/needs \d+ bytes, and .* has \d+ left/),
    })
    expect([existsSync(to), existsSync(`${to}.partial`)]).toEqual([false, false])

    rmSync(ballast)
    await eventually(() => isReady(muster), 'it is ready again by itself')
    for (const id of ['late', 'later']) {
      expect((await register(muster, id)).status).toBe(202)
      admitted.push(id)
    }
    const again = await connected(muster, 'early-0')
    await again.publish('devices/early-0/messages/events/', 'room again')
    acknowledged.push('room again')

    for (const round of ['running', 'after kill -9']) {
      for (const id of admitted)
        await eventually(async () => (await recordOf(muster, id)) === 'assigned', `${id} is assigned (${round})`)
      const events = new Set<string>()
      for await (const event of readEvents(muster, new Map())) events.add(event)
      expect(acknowledged.filter((id) => !events.has(id))).toEqual([])
      await muster.kill()
      muster = await startProcess(data)
    }
    expect(await muster.stop()).toBe(0)
  },
)

test.runIf(mounted)('a backup that fills its disk fails with a clear word and leaves no half file', async () => {
  rmSync(join(disk, 'data'), { recursive: true, force: true })
  const muster = await startProcess(join(folder, 'data'))
  const device = 'filler'
  const symmetricKey = { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY }
  await hubService(target(muster), muster.ready.hubs[0]!.connectionString, 'PUT', `/devices/${device}`, {
    deviceId: device,
    authentication: { type: 'sas', symmetricKey },
  })
  const hubHost = muster.ready.hubs[0]!.hostName
  const sender = await connectDevice(target(muster, 'mqtts'), {
    hubHost,
    deviceId: device,
    password: sas(`${hubHost}/devices/${device}`, GROUP_KEY),
  })
  for (let n = 0; n < 200; n++) await sender.publish(`devices/${device}/messages/events/`, 'x'.repeat(100_000))
  const backedUp = async (to: string): Promise<{ state: string; error?: string }> => {
    const start = await management(muster, '/muster/backup', { method: 'POST', body: JSON.stringify({ to }) })
    expect(start.status).toBe(202)
    for (;;) {
      const state = (await (await management(muster, '/muster/backup?wait=true')).json()) as { state: string }
      if (state.state !== 'running') return state
    }
  }
  expect(await backedUp(join(folder, 'elsewhere'))).toMatchObject({ state: 'succeeded' })
  const databases = ['documents.db', 'telemetry.db'].map((name) => statSync(join(folder, 'elsewhere', name)).size)
  // Room for the databases, and not for the other files as well: it begins, and cannot end.
  const { bavail, bsize } = statfsSync(disk)
  writeFileSync(ballast, Buffer.alloc(bavail * bsize - databases.reduce((sum, bytes) => sum + bytes, 0) - 4 * bsize))
  const to = join(disk, 'backup')
  const state = await backedUp(to)
  expect(state).toMatchObject({ state: 'failed', error: expect.stringMatching(/full|no space/i) })
  expect([existsSync(to), existsSync(`${to}.partial`)]).toEqual([false, false])
  expect(await isReady(muster)).toBe(true)
  sender.end()
  expect(await muster.stop()).toBe(0)
})
