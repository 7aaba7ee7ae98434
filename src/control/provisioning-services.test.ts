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
import type { JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import { seededRandom } from '../base/random.ts'
import { decodeKey } from '../crypto/keys.ts'
import type { CommitResult, Store } from '../store/store.ts'
import type { ProvisioningServiceInput } from './control.ts'
import { provisioningServices } from './documents.ts'

const key = Buffer.alloc(32, 1).toString('base64')
const otherKey = Buffer.alloc(32, 2).toString('base64')
const link = (host: string, more: JsonObject = {}): JsonObject => ({
  connectionString: `HostName=${host};SharedAccessKeyName=iothubowner;SharedAccessKey=${key}`,
  ...more,
})

describe('a new service', () => {
  test('has an ID scope, an owner policy with keys of its own, and the defaults of Azure', async () => {
    const { control, clock } = await controlForTest()
    const first = await control.provisioningServices.put(operator, 'My-Dps', {}, absent)
    const second = await control.provisioningServices.put(operator, 'other', {}, absent)
    expect(first).toMatchObject({
      name: 'My-Dps',
      serviceHostNames: ['my-dps.dps.localhost'],
      deviceHostName: 'my-dps.dps.localhost',
      allocationPolicy: 'Hashed',
      linkedHubs: [],
      tags: {},
      createdAt: clock.now(),
      policies: [
        {
          keyName: 'provisioningserviceowner',
          rights: ['ServiceConfig', 'DeviceConnect', 'EnrollmentWrite', 'RegistrationStatusWrite'],
        },
      ],
    })
    expect(first.idScope).toMatch(/^0ne[0-9A-F]{8}$/)
    expect(Buffer.from(first.etag, 'base64')).toHaveLength(8)
    const keys = [first, second].flatMap(({ policies: [owner] }) => [owner!.primaryKey, owner!.secondaryKey])
    expect(new Set(keys).size).toBe(4)
    expect(keys.map((each) => decodeKey(each)?.length)).toEqual([32, 32, 32, 32])
  })

  test('takes the ID scope that it is given, for good, and only one of its own', async () => {
    const { control } = await controlForTest()
    const idScope = '0ne0A1B2C3D'
    const put = (name: string, input: ProvisioningServiceInput, ifMatch: typeof absent | typeof any = absent) =>
      control.provisioningServices.put(operator, name, input, ifMatch)
    expect((await put('first', { idScope })).idScope).toBe(idScope)
    expect((await put('first', { idScope, tags: { a: 'b' } }, any)).idScope).toBe(idScope)
    expect(await refusal(put('first', { idScope: '0ne00000000' }, any))).toMatchObject({
      code: 400004,
      message: `properties.idScope must be ${idScope}, as the service was created, found "0ne00000000".`,
    })
    expect(await refusal(put('second', { idScope }))).toMatchObject({ code: 400004 })
    expect(await refusal(put('second', { idScope: '0ne0a1b2c3d' }))).toMatchObject({ code: 400004 })
  })

  test('never gets the ID scope of another one', async () => {
    const source = seededRandom(3)
    let scopes = 0
    // The second service is first offered the four bytes of the first one.
    const random: Random = {
      ...source,
      bytes: (n) => (n === 4 ? Buffer.alloc(4, scopes++ < 2 ? 9 : 10) : source.bytes(n)),
    }
    const { control } = await controlForTest({ random })
    const first = await control.provisioningServices.put(operator, 'one', {}, absent)
    const second = await control.provisioningServices.put(operator, 'two', {}, absent)
    expect([first.idScope, second.idScope]).toEqual(['0ne09090909', '0ne0A0A0A0A'])
  })

  test('is found by name and scope in any case, and by any of its hosts with or without port', async () => {
    const { control } = await controlForTest()
    const { provisioningServices: services } = control
    const one = await services.put(operator, 'one', { serviceHostNames: ['One.test:8443', 'localhost'] }, absent)
    expect(one.serviceHostNames).toEqual(['one.test:8443', 'localhost'])
    expect((await services.byHost('unknown.test'))?.name).toBe('one')
    await services.put(operator, 'two', { serviceHostNames: ['two.test'], deviceHostName: 'global.test' }, absent)
    const found = await Promise.all([
      services.get('ONE'),
      services.byScope(one.idScope.toLowerCase()),
      services.byHost('one.test:8443'),
      services.byHost('ONE.test'),
      services.byHost('one.test:443'),
      services.byHost('localhost:8443'),
      services.byHost('two.test:8443'),
      services.byHost('unknown.test'),
      services.byScope('0ne00000000'),
    ])
    expect(found.map((service) => service?.name)).toEqual([
      'one',
      'one',
      'one',
      'one',
      'one',
      'one',
      'two',
      undefined,
      undefined,
    ])
    expect(found[6]?.deviceHostName).toBe('global.test')
  })

  test.each(['ab', '12345', '-abc', 'a b c', 'a_b', 'x'.repeat(65), ''])('cannot be called %j', async (name) => {
    const { control } = await controlForTest()
    const { code, message } = await refusal(control.provisioningServices.put(operator, name, {}, absent))
    expect({ code, message }).toMatchObject({ code: 400004, message: expect.stringContaining('3 to 64 letters') })
    expect(await control.provisioningServices.list()).toEqual([])
  })
})

describe('a PUT of an existing service', () => {
  const prepared = async () => {
    const test = await controlForTest()
    const services = test.control.provisioningServices
    const before = await services.put(
      operator,
      'dps',
      {
        iotHubs: [link('a.test', { allocationWeight: 3 })],
        tags: { a: '1' },
        location: 'here',
        allocationPolicy: 'static',
      },
      absent,
    )
    return { ...test, services, before }
  }

  test('keeps what it leaves out, and changes the etag', async () => {
    const { services, before, clock } = await prepared()
    clock.advance(1000)
    const after = await services.put(operator, 'DPS', {}, etag(before.etag))
    expect(after).toEqual({ ...before, etag: after.etag, updatedAt: clock.now() })
    expect(after.etag).not.toBe(before.etag)
    expect(await services.get('dps')).toEqual(after)
  })

  test('replaces lists as a whole', async () => {
    const { services } = await prepared()
    const after = await services.put(operator, 'dps', { iotHubs: [link('b.test')], tags: {} }, any)
    expect(after.linkedHubs).toEqual([
      {
        hostName: 'b.test',
        allocationWeight: 1,
        applyAllocationPolicy: true,
        connectionString: link('b.test')['connectionString'],
      },
    ])
    expect(after.tags).toEqual({})
    expect((await services.put(operator, 'dps', { iotHubs: [] }, any)).linkedHubs).toEqual([])
  })

  test('with masked keys keeps the stored ones', async () => {
    const { services, before } = await prepared()
    const masked = 'HostName=A.test;SharedAccessKeyName=iothubowner;SharedAccessKey=****'
    const [owner] = before.policies
    const after = await services.put(
      operator,
      'dps',
      {
        iotHubs: [{ connectionString: masked, applyAllocationPolicy: false }],
        authorizationPolicies: [
          { keyName: owner!.keyName, primaryKey: '****', secondaryKey: '', rights: 'serviceconfig,EnrollmentRead' },
          { keyName: 'given', primaryKey: key, rights: 'EnrollmentRead' },
        ],
      },
      any,
    )
    expect(after.linkedHubs[0]).toMatchObject({
      connectionString: link('a.test')['connectionString'],
      applyAllocationPolicy: false,
    })
    expect(after.policies[0]).toMatchObject({
      primaryKey: owner!.primaryKey,
      rights: ['ServiceConfig', 'EnrollmentRead'],
    })
    expect(decodeKey(after.policies[0]!.secondaryKey)).toBeDefined()
    expect(after.policies[0]!.secondaryKey).not.toBe(owner!.secondaryKey)
    expect(after.policies[1]).toMatchObject({ keyName: 'given', primaryKey: key })
  })

  test('If-Match: another etag, and any etag of a service that does not exist', async () => {
    const { services, before } = await prepared()
    const put = (name: string, ifMatch: Parameters<typeof services.put>[3]) =>
      refusal(services.put(operator, name, { tags: { x: 'y' } }, ifMatch))
    expect(await put('dps', etag('AAAAAAAAAAA='))).toMatchObject({ code: 412001 })
    expect(await put('new', etag(before.etag))).toMatchObject({ code: 412001 })
    expect(await put('new', any)).toMatchObject({ code: 412001 })
    expect(await services.list()).toEqual([before])
  })

  test('refuses the host name of another service', async () => {
    const { services } = await prepared()
    await services.put(operator, 'other', { serviceHostNames: ['other.test', 'shared.test'] }, absent)
    const { code, message } = await refusal(services.put(operator, 'dps', { serviceHostNames: ['shared.test'] }, any))
    expect({ code, message }).toMatchObject({
      code: 409000,
      message: expect.stringContaining('shared.test belongs to other'),
    })
  })
})

describe('bad input names the member, what was expected and what was found, and writes nothing', () => {
  const connection = (text: string) => ({ iotHubs: [{ connectionString: text }] })
  const policy = (more: JsonObject) => ({ authorizationPolicies: [{ keyName: 'p', rights: 'ServiceConfig', ...more }] })
  const rows: readonly (readonly [JsonObject, RegExp])[] = [
    [
      { allocationPolicy: 'custom' },
      /properties\.allocationPolicy must be one of Hashed, GeoLatency, Static, found "custom"/,
    ],
    [{ allocationPolicy: 1 }, /properties\.allocationPolicy must be a string, found a number/],
    [{ iotHubs: {} }, /properties\.iotHubs must be an array, found an object/],
    [{ iotHubs: ['x'] }, /properties\.iotHubs\[0\] must be a JSON object, found a string/],
    [{ iotHubs: [{}] }, /properties\.iotHubs\[0\]\.connectionString must be a value, found nothing/],
    [connection('x'), /iotHubs\[0\]\.connectionString must be "HostName=.*found a part that is none of these/],
    [connection('HostName=a;SharedAccessKey=x'), /found no SharedAccessKeyName/],
    [connection('HostName=a;HostName=b'), /found one of these twice/],
    [connection('HostName=;SharedAccessKeyName=p;SharedAccessKey=x'), /found no HostName/],
    [connection(`HostName=a/b;SharedAccessKeyName=p;SharedAccessKey=${key}`), /found a HostName that is no host name/],
    [connection(`HostName=a:70000;SharedAccessKeyName=p;SharedAccessKey=${key}`), /no host name/],
    [connection('HostName=a;SharedAccessKeyName=p;SharedAccessKey=tooshort'), /not base64 of 16 to 64 bytes/],
    [
      connection('HostName=a;SharedAccessKeyName=p;SharedAccessKey=****'),
      /a masked key, and no linked hub a with policy p/,
    ],
    [connection('H'.repeat(2000)), /found 2000 characters/],
    [
      { iotHubs: [link('a.test', { name: 'b.test' })] },
      /iotHubs\[0\]\.name must be the HostName of the connection string \(a\.test\)/,
    ],
    [
      { iotHubs: [link('a.test', { allocationWeight: 0 })] },
      /iotHubs\[0\]\.allocationWeight must be a whole number from 1 to 1000, found 0/,
    ],
    [{ iotHubs: [link('a.test', { allocationWeight: 1001 })] }, /found 1001/],
    [{ iotHubs: [link('a.test', { allocationWeight: 1.5 })] }, /found 1\.5/],
    [{ iotHubs: [link('a.test', { allocationWeight: '5' })] }, /allocationWeight must be a number, found a string/],
    [
      { iotHubs: [link('a.test', { applyAllocationPolicy: 'yes' })] },
      /applyAllocationPolicy must be true or false, found a string/,
    ],
    [{ iotHubs: [link('a.test', { location: 7 })] }, /iotHubs\[0\]\.location must be a string/],
    [
      { iotHubs: [link('a.test'), link('A.test')] },
      /iotHubs must be hubs of different host names, found "a\.test" twice/,
    ],
    [
      { iotHubs: Array.from({ length: limits.linkedHubs + 1 }, (_, n) => link(`h${n}.test`)) },
      /at most 50 hubs, found 51/,
    ],
    [{ authorizationPolicies: 'x' }, /properties\.authorizationPolicies must be an array, found a string/],
    [{ authorizationPolicies: [{ rights: 'ServiceConfig' }] }, /authorizationPolicies\[0\]\.keyName must be a value/],
    [policy({ keyName: 'a b' }), /authorizationPolicies\[0\]\.keyName must be 1 to 64 of A-Z/],
    [policy({ keyName: 'k'.repeat(65) }), /keyName must be 1 to 64/],
    [policy({ rights: null }), /authorizationPolicies\[0\]\.rights must be a value, found nothing/],
    [policy({ rights: '' }), /rights must be one or more of ServiceConfig, .*found ""/],
    [policy({ rights: 'RegistryRead' }), /rights must be one or more of ServiceConfig, .*found "RegistryRead"/],
    [
      policy({ primaryKey: 'c2hvcnQ=' }),
      /authorizationPolicies\[0\]\.primaryKey must be base64 of 16 to 64 bytes, found something else/,
    ],
    [policy({ primaryKey: 5 }), /primaryKey must be a string, found a number/],
    [policy({ secondaryKey: '****' }), /secondaryKey must be a key, .*found a masked key of a new policy/],
    [
      { authorizationPolicies: ['p', 'P'].map((keyName) => ({ keyName, rights: 'ServiceConfig' })) },
      /different names, found "P" twice/,
    ],
    [
      { authorizationPolicies: Array.from({ length: 17 }, (_, n) => ({ keyName: `p${n}`, rights: 'ServiceConfig' })) },
      /authorizationPolicies must be at most 16 policies, found 17/,
    ],
    [{ serviceHostNames: 'x' }, /properties\.serviceHostNames must be an array of strings/],
    [{ serviceHostNames: [] }, /serviceHostNames must be 1 to 16 host names, found 0/],
    [{ serviceHostNames: ['a b'] }, /serviceHostNames must be host names such as .*found "a b"/],
    [{ deviceHostName: 'https://x' }, /deviceHostName must be host names such as/],
    [{ location: '' }, /resource\.location must be 1 to 64 characters, found 0/],
    [{ location: 5 }, /resource\.location must be a string/],
    [{ tags: [] }, /resource\.tags must be an object, found an array/],
    [{ tags: { a: 1 } }, /resource\.tags must be text .*something else under "a"/],
    [{ tags: { a: 'x'.repeat(257) } }, /resource\.tags must be text of at most 256 characters/],
    [{ tags: { ['n'.repeat(513)]: '' } }, /resource\.tags must be names of 1 to 512 characters, found one of 513/],
    [{ tags: Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`t${n}`, ''])) }, /at most 50 tags, found 51/],
  ]
  const shared = controlForTest().then(async ({ control: { provisioningServices: services } }) => ({
    services,
    old: await services.put(operator, 'old', {}, absent),
  }))
  test.each(rows.map(([input, message]) => [message.source, input, message] as const))(
    '%s',
    async (_, input, message) => {
      const { services, old } = await shared
      const fresh = await refusal(services.put(operator, 'new', input, absent))
      expect(fresh).toMatchObject({ code: 400004, message: expect.stringMatching(message) })
      expect(fresh.message).not.toContain(key)
      expect(await refusal(services.put(operator, 'old', input, any))).toEqual(fresh)
      expect(await services.list()).toEqual([old])
    },
  )
})

describe('links to hubs of this house', () => {
  const prepared = async () => {
    const test = await controlForTest()
    const hub = await test.control.hubs.put(operator, 'hub', { hostNames: ['hub.test:8443', 'localhost'] }, absent)
    const put = (connectionString: string) =>
      test.control.provisioningServices.put(operator, 'dps', { iotHubs: [{ connectionString }] }, absent)
    return { ...test, hub, put }
  }

  test('by either key of a policy that may write the registry and connect to the service', async () => {
    const { hub, put } = await prepared()
    const owner = hub.policies[0]!
    expect((await put(connectionStringOf('hub.test:8443', owner))).linkedHubs).toHaveLength(1)
    const bySecondary = connectionStringOf('localhost', { ...owner, primaryKey: owner.secondaryKey })
    expect((await put(bySecondary)).linkedHubs[0]?.hostName).toBe('localhost')
  })

  test('a key of another hub, an unknown policy and a policy with too few rights are refused', async () => {
    const { control, hub, put } = await prepared()
    const named = (keyName: string) => hub.policies.find((policy) => policy.keyName === keyName)!
    const wrong = [
      connectionStringOf('hub.test', { keyName: 'iothubowner', primaryKey: otherKey }),
      connectionStringOf('hub.test', { keyName: 'nobody', primaryKey: otherKey }),
      connectionStringOf('hub.test', named('service')),
      connectionStringOf('hub.test', named('registryReadWrite')),
    ]
    const refusals = await Promise.all(wrong.map((text) => refusal(put(text))))
    expect(refusals.map(({ code }) => code)).toEqual([400004, 400004, 400004, 400004])
    expect(refusals[0]?.message).toMatch(
      /iotHubs\[0\]\.connectionString must be a policy of the hub hub\.test with one of its keys/,
    )
    expect(refusals[2]?.message).toMatch(/found service, which lacks RegistryWrite/)
    expect(refusals[3]?.message).toMatch(/lacks ServiceConnect/)
    expect(refusals.some(({ message }) => message.includes(otherKey))).toBe(false)
    expect(await control.provisioningServices.list()).toEqual([])
  })

  test('a link survives the regeneration of its key, and is judged again when its connection string changes', async () => {
    const { control, hub, put } = await prepared()
    await put(connectionStringOf('hub.test', hub.policies[0]))
    await control.hubs.regenerateKey(operator, 'hub', 'iothubowner', 'primary', absent)
    const iotHubs = [{ connectionString: 'HostName=hub.test;SharedAccessKeyName=iothubowner;SharedAccessKey=****' }]
    expect((await control.provisioningServices.put(operator, 'dps', { iotHubs }, any)).linkedHubs).toHaveLength(1)
    expect(await refusal(put(connectionStringOf('localhost', hub.policies[0])))).toMatchObject({ code: 400004 })
  })

  test('another installation on another port of the same machine is a remote hub', async () => {
    const { put } = await prepared()
    expect((await put(link('hub.test:9443')['connectionString'] as string)).linkedHubs).toHaveLength(1)
  })
})

describe('policies one by one', () => {
  test('are added, changed, given new keys and removed', async () => {
    const { control } = await controlForTest()
    const { provisioningServices: services } = control
    await services.put(operator, 'dps', {}, absent)
    const added = await services.putPolicy(operator, 'dps', { keyName: 'reader', rights: 'EnrollmentRead' }, absent)
    expect(added.policies.map((policy) => policy.keyName)).toEqual(['provisioningserviceowner', 'reader'])
    const changed = await services.putPolicy(
      operator,
      'dps',
      { keyName: 'Reader', rights: 'RegistrationStatusRead' },
      any,
    )
    expect(changed.policies[1]).toEqual({ ...added.policies[1], keyName: 'Reader', rights: ['RegistrationStatusRead'] })
    const renewed = await services.regenerateKey(operator, 'dps', 'reader', 'secondary', etag(changed.etag))
    expect(renewed.policies[1]).toEqual({ ...changed.policies[1], secondaryKey: renewed.policies[1]!.secondaryKey })
    expect(renewed.policies[1]!.secondaryKey).not.toBe(changed.policies[1]!.secondaryKey)
    expect((await services.removePolicy(operator, 'dps', 'READER', any)).policies).toEqual([added.policies[0]])
    expect(await refusal(services.removePolicy(operator, 'dps', 'reader', any))).toEqual({
      code: 404000,
      message: 'Expected the name of a shared access policy (provisioningserviceowner), found "reader".',
    })
    expect(await refusal(services.putPolicy(operator, 'none', { keyName: 'x', rights: 'x' }, absent))).toMatchObject({
      code: 404000,
    })
    expect(await refusal(services.removePolicy(operator, 'dps', 'reader', etag('old')))).toMatchObject({ code: 412001 })
  })

  test('are at most sixteen', async () => {
    const { control } = await controlForTest()
    const policies = Array.from({ length: limits.policies }, (_, n) => ({ keyName: `p${n}`, rights: 'ServiceConfig' }))
    await control.provisioningServices.put(operator, 'dps', { authorizationPolicies: policies }, absent)
    const one = { keyName: 'one-more', rights: 'ServiceConfig' }
    expect(await refusal(control.provisioningServices.putPolicy(operator, 'dps', one, any))).toMatchObject({
      code: 400004,
    })
  })
})

describe('two at once', () => {
  const concurrently = (n: number, run: (at: number) => Promise<unknown>) =>
    Promise.allSettled(Array.from({ length: n }, (_, at) => run(at)))

  test('on two nodes: services of the same host name, and one wins', async () => {
    const { control, another } = await controlForTest()
    const input: ProvisioningServiceInput = { serviceHostNames: ['same.test'] }
    const nodes = [control, another()]
    const results = await concurrently(4, (at) =>
      nodes[at % 2]!.provisioningServices.put(operator, `dps-${at}`, input, absent),
    )
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
    expect(await another().provisioningServices.list()).toHaveLength(1)
  })

  test('with one etag: one wins, the others see 412', async () => {
    const { control } = await controlForTest()
    const { provisioningServices: services } = control
    const { etag: before } = await services.put(operator, 'dps', {}, absent)
    const results = await concurrently(4, (at) =>
      services.put(operator, 'dps', { tags: { at: String(at) } }, etag(before)),
    )
    const refused = results.flatMap((result) =>
      result.status === 'rejected' ? [(result.reason as { code: number }).code] : [],
    )
    expect(refused).toEqual([412001, 412001, 412001])
  })

  test('different policies without etag: both are there', async () => {
    const { control, another } = await controlForTest()
    await control.provisioningServices.put(operator, 'dps', {}, absent)
    const node = another()
    const add = (room: typeof control, keyName: string) =>
      room.provisioningServices.putPolicy(operator, 'dps', { keyName, rights: 'ServiceConfig' }, absent)
    await Promise.all([add(control, 'a'), add(node, 'b'), add(control, 'c'), add(node, 'd')])
    const names = (await another().provisioningServices.get('dps'))!.policies.map((policy) => policy.keyName)
    expect(names.toSorted()).toEqual(['a', 'b', 'c', 'd', 'provisioningserviceowner'])
  })

  test('a node sees at once what another node wrote', async () => {
    const { control, another } = await controlForTest()
    const node = another()
    expect(await node.provisioningServices.list()).toEqual([])
    const { idScope } = await control.provisioningServices.put(operator, 'dps', {}, absent)
    expect((await node.provisioningServices.byScope(idScope))?.name).toBe('dps')
    await control.provisioningServices.remove(operator, 'dps', any)
    expect(await node.provisioningServices.byScope(idScope)).toBeUndefined()
  })
})

describe('when the store fails', () => {
  test('a change that never gets through ends in a 409, not in a loop', async () => {
    const { store } = await controlForTest()
    const conflict = async (): Promise<CommitResult> => ({ ok: false, conflicts: [] })
    const { control } = await controlForTest({ store: { ...boundTo(store), commit: conflict } })
    expect(await refusal(control.provisioningServices.put(operator, 'dps', {}, absent))).toMatchObject({ code: 409000 })
  })

  test('its error is passed on and nothing was cached', async () => {
    const { store } = await controlForTest()
    let failing = true
    const broken: Store = {
      ...boundTo(store),
      commit: (change) => (failing ? Promise.reject(new Error('disk full')) : store.commit(change)),
    }
    const { control } = await controlForTest({ store: broken })
    await expect(control.provisioningServices.put(operator, 'dps', {}, absent)).rejects.toThrow('disk full')
    failing = false
    expect(await control.provisioningServices.list()).toEqual([])
    expect((await control.provisioningServices.put(operator, 'dps', {}, absent)).name).toBe('dps')
  })

  const boundTo = (store: Store): Store =>
    Object.fromEntries(
      Object.entries(store).map(([name, run]) => [name, (run as (...of: unknown[]) => unknown).bind(store)]),
    ) as unknown as Store
})

test('lookups read one small document while nothing changes', async () => {
  const { store } = await controlForTest()
  const reads: string[] = []
  const counting: Store = new Proxy(store, {
    get: (target, member: keyof Store) => {
      if (member === 'get' || member === 'scan') reads.push(member)
      const value = target[member] as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const { control } = await controlForTest({ store: counting })
  const { idScope } = await control.provisioningServices.put(operator, 'dps', {}, absent)
  await control.provisioningServices.byScope(idScope)
  reads.length = 0
  for (let n = 0; n < 10; n++) await control.provisioningServices.byScope(idScope)
  expect(reads).toEqual(Array.from({ length: 10 }, () => 'get'))
  expect(await store.count(provisioningServices)).toBe(1)
})

test('there is a ceiling for instances', async () => {
  const { control } = await controlForTest()
  for (let n = 0; n < limits.instances; n++) await control.provisioningServices.put(operator, `dps-${n}`, {}, absent)
  expect(await refusal(control.provisioningServices.put(operator, 'one-more', {}, absent))).toMatchObject({
    code: 403000,
  })
  expect(await control.provisioningServices.list()).toHaveLength(limits.instances)
})
