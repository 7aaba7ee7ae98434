import { expect, test } from 'vitest'
import {
  deafBus,
  deviceToken,
  eventually,
  type HubWorld,
  hubWorld,
  identityOf,
  openSession,
  operator,
  promptBus,
  SECONDARY,
  sasDevice,
  type WatchedSession,
} from '../../tests/support/hub-world.ts'
import type { Code } from '../base/errors.ts'
import { parseIfMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Store } from '../store/store.ts'
import { CHANGES_LOG } from './changes.ts'
import type { Hub } from './hub.ts'
import { directory } from './records.ts'

const refusal = (code: Code) => expect.objectContaining({ name: 'ServiceError', code })
const any = parseIfMatch('*')
const absent = parseIfMatch(undefined)

/** Lets the clock run for as long as a node may take to notice a change without a bus. */
async function recheck({ clock }: HubWorld): Promise<void> {
  clock.advance(limits.sessionRecheckMs)
}

const stateOf = async ({ iotHub }: HubWorld, hub: Hub, deviceId: string) =>
  (await hub.registry.getDevice(iotHub, deviceId)).connectionState

test('connect and leave: the directory says so at once here, and after the next write elsewhere', async () => {
  const world = await hubWorld()
  const elsewhere = await world.node('node2')
  const identity = await identityOf(world, 'd1')
  world.clock.advance(5_000)
  const { session } = await openSession(world.hub, identity, 'dtmi:x;1')
  expect(await world.hub.registry.getDevice(world.iotHub, 'd1')).toMatchObject({
    connectionState: 'Connected',
    connectionStateUpdatedTime: '2026-01-01T00:00:05.0000000Z',
    lastActivityTime: '2026-01-01T00:00:05.0000000Z',
  })
  expect(await stateOf(world, elsewhere, 'd1')).toBe('Connected')
  expect((await elsewhere.twins.get(world.iotHub, 'd1')).modelId).toBe('dtmi:x;1')
  world.clock.advance(1_000)
  session.end()
  expect(await stateOf(world, world.hub, 'd1')).toBe('Disconnected')
  world.clock.advance(limits.sessionFlushMs)
  await eventually(async () => (await stateOf(world, elsewhere, 'd1')) === 'Disconnected')
  expect(await elsewhere.registry.getDevice(world.iotHub, 'd1')).toMatchObject({
    connectionStateUpdatedTime: '2026-01-01T00:00:06.0000000Z',
    lastActivityTime: '2026-01-01T00:00:06.0000000Z',
  })
  expect((await elsewhere.registry.serviceStatistics(world.iotHub)).connectedDeviceCount).toBe(0)
})

test('one connection per identity on one node: accept new, cut old; device and module do not meet', async () => {
  const world = await hubWorld()
  const identity = await identityOf(world, 'd1')
  await world.hub.registry.putModule(operator, world.iotHub, 'd1', 'm', sasDevice(), absent)
  const module = await world.hub.deviceAuth.authenticate({
    hub: world.iotHub,
    deviceId: 'd1',
    moduleId: 'm',
    credential: { kind: 'sas', token: deviceToken(world.clock, 'd1/modules/m') },
  })
  const beside = await openSession(world.hub, module)
  const first = await openSession(world.hub, identity)
  const second = await openSession(world.hub, identity)
  expect(second.session.fence).toBeGreaterThan(first.session.fence)
  expect([first.cuts, second.cuts, beside.cuts]).toEqual([['taken over'], [], []])
  await expect(first.session.confirm()).rejects.toEqual(refusal(400027))
  first.session.end()
  await second.session.confirm()
  expect((await world.hub.registry.serviceStatistics(world.iotHub)).connectedDeviceCount).toBe(1)
})

test('many connect as one identity at once: one survives', async () => {
  const world = await hubWorld()
  const identity = await identityOf(world, 'd1')
  const opened = await Promise.allSettled(Array.from({ length: 4 }, () => openSession(world.hub, identity)))
  const alive = opened.filter((each) => each.status === 'fulfilled' && each.value.cuts.length === 0)
  expect(alive).toHaveLength(1)
})

test('a take-over by another node cuts here, though the bus drops everything', async () => {
  const world = await hubWorld({ bus: deafBus })
  const other = await world.node('node2')
  const identity = await identityOf(world, 'd1')
  const first = await openSession(world.hub, identity)
  const second = await openSession(other, identity)
  expect(first.cuts).toEqual([])
  await recheck(world)
  await eventually(() => first.cuts.length > 0)
  expect(first.cuts).toEqual(['taken over'])
  await second.session.confirm()
  // And back again.
  const third = await openSession(world.hub, identity)
  await expect(second.session.confirm()).rejects.toEqual(refusal(400027))
  expect([second.cuts, third.cuts]).toEqual([['taken over'], []])
})

test('a stale session is refused at its next send, before any timer and without a bus', async () => {
  const world = await hubWorld({ bus: deafBus })
  const other = await world.node('node2')
  const first = await openSession(world.hub, await identityOf(world, 'd1'))
  await openSession(other, first.session.identity)
  const message = { system: {}, application: {}, body: Buffer.from('late') }
  await expect(world.hub.telemetry.send(first.session, message)).rejects.toEqual(refusal(400027))
  for (let partition = 0; partition < world.iotHub.partitions; partition++)
    expect(await world.hub.telemetry.read(world.iotHub, partition, 0, 10)).toEqual([])
})

test.each([
  [
    'disabled',
    (hub: Hub, { iotHub }: HubWorld) =>
      hub.registry.putDevice(operator, iotHub, 'd1', sasDevice({ status: 'disabled' }), any),
    401003,
  ],
  ['deleted', (hub: Hub, { iotHub }: HubWorld) => hub.registry.removeDevice(operator, iotHub, 'd1', any), 404001],
  ['credentials', (hub: Hub, { iotHub }: HubWorld) => hub.registry.putDevice(operator, iotHub, 'd1', {}, any), 401003],
] as const)(
  '%s on another node: the device is cut, its modules too where they fall with it',
  async (reason, change, code) => {
    const world = await hubWorld({ bus: deafBus })
    const other = await world.node('node2')
    const { session, cuts } = await openSession(world.hub, await identityOf(world, 'd1'))
    await world.hub.registry.putModule(operator, world.iotHub, 'd1', 'm', sasDevice(), absent)
    const module = await openSession(
      world.hub,
      await world.hub.deviceAuth.authenticate({
        hub: world.iotHub,
        deviceId: 'd1',
        moduleId: 'm',
        credential: { kind: 'sas', token: deviceToken(world.clock, 'd1/modules/m') },
      }),
    )
    const beside = await openSession(world.hub, await identityOf(world, 'd2'))
    await change(other, world)
    await expect(session.confirm()).rejects.toEqual(refusal(code))
    expect(cuts).toEqual([reason])
    expect(module.cuts).toEqual(reason === 'credentials' ? [] : [reason])
    expect(beside.cuts).toEqual([])
  },
)

test('with a bus that works a cut comes at once', async () => {
  const world = await hubWorld({ bus: promptBus() })
  const { cuts } = await openSession(world.hub, await identityOf(world, 'd1'))
  await world.hub.registry.putDevice(operator, world.iotHub, 'd1', sasDevice({ status: 'disabled' }), any)
  await eventually(() => cuts.length > 0)
  expect(cuts).toEqual(['disabled'])
  expect(await stateOf(world, world.hub, 'd1')).toBe('Disconnected')
})

test('what was disabled and enabled again before anybody looked stays; a changed reason cuts nobody', async () => {
  const world = await hubWorld()
  const other = await world.node('node2')
  const { session, cuts } = await openSession(world.hub, await identityOf(world, 'd1'))
  for (const status of ['disabled', 'enabled'])
    await other.registry.putDevice(operator, world.iotHub, 'd1', sasDevice({ status, statusReason: status }), any)
  await session.confirm()
  expect(cuts).toEqual([])
})

test('deleted and made again with the same keys is another device', async () => {
  const world = await hubWorld()
  const other = await world.node('node2')
  const { session, cuts } = await openSession(world.hub, await identityOf(world, 'd1'))
  await other.registry.removeDevice(operator, world.iotHub, 'd1', any)
  await other.registry.putDevice(operator, world.iotHub, 'd1', sasDevice(), absent)
  await expect(session.confirm()).rejects.toEqual(refusal(404001))
  expect(cuts).toEqual(['deleted'])
})

test('a policy let it in: new device keys do not cut it', async () => {
  const world = await hubWorld()
  const { session, cuts } = await openSession(world.hub, { ...(await identityOf(world, 'd1')), scope: 'hub' })
  await world.hub.registry.putDevice(operator, world.iotHub, 'd1', {}, any)
  await session.confirm()
  expect(cuts).toEqual([])
})

test('what changed between authentication and opening is noticed by the opening commit', async () => {
  const world = await hubWorld()
  const identity = await identityOf(world, 'd1')
  await world.hub.registry.putDevice(operator, world.iotHub, 'd1', sasDevice({ statusReason: 'harmless' }), any)
  const { session } = await openSession(world.hub, identity)
  session.end()
  await world.hub.registry.putDevice(
    operator,
    world.iotHub,
    'd1',
    { authentication: { symmetricKey: { primaryKey: SECONDARY, secondaryKey: SECONDARY } } },
    any,
  )
  await expect(openSession(world.hub, identity)).rejects.toEqual(refusal(401003))
  await world.hub.registry.removeDevice(operator, world.iotHub, 'd1', any)
  await expect(openSession(world.hub, identity)).rejects.toEqual(refusal(404001))
})

/** A node whose store lets something happen around the commit that opens a session. */
async function interrupted(world: HubWorld, when: 'before' | 'after', happen: () => Promise<unknown>): Promise<Hub> {
  const commit: Store['commit'] = async (change) => {
    const opens = change.put?.some(({ collection }) => collection === directory) === true
    if (opens && when === 'before') await happen()
    const result = await world.store.commit(change)
    if (opens && when === 'after') await happen()
    return result
  }
  return world.node('interrupted', { store: { ...world.store, commit } })
}

test('a device that is disabled while its session opens is not let in', async () => {
  const world = await hubWorld()
  const identity = await identityOf(world, 'd1')
  const node = await interrupted(world, 'before', () =>
    world.hub.registry.putDevice(operator, world.iotHub, 'd1', sasDevice({ status: 'disabled' }), any),
  )
  await expect(openSession(node, identity)).rejects.toEqual(refusal(401003))
})

test('a change that was taken up between the opening commit and its answer is not missed', async () => {
  const world = await hubWorld()
  const identity = await identityOf(world, 'd1')
  const bystander = await identityOf(world, 'd2')
  let armed = false
  let others: WatchedSession | undefined
  const node = await interrupted(world, 'after', async () => {
    if (!armed) return
    await world.hub.registry.putDevice(operator, world.iotHub, 'd1', sasDevice({ status: 'disabled' }), any)
    await others?.session.confirm()
  })
  others = await openSession(node, bystander)
  armed = true
  await expect(openSession(node, identity)).rejects.toEqual(refusal(401003))
})

test('openings and changes race: whoever is left open is one that would be let in', async () => {
  const world = await hubWorld()
  const other = await world.node('node2')
  for (let round = 0; round < 15; round++) {
    const id = `r${round}`
    const identity = await identityOf(world, id)
    const status = round % 2 === 0 ? 'disabled' : 'enabled'
    const [opened] = await Promise.allSettled([
      openSession(world.hub, identity),
      other.registry.putDevice(operator, world.iotHub, id, sasDevice({ status }), any),
    ])
    if (opened.status === 'rejected') continue
    await opened.value.session.confirm().catch(() => {})
    expect(opened.value.cuts).toEqual(status === 'disabled' ? ['disabled'] : [])
  }
})

test('a token lets a session live until ten minutes after its expiry', async () => {
  const world = await hubWorld()
  const identity = await identityOf(world, 'd1')
  const { cuts } = await openSession(world.hub, identity)
  world.clock.advance(3600_000 + limits.sessionTokenGraceMs - limits.sessionRecheckMs)
  await eventually(() => true)
  expect(cuts).toEqual([])
  for (let step = 0; step < 3; step++) {
    world.clock.advance(limits.sessionRecheckMs)
    await eventually(() => true)
  }
  await eventually(() => {
    world.clock.advance(limits.sessionRecheckMs)
    return cuts.length > 0
  })
  expect(cuts).toEqual(['expired'])
})

test('the entries of a process that died read as disconnected once its lease has run out', async () => {
  const world = await hubWorld()
  const other = await world.node('node2')
  await openSession(world.hub, await identityOf(world, 'd1'))
  expect(await stateOf(world, other, 'd1')).toBe('Connected')
  // The first process dies: nothing prolongs its lease. A third looks, on a clock of its own.
  const { clock } = world
  const later = { now: () => clock.now() + limits.nodeLeaseMs + 1, after: clock.after.bind(clock) }
  const { createHub } = await import('./hub.ts')
  const { seededRandom } = await import('../base/random.ts')
  const { silentLog } = await import('../base/log.ts')
  const third = createHub({
    ...world,
    bus: deafBus,
    clock: later,
    random: seededRandom(9),
    log: silentLog,
    node: 'node1',
  })
  await third.sessions.start()
  expect(await third.registry.getDevice(world.iotHub, 'd1')).toMatchObject({
    connectionState: 'Disconnected',
    connectionStateUpdatedTime: '2026-01-01T00:00:15.0000000Z',
  })
  expect((await third.registry.serviceStatistics(world.iotHub)).connectedDeviceCount).toBe(0)
})

test('activity is written once a minute while a connection lives, and everything at the stop', async () => {
  const world = await hubWorld()
  const { session, cuts } = await openSession(world.hub, await identityOf(world, 'd1'))
  const stored = async () => (await world.store.get(directory, 'hub1/d1'))!
  const { version } = await stored()
  world.clock.advance(10_000)
  session.touch()
  world.clock.advance(limits.sessionFlushMs)
  await eventually(() => true)
  expect((await stored()).version).toBe(version)
  world.clock.advance(limits.activityWriteMs)
  await eventually(async () => {
    world.clock.advance(limits.sessionFlushMs)
    return (await stored()).version !== version
  })
  expect((await stored()).value.lastActivityTime).toBe(Date.UTC(2026, 0, 1) + 10_000)
  world.clock.advance(1_000)
  const stopped = world.clock.now()
  await world.hub.stop()
  expect(cuts).toEqual(['stopping'])
  expect((await stored()).value).toMatchObject({ connected: false, lastActivityTime: stopped })
  await expect(session.confirm()).rejects.toEqual(refusal(503001))
})

test('a reconnect is not undone by the late end of the connection before it', async () => {
  const world = await hubWorld()
  const other = await world.node('node2')
  const identity = await identityOf(world, 'd1')
  const first = await openSession(world.hub, identity)
  first.session.end()
  await openSession(other, identity)
  world.clock.advance(limits.sessionFlushMs)
  await eventually(() => true)
  expect(await stateOf(world, world.hub, 'd1')).toBe('Connected')
})

test('a node that slept through the retention of changes looks at all of its sessions', async () => {
  const world = await hubWorld()
  const other = await world.node('node2')
  const { session, cuts } = await openSession(world.hub, await identityOf(world, 'd1'))
  const healthy = await openSession(world.hub, await identityOf(world, 'd2'))
  await other.registry.removeDevice(operator, world.iotHub, 'd1', any)
  await world.store.trim(CHANGES_LOG, (await world.store.bounds(CHANGES_LOG)).next)
  await expect(session.confirm()).rejects.toEqual(refusal(404001))
  expect([cuts, healthy.cuts]).toEqual([['deleted'], []])
})
