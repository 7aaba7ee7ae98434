import { mkdtempSync, rmSync } from 'node:fs'
import { Agent } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { run } from '../../src/cli/program.ts'
import { readEvents } from '../support/events.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { type Answer, ask, connectDevice, derivedKey, sas } from '../support/raw-client.ts'
import { devicePath, dpsService, dpsToken, hubService, target } from './clients.ts'

// A backup while devices register and send at full speed: what was acknowledged before it began is in it, what is in it is
// consistent, and the service hardly notices. MUSTER_BACKUP_MB: how much telemetry there is before.
const MEGABYTES = Number(process.env['MUSTER_BACKUP_MB'] ?? 150)
const REGISTERING = 6
const SENDING = 3
const GROUP = 'backup-keys'
const GROUP_KEY = Buffer.alloc(64, 9).toString('base64')

const folder = mkdtempSync(join(tmpdir(), 'muster-backup-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const hub = (muster: MusterProcess, path: string): Promise<Answer> =>
  hubService(target(muster), muster.ready.hubs[0]!.connectionString, 'GET', path)

/** Registers and polls to the end; answers with the milliseconds of both requests' waits. */
async function register(muster: MusterProcess, id: string, agent: Agent): Promise<number> {
  const authorization = dpsToken(muster, id, derivedKey(GROUP_KEY, id))
  const send = (method: string, rest: string, body?: object): Promise<Answer> =>
    ask(target(muster), {
      method,
      path: devicePath(muster, id, rest),
      headers: { authorization },
      agent,
      ...(body && { body }),
    })
  const began = performance.now()
  const asked = await send('PUT', 'register', { registrationId: id })
  const waited = performance.now() - began
  expect(asked.status, JSON.stringify(asked.body)).toBe(202)
  const { operationId } = asked.body as { operationId: string }
  for (;;) {
    const polled = await send('GET', `operations/${operationId}`)
    if (polled.status === 200) {
      expect(polled.body).toMatchObject({ status: 'assigned' })
      return waited
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const connected = (muster: MusterProcess, deviceId: string) => {
  const hubHost = muster.ready.hubs[0]!.hostName
  const password = sas(`${hubHost}/devices/${deviceId}`, derivedKey(GROUP_KEY, deviceId))
  return connectDevice(target(muster, 'mqtts'), { hubHost, deviceId, password })
}

interface Load {
  /** Devices that were told `assigned`, and message ids that got their PUBACK, in this order. */
  readonly assigned: string[]
  readonly acknowledged: string[]
  /** Milliseconds that register and publish took, and when they ended. */
  readonly waits: { readonly at: number; readonly ms: number }[]
  stop(): Promise<unknown>
}

function startLoad(muster: MusterProcess): Load {
  const load = { assigned: [] as string[], acknowledged: [] as string[], waits: [] as { at: number; ms: number }[] }
  const note = (ms: number) => load.waits.push({ at: performance.now(), ms })
  let stopped = false
  const registering = Array.from({ length: REGISTERING }, async (_, lane) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let n = 0; !stopped; n++) {
      note(await register(muster, `load-${lane}-${n}`, agent))
      load.assigned.push(`load-${lane}-${n}`)
    }
    agent.destroy()
  })
  const sending = Array.from({ length: SENDING }, async (_, lane) => {
    const device = await connected(muster, `sender-${lane}`)
    for (let n = 0; !stopped; n++) {
      const began = performance.now()
      await device.publish(`devices/sender-${lane}/messages/events/`, `${lane}-${n}`)
      note(performance.now() - began)
      load.acknowledged.push(`${lane}-${n}`)
    }
    device.end()
  })
  const ended = Promise.all([...registering, ...sending])
  ended.catch(() => undefined) // told by stop
  return {
    ...load,
    stop: () => {
      stopped = true
      return ended
    },
  }
}

async function fill(muster: MusterProcess): Promise<void> {
  const payload = 'x'.repeat(60_000)
  const device = await connected(muster, 'sender-0')
  for (let sent = 0; sent < MEGABYTES * 1e6; sent += 10 * payload.length)
    await Promise.all(Array.from({ length: 10 }, () => device.publish('devices/sender-0/messages/events/', payload)))
  device.end()
}

const percentile = (values: readonly number[], part: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(part * values.length)] ?? 0

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test(`a backup of ${MEGABYTES} MB under load restores to all that was acknowledged before`, async () => {
  const data = join(folder, 'data')
  const muster = await startProcess(data)
  const symmetricKey = { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY }
  await dpsService(muster, 'PUT', `/enrollmentGroups/${GROUP}`, {
    enrollmentGroupId: GROUP,
    attestation: { type: 'symmetricKey', symmetricKey },
  })
  for (let lane = 0; lane < SENDING; lane++) await register(muster, `sender-${lane}`, new Agent())
  await fill(muster)

  const load = startLoad(muster)
  await pause(3_000)
  const before = { assigned: load.assigned.length, acknowledged: load.acknowledged.length }
  const began = performance.now()
  const written: string[] = []
  const output = { write: (text: string) => written.push(text) }
  const to = join(folder, 'backup')
  const argv = ['backup', '--to', to, '--ready-file', join(data, 'ready.json')]
  expect(await run(argv, { stdout: output, stderr: output, env: {}, cwd: folder }), written.join('')).toBe(0)
  const ended = performance.now()
  expect(written.join('')).toMatch(/is complete/)
  await pause(1_000)
  await load.stop()
  await muster.kill()

  const quiet = load.waits.filter(({ at }) => at < began).map(({ ms }) => ms)
  const during = load.waits.filter(({ at }) => at >= began && at <= ended).map(({ ms }) => ms)
  const [usual, busy] = [percentile(quiet, 0.95), percentile(during, 0.95)]
  console.info(
    `backup of ${MEGABYTES} MB in ${Math.round(ended - began)} ms; p50/p95/max of ${quiet.length} before ` +
      `${[0.5, 0.95, 0.9999].map((part) => percentile(quiet, part).toFixed(1)).join('/')} ms, of ${during.length} during ` +
      `${[0.5, 0.95, 0.9999].map((part) => percentile(during, part).toFixed(1)).join('/')} ms`,
  )
  expect(during.length).toBeGreaterThan(0)
  // Copying shares the disk and the cores with everybody on this machine: a multiple, and no stall.
  expect(busy).toBeLessThan(8 * usual + 100)
  expect(percentile(during, 0.9999)).toBeLessThan(2_000)

  const again = join(folder, 'again')
  expect(
    await run(['restore', '--from', to, '--data', again], { stdout: output, stderr: output, env: {}, cwd: folder }),
  ).toBe(0)
  await check(await startProcess(again), load, before)
})

/** The restored service: complete up to the backup's beginning, consistent, alive. */
async function check(
  muster: MusterProcess,
  load: Load,
  before: { assigned: number; acknowledged: number },
): Promise<void> {
  const events = new Set<string>()
  for await (const event of readEvents(muster, new Map())) events.add(event)
  expect(load.acknowledged.slice(0, before.acknowledged).filter((id) => !events.has(id))).toEqual([])

  const agent = new Agent({ keepAlive: true, maxSockets: 4 })
  // What was under way finishes by itself.
  let records = await recordsOf(muster)
  for (const deadline = performance.now() + 15_000; performance.now() < deadline; records = await recordsOf(muster))
    if (records.every(({ status }) => status === 'assigned')) break
  expect([...new Set(records.map(({ status }) => status))]).toEqual(['assigned'])
  const known = new Set(records.map(({ registrationId }) => registrationId))
  expect(load.assigned.slice(0, before.assigned).filter((id) => !known.has(id))).toEqual([])
  for (const { deviceId } of records)
    expect([deviceId, (await hub(muster, `/devices/${deviceId}`)).status]).toEqual([deviceId, 200])
  const statistics = await hub(muster, '/statistics/devices')
  expect(statistics.body).toMatchObject({ totalDeviceCount: records.length })

  const device = await connected(muster, 'sender-0')
  await device.publish('devices/sender-0/messages/events/', 'after the restore')
  device.end()
  await register(muster, 'new-after-restore', agent)
  await register(muster, 'sender-1', agent)
  agent.destroy()
  console.info(
    `restored: ${records.length} devices (${before.assigned} before the backup began), ${events.size} different messages (${before.acknowledged} before)`,
  )
  expect(await muster.stop()).toBe(0)
}

interface RegistrationRecord {
  readonly registrationId: string
  readonly deviceId: string
  readonly status: string
}

async function recordsOf(muster: MusterProcess): Promise<readonly RegistrationRecord[]> {
  const records: RegistrationRecord[] = []
  let continuation: string | undefined
  do {
    const headers = continuation === undefined ? {} : { 'x-ms-continuation': continuation }
    const page = await dpsService(muster, 'POST', `/registrations/${GROUP}/query`, { query: '*' }, headers)
    records.push(...(page.body as RegistrationRecord[]))
    continuation = page.headers['x-ms-continuation'] as string | undefined
  } while (continuation !== undefined)
  return records
}
