import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { limits } from '../../src/base/limits.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { ask, connectDevice, derivedKey, sas, serviceToken, type Target } from '../support/raw-client.ts'
import { gather, residentMiB } from './crowd.ts'

// A thousand strangers who announce much and send nothing, against a product in a process of its own: its memory must
// stay flat, and honest devices must go on registering and sending meanwhile, also from an address of the strangers.

const STRANGERS = 1_000
const WAVES = 10
const GROUP_KEY = Buffer.alloc(64, 7).toString('base64')
const folder = mkdtempSync(join(tmpdir(), 'muster-strangers-'))
let muster: MusterProcess
let targets: Record<'https' | 'mqtts', Target>

beforeAll(async () => {
  muster = await startProcess(join(folder, 'data'))
  const target = (port: 'https' | 'mqtts'): Target => ({
    host: muster.ready.address,
    port: muster.ready.ports[port],
    ca: muster.ca,
  })
  targets = { https: target('https'), mqtts: target('mqtts') }
  const answer = await ask(targets.https, {
    method: 'PUT',
    path: '/enrollmentGroups/crowd?api-version=2021-10-01',
    headers: { authorization: serviceToken(muster.ready.dps.connectionString) },
    body: {
      enrollmentGroupId: 'crowd',
      attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY } },
    },
  })
  expect(answer.status, JSON.stringify(answer.body)).toBe(200)
})

afterAll(async () => {
  await muster?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Registers a new device over HTTPS, connects it over MQTT and sends a message. Answers with the milliseconds it took. */
async function honestDevice(id: string): Promise<number> {
  const started = performance.now()
  const path = `/${muster.ready.idScope}/registrations/${id}`
  const headers = { authorization: sas(path.slice(1), derivedKey(GROUP_KEY, id), 'registration') }
  const version = 'api-version=2021-06-01'
  const asked = await ask(targets.https, {
    method: 'PUT',
    path: `${path}/register?${version}`,
    headers,
    body: { registrationId: id },
  })
  expect(asked.status, JSON.stringify(asked.body)).toBe(202)
  const { operationId } = asked.body as { operationId: string }
  for (let status = 202; status !== 200; ) {
    const polled = await ask(targets.https, {
      method: 'GET',
      path: `${path}/operations/${operationId}?${version}`,
      headers,
    })
    expect([200, 202]).toContain(polled.status)
    status = polled.status
  }
  const { hostName } = muster.ready.hubs[0]!
  const device = await connectDevice(targets.mqtts, {
    hubHost: hostName,
    deviceId: id,
    password: sas(`${hostName}/devices/${id}`, derivedKey(GROUP_KEY, id)),
  })
  await device.publish(`devices/${id}/messages/events/`, 'still here')
  device.end()
  return performance.now() - started
}

async function honestDevices(count: number, name: string): Promise<number[]> {
  const times: number[] = []
  for (let at = 0; at < count; at++) times.push(await honestDevice(`${name}-${at}`))
  return times.sort((a, b) => a - b)
}

const median = (times: readonly number[]): string => times[Math.floor(times.length / 2)]!.toFixed(0)

test(`${STRANGERS} strangers at a time: honest devices go on, memory stays flat`, async () => {
  const quiet = await honestDevices(30, 'quiet')
  const sources = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4']
  const resident: number[] = [residentMiB(muster.pid)]
  let crowded: number[] = []
  for (let wave = 0; wave < WAVES; wave++) {
    const crowd = await gather(targets, STRANGERS, sources)
    crowded = [...crowded, ...(await honestDevices(10, `wave${wave}`))]
    const open = crowd.openByHabit()
    // Announcements over the limit are refused with their header.
    expect(open['MQTT: 256 MiB announced']).toBeUndefined()
    resident.push(residentMiB(muster.pid))
    if (wave === 0) console.info('open after the honest devices:', open)
    crowd.leave()
  }
  console.info(
    `resident MiB before and with each crowd: ${resident.map((each) => each.toFixed(0)).join(', ')}; ` +
      `an honest device took ${median(quiet)} ms alone, ${median(crowded)} ms in the crowd, at most ${crowded.at(-1)?.toFixed(0)} ms`,
  )
  // A thousand connections cost what connections cost (40 to 80 KiB each). What the crowds before them left is reused:
  // the heap is flat, resident memory follows the collector up and down.
  expect(Math.max(...resident) - resident[0]!).toBeLessThan(256)
})

test('strangers who stay are cut in time, and their source gets its places back', async () => {
  const crowd = await gather(targets, limits.unprovedConnectionsPerSource + 100, ['127.0.0.9'])
  // Where their source is full its newcomers wait; everybody else gets in.
  await honestDevice('elsewhere')
  const deadline = performance.now() + limits.handshakeMs + limits.proveMs + 5_000
  while (crowd.open() > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 250))
  expect(crowd.openByHabit()).toEqual({})
  crowd.leave()
  const again = await gather(targets, 100, ['127.0.0.9'])
  expect(again.open()).toBeGreaterThan(50)
  again.leave()
})
