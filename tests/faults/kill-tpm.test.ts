import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { type Answer, ask } from '../support/raw-client.ts'
import { type TpmDouble, tpmDouble } from '../support/tpm-double.ts'
import { challenged, devicePath, dpsService, hubService, isBroken, target } from './clients.ts'

// `kill -9` at random moments while TPM devices register. A key that a device unwrapped before is taken after; every
// operation that was acknowledged ends assigned; and the key in its answer is the one that the hub holds.
// MUSTER_KILL_ROUNDS and MUSTER_TEST_SEED repeat a run.
const ROUNDS = Number(process.env['MUSTER_KILL_ROUNDS'] ?? 60)
const SEED = Number(process.env['MUSTER_TEST_SEED'] ?? Date.now() % 1_000_000)

const folder = mkdtempSync(join(tmpdir(), 'muster-kill-tpm-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Device {
  readonly id: string
  readonly tpm: TpmDouble
  /** Signed with the key of the last challenge that arrived. */
  token?: string
  /** Acknowledged with 202 and not followed to its end yet. */
  operationId?: string | undefined
  registrations: number
}

test(`${ROUNDS} rounds of kill -9 under TPM devices (seed ${SEED})`, async () => {
  const random = seededRandom(SEED)
  const devices: Device[] = ['rsa', 'ecc', 'rsa', 'ecc'].map((storage, at) => ({
    id: `kill-tpm-${at}`,
    tpm: tpmDouble(storage as 'rsa' | 'ecc'),
    registrations: 0,
  }))
  let muster = await startProcess(join(folder, 'data'))
  for (const { id, tpm } of devices) {
    const attestation = { type: 'tpm', tpm: { endorsementKey: tpm.endorsementKey } }
    const put = await dpsService(muster, 'PUT', `/enrollments/${id}`, { registrationId: id, attestation })
    expect(put.status, JSON.stringify(put.body)).toBe(200)
  }
  for (let round = 0; round < ROUNDS; round++) {
    const running = muster
    const load = Promise.all(devices.map((device) => registering(running, device)))
    await new Promise((resolve) => setTimeout(resolve, 10 + random.fraction() * 200))
    await muster.kill()
    await load
    muster = await startProcess(join(folder, 'data'))
    for (const device of devices) await recovers(muster, device)
  }
  console.info(
    `${devices.reduce((sum, { registrations }) => sum + registrations, 0)} registrations were followed to the end`,
  )
  expect(await muster.stop()).toBe(0)
})

/** Registers again and again until the service dies under it. */
async function registering(muster: MusterProcess, device: Device): Promise<void> {
  try {
    for (;;) {
      device.token = await challenged(muster, device.id, device.tpm)
      await register(muster, device)
      await follow(muster, device)
    }
  } catch (error) {
    if (!isBroken(error)) throw error
  }
}

/** What was promised before the kill holds after it. */
async function recovers(muster: MusterProcess, device: Device): Promise<void> {
  if (device.operationId !== undefined) await follow(muster, device)
  if (device.token === undefined) return
  await register(muster, device)
  await follow(muster, device)
}

async function register(muster: MusterProcess, device: Device): Promise<void> {
  const answer = await signed(muster, device, 'PUT', 'register')
  expect(answer.status, JSON.stringify(answer.body)).toBe(202)
  device.operationId = (answer.body as { operationId: string }).operationId
}

async function follow(muster: MusterProcess, device: Device): Promise<void> {
  for (;;) {
    const answer = await signed(muster, device, 'GET', `operations/${device.operationId}`)
    expect([200, 202], JSON.stringify(answer.body)).toContain(answer.status)
    if (answer.status === 200) return holdsHubKey(muster, device, answer)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

async function holdsHubKey(muster: MusterProcess, device: Device, { body }: Answer): Promise<void> {
  const { status, registrationState } = body as {
    status: string
    registrationState: { tpm: { authenticationKey: string } }
  }
  expect(status).toBe('assigned')
  const key = device.tpm.activate(registrationState.tpm.authenticationKey).toString('base64')
  const { connectionString } = muster.ready.hubs[0]!
  const found = await hubService(target(muster), connectionString, 'GET', `/devices/${device.id}`)
  expect(found.body).toMatchObject({ authentication: { type: 'sas', symmetricKey: { primaryKey: key } } })
  device.operationId = undefined
  device.registrations++
}

const signed = (muster: MusterProcess, { id, token = '' }: Device, method: string, rest: string): Promise<Answer> =>
  ask(target(muster), {
    method,
    path: devicePath(muster, id, rest),
    headers: { authorization: token },
    ...(method === 'PUT' && { body: { registrationId: id } }),
  })
