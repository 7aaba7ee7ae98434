import { TestClock } from '../../src/base/clock.ts'
import { ServiceError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createInProcessBus } from '../../src/bus/in-process.ts'
import {
  type Caller,
  type Control,
  controlSchema,
  createControl,
  type ProvisioningService,
} from '../../src/control/control.ts'
import { readCertificates } from '../../src/crypto/certificates.ts'
import type { Belongings, DeviceData, HubDevice, LinkedHub } from '../../src/provisioning/linked-hub.ts'
import {
  type Claim,
  createProvisioning,
  type OperationStatus,
  type Provisioning,
  type ProvisioningSettings,
  provisioningSchema,
} from '../../src/provisioning/provisioning.ts'
import type { Schema, Store } from '../../src/store/store.ts'
import { temporaryStore } from './store.ts'
import { dpsTokens } from './tokens.ts'

/** The room of provisioning on a real store, with the real control room and hubs that are pretended. */
export interface ProvisioningRoom {
  readonly store: Store
  readonly clock: TestClock
  readonly control: Control
  readonly provisioning: Provisioning
  readonly service: ProvisioningService
  readonly hubs: Map<string, FakeHub>
  readonly webhook: FakeWebhook
  /** Another node on the same store, as after a crash of the first: nothing is shared but what was committed. */
  again(settings?: Partial<ProvisioningSettings>, store?: Store): Provisioning
  /** The service as it stands now. */
  current(): Promise<ProvisioningService>
}

export const caller: Caller = { kind: 'policy', name: 'test' }
export const API = '2021-10-01'
export const any = { ifMatch: { kind: 'any' }, apiVersion: API } as const
export const create = { ifMatch: { kind: 'absent' }, apiVersion: API } as const

export const HUB_A = 'hub-a.example'
export const HUB_B = 'hub-b.example'

const schema: Schema = {
  collections: [...controlSchema.collections, ...provisioningSchema.collections],
  queues: [...controlSchema.queues, ...provisioningSchema.queues],
}

export interface RoomOptions {
  readonly settings?: Partial<ProvisioningSettings>
  readonly linked?: readonly string[]
  readonly allocationPolicy?: string
  /** Wraps the store that provisioning sees. */
  readonly through?: (store: Store) => Store
}

export async function provisioningRoom(options: RoomOptions = {}): Promise<ProvisioningRoom> {
  const { linked = [HUB_A, HUB_B], allocationPolicy = 'Hashed', through = (store) => store } = options
  const store = await temporaryStore(schema)
  const clock = new TestClock()
  const needs = { store, clock, random: seededRandom(7), log: silentLog, bus: createInProcessBus() }
  const control = createControl(needs)
  const webhook = new FakeWebhook()
  const hubs = new Map([HUB_A, HUB_B].map((host) => [host, new FakeHub()]))
  await putService(control, linked, allocationPolicy)
  const current = async (): Promise<ProvisioningService> => (await control.provisioningServices.get('dps'))!
  const again = (settings: Partial<ProvisioningSettings> = {}, its: Store = store): Provisioning =>
    createProvisioning({
      ...needs,
      store: its,
      control,
      linkedHubs: (host) => hubs.get(host),
      postWebhook: webhook.post,
      settings,
    })
  const provisioning = again(options.settings, through(store))
  return { store, clock, control, provisioning, service: await current(), hubs, webhook, again, current }
}

/** The service `dps` with these hubs linked. */
export async function putService(control: Control, linked: readonly string[], allocationPolicy: string): Promise<void> {
  const iotHubs = linked.map((hostName) => ({
    connectionString: `HostName=${hostName};SharedAccessKeyName=iothubowner;SharedAccessKey=${Buffer.alloc(32, 1).toString('base64')}`,
  }))
  await control.provisioningServices
    .put(caller, 'dps', { iotHubs, allocationPolicy }, { kind: 'absent' })
    .catch(() => control.provisioningServices.put(caller, 'dps', { iotHubs, allocationPolicy }, { kind: 'any' }))
}

/** A webhook that answers as told and keeps what it was asked. */
export class FakeWebhook {
  readonly asked: { readonly url: string; readonly body: Record<string, unknown> }[] = []
  /** What it answers with, in turn; the last one again and again. An error is thrown. */
  answers: (object | number | Error)[] = []

  readonly post = async (url: URL, body: string): Promise<{ status: number; body: Uint8Array }> => {
    this.asked.push({ url: url.href, body: JSON.parse(body) as Record<string, unknown> })
    const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0]
    if (answer instanceof Error) throw answer
    if (typeof answer === 'number') return { status: answer, body: Buffer.from('no') }
    return { status: 200, body: Buffer.from(JSON.stringify(answer)) }
  }
}

/** A hub in memory that does what the port says, and fails or waits when told. */
export class FakeHub implements LinkedHub {
  readonly devices = new Map<string, { device: HubDevice; data: DeviceData }>()
  readonly calls: string[] = []
  /** Thrown by the next calls, one each. */
  readonly faults: unknown[] = []
  /** Every call waits for it. */
  gate: Promise<void> = Promise.resolve()

  async provision(device: HubDevice, mode: 'keep' | 'reset'): Promise<'created' | 'refreshed'> {
    await this.#step(`provision ${device.deviceId} ${mode}`)
    const there = this.devices.get(device.deviceId)
    if (there === undefined || mode === 'reset') this.devices.set(device.deviceId, { device, data: device.twin })
    else {
      const iotEdge = device.iotEdge || there.device.iotEdge
      this.devices.set(device.deviceId, { device: { ...there.device, ...device, iotEdge }, data: there.data })
    }
    return there === undefined ? 'created' : 'refreshed'
  }

  async read(deviceId: string): Promise<Belongings | undefined> {
    await this.#step(`read ${deviceId}`)
    const there = this.devices.get(deviceId)
    if (there === undefined) return undefined
    const { iotEdge, status = 'enabled' } = there.device
    return { twin: there.data, iotEdge, status }
  }

  /** Other names it answers to. */
  readonly alsoNamed = new Set<string>()

  async isAlso(hostName: string): Promise<boolean> {
    return this.alsoNamed.has(hostName)
  }

  async remove(deviceId: string): Promise<void> {
    await this.#step(`remove ${deviceId}`)
    this.devices.delete(deviceId)
  }

  async #step(call: string): Promise<void> {
    await this.gate
    this.calls.push(call)
    const fault = this.faults.shift()
    if (fault !== undefined) throw fault
  }
}

/** Lets everything that needs no clock happen. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Waits until `holds`, at most a few seconds: for what a store does in its own time. */
export async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  for (let turn = 0; turn < 5_000; turn++) {
    if (await holds()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
  throw new Error('What was waited for did not happen.')
}

type Room = Pick<ProvisioningRoom, 'clock' | 'service'>

/** A claim by symmetric key, with the token that the Node SDK makes. */
export const keyClaim = ({ clock, service }: Room, registrationId: string, key: string): Claim => ({
  idScope: service.idScope,
  registrationId,
  kind: 'sas',
  token: dpsTokens['node']!(service.idScope, registrationId, key, Math.floor(clock.now() / 1000)),
})

/** A claim by the certificates of a PEM text, leaf first. */
export const certificateClaim = ({ service }: Room, registrationId: string, pem: string): Claim => ({
  idScope: service.idScope,
  registrationId,
  kind: 'x509',
  chain: readCertificates(pem).map(({ raw }) => raw),
})

/** Registers and polls until the operation has ended. */
export async function registered(provisioning: Provisioning, claim: Claim, apiVersion = API): Promise<OperationStatus> {
  const { operationId } = await provisioning.registrations.register(claim, {}, apiVersion)
  return ended(provisioning, claim, operationId, apiVersion)
}

export async function ended(
  provisioning: Provisioning,
  claim: Claim,
  operationId: string,
  apiVersion = API,
): Promise<OperationStatus> {
  let status: OperationStatus = { operationId, status: 'assigning' }
  await until(async () => {
    status = await provisioning.registrations.status(claim, operationId, apiVersion)
    return status.status !== 'assigning'
  })
  return status
}

/** What a call was refused with. */
export async function refusal(call: Promise<unknown> | (() => unknown)): Promise<{ code: number; message: string }> {
  try {
    await (typeof call === 'function' ? call() : call)
  } catch (error) {
    if (error instanceof ServiceError) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('The call was expected to be refused, and was not.')
}
