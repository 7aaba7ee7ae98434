import { TestClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { Bus } from '../../src/bus/bus.ts'
import { type Caller, type Control, controlSchema, createControl, type IotHub } from '../../src/control/control.ts'
import { createHub, type Hub, hubSchema } from '../../src/hub/hub.ts'
import type { Identity } from '../../src/hub/identity.ts'
import type { CutReason, Session } from '../../src/hub/sessions.ts'
import type { Store } from '../../src/store/store.ts'
import { temporaryStore } from './store.ts'
import { sasToken } from './tokens.ts'

/** A bus that loses everything: whatever must happen has to happen without it. */
export const deafBus: Bus = { publish: () => {}, subscribe: () => () => {}, close: async () => {} }

/** Delivers at once, in this process. */
export function promptBus(): Bus {
  const heard = new Map<string, Set<(hint: unknown) => void>>()
  return {
    publish: (topic, hint) => {
      for (const each of heard.get(topic) ?? []) each(hint)
    },
    subscribe: (topic, listener) => {
      const listeners = heard.get(topic) ?? new Set()
      heard.set(topic, listeners.add(listener))
      return () => void listeners.delete(listener)
    },
    close: async () => {},
  }
}

export const operator: Caller = { kind: 'management', name: 'test' }

export interface HubWorld {
  readonly clock: TestClock
  readonly store: Store
  readonly telemetry: Store
  readonly control: Control
  readonly iotHub: IotHub
  readonly hub: Hub
  /** Another process over the same documents, or over a store that does something in between. */
  node(name: string, its?: { readonly bus?: Bus; readonly store?: Store }): Promise<Hub>
}

/** A started hub node on stores of its own, with one hub named `hub1` that answers to `hub1.example`. */
export async function hubWorld({ bus = deafBus, seed = 1 }: { bus?: Bus; seed?: number } = {}): Promise<HubWorld> {
  const clock = new TestClock()
  const schema = {
    collections: [...controlSchema.collections, ...hubSchema.collections],
    queues: [...controlSchema.queues, ...hubSchema.queues],
  }
  const [store, telemetry] = [await temporaryStore(schema), await temporaryStore({ collections: [], queues: [] })]
  const random = seededRandom(seed)
  const control = createControl({ store, clock, random, log: silentLog })
  await control.hubs.put(operator, 'hub1', { hostNames: ['hub1.example'] }, { kind: 'absent' })
  const iotHub = (await control.hubs.get('hub1'))!
  const node: HubWorld['node'] = async (name, its) => {
    const hub = createHub({ store, telemetry, bus, clock, random, log: silentLog, control, node: name, ...its })
    await hub.start()
    return hub
  }
  return { clock, store, telemetry, control, iotHub, node, hub: await node('node1') }
}

export const PRIMARY = Buffer.alloc(32, 1).toString('base64')
export const SECONDARY = Buffer.alloc(32, 2).toString('base64')

/** A device document with fixed keys. */
export const sasDevice = (more: object = {}): object => ({
  authentication: { type: 'sas', symmetricKey: { primaryKey: PRIMARY, secondaryKey: SECONDARY } },
  ...more,
})

export const deviceToken = (
  clock: TestClock,
  deviceId: string,
  { key = PRIMARY, seconds = 3600, host = 'hub1.example' } = {},
) =>
  sasToken({ sr: encodeURIComponent(`${host}/devices/${deviceId}`), key, se: Math.floor(clock.now() / 1000) + seconds })

/** A session that notes why it was cut. */
export interface WatchedSession {
  readonly session: Session
  readonly cuts: CutReason[]
}

export async function openSession(hub: Hub, identity: Identity, modelId?: string): Promise<WatchedSession> {
  const cuts: CutReason[] = []
  const session = await hub.sessions.open(identity, { modelId, cut: (reason) => void cuts.push(reason) })
  return { session, cuts }
}

/** Makes the device if needed and authenticates it with its primary key. */
export async function identityOf(world: HubWorld, deviceId: string): Promise<Identity> {
  const { hub, iotHub, clock } = world
  await hub.registry.putDevice(operator, iotHub, deviceId, sasDevice(), { kind: 'absent' }).catch(() => undefined)
  return hub.deviceAuth.authenticate({
    hub: iotHub,
    deviceId,
    credential: { kind: 'sas', token: deviceToken(clock, deviceId) },
  })
}

/** Until a condition holds; real time, for what other threads have to finish. */
export async function eventually(holds: () => boolean | Promise<boolean>, what = 'the condition'): Promise<void> {
  for (let turn = 0; turn < 2_000; turn++) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error(`${what} did not come to hold.`)
}
