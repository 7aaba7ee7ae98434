import { describe, expect, test } from 'vitest'
import {
  hubWorld,
  identityOf,
  openSession,
  operator,
  PRIMARY,
  SECONDARY,
  sasDevice,
} from '../../tests/support/hub-world.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { silentLog } from '../base/log.ts'
import { seededRandom } from '../base/random.ts'
import type { ImportState, ImportTarget, LineFailure } from '../control/control.ts'
import { createImports } from '../control/imports.ts'
import type { Store } from '../store/store.ts'

/** A hub and one import into it. */
async function importing({ mode = 'createOrUpdate', id = 'i1' } = {}) {
  const world = await hubWorld()
  const { control, iotHub, hub } = world
  const target: ImportTarget = { owner: { kind: 'hub', name: iotHub.name }, presence: iotHub.presence, id }
  const rules = hub.registry.deviceImport(iotHub, mode)
  await control.imports.open(target, { kind: 'devices', mode })
  const send = (from: number, ...lines: (object | string)[]): Promise<ImportState> =>
    control.imports.append(
      rules,
      target,
      from,
      lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))),
    )
  const finish = async (): Promise<ImportState> => {
    for (;;) {
      const state = await control.imports.finish(rules, target)
      if (state.later === 0) return state
    }
  }
  const failures = async (): Promise<LineFailure[]> => {
    const all: LineFailure[] = []
    for (let after: number | undefined = 0; after !== undefined; ) {
      const page = await control.imports.failures(target, after)
      all.push(...page.failures)
      after = page.next
    }
    return all
  }
  const device = (deviceId: string) => hub.registry.getDevice(iotHub, deviceId)
  const module = (deviceId: string, moduleId: string) => hub.registry.getModule(operator, iotHub, deviceId, moduleId)
  return { ...world, target, rules, send, finish, failures, device, module }
}

const keys = { primaryKey: PRIMARY, secondaryKey: SECONDARY }
const sas = { type: 'sas', symmetricKey: keys }

test('a line makes a device with its twin; blank lines and carriage returns mean nothing', async () => {
  const { send, device, hub, iotHub } = await importing()
  const line = { id: 'd1', authentication: sas, status: 'disabled', statusReason: 'spare', tags: { site: 'a' } }
  const state = await send(0, '', `${JSON.stringify({ ...line, properties: { desired: { rate: 5 } } })}\r`, '  ')
  expect(state).toMatchObject({ next: 3, succeeded: 1, failed: 0, later: 0 })
  expect(await device('d1')).toMatchObject({
    status: 'disabled',
    statusReason: 'spare',
    authentication: { type: 'sas', symmetricKey: keys },
  })
  expect((await hub.twins.read(iotHub, 'd1'))?.twin).toEqual({
    tags: { site: 'a' },
    desired: { rate: 5 },
    reported: {},
  })
})

test('a registry document is a line too, and keys are made where none are given', async () => {
  const { send, device } = await importing()
  await send(0, { deviceId: 'd1', etag: 'MQ==', connectionState: 'Connected' })
  const { symmetricKey } = (await device('d1')).authentication
  expect(Buffer.from(symmetricKey.primaryKey ?? '', 'base64')).toHaveLength(32)
})

test('a device that exists is told so at once, also where the line’s parent is not there', async () => {
  const { send, failures } = await importing({ mode: 'create' })
  await send(0, { id: 'd1', authentication: sas })
  const state = await send(1, { id: 'd1', authentication: sas, deviceScope: 'ms-azure-iot-edge://nobody-1' })
  expect(state).toMatchObject({ next: 2, succeeded: 1, failed: 1, later: 0 })
  expect(await failures()).toMatchObject([{ line: 2, id: 'd1', code: 409001 }])
})

describe('what was taken is never taken again', () => {
  test('a batch that comes twice changes nothing', async () => {
    const { send, device } = await importing({ mode: 'create' })
    const lines = [{ id: 'd1' }, { id: 'd2' }]
    const first = await send(0, ...lines)
    const before = [await device('d1'), await device('d2')]
    expect(await send(0, ...lines)).toEqual(first)
    expect([await device('d1'), await device('d2')]).toEqual(before)
  })

  test('of a batch that was taken in part the rest is taken', async () => {
    const { send } = await importing({ mode: 'create' })
    await send(0, { id: 'd1' }, { id: 'd2' })
    expect(await send(1, { id: 'd2' }, { id: 'd3' })).toMatchObject({ next: 3, succeeded: 3, failed: 0 })
  })

  test('an import that is opened again says how far it is', async () => {
    const { send, control, target } = await importing()
    const state = await send(0, { id: 'd1' }, '{', { id: 'd2' })
    expect(await control.imports.open(target, { kind: 'devices', mode: 'createOrUpdate' })).toEqual(state)
    expect(await control.imports.list(target)).toEqual([state])
    await expect(control.imports.open(target, { kind: 'devices', mode: 'delete' })).rejects.toThrow('was begun as')
  })

  test('after it was forgotten it begins anew, without the old failures', async () => {
    const { send, failures, control, target } = await importing({ mode: 'create' })
    await send(0, '{', { id: 'd1' })
    await control.imports.remove(target)
    await expect(send(2, { id: 'd2' })).rejects.toMatchObject({ code: 404000 })
    await control.imports.open(target, { kind: 'devices', mode: 'create' })
    expect(await send(0, { id: 'd1' })).toMatchObject({ next: 1, failed: 1 })
    expect(await failures()).toMatchObject([{ line: 1, id: 'd1', code: 409001 }])
  })
})

describe('order', () => {
  test('requests that overtake each other are put in order', async () => {
    const { send } = await importing({ mode: 'create' })
    const states = await Promise.all([
      send(4, { id: 'd5' }),
      send(2, { id: 'd3' }, { id: 'd4' }),
      send(0, { id: 'd1' }, { id: 'd2' }),
    ])
    expect(states.map(({ next }) => next)).toEqual([5, 4, 2])
  })

  test('what was judged while it waited for its turn sees what came before it', async () => {
    const { send, failures } = await importing({ mode: 'create' })
    const all = await Promise.all([
      send(2, { id: 'd2' }, { id: 'd1' }, { id: 'd3' }),
      send(1, { id: 'd2' }, { id: 'd2' }),
      send(0, { id: 'd1' }),
    ])
    expect(all.map(({ next }) => next)).toEqual([5, 3, 1])
    expect(all[0]).toMatchObject({ succeeded: 3, failed: 2 })
    expect((await failures()).map(({ line, id, code }) => [line, id, code])).toEqual([
      [3, 'd2', 409001],
      [4, 'd1', 409001],
    ])
  })

  test('lines whose predecessors never come are refused in the end', async () => {
    const { send, clock } = await importing()
    const early = send(5, { id: 'd6' })
    early.catch(() => {})
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    clock.advance(limits.importTurnMs)
    await expect(early).rejects.toMatchObject({ code: 409000, message: expect.stringContaining('is at line 0') })
    expect(await send(0, { id: 'd1' })).toMatchObject({ next: 1 })
  })

  test('only so many wait', async () => {
    const { send } = await importing()
    const waiting = Array.from({ length: limits.importWaiting + 1 }, (_, at) => send(1 + at, { id: `d${at}` }))
    const settled = Promise.allSettled(waiting)
    await send(0, { id: 'first' })
    const refused = (await settled).filter((each) => each.status === 'rejected')
    expect(refused.map(({ reason }) => (reason as ServiceError).code)).toEqual([429001])
  })
})

describe('modes', () => {
  const etagOf = (version: number) => Buffer.from(String(version)).toString('base64')
  test.each([
    ['create', {}, 'd1', 409001],
    ['create', {}, 'new', undefined],
    ['update', {}, 'd1', undefined],
    ['update', {}, 'new', 404001],
    ['UPDATE', {}, 'd1', undefined],
    ['updateIfMatchETag', { etag: '*' }, 'd1', undefined],
    ['updateIfMatchETag', { eTag: etagOf(1) }, 'd1', 412001],
    ['updateIfMatchETag', {}, 'd1', 400004],
    ['createOrUpdateIfMatchETag', { etag: etagOf(1) }, 'd1', 412001],
    ['createOrUpdateIfMatchETag', { etag: etagOf(1) }, 'new', undefined],
    ['delete', { authentication: { type: 'odd' } }, 'd1', undefined],
    ['delete', {}, 'new', 404001],
    ['deleteIfMatchETag', { etag: etagOf(1) }, 'd1', 412001],
    ['updateTwin', { tags: { a: 1 } }, 'd1', undefined],
    ['updateTwin', { tags: { a: 1 } }, 'new', 404001],
    ['updateTwinIfMatchETag', { tags: { a: 1 }, twinETag: 'AAAAAAAAAAE=' }, 'd1', undefined],
    ['updateTwinIfMatchETag', { tags: { a: 1 }, twinETag: 'AAAAAAAAAAk=' }, 'd1', 412001],
    ['rename', {}, 'd1', 400004],
  ])('%s %j of %s', async (importMode, more, id, code) => {
    const { send, failures } = await importing()
    await send(0, { id: 'd1' })
    const state = await send(1, { id, importMode, ...more })
    expect((await failures()).map((failure) => failure.code)).toEqual(code === undefined ? [] : [code])
    expect(state.succeeded).toBe(code === undefined ? 2 : 1)
  })

  test('an update keeps the generation, and the keys where the line names none', async () => {
    const { send, device } = await importing()
    await send(0, { id: 'd1', authentication: sas })
    const before = await device('d1')
    await send(1, { id: 'd1', status: 'disabled' }, { id: 'd1', statusReason: 'again', status: 'disabled' })
    const after = await device('d1')
    expect(after).toMatchObject({ status: 'disabled', statusReason: 'again', generationId: before.generationId })
    expect(after.authentication).toEqual(before.authentication)
    await send(3, { id: 'd1', authentication: { type: 'certificateAuthority' } })
    expect((await device('d1')).authentication.type).toBe('certificateAuthority')
  })

  test('a device that is disabled, re-keyed or deleted loses its connection', async () => {
    const world = await importing()
    const { hub, send, clock } = world
    const [disabled, deleted] = [
      await openSession(hub, await identityOf(world, 'd1')),
      await openSession(hub, await identityOf(world, 'd2')),
    ]
    await send(0, { ...sasDevice(), id: 'd1', status: 'disabled' }, { id: 'd2', importMode: 'delete' })
    clock.advance(limits.sessionRecheckMs)
    await expect.poll(() => [disabled.cuts.length, deleted.cuts.length]).toEqual([1, 1])
  })
})

describe('modules and children come in any order', () => {
  test('an Edge device brings its system modules, and lines fill them in', async () => {
    const { send, finish, module, failures } = await importing({ mode: 'create' })
    await send(
      0,
      { id: 'e1', moduleId: 'm1', managedBy: 'iotEdge', authentication: sas },
      { id: 'e1', moduleId: '$edgeAgent', authentication: sas, properties: { desired: { schemaVersion: '1.1' } } },
      { id: 'e1', capabilities: { iotEdge: true } },
      { id: 'e1', moduleId: '$edgeHub', authentication: sas },
      { id: 'nobody', moduleId: 'm1' },
    )
    expect(await finish()).toMatchObject({ next: 5, succeeded: 4, failed: 1, later: 0 })
    expect(await module('e1', '$edgeAgent')).toMatchObject({ authentication: { type: 'sas', symmetricKey: keys } })
    expect(await module('e1', '$edgeHub')).toMatchObject({ managedBy: 'iotEdge', authentication: { type: 'sas' } })
    expect(await module('e1', 'm1')).toMatchObject({ managedBy: 'iotEdge' })
    expect(await failures()).toEqual([{ line: 5, id: 'nobody/m1', code: 404001, message: 'nobody' }])
  })

  test('scopes of another hub mean the device that they name, layer by layer', async () => {
    const { send, finish, device } = await importing()
    const edge = { capabilities: { iotEdge: true } }
    const scope = (id: string) => `ms-azure-iot-edge://${id}-638000000000000000`
    await send(
      0,
      { id: 'leaf', deviceScope: scope('low'), parentScopes: [scope('low')] },
      { id: 'low', ...edge, deviceScope: scope('low'), parentScopes: [scope('mid')] },
      { id: 'mid', ...edge, deviceScope: scope('mid'), parentScopes: [scope('top')] },
      { id: 'top', ...edge, deviceScope: scope('top') },
      { id: 'orphan', deviceScope: scope('gone') },
    )
    expect(await finish()).toMatchObject({ succeeded: 4, failed: 1 })
    expect((await device('leaf')).parentScopes).toEqual([(await device('low')).deviceScope])
    expect((await device('low')).parentScopes).toEqual([(await device('mid')).deviceScope])
    expect((await device('mid')).parentScopes).toEqual([(await device('top')).deviceScope])
  })

  test('a device, its modules and their end in one file', async () => {
    const { send, finish, hub, iotHub } = await importing()
    await send(
      0,
      { id: 'd1' },
      { id: 'd1', moduleId: 'm1' },
      { id: 'd1', moduleId: 'm2' },
      { id: 'd1', moduleId: 'm1', importMode: 'delete' },
      { id: 'd2', importMode: 'create' },
      { id: 'd2', importMode: 'delete' },
    )
    expect(await finish()).toMatchObject({ succeeded: 6, failed: 0 })
    expect((await hub.registry.listModules(operator, iotHub, 'd1')).map(({ moduleId }) => moduleId)).toEqual(['m2'])
    expect(await hub.registry.listDevices(iotHub, 10)).toHaveLength(1)
  })
})

describe('twins', () => {
  const stamp = (time: string, version?: number) => ({
    $lastUpdated: `${time}T00:00:00.0000000Z`,
    ...(version !== undefined && { $lastUpdatedVersion: version }),
  })
  const exported = {
    tags: { site: { city: 'x' } },
    properties: {
      desired: {
        rate: 5,
        deep: { a: [1, { b: 2 }] },
        $metadata: {
          ...stamp('2024-02-01', 7),
          rate: stamp('2023-01-01', 3),
          deep: { ...stamp('2024-02-01', 7), a: stamp('2024-02-01', 7) },
        },
        $version: 7,
      },
      reported: { fw: '1', $metadata: { ...stamp('2024-03-01'), fw: stamp('2024-03-01') }, $version: 12 },
    },
  }

  test('versions and times of an export are taken over whole', async () => {
    const { send, hub, iotHub } = await importing()
    await send(0, { id: 'd1', ...exported })
    const twin = await hub.twins.get(iotHub, 'd1')
    expect({ tags: twin.tags, properties: twin.properties }).toEqual(exported)
  })

  test('of a twin that is there versions only grow, and what a line leaves out stays', async () => {
    const { send, hub, iotHub } = await importing()
    await send(0, { id: 'd1', ...exported })
    const before = await hub.twins.get(iotHub, 'd1')
    await send(1, { id: 'd1', properties: { desired: { rate: 6 } } }, { id: 'd1' })
    const after = await hub.twins.get(iotHub, 'd1')
    expect(after.properties.desired).toMatchObject({ rate: 6, $version: 8 })
    expect(after.properties.desired).not.toHaveProperty('deep')
    expect(after).toMatchObject({ version: before.version + 1, tags: exported.tags })
    expect(after.properties.reported).toEqual(before.properties.reported)
  })
})

test.each<[string, string | object, number, string]>([
  ['text', 'hello', 400012, 'not JSON'],
  ['half a document', '{"id":"d1"', 400012, 'not JSON'],
  ['an array', '[1]', 400004, 'found an array'],
  ['deep nesting', `{"id":"d1","tags":${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}}`, 400004, 'nest 10 levels'],
  ['deep arrays', `${'['.repeat(50_000)}${']'.repeat(50_000)}`, 400004, 'found an array'],
  ['no id', {}, 400004, 'line.id must be a value'],
  ['an id that is none', { id: 'a b' }, 400004, 'device ID must be'],
  ['an id with odd letters', { id: 'a\u202eb' }, 400004, 'device ID must be'],
  ['an id that is a number', { id: 5 }, 400004, 'must be a string'],
  ['a module id that is none', { id: 'd1', moduleId: '/' }, 400004, 'module ID must be'],
  [
    'a key too short',
    { id: 'd1', authentication: { symmetricKey: { primaryKey: 'YQ==', secondaryKey: PRIMARY } } },
    400004,
    'primaryKey must be base64',
  ],
  ['tags with dollars', { id: 'd1', tags: { $a: 1 } }, 400004, 'tags must be names without'],
  [
    'times that are none',
    { id: 'd1', properties: { desired: { $metadata: { $lastUpdated: 'soon' } } } },
    400004,
    'must be a time',
  ],
  ['a version below 1', { id: 'd1', properties: { desired: { $version: 0 } } }, 400004, 'whole number from 1'],
  ['a line too long', `{"id":"d1","x":"${'y'.repeat(limits.importLineBytes)}"}`, 413001, 'characters'],
  ['$edgeHub of no Edge device', { id: 'there', moduleId: '$edgeHub' }, 400004, 'belongs to Edge devices'],
])('%s is refused by line, and nothing else is', async (_, line, code, message) => {
  const { send, failures } = await importing()
  const state = await send(0, { id: 'there' }, line, { id: 'after' })
  expect(state).toMatchObject({ next: 3, succeeded: 2, failed: 1 })
  const [failure] = await failures()
  expect(failure).toMatchObject({ line: 2, code, message: expect.stringContaining(message) })
  expect(failure!.message.length).toBeLessThanOrEqual(limits.importMessageLength)
  expect(JSON.stringify(failure)).not.toContain(PRIMARY)
})

test('a dry run says the same of a line and writes nothing', async () => {
  const { control, rules, hub, iotHub } = await importing({ mode: 'create' })
  const lines = [{ id: 'd1' }, { id: 'd1' }, { id: 'x', moduleId: 'm' }].map((line) => JSON.stringify(line))
  expect(await control.imports.check(rules, 10, lines)).toMatchObject({
    succeeded: 1,
    later: 1,
    failures: [{ line: 12, code: 409001 }],
  })
  expect(await hub.registry.listDevices(iotHub, 10)).toEqual([])
})

test('an import into a hub that was deleted meanwhile ends, and is none of the next hub of its name', async () => {
  const { control, send, hub, target } = await importing()
  await control.hubs.remove(operator, 'hub1', { kind: 'any' })
  await expect(send(0, { id: 'd1' })).rejects.toMatchObject({ code: 409000 })
  await control.hubs.put(operator, 'hub1', { hostNames: ['hub1.example'] }, { kind: 'absent' })
  const again = (await control.hubs.get('hub1'))!
  const fresh = { ...target, presence: again.presence }
  await expect(control.imports.get(fresh)).rejects.toMatchObject({ code: 404000 })
  await control.imports.open(fresh, { kind: 'devices', mode: 'create' })
  await control.imports.append(hub.registry.deviceImport(again, 'create'), fresh, 0, ['{"id":"d1"}'])
  expect(await hub.registry.listDevices(again, 10)).toHaveLength(1)
})

/** Loses answers: before the commit, or after it. */
function faulty(store: Store, fraction: () => number): Store {
  return {
    ...store,
    async commit(change) {
      const luck = fraction()
      if (luck < 0.15) throw new ServiceError(503001, 'lost before')
      const result = await store.commit(change)
      if (luck > 0.85) throw new ServiceError(503001, 'lost after')
      return result
    },
  }
}

test.each([1, 2, 3, 4, 5])('however often it breaks off, it ends as if it had not (seed %i)', async (seed) => {
  const random = seededRandom(seed)
  const pick = (most: number) => Math.floor(random.fraction() * most)
  const lines = Array.from({ length: 600 }, (_, n): string => {
    const id = `d${pick(250)}`
    const kind = pick(12)
    if (kind === 0) return ''
    if (kind === 1) return '{'
    if (kind === 2) return JSON.stringify({ id, moduleId: `m${pick(3)}` })
    if (kind === 3) return JSON.stringify({ id, importMode: 'delete' })
    if (kind === 4)
      return JSON.stringify({ id, authentication: sas, deviceScope: `ms-azure-iot-edge://d${pick(250)}-1` })
    return JSON.stringify({ id, authentication: sas, capabilities: { iotEdge: kind === 5 }, tags: { n } })
  })
  const whole = await runTo(await importing({ mode: 'create' }), lines, undefined)
  const broken = await runTo(await importing({ mode: 'create' }), lines, random)
  expect(broken).toEqual(whole)
  expect(whole.state.succeeded).toBeGreaterThan(200)
})

/** @param random breaks off now and then; undefined: all at once */
async function runTo(
  world: Awaited<ReturnType<typeof importing>>,
  lines: readonly string[],
  random: ReturnType<typeof seededRandom> | undefined,
) {
  const { store, clock, control, target, rules, hub, iotHub } = world
  const again = () =>
    random === undefined
      ? control.imports
      : createImports({ store: faulty(store, () => random.fraction()), clock, log: silentLog })
  for (;;) {
    try {
      const imports = again()
      const { next } = await imports.get(target)
      if (next < lines.length) {
        const size = random === undefined ? lines.length : 1 + Math.floor(random.fraction() * 200)
        await imports.append(rules, target, next, lines.slice(next, next + size))
      } else if ((await imports.finish(rules, target)).later === 0) break
    } catch (error) {
      if (!(error instanceof ServiceError && error.code === 503001)) throw error
    }
  }
  const failures = []
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page = await control.imports.failures(target, after)
    failures.push(...page.failures)
    after = page.next
  }
  const { createdAt: _, ...state } = await control.imports.get(target)
  const devices = (await hub.registry.listDevices(iotHub, 1_000)).map(({ deviceId, capabilities, authentication }) => ({
    deviceId,
    capabilities,
    authentication,
  }))
  const edges = await Promise.all(
    devices.map(async ({ deviceId }) =>
      (await hub.registry.listModules(operator, iotHub, deviceId)).map(({ moduleId }) => moduleId).sort(),
    ),
  )
  const twins = await Promise.all(devices.map(({ deviceId }) => hub.twins.read(iotHub, deviceId)))
  return { state, failures, devices, edges, twins }
}

test('however long the refusals of one request are, they are reported', async () => {
  const { send, failures } = await importing()
  const id = '€'.repeat(300)
  const lines = Array.from({ length: limits.importBatchLines }, () => ({ id, moduleId: id }))
  expect(await send(0, ...lines)).toMatchObject({ next: lines.length, failed: lines.length })
  expect((await failures()).map(({ line }) => line)).toEqual(lines.map((_, at) => at + 1))
})
