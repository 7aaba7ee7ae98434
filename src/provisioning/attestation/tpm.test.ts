import { expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  create,
  ended,
  HUB_A,
  HUB_B,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  refusal,
  settled,
  until,
} from '../../../tests/support/provisioning.ts'
import { rsaPair, type TpmDouble, tpmDouble } from '../../../tests/support/tpm-double.ts'
import { limits } from '../../base/limits.ts'
import { AuthorizationRequired, type Claim, type Provisioning } from '../provisioning.ts'
import { tpmChallenges } from '../schema.ts'

const pair = rsaPair()
const tpm = tpmDouble('rsa', pair)
const elliptic = tpmDouble('ecc', pair)
const SHOWN = { tpm: tpm.ids }

const document = (registrationId: string, { endorsementKey }: Pick<TpmDouble, 'endorsementKey'> = tpm) => ({
  registrationId,
  attestation: { type: 'tpm', tpm: { endorsementKey } },
})

async function tpmRoom(): Promise<ProvisioningRoom> {
  const room = await provisioningRoom()
  await room.provisioning.enrollments.put(caller, room.service, 'dev', document('dev'), create)
  return room
}

const stranger = ({ service: { idScope } }: ProvisioningRoom, registrationId = 'dev'): Claim => ({
  idScope,
  registrationId,
  kind: 'none',
})

/** The key in the challenge, base64. */
async function challenged(room: ProvisioningRoom, device = tpm, node: Provisioning = room.provisioning) {
  const thrown: unknown = await node.registrations
    .register(stranger(room), { tpm: device.ids }, API)
    .catch((error: unknown) => error)
  if (!(thrown instanceof AuthorizationRequired)) throw thrown
  expect(thrown).toMatchObject({ status: 401, keyName: 'registration', message: 'Authorization required.' })
  return device.activate(thrown.authenticationKey).toString('base64')
}

const claimed = async (room: ProvisioningRoom, device = tpm): Promise<Claim> =>
  keyClaim(room, 'dev', await challenged(room, device))

/** The key that the hub knows the device by. */
const hubKeys = ({ hubs }: ProvisioningRoom): unknown =>
  [...hubs.values()].flatMap((hub) => [...hub.devices.values()].map(({ device }) => device.authentication))

const sasWith = (key: Buffer | undefined) => [
  {
    type: 'sas',
    symmetricKey: { primaryKey: key?.toString('base64'), secondaryKey: key?.toString('base64') },
  },
]

test.each([
  ['RSA', tpm],
  ['ECC', elliptic],
])('challenge, token, hub key: %s storage key', async (_kind, device) => {
  const room = await tpmRoom()
  const { registrations } = room.provisioning
  const claim = await claimed(room, device)
  const { operationId, status } = await registrations.register(claim, { tpm: device.ids }, API)
  expect(status).toBe('assigning')
  const final = await ended(room.provisioning, claim, operationId)
  expect(final).toMatchObject({ status: 'assigned', registrationState: { deviceId: 'dev' } })
  const blob = final.registrationState?.tpm?.authenticationKey ?? ''
  expect(device.activate(blob)).toHaveLength(32)
  expect(hubKeys(room)).toEqual(sasWith(device.activate(blob)))
  expect(device.uri(blob)).toBe(`${final.registrationState?.assignedHub}/dev`)
  const found = await registrations.lookup(claim, {}, API)
  expect(device.activate(found.tpm?.authenticationKey ?? '')).toEqual(device.activate(blob))
})

test('the service side never sees the key', async () => {
  const room = await tpmRoom()
  const claim = await claimed(room)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await ended(room.provisioning, claim, operationId)
  const shown = JSON.stringify([
    await room.provisioning.registrations.get(room.service, 'dev', API),
    await room.provisioning.enrollments.get(room.service, 'dev', API),
  ])
  expect(shown).toContain(tpm.endorsementKey)
  expect(shown).not.toMatch(/hubKey|authenticationKey|storageRootKey/)
})

test('who gets no challenge, and leaves nothing behind', async () => {
  const room = await tpmRoom()
  const { registrations, enrollments } = room.provisioning
  const key = Buffer.alloc(64, 7).toString('base64')
  const keyed = { type: 'symmetricKey', symmetricKey: { primaryKey: key, secondaryKey: key } }
  await enrollments.put(caller, room.service, 'keyed', { registrationId: 'keyed', attestation: keyed }, create)
  const other = tpmDouble('ecc')
  const { endorsementKey } = tpm
  const cases: [string, Claim, object, number][] = [
    ['nobody enrolled', stranger(room, 'nobody'), SHOWN, 404201],
    ['enrolled with keys', stranger(room, 'keyed'), SHOWN, 404201],
    ['another TPM', stranger(room), { tpm: other.ids }, 401002],
    ['an endorsement key that is none', stranger(room), { tpm: { ...tpm.ids, endorsementKey: 'AAAA' } }, 401002],
    ['no storage root key', stranger(room), { tpm: { endorsementKey } }, 400203],
    ['a storage root key that is none', stranger(room), { tpm: { endorsementKey, storageRootKey: 'AAAA' } }, 400203],
    ['no keys at all', stranger(room), {}, 401002],
    ['a token before any challenge', keyClaim(room, 'dev', key), {}, 401002],
    ['a token and a certificate’s body', { ...stranger(room), kind: 'x509', chain: [] }, {}, 401002],
  ]
  for (const [name, claim, body, code] of cases) {
    const found = await refusal(registrations.register(claim, body, API))
    expect({ name, ...found }).toMatchObject({ name, code })
  }
  expect(await room.store.count(tpmChallenges)).toBe(0)
})

test('the second request may repeat the keys, but not show another endorsement key', async () => {
  const room = await tpmRoom()
  const { register } = room.provisioning.registrations
  const claim = await claimed(room)
  expect(await refusal(register(claim, { tpm: tpmDouble('ecc').ids }, API))).toMatchObject({ code: 401002 })
  const wrongKey = keyClaim(room, 'dev', Buffer.alloc(32, 1).toString('base64'))
  expect(await refusal(register(wrongKey, SHOWN, API))).toMatchObject({ code: 401002 })
  // Whatever storage key the repetition names: the one of the challenge is proven.
  const { operationId } = await register(claim, { tpm: { ...tpm.ids, storageRootKey: elliptic.storageRootKey } }, API)
  const { registrationState } = await ended(room.provisioning, claim, operationId)
  expect(tpm.activate(registrationState?.tpm?.authenticationKey ?? '')).toHaveLength(32)
})

test('a request without its challenge: the same key again, and the same operation', async () => {
  const room = await tpmRoom()
  room.hubs.get(HUB_A)!.gate = room.hubs.get(HUB_B)!.gate = new Promise((resolve) => room.clock.after(50_000, resolve))
  const [first, again] = [await challenged(room), await challenged(room)]
  expect(again).toBe(first)
  const { register } = room.provisioning.registrations
  const { operationId } = await register(keyClaim(room, 'dev', first), SHOWN, API)
  room.clock.advance(1_000)
  const later = keyClaim(room, 'dev', first)
  expect((await register(later, SHOWN, API)).operationId).toBe(operationId)
  room.clock.advance(49_000)
  const { registrationState } = await ended(room.provisioning, later, operationId)
  expect(hubKeys(room)).toEqual(sasWith(tpm.activate(registrationState?.tpm?.authenticationKey ?? '')))
})

test('a replaced key is good for a minute, the newest for ten', async () => {
  const room = await tpmRoom()
  const { register } = room.provisioning.registrations
  const tries = async (key: string) =>
    register(keyClaim(room, 'dev', key), {}, API).then(
      () => 'in',
      () => 'out',
    )
  const old = await challenged(room)
  room.clock.advance(limits.tpmChallengeRepeatMs)
  const next = await challenged(room)
  expect(next).not.toBe(old)
  room.clock.advance(limits.tpmChallengeRepeatMs - 1)
  expect([await tries(old), await tries(next)]).toEqual(['in', 'in'])
  room.clock.advance(1)
  expect([await tries(old), await tries(next)]).toEqual(['out', 'in'])
  room.clock.advance(limits.tpmChallengeMs - limits.tpmChallengeRepeatMs)
  expect(await tries(next)).toBe('out')
})

test('polls go on when the key has run out, with the same token and with a new one', async () => {
  const room = await tpmRoom()
  const key = await challenged(room)
  const claim = keyClaim(room, 'dev', key)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await ended(room.provisioning, claim, operationId)
  room.clock.advance(limits.tpmChallengeMs + 1)
  for (const each of [claim, keyClaim(room, 'dev', key)])
    expect((await ended(room.provisioning, each, operationId)).status).toBe('assigned')
})

test('any node takes the token that another one asked for, and answers the poll after a crash', async () => {
  const room = await tpmRoom()
  const claim = await claimed(room)
  const { operationId } = await room.again().registrations.register(claim, {}, API)
  const { registrationState } = await ended(room.again(), claim, operationId)
  expect(hubKeys(room)).toEqual(sasWith(tpm.activate(registrationState?.tpm?.authenticationKey ?? '')))
})

test('a node dies before it has assigned: another one finishes, and wraps what the hub was told', async () => {
  const room = await tpmRoom()
  const claim = await claimed(room)
  const { operationId } = await room.again({ assigningMs: 60_000 }).registrations.register(claim, {}, API)
  expect(hubKeys(room)).toEqual([])
  const next = room.again({ assigningMs: 60_000 })
  next.registrations.start()
  await settled()
  room.clock.advance(60_000)
  const { registrationState } = await ended(next, claim, operationId)
  expect(hubKeys(room)).toEqual(sasWith(tpm.activate(registrationState?.tpm?.authenticationKey ?? '')))
  await next.registrations.stop()
})

test('every registration makes a new hub key, for the storage key of its own challenge', async () => {
  const room = await tpmRoom()
  const keys: string[] = []
  for (const device of [tpm, tpm, elliptic]) {
    room.clock.advance(limits.tpmChallengeRepeatMs)
    const claim = await claimed(room, device)
    const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
    const { registrationState } = await ended(room.provisioning, claim, operationId)
    const key = device.activate(registrationState?.tpm?.authenticationKey ?? '')
    expect(hubKeys(room)).toEqual(sasWith(key))
    keys.push(key.toString('hex'))
  }
  expect(new Set(keys).size).toBe(3)
})

test('another endorsement key in the enrollment ends what the old one was given', async () => {
  const room = await tpmRoom()
  const claim = await claimed(room)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await ended(room.provisioning, claim, operationId)
  const replaced = tpmDouble('ecc')
  await room.provisioning.enrollments.put(caller, room.service, 'dev', document('dev', replaced), any)
  expect(await refusal(room.provisioning.registrations.register(claim, {}, API))).toMatchObject({ code: 401002 })
  expect(await refusal(room.provisioning.registrations.register(stranger(room), SHOWN, API))).toMatchObject({
    code: 401002,
  })
  expect(await challenged(room, replaced)).toHaveLength(44)
})

test('an enrollment that is changed while its device is being assigned: the registration fails', async () => {
  const room = await tpmRoom()
  const { register } = room.again({ assigningMs: 1_000 }).registrations
  const claim = await claimed(room)
  const { operationId } = await register(claim, {}, API)
  await room.provisioning.enrollments.put(caller, room.service, 'dev', document('dev', tpmDouble('ecc')), any)
  room.clock.advance(1_000)
  expect(await ended(room.provisioning, claim, operationId)).toMatchObject({
    status: 'failed',
    registrationState: { errorCode: 401002 },
  })
  expect(hubKeys(room)).toEqual([])
})

test('a disabled device is challenged, taken in and told so', async () => {
  const room = await tpmRoom()
  const disabled = { ...document('dev'), provisioningStatus: 'disabled' }
  await room.provisioning.enrollments.put(caller, room.service, 'dev', disabled, any)
  const claim = await claimed(room)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  const { registrationState } = await ended(room.provisioning, claim, operationId)
  expect(registrationState).toEqual({ registrationId: 'dev', status: 'disabled' })
})

test('whatever storage keys are sent, a device has a few challenges only; what ran out is deleted', async () => {
  const room = await tpmRoom()
  for (let count = 0; count < limits.tpmChallengesPerDevice + 3; count++) await challenged(room, tpmDouble('ecc', pair))
  const stored = await room.store.scan(tpmChallenges, { limit: 10 })
  expect(stored.items.map(({ value }) => value.keys.length)).toEqual([limits.tpmChallengesPerDevice])
  room.provisioning.registrations.start()
  await settled()
  room.clock.advance(limits.tpmChallengeSweepMs)
  await settled()
  expect(await room.store.count(tpmChallenges)).toBe(1)
  room.clock.advance(limits.tpmChallengeMs)
  await until(async () => {
    room.clock.advance(limits.tpmChallengeSweepMs)
    return (await room.store.count(tpmChallenges)) === 0
  })
  await room.provisioning.registrations.stop()
})

test('nodes that challenge one device at the same time agree', async () => {
  const room = await tpmRoom()
  const keys = await Promise.all([1, 2, 3, 4].map(() => challenged(room, tpm, room.again())))
  expect(new Set(keys).size).toBe(1)
})
