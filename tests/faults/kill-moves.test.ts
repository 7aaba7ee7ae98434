import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import type { Registration } from '../../src/provisioning/registration-record.ts'
import { registrations } from '../../src/provisioning/schema.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { type Answer, ask, connectDevice, derivedKey, sas, type Target } from '../support/raw-client.ts'
import { type TpmDouble, tpmDouble } from '../support/tpm-double.ts'
import { challenged, devicePath, dpsService, dpsToken, hubService, isBroken, manage, target } from './clients.ts'
import { type WebhookDouble, webhookDouble } from './webhook-double.ts'

// `kill -9` at random moments while webhooks are asked and a whole fleet moves, in every round to the next of three
// hubs: two of the Muster that is killed, one of another Muster. Some take their data along, some are reset; some are
// TPM devices. Whatever a device was told holds; after a retry each is assigned, in exactly one hub, with its twin; a
// decision that was committed is not asked for again. MUSTER_KILL_ROUNDS and MUSTER_TEST_SEED repeat a run.
const ROUNDS = Number(process.env['MUSTER_KILL_ROUNDS'] ?? 40)
const SEED = Number(process.env['MUSTER_TEST_SEED'] ?? Date.now() % 1_000_000)

const folder = mkdtempSync(join(tmpdir(), 'muster-kill-moves-'))
let muster: MusterProcess
afterAll(async () => {
  await muster.kill()
  rmSync(folder, { recursive: true, force: true })
})

interface Hub {
  /** As it is linked. */
  readonly name: string
  /** Where it is after this start. */
  at(muster: MusterProcess, port: 'https' | 'mqtts'): Target
  connectionString(muster: MusterProcess): string
}

interface Fleet {
  readonly name: string
  readonly asksWebhook: boolean
  readonly takesData: boolean
  readonly size: number
  readonly tpm?: true
}

const FLEETS: readonly Fleet[] = [
  { name: 'asking', asksWebhook: true, takesData: true, size: 6 },
  { name: 'asking-reset', asksWebhook: true, takesData: false, size: 2 },
  { name: 'sent', asksWebhook: false, takesData: true, size: 4 },
  { name: 'sent-reset', asksWebhook: false, takesData: false, size: 2 },
  { name: 'tpm', asksWebhook: true, takesData: true, size: 2, tpm: true },
]

interface Device {
  readonly id: string
  readonly fleet: Fleet
  readonly tpm: TpmDouble | undefined
  /** Of the group, for this device; of a TPM device what its last assignment gave. */
  key: string
  /** What a TPM device may sign with now. */
  token?: string
  /** Acknowledged with 202 and not followed to its end yet. */
  operationId?: string | undefined
  /** Assigned by an operation whose end arrived: at least that must be known from then on. */
  told?: Hub
  /** Found committed after a kill: the decision of the running operation. */
  decided?: { readonly operationId: string; readonly n: unknown }
  twin: { tags: object; desired: object; reported: object }
}

let elsewhere: TestMuster
let webhook: WebhookDouble
let hubs: readonly Hub[]
let round = 0
const random = seededRandom(SEED)
const groupKeys = new Map(FLEETS.map(({ name }) => [name, newKey()]))
const devices: readonly Device[] = FLEETS.flatMap((fleet) =>
  Array.from({ length: fleet.size }, (_, at) => {
    const id = `${fleet.name}-${at}`
    const tpm = fleet.tpm && tpmDouble(at % 2 === 0 ? 'rsa' : 'ecc')
    const key = derivedKey(groupKeys.get(fleet.name) ?? '', id)
    return { id, fleet, tpm, key, twin: { tags: {}, desired: {}, reported: {} } }
  }),
)
const destination = (): Hub => hubs[round % hubs.length]!
const found = { undecided: 0, decided: 0, departing: 0, arrived: 0, ended: 0 }
const seen: Record<string, number> = {}

test(`${ROUNDS} rounds of kill -9 under webhooks and moves (seed ${SEED})`, async () => {
  elsewhere = await startMuster({ config: { address: '127.0.0.2', hostNames: ['127.0.0.2'] } })
  webhook = await webhookDouble(random)
  const start = (): Promise<MusterProcess> =>
    startProcess(join(folder, 'data'), ['--outbound-ca', join(elsewhere.folder, 'data', 'ca.pem')])
  muster = await start()
  hubs = await threeHubs(muster)
  for (; round < ROUNDS; round++) {
    const running = muster
    await sendFleets(running)
    await Promise.all(devices.filter(() => round > 0 && random.fraction() < 0.4).map((each) => reports(running, each)))
    const load = Promise.all(devices.map((device) => comingBack(running, device)))
    await new Promise((resolve) => setTimeout(resolve, 10 + random.fraction() * 300))
    await muster.kill()
    await load
    await holdsWhatWasTold()
    muster = await start()
    const restarted = muster
    await Promise.all(devices.map((device) => recovers(restarted, device)))
  }
  for (const hub of hubs) {
    const { body } = await hubService(
      hub.at(muster, 'https'),
      hub.connectionString(muster),
      'GET',
      '/statistics/devices',
    )
    const holds = ROUNDS > 0 && hub === hubs[(ROUNDS - 1) % hubs.length] ? devices.length : 0
    expect(body).toMatchObject({ totalDeviceCount: holds })
  }
  console.info('found after the kills:', found, 'told:', seen, `webhook failures: ${webhook.failures}`)
  expect(await muster.stop()).toBe(0)
  await webhook.close()
  await elsewhere.stop()
})

async function threeHubs(muster: MusterProcess): Promise<readonly Hub[]> {
  await manage(muster, 'PUT', '/IotHubs/second-hub', { properties: { hostNames: ['second-hub.example.net'] } })
  const { value } = (await manage(muster, 'POST', '/IotHubs/second-hub/listkeys')) as {
    value: { keyName: string; primaryKey: string }[]
  }
  const [policy] = value
  const second = `HostName=second-hub.example.net;SharedAccessKeyName=${policy?.keyName};SharedAccessKey=${policy?.primaryKey}`
  const remote = hubOf(elsewhere)
  const { name } = ((await manage(muster, 'GET', '/provisioningServices')) as { value: { name: string }[] }).value[0]!
  const path = `/provisioningServices/${name}`
  const resource = (await manage(muster, 'GET', path)) as { properties: { iotHubs: { name: string }[] } }
  const linked = [second, remote.connectionString].map((connectionString) => ({ connectionString }))
  const iotHubs = [...resource.properties.iotHubs, ...linked]
  await manage(muster, 'PUT', path, { ...resource, properties: { ...resource.properties, iotHubs } })
  const { address, ports } = elsewhere.addresses
  return [
    {
      name: resource.properties.iotHubs[0]!.name,
      at: target,
      connectionString: ({ ready }) => ready.hubs[0]!.connectionString,
    },
    { name: 'second-hub.example.net', at: target, connectionString: () => second },
    {
      name: remote.hostName,
      at: (_, port) => ({ host: address, port: ports[port], ca: elsewhere.ca }),
      connectionString: () => remote.connectionString,
    },
  ]
}

/** Enrollments that lead to this round's hub: by the webhook, or by naming it. */
async function sendFleets(muster: MusterProcess): Promise<void> {
  const to = destination()
  webhook.choose(to.name)
  const twin = { tags: { round }, properties: { desired: { round } } }
  for (const fleet of FLEETS) {
    const { name, asksWebhook, takesData } = fleet
    const document = {
      initialTwin: twin,
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: takesData },
      ...(asksWebhook
        ? {
            allocationPolicy: 'custom',
            customAllocationDefinition: { webhookUrl: webhook.url, apiVersion: '2019-03-31' },
          }
        : { allocationPolicy: 'static', iotHubs: [to.name] }),
    }
    const key = groupKeys.get(name) ?? ''
    if (fleet.tpm === undefined) {
      const body = { enrollmentGroupId: name, ...symmetricKeys(key, key), ...document }
      await put(muster, `/enrollmentGroups/${name}`, body)
      continue
    }
    for (const { id, tpm } of devices.filter((device) => device.fleet === fleet)) {
      const attestation = { type: 'tpm', tpm: { endorsementKey: tpm?.endorsementKey } }
      await put(muster, `/enrollments/${id}`, { registrationId: id, attestation, ...document })
    }
  }
}

async function put(muster: MusterProcess, path: string, body: object): Promise<void> {
  const answer = await dpsService(muster, 'PUT', path, body, round > 0 ? { 'If-Match': '*' } : {})
  expect(answer.status, JSON.stringify(answer.body)).toBe(200)
}

/** The device, where it lives now, changes its twin: acknowledged, so every move has to bring it along. */
async function reports(muster: MusterProcess, device: Device): Promise<void> {
  const hub = device.told!
  const hubHost = /HostName=([^;]+)/.exec(hub.connectionString(muster))?.[1] ?? ''
  const password = sas(`${hubHost}/devices/${device.id}`, device.key)
  const connection = await connectDevice(hub.at(muster, 'mqtts'), { hubHost, deviceId: device.id, password })
  await connection.publish('$iothub/twin/PATCH/properties/reported/?$rid=1', JSON.stringify({ [`in${round}`]: true }))
  connection.end()
  await connection.closed
  device.twin.reported = { ...device.twin.reported, [`in${round}`]: true }
}

/** Registers again and again until the service dies under it. */
async function comingBack(muster: MusterProcess, device: Device): Promise<void> {
  try {
    for (;;) {
      await opens(muster, device)
      await follows(muster, device)
    }
  } catch (error) {
    if (!isBroken(error)) throw error
  }
}

/** After the restart: what was acknowledged ends, and then the device is where this round sends it. */
async function recovers(muster: MusterProcess, device: Device): Promise<void> {
  let status = device.operationId === undefined ? undefined : await follows(muster, device)
  for (let tries = 0; status !== 'assigned'; tries++) {
    expect(tries, `registrations of ${device.id} that failed in a row`).toBeLessThan(20)
    await opens(muster, device)
    status = await follows(muster, device)
  }
  const record = await dpsService(muster, 'GET', `/registrations/${device.id}`)
  expect(record.body).toMatchObject({ status: 'assigned', deviceId: device.id })
  const { name, fleet } = { name: destination().name, fleet: device.fleet }
  if (round === 0 || !fleet.takesData)
    device.twin = { tags: { round }, desired: { round }, reported: round === 0 ? {} : device.twin.reported }
  if (round > 0 && !fleet.takesData) device.twin.reported = {}
  expect(await twinIn(muster, device), `twin of ${device.id} in ${name}, round ${round}`).toEqual(device.twin)
}

async function opens(muster: MusterProcess, device: Device): Promise<void> {
  const { id, tpm, key } = device
  device.token = tpm === undefined ? dpsToken(muster, id, key) : await challenged(muster, id, tpm)
  const answer = await signed(muster, device, 'PUT', 'register')
  expect(answer.status, JSON.stringify(answer.body)).toBe(202)
  device.operationId = (answer.body as { operationId: string }).operationId
}

interface State {
  readonly assignedHub: string
  readonly substatus: string
  readonly errorCode?: number
  readonly errorMessage?: string
  readonly payload?: { readonly n: number }
  readonly tpm?: { readonly authenticationKey: string }
}

/** Polls an acknowledged operation to its end; checks what the device is told against the registries. */
async function follows(muster: MusterProcess, device: Device): Promise<string> {
  for (;;) {
    const answer = await signed(muster, device, 'GET', `operations/${device.operationId}`)
    expect([200, 202], JSON.stringify(answer.body)).toContain(answer.status)
    if (answer.status === 202) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      continue
    }
    const { status, registrationState } = answer.body as { status: string; registrationState: State }
    expectDecision(device, status, registrationState)
    if (status === 'failed') {
      // The webhook's 500, and nothing else.
      expect(registrationState, JSON.stringify(registrationState)).toMatchObject({ errorCode: 400207 })
      expect(device.fleet.asksWebhook).toBe(true)
    } else {
      expect(status).toBe('assigned')
      await livesThereAlone(muster, device, registrationState)
      device.told = destination()
      seen[registrationState.substatus] = (seen[registrationState.substatus] ?? 0) + 1
    }
    device.operationId = undefined
    return status
  }
}

/** The answer is the webhook's last one; of a decision that a kill had found committed, it is that one. */
function expectDecision({ id, fleet, operationId, decided }: Device, status: string, { payload }: State): void {
  if (!fleet.asksWebhook || status !== 'assigned') return
  expect(payload?.n, `decision of ${operationId} (${id}), round ${round}`).toBe(webhook.asked(id))
  if (decided?.operationId === operationId) expect(payload?.n).toBe(decided?.n)
}

/** In the hub that it was told, with the key that it has; in no other. */
async function livesThereAlone(muster: MusterProcess, device: Device, state: State): Promise<void> {
  const hub = destination()
  expect(state.assignedHub.startsWith(hub.name), `${device.id} is in ${state.assignedHub}, not in ${hub.name}`).toBe(
    true,
  )
  if (device.tpm !== undefined) device.key = device.tpm.activate(state.tpm?.authenticationKey ?? '').toString('base64')
  for (const each of hubs) {
    const answer = await inHub(muster, each, `/devices/${device.id}`)
    expect(answer.status, `${device.id} in ${each.name}, told ${hub.name}, round ${round}`).toBe(
      each === hub ? 200 : 404,
    )
    if (each === hub)
      expect(answer.body).toMatchObject({ authentication: { symmetricKey: { primaryKey: device.key } } })
  }
}

const inHub = (muster: MusterProcess, hub: Hub, path: string): Promise<Answer> =>
  hubService(hub.at(muster, 'https'), hub.connectionString(muster), 'GET', path)

async function twinIn(muster: MusterProcess, { id }: Device): Promise<object> {
  const { body } = await inHub(muster, destination(), `/twins/${id}`)
  const { tags, properties } = body as { tags: object; properties: Record<string, Record<string, unknown>> }
  const own = ({ $version: _, $metadata: __, ...rest }: Record<string, unknown> = {}): object => rest
  return { tags, desired: own(properties['desired']), reported: own(properties['reported']) }
}

const signed = (muster: MusterProcess, { id, token = '' }: Device, method: string, rest: string): Promise<Answer> =>
  ask(target(muster), {
    method,
    path: devicePath(muster, id, rest),
    headers: { authorization: token },
    ...(method === 'PUT' && { body: { registrationId: id } }),
  })

/** Between kill and restart, in a copy of the store: what was told is there; what was decided is remembered. */
async function holdsWhatWasTold(): Promise<void> {
  const [from, to] = [join(folder, 'data', 'documents.db'), join(folder, 'found.db')]
  for (const part of ['', '-wal', '-shm']) {
    rmSync(`${to}${part}`, { force: true })
    if (part !== '-shm' && existsSync(`${from}${part}`)) copyFileSync(`${from}${part}`, `${to}${part}`)
  }
  const store = await openSqliteStore({ file: to, schema: { collections: [registrations], queues: [] }, windowMs: 0 })
  const records = new Map<string, Registration>()
  for (const { value } of (await store.scan(registrations, { limit: 1_000 })).items)
    records.set(value.registrationId, value)
  await store.close()
  for (const device of devices) {
    const record = records.get(device.id)
    if (device.told !== undefined) expect(record?.assignment, `${device.id} was told of its hub`).toBeDefined()
    if (device.told === destination()) expect(record?.assignment?.hub).toBe(device.told.name)
    delete device.decided
    if (record === undefined) continue
    count(record)
    if (record.status !== 'assigning' || record.decision === undefined) continue
    const { n } = record.decision.payload as { n: number }
    expect(n, `decision of ${device.id}`).toBe(webhook.asked(device.id))
    device.decided = { operationId: record.operationId, n }
  }
}

/** Where kills fell: a run in which none fell into a move would prove nothing. */
function count(record: Registration): void {
  if (record.status !== 'assigning') found.ended++
  else if (record.untold) found.arrived++
  else if (record.leftover !== undefined) found.departing++
  else if (record.decision !== undefined) found.decided++
  else found.undecided++
}
