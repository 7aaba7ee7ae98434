import { describe, expect, test } from 'vitest'
import {
  absent,
  any,
  connectionStringOf,
  controlForTest,
  etag,
  operator,
  refusal,
} from '../../tests/support/control.ts'
import { temporaryStore } from '../../tests/support/store.ts'
import type { JsonObject } from '../base/json.ts'
import { collection, type Store } from '../store/store.ts'
import { type ControlNeeds, controlSchema, type Owner } from './control.ts'
import { presences } from './documents.ts'

describe('a new hub', () => {
  test('has the five policies of Azure, the owner first, and the defaults', async () => {
    const { control, clock } = await controlForTest()
    const hub = await control.hubs.put(operator, 'My-Hub', {}, absent)
    expect(hub).toMatchObject({
      name: 'My-Hub',
      hostNames: ['my-hub.hub.localhost'],
      partitions: 4,
      retentionDays: 1,
      sku: { name: 'S1', capacity: 1 },
      createdAt: clock.now(),
    })
    expect(hub.policies.map(({ keyName, rights }) => [keyName, rights.join(', ')])).toEqual([
      ['iothubowner', 'RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect'],
      ['service', 'ServiceConnect'],
      ['device', 'DeviceConnect'],
      ['registryRead', 'RegistryRead'],
      ['registryReadWrite', 'RegistryRead, RegistryWrite'],
    ])
    expect(new Set(hub.policies.flatMap((policy) => [policy.primaryKey, policy.secondaryKey])).size).toBe(10)
  })

  test('takes what it is given', async () => {
    const { control } = await controlForTest()
    const hub = await control.hubs.put(
      operator,
      'hub',
      {
        eventHubEndpoints: { events: { partitionCount: 32, retentionTimeInDays: 7 } },
        sku: { name: 's2', capacity: 3 },
        authorizationPolicies: [{ keyName: 'writer', rights: 'RegistryWrite' }],
      },
      absent,
    )
    expect(hub).toMatchObject({ partitions: 32, retentionDays: 7, sku: { name: 'S2', capacity: 3 } })
    // Flags 1 and 2 come together in the real service (hub-service.md 1.1).
    expect(hub.policies[0]?.rights).toEqual(['RegistryRead', 'RegistryWrite'])
  })

  test('may carry the name and the host names of a provisioning service', async () => {
    const { control } = await controlForTest()
    await control.provisioningServices.put(operator, 'same', { serviceHostNames: ['same.test'] }, absent)
    expect((await control.hubs.put(operator, 'same', { hostNames: ['same.test'] }, absent)).name).toBe('same')
    expect((await control.hubs.byHost('same.test:443'))?.name).toBe('same')
    expect((await control.hubs.byHost('anything'))?.name).toBe('same')
  })

  test.each(['ab', '-hub', 'hub-', 'h.b', 'x'.repeat(51), ''])('cannot be called %j', async (name) => {
    const { control } = await controlForTest()
    const { code, message } = await refusal(control.hubs.put(operator, name, {}, absent))
    expect({ code, message }).toMatchObject({ code: 400004, message: expect.stringContaining('3 to 50 letters') })
  })
})

describe('bad input names the member, what was expected and what was found, and writes nothing', () => {
  const events = (more: JsonObject) => ({ eventHubEndpoints: { events: more } })
  const connecting = Array.from({ length: 11 }, (_, n) => ({ keyName: `p${n}`, rights: 'ServiceConnect' }))
  const rows: readonly (readonly [JsonObject, RegExp])[] = [
    [{ eventHubEndpoints: 1 }, /properties\.eventHubEndpoints must be an object, found a number/],
    [{ eventHubEndpoints: { events: [] } }, /properties\.eventHubEndpoints\.events must be an object, found an array/],
    [events({ partitionCount: 0 }), /events\.partitionCount must be a whole number from 1 to 32, found 0/],
    [events({ partitionCount: 33 }), /from 1 to 32, found 33/],
    [events({ partitionCount: 2.5 }), /found 2\.5/],
    [events({ partitionCount: '4' }), /partitionCount must be a number, found a string/],
    [events({ retentionTimeInDays: 0 }), /retentionTimeInDays must be a whole number from 1 to 7, found 0/],
    [events({ retentionTimeInDays: 8 }), /from 1 to 7, found 8/],
    [{ sku: 'S1' }, /resource\.sku must be an object, found a string/],
    [{ sku: {} }, /resource\.sku\.name must be a value/],
    [{ sku: { name: 'Z9' } }, /resource\.sku\.name must be one of F1, B1, B2, B3, S1, S2, S3, found "Z9"/],
    [{ sku: { name: 'S1', capacity: 0 } }, /resource\.sku\.capacity must be a whole number from 1 to 200, found 0/],
    [{ hostNames: ['-'] }, /properties\.hostNames must be host names/],
    [{ authorizationPolicies: connecting }, /at most 10 policies with ServiceConnect, found 11/],
    [
      { authorizationPolicies: [{ keyName: 'p', rights: 'EnrollmentRead' }] },
      /rights must be one or more of RegistryRead/,
    ],
  ]
  const shared = controlForTest()
  test.each(rows.map(([input, message]) => [message.source, input, message] as const))(
    '%s',
    async (_, input, message) => {
      const { hubs } = (await shared).control
      const fresh = await refusal(hubs.put(operator, 'new', input, absent))
      expect(fresh).toMatchObject({ code: 400004, message: expect.stringMatching(message) })
      expect(await hubs.list()).toEqual([])
    },
  )

  test('partitions cannot change later', async () => {
    const { control } = await controlForTest()
    const hub = await control.hubs.put(operator, 'hub', {}, absent)
    expect(await refusal(control.hubs.put(operator, 'hub', events({ partitionCount: 8 }), any))).toEqual({
      code: 400004,
      message:
        'properties.eventHubEndpoints.events.partitionCount must be 4, as the hub was created: it cannot change, found 8.',
    })
    expect(await control.hubs.get('hub')).toEqual(hub)
    expect((await control.hubs.put(operator, 'hub', events({ partitionCount: 4 }), any)).partitions).toBe(4)
  })
})

describe('deletion', () => {
  const things = collection<{ readonly of: string }>('things')
  const schema = { ...controlSchema, collections: [...controlSchema.collections, things] }
  /** A room above, reduced to its essence: it makes things in a hub, and says how many there are. */
  const withThings = async (counted?: () => Promise<void>) => {
    const store = await temporaryStore(schema)
    const contents = async ({ kind, name }: Owner) => {
      const count = await store.count(things, { prefix: `${kind}/${name}/` })
      await counted?.()
      return count === 0 ? undefined : `${count} things`
    }
    const test = await controlForTest({ store, contents })
    await test.control.hubs.put(operator, 'hub', {}, absent)
    const makeThing = async (presence: (typeof hub)['presence']) =>
      store.commit({ expect: [presence], put: [{ collection: things, id: 'hub/hub/1', value: { of: 'hub' } }] })
    const hub = (await test.control.hubs.get('hub'))!
    return { ...test, hub, makeThing }
  }

  test('forgets the hub; what expects its presence fails from then on, also after it was made anew', async () => {
    const { control, hub, makeThing, store } = await withThings()
    await control.hubs.remove(operator, 'HUB', etag(hub.etag))
    expect(await control.hubs.list()).toEqual([])
    expect(await store.count(presences)).toBe(0)
    expect(await makeThing(hub.presence)).toMatchObject({ ok: false })
    const again = await control.hubs.put(operator, 'hub', {}, absent)
    expect(again.policies[0]?.primaryKey).not.toBe(hub.policies[0]?.primaryKey)
    expect(await makeThing(hub.presence)).toMatchObject({ ok: false })
    expect(await makeThing(again.presence)).toMatchObject({ ok: true })
  })

  test('a change of the hub leaves its presence alone', async () => {
    const { control, hub, makeThing } = await withThings()
    const after = await control.hubs.put(operator, 'hub', { tags: { a: 'b' } }, any)
    expect(after.presence).toEqual(hub.presence)
    expect(await makeThing(hub.presence)).toMatchObject({ ok: true })
  })

  test('is refused while something lives in it, and changes nothing', async () => {
    const { control, hub, makeThing } = await withThings()
    await makeThing(hub.presence)
    expect(await refusal(control.hubs.remove(operator, 'hub', any))).toEqual({
      code: 409000,
      message: 'The hub hub cannot be deleted: it holds 1 things. Delete these first.',
    })
    expect(await control.hubs.get('hub')).toEqual(hub)
  })

  test('is taken back when something was made at the last moment', async () => {
    let counts = 0
    let makeNow = async () => {}
    const { control, hub, makeThing } = await withThings(async () => {
      counts += 1
      // Between the first count and the closing: the presence still holds.
      if (counts === 1) await makeNow()
    })
    makeNow = async () => void expect(await makeThing(hub.presence)).toMatchObject({ ok: true })
    expect(await refusal(control.hubs.remove(operator, 'HUB', any))).toMatchObject({ code: 409000 })
    const after = (await control.hubs.get('hub'))!
    expect({ ...after, etag: '', presence: '' }).toEqual({ ...hub, etag: '', presence: '' })
    expect(await makeThing(after.presence)).toMatchObject({ ok: true })
  })

  test('whose taking back a crash interrupted: deleting again takes it back', async () => {
    let counted = 0
    const store = await temporaryStore(schema)
    const contents = async () => (++counted === 1 ? undefined : '1 thing')
    let commits = 0
    const commit: Store['commit'] = (change) =>
      ++commits > 1 ? Promise.reject(new Error('power loss')) : store.commit(change)
    const { control } = await controlForTest({ store, contents })
    await control.hubs.put(operator, 'hub', {}, absent)
    const { control: doomed } = await controlForTest({ store: { ...store, commit }, contents })
    await expect(doomed.hubs.remove(operator, 'hub', any)).rejects.toThrow('power loss')
    expect(await control.hubs.get('hub')).toBeUndefined()
    expect(await refusal(control.hubs.remove(operator, 'hub', any))).toMatchObject({ code: 409000 })
    expect(await control.hubs.get('hub')).toMatchObject({ name: 'hub' })
  })

  test('of a provisioning service: who counts has it before and after the closing; what is elsewhere goes once', async () => {
    const asked: unknown[] = []
    const contents: ControlNeeds['contents'] = async (owner, instance) => void asked.push({ ...owner, instance })
    const forget = async (owner: Owner) => void asked.push(owner)
    const { control } = await controlForTest({ contents, forget })
    const { idScope } = await control.provisioningServices.put(operator, 'Dps', {}, absent)
    await control.provisioningServices.remove(operator, 'dPS', any)
    const counted = { kind: 'dps', name: 'Dps', instance: expect.objectContaining({ idScope }) }
    expect(asked).toEqual([counted, counted, { kind: 'dps', name: 'Dps' }])
  })

  test('that a crash interrupted: the hub is closed, cannot be changed, and deleting again finishes', async () => {
    const { another, makeThing, hub, store } = await withThings()
    // The closing is durable, the erasing never happens.
    let commits = 0
    const crashing: Store = new Proxy(store, {
      get: (target, member: keyof Store) => {
        if (member === 'commit' && ++commits > 1) return () => Promise.reject(new Error('power loss'))
        const value = target[member] as unknown
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    const { control: doomed } = await controlForTest({ store: crashing })
    await expect(doomed.hubs.remove(operator, 'hub', any)).rejects.toThrow('power loss')
    const { hubs, certificates } = another()
    expect([await hubs.get('hub'), await hubs.list(), await hubs.byHost('x')]).toEqual([undefined, [], undefined])
    expect(await makeThing(hub.presence)).toMatchObject({ ok: false })
    expect(await refusal(certificates.list({ kind: 'hub', name: 'hub' }))).toMatchObject({ code: 404000 })
    expect(await refusal(hubs.put(operator, 'hub', {}, absent))).toMatchObject({
      code: 409000,
      message: expect.stringContaining('Delete it again'),
    })
    await hubs.remove(operator, 'hub', any)
    expect((await hubs.put(operator, 'hub', {}, absent)).name).toBe('hub')
  })

  test('of a linked hub is refused and says where it is linked', async () => {
    const { control } = await controlForTest()
    const hub = await control.hubs.put(operator, 'hub', { hostNames: ['hub.test:8443'] }, absent)
    const iotHubs = [{ connectionString: connectionStringOf('hub.test', hub.policies[0]) }]
    await control.provisioningServices.put(operator, 'my-dps', { iotHubs }, absent)
    expect(await refusal(control.hubs.remove(operator, 'hub', any))).toEqual({
      code: 409000,
      message: 'The hub hub cannot be deleted: it is linked to the provisioning service my-dps. Unlink it there first.',
    })
    await control.provisioningServices.put(operator, 'my-dps', { iotHubs: [] }, any)
    await control.hubs.remove(operator, 'hub', any)
    expect(await control.hubs.list()).toEqual([])
  })

  test('and linking at the same time: never a link to a hub that is gone', async () => {
    for (let round = 0; round < 10; round++) {
      const { control, another } = await controlForTest()
      const hub = await control.hubs.put(operator, 'hub', { hostNames: ['hub.test'] }, absent)
      await control.provisioningServices.put(operator, 'dps', {}, absent)
      const iotHubs = [{ connectionString: connectionStringOf('hub.test', hub.policies[0]) }]
      const [removed] = await Promise.allSettled([
        control.hubs.remove(operator, 'hub', any),
        another().provisioningServices.put(operator, 'dps', { iotHubs }, any),
      ])
      const linked = (await control.provisioningServices.get('dps'))!.linkedHubs.length
      // Linking to a host that is gone (or closed) is linking to a remote hub: what a moment later would have been.
      if (removed.status === 'rejected')
        expect([linked, await control.hubs.get('hub')]).toMatchObject([1, { name: 'hub' }])
    }
  })

  test('of what does not exist, or is at another etag', async () => {
    const { control } = await controlForTest()
    expect(await refusal(control.hubs.remove(operator, 'hub', absent))).toMatchObject({ code: 404000 })
    await control.hubs.put(operator, 'hub', {}, absent)
    expect(await refusal(control.hubs.remove(operator, 'hub', etag('AAAA')))).toMatchObject({ code: 412001 })
    expect(await control.hubs.list()).toHaveLength(1)
  })
})
