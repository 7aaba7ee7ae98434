import { beforeAll, expect, test } from 'vitest'
import { hubWorld, operator } from '../../../tests/support/hub-world.ts'
import { parseIfMatch } from '../../base/etags.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { managementDevices } from './management-devices.ts'
import { createHttpEndpoint } from './server.ts'

const TOKEN = 'a-token-of-a-test'
const absent = parseIfMatch(undefined)
const world = await hubWorld()
const { hub, iotHub, clock, control } = world
const hosts = ['127.0.0.1']
const { app } = await createHttpEndpoint({ clock, random: seededRandom(2), log: silentLog }, [
  managementDevices({ control, hub, log: silentLog, token: TOKEN, hosts }),
])
const make = (deviceId: string, body: object = {}) => hub.registry.putDevice(operator, iotHub, deviceId, body, absent)

async function ask(path: string, headers: Record<string, string> = {}) {
  const {
    statusCode,
    headers: answered,
    payload,
  } = await app.inject({
    method: 'GET',
    url: path,
    headers: { host: '127.0.0.1:4711', authorization: `Bearer ${TOKEN}`, ...headers },
  })
  return { status: statusCode, next: answered['x-ms-continuation'] as string | undefined, body: JSON.parse(payload) }
}

/** The ids of every page. */
async function pages(path: string, size: number): Promise<string[][]> {
  const all: string[][] = []
  let next: string | undefined
  do {
    const page = await ask(path, { 'x-ms-max-item-count': `${size}`, ...(next && { 'x-ms-continuation': next }) })
    expect(page.status).toBe(200)
    all.push(page.body.map(({ deviceId }: { deviceId: string }) => deviceId))
    next = page.next
  } while (next !== undefined)
  return all
}

const LIST = '/muster/hubs/hub1/devices'
const children = (scope: string) => `${LIST}?parentScope=${encodeURIComponent(scope)}`
let scope = ''

beforeAll(async () => {
  const parent = await make('parent', { capabilities: { iotEdge: true } })
  scope = parent.deviceScope ?? ''
  await make('edge-child', { capabilities: { iotEdge: true }, parentScopes: [scope] })
  for (const n of [1, 2, 3]) await make(`leaf-${n}`, { deviceScope: scope })
  await make('stranger')
  // Another hub of the house, with a device of the same name.
  const other = await control.hubs.put(operator, 'hub2', { hostNames: ['hub2.example'] }, absent)
  await hub.registry.putDevice(operator, other, 'elsewhere', {}, absent)
})

test('all devices of the hub and of no other, page by page, as the registry shows them', async () => {
  const all = ['edge-child', 'leaf-1', 'leaf-2', 'leaf-3', 'parent', 'stranger']
  expect((await pages(LIST, 4)).flat()).toEqual(all)
  expect((await pages(LIST, 1_000)).flat()).toEqual(all)
  const { body } = await ask(LIST)
  expect(body.at(-1)).toEqual(JSON.parse(JSON.stringify(await hub.registry.getDevice(iotHub, 'stranger'))))
})

test('the children of an Edge device, leaves and Edge devices, page by page', async () => {
  expect((await pages(children(scope), 3)).flat()).toEqual(['edge-child', 'leaf-1', 'leaf-2', 'leaf-3'])
  expect((await pages(children(scope), 3)).length).toBe(2)
  expect((await ask(children('ms-azure-iot-edge://nobody-1'))).body).toEqual([])
})

test('a child that leaves its parent, or is deleted, leaves the list', async () => {
  const any = parseIfMatch('*')
  await hub.registry.putDevice(operator, iotHub, 'leaf-1', { deviceScope: '' }, any)
  await hub.registry.removeDevice(operator, iotHub, 'leaf-2', any)
  expect((await ask(children(scope))).body.map(({ deviceId }: { deviceId: string }) => deviceId)).toEqual([
    'edge-child',
    'leaf-3',
  ])
})

test.each([
  ['without the token', LIST, { authorization: 'Bearer x' }, 401],
  ['of a hub that is not there', '/muster/hubs/hub3/devices', {}, 404],
  ['a page of nothing', LIST, { 'x-ms-max-item-count': '0' }, 400],
  ['a continuation of nobody', LIST, { 'x-ms-continuation': 'abc' }, 400],
  ['an empty scope', children(''), {}, 400],
  ['a scope that is too long', children('x'.repeat(300)), {}, 400],
])('%s: refused', async (_what, path, headers, status) => {
  expect((await ask(path, headers)).status).toBe(status)
})
