import { mkdtempSync, rmSync } from 'node:fs'
import { Agent } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { createAuthority, issueDeviceCertificate } from '../../src/crypto/issuing.ts'
import { readEvents } from '../support/events.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { ask, connectDevice, derivedKey, sas } from '../support/raw-client.ts'
import { devicePath, dpsService, dpsToken, hubService, isBroken, manage, target } from './clients.ts'

// `kill -9` at random moments under registration and telemetry load. Nothing acknowledged may be missing, nothing may
// stay `assigning`, every device must end assigned after retry. MUSTER_KILL_ROUNDS and MUSTER_TEST_SEED repeat a run.
const ROUNDS = Number(process.env['MUSTER_KILL_ROUNDS'] ?? 200)
const SEED = Number(process.env['MUSTER_TEST_SEED'] ?? Date.now() % 1_000_000)
const REGISTERING = 8
const SENDING = 4
const GROUP = 'kill-keys'
const X509_GROUP = 'kill-certs'
const GROUP_KEY = Buffer.alloc(64, 7).toString('base64')

const folder = mkdtempSync(join(tmpdir(), 'muster-kill-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Device {
  readonly id: string
  readonly cert?: string
  readonly key?: string
  /** Operation acknowledged with 202. */
  operationId?: string
  /** Acknowledged `assigned` by a poll. */
  assigned: boolean
}

/** Everything that the service ever acknowledged, over all rounds. */
const devices: Device[] = []
const acknowledged: string[] = []

test(`${ROUNDS} rounds of kill -9 (seed ${SEED})`, async () => {
  const random = seededRandom(SEED)
  const authority = await createAuthority({ commonName: 'kill test root', days: 30, keyType: 'ec', now: Date.now() })
  const certificates = await Promise.all(
    Array.from({ length: 40 }, (_, at) =>
      issueDeviceCertificate({ authority, commonName: `cert-${at}`, days: 30, keyType: 'ec', now: Date.now() }),
    ),
  )
  let muster = await startProcess(join(folder, 'data'))
  await enroll(muster, authority.certificate)
  for (let round = 0; round < ROUNDS; round++) {
    const load = startLoad(muster, round, certificates)
    await new Promise((resolve) => setTimeout(resolve, 20 + random.fraction() * 380))
    await muster.kill()
    await load.ended
    muster = await startProcess(join(folder, 'data'))
    await checkRound(muster, round)
    if (round % 20 === 19)
      console.info(`round ${round + 1}: ${devices.length} devices, ${acknowledged.length} messages acknowledged`)
  }
  await finish(muster)
  expect(await muster.stop()).toBe(0)
})

async function enroll(muster: MusterProcess, root: string): Promise<void> {
  const list = await manage(muster, 'GET', '/provisioningServices')
  const [{ name } = { name: '' }] = (list as { value: { name: string }[] }).value
  await manage(muster, 'PUT', `/provisioningServices/${name}/certificates/kill-root`, {
    properties: { certificate: Buffer.from(root).toString('base64'), isVerified: true },
  })
  const put = async (id: string, attestation: object): Promise<void> => {
    const answer = await dpsService(muster, 'PUT', `/enrollmentGroups/${id}`, { enrollmentGroupId: id, attestation })
    expect(answer.status, JSON.stringify(answer.body)).toBe(200)
  }
  await put(GROUP, { type: 'symmetricKey', symmetricKey: { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY } })
  await put(X509_GROUP, { type: 'x509', x509: { caReferences: { primary: 'kill-root' } } })
}

type Certificate = Awaited<ReturnType<typeof issueDeviceCertificate>>

/** Clients that register new devices and send messages until their connection dies with the service. */
function startLoad(
  muster: MusterProcess,
  round: number,
  certificates: readonly Certificate[],
): { ended: Promise<unknown> } {
  const registering = Array.from({ length: REGISTERING }, async (_, lane) => {
    for (let n = 0; ; n++) {
      const device = newDevice(round, lane, n, certificates)
      devices.push(device)
      if (!(await register(muster, device))) return
    }
  })
  const ready = devices.filter((device) => device.assigned)
  const sending = Array.from({ length: SENDING }, async (_, lane) => {
    const device = ready[(round * SENDING + lane) % Math.max(ready.length, 1)]
    if (device !== undefined) await send(muster, device, round, lane)
  })
  return { ended: Promise.all([...registering, ...sending]) }
}

/** Every tenth device (one lane) shows a certificate; those come back in later rounds, so re-registration is covered too. */
function newDevice(round: number, lane: number, n: number, certificates: readonly Certificate[]): Device {
  if (lane !== 0) return { id: `kill-${round}-${lane}-${n}`, assigned: false }
  const at = (round * 7 + n) % certificates.length
  const { certificate, key } = certificates[at]!
  return { id: `cert-${at}`, cert: certificate, key, assigned: false }
}

/** Registers and polls to the end; false when the service died under it. */
async function register(muster: MusterProcess, device: Device): Promise<boolean> {
  const { id, cert, key } = device
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const identity =
    cert === undefined || key === undefined
      ? {
          headers: { authorization: dpsToken(muster, id, derivedKey(GROUP_KEY, id)) },
        }
      : { cert, key }
  try {
    const asked = await ask(target(muster), {
      method: 'PUT',
      path: devicePath(muster, id, 'register'),
      body: { registrationId: id },
      agent,
      ...identity,
    })
    expect(asked.status, JSON.stringify(asked.body)).toBe(202)
    device.operationId = (asked.body as { operationId: string }).operationId
    for (;;) {
      const polled = await ask(target(muster), {
        method: 'GET',
        path: devicePath(muster, id, `operations/${device.operationId}`),
        agent,
        ...identity,
      })
      expect([200, 202], JSON.stringify(polled.body)).toContain(polled.status)
      if (polled.status === 200) {
        expect((polled.body as { status: string }).status).toBe('assigned')
        device.assigned = true
        return true
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  } catch (error) {
    if (isBroken(error)) return false
    throw error
  } finally {
    agent.destroy()
  }
}

async function send(muster: MusterProcess, device: Device, round: number, lane: number): Promise<void> {
  const hubHost = muster.ready.hubs[0]!.hostName
  const password =
    device.cert === undefined
      ? { password: sas(`${hubHost}/devices/${device.id}`, derivedKey(GROUP_KEY, device.id)) }
      : {}
  try {
    const connection = await connectDevice(target(muster, 'mqtts'), {
      hubHost,
      deviceId: device.id,
      ...password,
      ...(device.cert === undefined ? {} : { cert: device.cert }),
      ...(device.key === undefined ? {} : { key: device.key }),
    })
    for (let n = 0; ; n += 4)
      await Promise.all(
        [0, 1, 2, 3].map(async (k) => {
          const id = `${round}-${lane}-${n + k}`
          await connection.publish(`devices/${device.id}/messages/events/%24.mid=${id}`, id)
          acknowledged.push(id)
        }),
      )
  } catch (error) {
    if (!isBroken(error)) throw error
  }
}

let checkedDevices = 0
let checkedMessages = 0
const readPositions = new Map<number, number>()
const inLog = new Set<string>()

/** After a restart: what the last round acknowledged is there, and unfinished registrations finish by themselves. */
async function checkRound(muster: MusterProcess, round: number): Promise<void> {
  for await (const event of readEvents(muster, readPositions)) inLog.add(event)
  const missing = acknowledged.slice(checkedMessages).filter((id) => !inLog.has(id))
  expect(missing, `messages acknowledged in round ${round} and not in the log`).toEqual([])
  checkedMessages = acknowledged.length
  const fresh = devices.slice(checkedDevices).filter((device) => device.operationId !== undefined)
  checkedDevices = devices.length
  await inLanes(fresh, 8, async (device) => {
    const state = await settled(muster, device.id)
    expect(state, `registration of ${device.id}, acknowledged in round ${round}`).toBe('assigned')
  })
}

/** Status of the registration record once it is final; at most 15 s. */
async function settled(muster: MusterProcess, id: string): Promise<string> {
  const deadline = performance.now() + 15_000
  for (;;) {
    const answer = await dpsService(muster, 'GET', `/registrations/${id}`)
    const status = (answer.body as { status?: string }).status ?? `HTTP ${answer.status}`
    if ((status !== 'assigning' && status !== 'unassigned') || performance.now() > deadline) return status
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function inLanes<T>(items: readonly T[], lanes: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items]
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (let item = rest.pop(); item !== undefined; item = rest.pop()) await work(item)
    }),
  )
}

/** At the end: every device that ever tried is assigned after a retry, and no record stays `assigning`. */
async function finish(muster: MusterProcess): Promise<void> {
  await inLanes(
    devices.filter((device) => !device.assigned),
    8,
    async (device) => {
      expect(await register(muster, device)).toBe(true)
    },
  )
  const known = new Set(devices.map((device) => device.id))
  const states = new Map<string, number>()
  let records = 0
  for (const group of [GROUP, X509_GROUP]) {
    let continuation: string | undefined
    do {
      const headers = continuation === undefined ? {} : { 'x-ms-continuation': continuation }
      const page = await dpsService(muster, 'POST', `/registrations/${group}/query`, { query: '*' }, headers)
      for (const record of page.body as { registrationId: string; status: string; deviceId: string }[]) {
        expect(known.has(record.registrationId)).toBe(true)
        states.set(record.status, (states.get(record.status) ?? 0) + 1)
        records += 1
      }
      const next = page.headers['x-ms-continuation']
      continuation = typeof next === 'string' ? next : undefined
    } while (continuation !== undefined)
  }
  expect(Object.fromEntries(states)).toEqual({ assigned: known.size })
  expect(records).toBe(known.size)
  const { connectionString } = muster.ready.hubs[0]!
  const statistics = await hubService(target(muster), connectionString, 'GET', '/statistics/devices')
  expect(statistics.body).toMatchObject({ totalDeviceCount: known.size, enabledDeviceCount: known.size })
  console.info(
    `${known.size} devices assigned, ${acknowledged.length} messages acknowledged, ${inLog.size} in the log, none missing`,
  )
}
