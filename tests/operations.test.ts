import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { deviceApi } from './support/device-api.ts'
import { newKey, symmetricKeys } from './support/enrollments.ts'
import { startMuster, type TestMuster } from './support/muster.ts'
import { connectDevice, sas } from './support/raw-client.ts'
import { enrolling } from './support/service-client.ts'

// Health, readiness and metrics of a running service, and docs/operations.md, which lists every metric.
let muster: TestMuster
let base: string

beforeAll(async () => {
  muster = await startMuster()
  base = `http://127.0.0.1:${muster.addresses.ports.management}`
})
afterAll(() => muster.stop())

const get = (path: string, headers: Record<string, string> = {}) => fetch(`${base}${path}`, { headers })
const managed = (path: string) => get(path, { authorization: `Bearer ${muster.app.managementToken}` })

const KEY = Buffer.alloc(32, 5).toString('base64')

/** `name{labels}` -> value. */
async function metrics(): Promise<ReadonlyMap<string, number>> {
  const answer = await managed('/metrics')
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8'])
  const lines = (await answer.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

test('whoever may connect may ask whether it lives and is ready, by any name, and learns nothing else', async () => {
  for (const path of ['/health/live', '/health/ready']) {
    const answer = await get(path)
    expect([path, answer.status, await answer.text()]).toEqual([path, 200, 'ok'])
  }
})

test.each(['/metrics', '/muster/status', '/muster/backup'])('%s needs the token', async (path) => {
  expect((await get(path)).status).toBe(401)
  expect((await get(path, { authorization: 'Bearer guess' })).status).toBe(401)
})

test('the status says what is missing: nothing', async () => {
  expect(await (await managed('/muster/status')).json()).toEqual({
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    ready: true,
    missing: [],
    backup: { state: 'none' },
  })
})

test('registrations, refusals, connections and messages are counted', async () => {
  const devices = deviceApi({ addresses: muster.addresses, ca: muster.ca })
  const { address, ports, hubs } = muster.addresses
  await enrolling(muster).enroll('counted', symmetricKeys(KEY, newKey()))
  const asking = (registrationId: string) => ({ registrationId, authorization: devices.token(registrationId, KEY) })
  expect((await devices.settled(asking('counted'))).json()).toMatchObject({ status: 'assigned' })
  const hubHost = hubs[0]!.hostName
  const device = await connectDevice(
    { host: address, port: ports.mqtts, ca: muster.ca },
    { hubHost, deviceId: 'counted', password: sas(`${hubHost}/devices/counted`, KEY) },
  )
  await device.publish('devices/counted/messages/events/', 'twelve bytes')
  expect((await devices.register(asking('unknown'))).status).toBe(401)
  const found = await metrics()
  device.end()
  const expected = {
    'muster_dps_device_requests_total{operation="register",transport="HTTPS",credential="sas",code="ok"}': 1,
    'muster_dps_device_requests_total{operation="register",transport="HTTPS",credential="sas",code="401002"}': 1,
    'muster_dps_assignments_total{attestation="symmetricKey",result="assigned"}': 1,
    muster_dps_assignment_seconds_count: 1,
    muster_dps_assignments_waiting: 0,
    muster_hub_telemetry_messages_total: 1,
    muster_hub_telemetry_bytes_total: 12,
    'muster_mqtt_publishes_total{service="hub",kind="telemetry"}': 1,
    'muster_mqtt_connects_total{service="hub",code="0"}': 1,
    muster_mqtt_connections: 1,
    'muster_connections{listener="mqtts",state="proved"}': 1,
    'muster_tls_handshakes_total{listener="mqtts",result="ok"}': 1,
    muster_ready: 1,
    muster_worker_threads: 1,
    muster_worker_threads_answering: 1,
  }
  expect(Object.fromEntries(Object.keys(expected).map((name) => [name, found.get(name)]))).toEqual(expected)
  expect(found.get('muster_store_transactions_total{store="telemetry",result="committed"}')).toBeGreaterThan(0)
  expect(found.get('muster_store_file_bytes{store="documents",file="wal"}')).toBeGreaterThan(0)
  expect(found.get('muster_data_folder_free_bytes')).toBeGreaterThan(0)
})

test('what callers send is no label', async () => {
  for (let n = 0; n < 5; n++) await managed(`/never-${n}/heard?of=${n}`)
  const found = await metrics()
  expect(found.get('muster_http_requests_total{route="*",status="4xx"}')).toBe(5)
  expect([...found.keys()].filter((name) => name.includes('never'))).toEqual([])
})

test('docs/operations.md lists every metric, and no other', async () => {
  const document = readFileSync(join(import.meta.dirname, '..', 'docs', 'operations.md'), 'utf8')
  const listed = [...document.matchAll(/^\| `((?:muster|process)_\w+)` \| (\w+) \|/gm)].map(
    ([, name, kind]) => `${name} ${kind}`,
  )
  const text = await (await managed('/metrics')).text()
  const served = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, kind]) => `${name} ${kind}`)
  expect(listed.toSorted()).toEqual(served.toSorted())
})
