import { expect, test } from 'vitest'
import {
  hubWorld,
  identityOf,
  openSession,
  operator,
  PRIMARY,
  SECONDARY,
  sasDevice,
} from '../../tests/support/hub-world.ts'
import { parseIfMatch } from '../base/etags.ts'
import type { Store } from '../store/store.ts'
import { CHANGES_LOG } from './changes.ts'
import { devices, twins } from './records.ts'

const world = await hubWorld()
const { hub, iotHub, store } = world
const { registry } = hub
const any = parseIfMatch('*')

const keys = (primaryKey = PRIMARY) => ({ type: 'sas', symmetricKey: { primaryKey, secondaryKey: SECONDARY } })
const device = (deviceId: string, more: object = {}) => ({
  deviceId,
  authentication: keys(),
  iotEdge: false,
  twin: { tags: { site: 'x' }, desired: { interval: 30 } },
  ...more,
})

test('a new device is made with its twin; two rows, nothing in the change sequence', async () => {
  const before = await store.bounds(CHANGES_LOG)
  expect(await registry.provision(iotHub, device('p1'), 'keep')).toBe('created')
  expect(await store.bounds(CHANGES_LOG)).toEqual(before)
  expect(await registry.getDevice(iotHub, 'p1')).toMatchObject({ status: 'enabled', authentication: keys() })
  expect(await hub.twins.get(iotHub, 'p1')).toMatchObject({
    tags: { site: 'x' },
    version: 2,
    properties: { desired: { interval: 30, $version: 1 }, reported: { $version: 1 } },
  })
})

test('repeating it changes nothing', async () => {
  await registry.provision(iotHub, device('p2'), 'keep')
  const [identity, twin] = [await store.get(devices, 'hub1/p2'), await store.get(twins, 'hub1/p2')]
  expect(await registry.provision(iotHub, device('p2'), 'keep')).toBe('refreshed')
  expect([await store.get(devices, 'hub1/p2'), await store.get(twins, 'hub1/p2')]).toEqual([identity, twin])
})

test('a device that returns unchanged costs no commit; one that is gone is made again', async () => {
  let commits = 0
  const commit: Store['commit'] = (change) => {
    commits += 1
    return store.commit(change)
  }
  const counting: Store = { ...store, commit }
  const { registry: counted } = await world.node('counting', { store: counting })
  expect(await counted.provision(iotHub, device('p2a'), 'keep', true)).toBe('created')
  commits = 0
  expect(await counted.provision(iotHub, device('p2a'), 'keep', true)).toBe('refreshed')
  expect(commits).toBe(0)
})

test('keep: new credentials and Edge flag, the twin and everything else stay; a live session is cut', async () => {
  await registry.provision(iotHub, device('p3'), 'keep')
  await registry.putDevice(operator, iotHub, 'p3', { ...sasDevice(), statusReason: 'noted' }, any)
  const made = await registry.getDevice(iotHub, 'p3')
  const { session, cuts } = await openSession(hub, await identityOf(world, 'p3'))
  const other = Buffer.alloc(32, 9).toString('base64')
  const changed = device('p3', {
    authentication: keys(other),
    iotEdge: true,
    twin: { tags: {}, desired: { interval: 1 } },
  })
  expect(await registry.provision(iotHub, changed, 'keep')).toBe('refreshed')
  expect(await registry.getDevice(iotHub, 'p3')).toMatchObject({
    generationId: made.generationId,
    statusReason: 'noted',
    authentication: keys(other),
    capabilities: { iotEdge: true },
  })
  expect((await hub.twins.read(iotHub, 'p3'))?.twin.desired).toEqual({ interval: 30 })
  expect(await registry.listModules(operator, iotHub, 'p3')).toHaveLength(2)
  await expect(session.confirm()).rejects.toMatchObject({ code: 401003 })
  expect(cuts).toEqual(['credentials'])
})

test('keep leaves an Edge device one; reset does not', async () => {
  await registry.provision(iotHub, device('p10', { iotEdge: true }), 'keep')
  await registry.provision(iotHub, device('p10', { authentication: keys(SECONDARY) }), 'keep')
  expect(await hub.twins.read(iotHub, 'p10')).toMatchObject({ iotEdge: true })
  await registry.provision(iotHub, device('p10'), 'reset')
  expect(await hub.twins.read(iotHub, 'p10')).toMatchObject({ iotEdge: false })
})

test.each(['keep', 'reset'] as const)(
  '%s: a device that comes disabled is disabled, and a live session cut',
  async (mode) => {
    const id = `disabled-${mode}`
    await registry.provision(iotHub, device(id), 'keep')
    const { session, cuts } = await openSession(hub, await identityOf(world, id))
    await registry.provision(iotHub, device(id, { status: 'disabled' }), mode)
    await expect(session.confirm()).rejects.toMatchObject({ code: 401003 })
    expect(cuts).toEqual(['disabled'])
    await registry.provision(iotHub, device(`${id}-new`, { status: 'disabled' }), mode)
    for (const each of [id, `${id}-new`]) expect((await hub.twins.read(iotHub, each))?.status).toBe('disabled')
  },
)

test('keep does not enable what an operator disabled', async () => {
  await registry.provision(iotHub, device('p4'), 'keep')
  await registry.putDevice(operator, iotHub, 'p4', sasDevice({ status: 'disabled' }), any)
  await registry.provision(iotHub, device('p4', { authentication: keys(SECONDARY) }), 'keep')
  expect((await registry.getDevice(iotHub, 'p4')).status).toBe('disabled')
})

test('reset: the twin is made anew and its versions go on', async () => {
  await registry.provision(iotHub, device('p5'), 'keep')
  const { session } = await openSession(hub, await identityOf(world, 'p5'))
  await hub.twins.patchReported(session, Buffer.from('{"seen":1}'), undefined)
  const before = await hub.twins.get(iotHub, 'p5')
  await registry.provision(iotHub, device('p5', { twin: { tags: { site: 'y' }, desired: {} } }), 'reset')
  const after = await hub.twins.get(iotHub, 'p5')
  expect(after).toMatchObject({
    tags: { site: 'y' },
    version: 3,
    properties: { desired: { $version: 2 }, reported: { $version: 3 } },
  })
  expect(after.etag).not.toBe(before.etag)
  expect(after.deviceEtag).toBe(before.deviceEtag)
  expect((await hub.twins.read(iotHub, 'p5'))?.twin).toEqual({ tags: { site: 'y' }, desired: {}, reported: {} })
})

test('a device that moves brings its reported properties along', async () => {
  await registry.provision(iotHub, device('p6', { twin: { tags: {}, desired: {}, reported: { a: 1 } } }), 'keep')
  expect((await hub.twins.read(iotHub, 'p6'))?.twin.reported).toEqual({ a: 1 })
  expect(await hub.twins.read(iotHub, 'nobody')).toBeUndefined()
  await registry.discard(iotHub, 'p6')
  await registry.discard(iotHub, 'p6')
  await expect(registry.getDevice(iotHub, 'p6')).rejects.toMatchObject({ code: 404001 })
})

test('Edge devices and thumbprints', async () => {
  const x509Thumbprint = { primaryThumbprint: 'A'.repeat(64), secondaryThumbprint: null }
  await registry.provision(
    iotHub,
    device('p7', { iotEdge: true, authentication: { type: 'selfSigned', x509Thumbprint } }),
    'keep',
  )
  expect(await registry.getDevice(iotHub, 'p7')).toMatchObject({
    authentication: { type: 'selfSigned', x509Thumbprint },
  })
  expect(await registry.listModules(operator, iotHub, 'p7')).toHaveLength(2)
})

test('at once, twenty times: one creates, the others refresh', async () => {
  const outcomes = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      registry
        .provision(iotHub, device('p8', { authentication: keys(Buffer.alloc(32, n % 3).toString('base64')) }), 'keep')
        .catch((error: { code: number }) => error.code),
    ),
  )
  expect(outcomes.filter((each) => each === 'created')).toHaveLength(1)
  // Those that were beaten again and again say so; nothing is half written.
  for (const outcome of outcomes) expect(['created', 'refreshed', 409000]).toContain(outcome)
})

test('what breaks the rules is refused before anything is written', async () => {
  const refused = async (bad: object, code: number) =>
    expect(registry.provision(iotHub, device('p9', bad), 'keep')).rejects.toMatchObject({ code })
  await refused({ deviceId: 'a/b' }, 400004)
  await refused({ authentication: keys('short') }, 400004)
  await refused({ twin: { tags: { $a: 1 }, desired: {} } }, 400004)
  await refused({ twin: { tags: {}, desired: { a: null } } }, 400004)
  await refused({ twin: { tags: { a: 'x'.repeat(4096), b: 'x'.repeat(4096) }, desired: {} } }, 400004)
  await expect(registry.getDevice(iotHub, 'p9')).rejects.toMatchObject({ code: 404001 })
})
