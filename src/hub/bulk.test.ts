import { expect, test } from 'vitest'
import { hubWorld, operator, sasDevice } from '../../tests/support/hub-world.ts'
import { parseIfMatch } from '../base/etags.ts'
import { createLog } from '../base/log.ts'
import { seededRandom } from '../base/random.ts'
import { createBulk } from './bulk.ts'

const world = await hubWorld()
const { hub, iotHub } = world
const { registry } = hub
const bulk = (body: unknown) => registry.bulk(operator, iotHub, body)
const ok = { isSuccessful: true, errors: [], warnings: [] }
/** What Node sends with every item, deletes included (hub-service.md 2.6). */
const empty = { type: 'sas', symmetricKey: { primaryKey: '', secondaryKey: '' } }
const get = (id: string) => registry.getDevice(iotHub, id)

test('create, update and delete as Node sends them', async () => {
  const ids = Array.from({ length: 100 }, (_, n) => `n${n}`)
  expect(await bulk(ids.map((id) => ({ id, importMode: 'create', authentication: empty })))).toEqual(ok)
  expect(
    await bulk(ids.map((id) => ({ id, importMode: 'Update', authentication: empty, status: 'disabled' }))),
  ).toEqual(ok)
  expect((await get('n42')).status).toBe('disabled')
  expect(await bulk(ids.map((id) => ({ id, importMode: 'Delete', authentication: empty })))).toEqual(ok)
  await expect(get('n42')).rejects.toMatchObject({ code: 404001 })
})

test('items fail one by one; the others stay', async () => {
  await registry.putDevice(operator, iotHub, 'there', {}, parseIfMatch(undefined))
  const result = await bulk([
    { id: 'there', importMode: 'create' },
    { id: 'new', importMode: 'create', tags: { a: 1 }, properties: { desired: { b: 2, $version: 7, $metadata: {} } } },
    { id: 'absent', importMode: 'update' },
    { id: 'a/b', importMode: 'create' },
    { id: 'there', moduleId: 'm', importMode: 'create' },
    { id: 'absent', moduleId: 'm', importMode: 'create' },
    { id: 'odd', importMode: 'upsert' },
    { id: 'scoped', importMode: 'create', deviceScope: 'nowhere' },
    { id: 'twinless', importMode: 'updateTwin', tags: {} },
  ])
  expect(result.isSuccessful).toBe(false)
  expect(
    result.errors.map(({ deviceId, moduleId, errorCode, operation }) => [deviceId, moduleId, errorCode, operation]),
  ).toEqual([
    ['there', null, 'DeviceAlreadyExists', 'create'],
    ['absent', null, 'DeviceNotFound', 'update'],
    ['a/b', null, 'ArgumentInvalid', 'create'],
    ['absent', 'm', 'DeviceNotFound', 'create'],
    ['odd', null, 'ArgumentInvalid', 'upsert'],
    // InvalidDeviceScope is not in the list that C# parses.
    ['scoped', null, 'ArgumentInvalid', 'create'],
    ['twinless', null, 'InvalidOperation', 'updateTwin'],
  ])
  expect((await hub.twins.read(iotHub, 'new'))?.twin).toEqual({ tags: { a: 1 }, desired: { b: 2 }, reported: {} })
  expect((await registry.getModule(operator, iotHub, 'there', 'm')).moduleId).toBe('m')
})

const twin = { tags: { a: 1 }, properties: { desired: { b: 2 } } }

test('a module is created with its twin, as a device is', async () => {
  expect(
    await bulk([
      { id: 'twinned', importMode: 'create' },
      { id: 'twinned', moduleId: 'm', importMode: 'createOrUpdate', ...twin },
    ]),
  ).toEqual(ok)
  const { tags, properties } = await hub.twins.get(iotHub, 'twinned', 'm')
  expect([tags, properties.desired]).toMatchObject([{ a: 1 }, { b: 2 }])
})

test.each([
  ['update', undefined],
  ['updateIfMatchETag', undefined],
  ['createOrUpdate', undefined],
  ['update', 'm'],
  ['createOrUpdate', 'm'],
])('%s of what exists refuses a twin rather than leave it aside', async (importMode, moduleId) => {
  await bulk([
    { id: 'kept', importMode: 'create' },
    { id: 'kept', moduleId: 'm', importMode: 'create' },
  ])
  const item = { id: 'kept', moduleId, importMode, etag: '*', status: 'disabled' }
  const result = await bulk([{ ...item, ...twin }])
  expect(result.errors).toMatchObject([{ errorCode: 'InvalidOperation' }])
  expect((await get('kept')).status).toBe('enabled')
  expect(await bulk([{ ...item, status: 'enabled', tags: {}, properties: { desired: { $version: 3 } } }])).toEqual(ok)
})

test('etags of the body count: * matches, a stale one fails that item', async () => {
  const made = await registry.putDevice(operator, iotHub, 'tagged', sasDevice(), parseIfMatch(undefined))
  const mode = async (importMode: string, etag?: string) => {
    const { errors } = await bulk([
      { id: 'tagged', importMode, ...(etag === undefined ? {} : { eTag: etag }), ...sasDevice() },
    ])
    return errors.map(({ errorCode }) => errorCode)
  }
  expect(await mode('updateIfMatchETag', made.etag)).toEqual([])
  expect(await mode('UpdateIfMatchEtag', made.etag)).toEqual(['PreconditionFailed'])
  expect(await mode('createOrUpdateIfMatchETag', made.etag)).toEqual(['PreconditionFailed'])
  expect(await mode('updateIfMatchETag')).toEqual(['ArgumentInvalid'])
  expect(await mode('createOrUpdate')).toEqual([])
  expect(await mode('deleteIfMatchEtag', made.etag)).toEqual(['PreconditionFailed'])
  expect(await mode('deleteIfMatchEtag', '*')).toEqual([])
  expect(await mode('deleteIfMatchEtag', '*')).toEqual(['DeviceNotFound'])
  expect(await mode('createOrUpdateIfMatchETag', '*')).toEqual([])
})

test('a device and its modules in one request keep their order', async () => {
  const items = (importMode: string) => [
    { id: 'pair', importMode },
    { id: 'pair', moduleId: 'm1', importMode },
    { id: 'pair', moduleId: 'm2', importMode },
  ]
  expect(await bulk(items('create'))).toEqual(ok)
  expect(await bulk(items('createOrUpdate'))).toEqual(ok)
  expect(await bulk(items('update'))).toEqual(ok)
  expect(await bulk(items('delete').reverse())).toEqual(ok)
})

test('a request that is malformed as a whole is refused as a whole', async () => {
  const refused = async (body: unknown, code: number) => expect(bulk(body)).rejects.toMatchObject({ code })
  await refused({}, 400004)
  await refused(undefined, 400004)
  await refused(['x'], 400004)
  await refused([{ importMode: 'create' }], 400004)
  await refused([{ id: 'twice' }, { id: 'twice' }], 400011)
  await refused(
    Array.from({ length: 101 }, (_, n) => ({ id: `many${n}` })),
    413002,
  )
  await expect(get('twice')).rejects.toMatchObject({ code: 404001 })
})

test('a device that another service moves here brings its reported properties', async () => {
  const properties = { desired: { a: 1 }, reported: { b: [2], $version: 9 } }
  expect(await bulk([{ id: 'moved', importMode: 'create', properties }])).toEqual(ok)
  expect((await hub.twins.read(iotHub, 'moved'))?.twin).toEqual({ tags: {}, desired: { a: 1 }, reported: { b: [2] } })
})

test('the cause of an item that fails by our own fault is in the log, as its message says', async () => {
  const lines: string[] = []
  const failing = { ...registry, createDevice: () => Promise.reject(new Error('a broken disk')) }
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const broken = createBulk({ registry: failing, random: seededRandom(1), log })
  const { errors } = await broken(operator, iotHub, [{ id: 'unlucky', importMode: 'create' }])
  expect(errors).toMatchObject([
    { deviceId: 'unlucky', errorCode: 'ServerError', errorStatus: expect.stringContaining('in the log') },
  ])
  expect(lines).toEqual([expect.stringMatching(/unlucky.*a broken disk/)])
})
