import { expect, test } from 'vitest'
import {
  deviceToken,
  hubWorld,
  identityOf,
  openSession,
  operator,
  PRIMARY,
  SECONDARY,
  sasDevice,
} from '../../tests/support/hub-world.ts'
import type { Code } from '../base/errors.ts'
import { parseIfMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'

const world = await hubWorld()
const { hub, iotHub, clock } = world
const { registry } = hub
const absent = parseIfMatch(undefined)
const refusal = (code: Code) => expect.objectContaining({ name: 'ServiceError', code })
const renew = (policyKey: unknown, ...devices: unknown[]) =>
  registry.renewKeys(operator, iotHub, { policyKey, devices })
const make = (deviceId: string, body: object = sasDevice()) =>
  registry.putDevice(operator, iotHub, deviceId, body, absent)
const keysOf = async (deviceId: string) => (await registry.getDevice(iotHub, deviceId)).authentication.symmetricKey

test('primary, secondary or both keys are new; the other one stays; the answer has both', async () => {
  await make('d1')
  const first = await renew('primaryKey', { id: 'd1' })
  expect(first).toEqual({
    policyKey: 'primaryKey',
    rotatedKeys: [{ id: 'd1', moduleId: null, primaryKey: expect.stringMatching(/^.{43}=$/), secondaryKey: SECONDARY }],
    errors: [],
  })
  const primary = first.rotatedKeys[0]!.primaryKey
  expect(primary).not.toBe(PRIMARY)
  expect(await keysOf('d1')).toEqual({ primaryKey: primary, secondaryKey: SECONDARY })
  const second = await renew('SecondaryKey', { id: 'd1', moduleId: null })
  expect(second.policyKey).toBe('secondaryKey')
  expect(await keysOf('d1')).toEqual({ primaryKey: primary, secondaryKey: second.rotatedKeys[0]!.secondaryKey })
  expect(second.rotatedKeys[0]!.secondaryKey).not.toBe(SECONDARY)
  await renew('both', { id: 'd1' })
  expect((await keysOf('d1')).primaryKey).not.toBe(primary)
  expect((await keysOf('d1')).secondaryKey).not.toBe(second.rotatedKeys[0]!.secondaryKey)
})

test('the old key opens nothing any more, the new one does, and everything but the keys stays', async () => {
  const before = await make('kept', sasDevice({ statusReason: 'why', capabilities: { iotEdge: true } }))
  const { rotatedKeys } = await renew('primaryKey', { id: 'kept' })
  const connect = (key: string) =>
    hub.deviceAuth.authenticate({
      hub: iotHub,
      deviceId: 'kept',
      credential: { kind: 'sas', token: deviceToken(clock, 'kept', { key }) },
    })
  await expect(connect(PRIMARY)).rejects.toEqual(refusal(401003))
  await connect(SECONDARY)
  await connect(rotatedKeys[0]!.primaryKey)
  const { authentication, etag, ...rest } = await registry.getDevice(iotHub, 'kept')
  expect(before).toMatchObject(rest)
  expect(etag).not.toBe(before.etag)
  expect(authentication.type).toBe('sas')
})

test('the live session of a renewed device or module is cut, that of its neighbour is not', async () => {
  const device = await openSession(hub, await identityOf(world, 'live'))
  await registry.putModule(operator, iotHub, 'live', 'm', sasDevice(), absent)
  const token = deviceToken(clock, 'live/modules/m')
  const credential = { kind: 'sas', token } as const
  const module = await openSession(
    hub,
    await hub.deviceAuth.authenticate({ hub: iotHub, deviceId: 'live', moduleId: 'm', credential }),
  )
  await renew('both', { id: 'live', moduleId: 'm' })
  clock.advance(limits.sessionRecheckMs)
  await expect(module.session.confirm()).rejects.toEqual(refusal(401003))
  await device.session.confirm()
  await renew('secondaryKey', { id: 'live' })
  clock.advance(limits.sessionRecheckMs)
  await expect(device.session.confirm()).rejects.toEqual(refusal(401003))
  expect([device.cuts, module.cuts]).toEqual([['credentials'], ['credentials']])
})

test('what has no keys, or is not there, is told one by one; the others are renewed', async () => {
  await make('mixed', sasDevice({ capabilities: { iotEdge: true } }))
  await make('by-ca', { authentication: { type: 'certificateAuthority' } })
  const { rotatedKeys, errors } = await renew(
    'primaryKey',
    { id: 'by-ca' },
    { id: 'mixed' },
    { id: 'mixed', moduleId: '$edgeHub' },
    { id: 'mixed', moduleId: 'nobody' },
    { id: 'nobody' },
    { id: 'a/b' },
    { id: 'nobody', moduleId: 'm' },
  )
  expect(rotatedKeys.map(({ id, moduleId }) => [id, moduleId])).toEqual([['mixed', null]])
  expect(errors.map(({ id, moduleId, errorCode }) => [id, moduleId, errorCode])).toEqual([
    ['by-ca', null, 'InvalidOperation'],
    ['mixed', '$edgeHub', 'InvalidOperation'],
    ['mixed', 'nobody', 'ModuleNotFound'],
    ['nobody', null, 'DeviceNotFound'],
    ['a/b', null, 'DeviceNotFound'],
    ['nobody', 'm', 'DeviceNotFound'],
  ])
  expect(errors[0]!.errorStatus).toBe(
    'by-ca has no symmetric keys to renew: its authentication is certificateAuthority.',
  )
})

test('many at once: a hundred, each with keys of its own; two callers of one device both get through', async () => {
  const ids = Array.from({ length: limits.deviceBulk }, (_, n) => `many-${n}`)
  await registry.bulk(
    operator,
    iotHub,
    ids.map((id) => ({ id, importMode: 'create' })),
  )
  const { rotatedKeys, errors } = await renew('both', ...ids.map((id) => ({ id })))
  expect(errors).toEqual([])
  expect(rotatedKeys.map(({ id }) => id)).toEqual(ids)
  expect(new Set(rotatedKeys.flatMap((keys) => [keys.primaryKey, keys.secondaryKey])).size).toBe(2 * ids.length)
  const both = await Promise.all([renew('both', { id: 'many-0' }), renew('both', { id: 'many-0' })])
  const last = await keysOf('many-0')
  expect(both.map(({ rotatedKeys: [keys] }) => keys!.primaryKey)).toContain(last.primaryKey)
})

test.each([
  ['nothing', undefined, 400004],
  ['no policyKey', { devices: [] }, 400004],
  ['swap, which a PUT does', { policyKey: 'swap', devices: [] }, 400004],
  ['no devices', { policyKey: 'both' }, 400004],
  ['devices that are none', { policyKey: 'both', devices: ['d1'] }, 400004],
  ['an item without id', { policyKey: 'both', devices: [{ moduleId: 'm' }] }, 400004],
  ['one identity twice', { policyKey: 'both', devices: [{ id: 'd1' }, { id: 'd1', moduleId: '' }] }, 400011],
  [
    'too many',
    { policyKey: 'both', devices: Array.from({ length: limits.deviceBulk + 1 }, (_, n) => ({ id: `${n}` })) },
    413002,
  ],
] as const)('refused as a whole: %s', async (_what, body, code) => {
  await expect(registry.renewKeys(operator, iotHub, body)).rejects.toEqual(refusal(code))
})
