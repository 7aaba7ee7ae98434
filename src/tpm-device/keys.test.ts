import { expect, test } from 'vitest'
import { type TpmCommandsDouble, tpmCommandsDouble } from '../../tests/support/tpm-commands.ts'
import { readTpmPublic } from '../crypto/tpm.ts'
import { HANDLES, tpmCommands } from './commands.ts'
import { ENDORSEMENT_TEMPLATES, registrationIdOf, tpmDevice } from './keys.ts'

const device = (double: TpmCommandsDouble, needsStartup = false) =>
  tpmDevice({ ...double, exchange: double.exchange, close: async () => {}, needsStartup })

// attestation-crypto.md A4.4
const EK = `AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAp8HXmUcILme4tbObBNBFVYebTlRW6ANvrPoKT9/uBJW1UhmwxKq/wfQClxPo
  IZS42tP31euZCOlxMQ/W+rXG6cTXjkp8zkTVAf+776URvkoPGx3DptR0yH4B5GQ6AnDeBPkD//+VOXEDJ2YxnZxrMyS7Nmu8TAJfIrchntXT1GxpxY42Q3he+E/LTLaumzSYcw2k
  QbscyB08tkkyLEcXR1/k84BhBy7MfZ47v+ja/lDcmrd2cn/QoXZY3rcOvhpQ2E3bNJEae+azYiCaTPpRpqBusfR9HhzbGdwj89NRlqTicdMKUCIcyGR9OQpTjAy2PJrLi3Rb5xZZ
  pm5gIVuMSQ==`

test('the registration id of an endorsement key', () => {
  expect(registrationIdOf(Buffer.from(EK, 'base64'))).toBe('pvr6tnkrvxww3xhrqotj5ky7o6pofihbn5viwuqcwquvijgk2xgq')
})

test('the template makes what the real EK looks like', () => {
  const [l1] = ENDORSEMENT_TEMPLATES
  expect(Buffer.from(EK, 'base64').subarray(2, 60)).toEqual(l1?.area.subarray(0, 58))
})

test('reading changes nothing; creating fills the handles once and leaves no key loaded', async () => {
  const double = tpmCommandsDouble()
  const tpm = await device(double)
  expect(await tpm.keys(false)).toEqual({ endorsementKey: undefined, storageRootKey: undefined })
  expect(double.persistent.size).toBe(0)
  const made = await tpm.keys(true)
  expect([...double.persistent.keys()]).toEqual([HANDLES.endorsementKey, HANDLES.storageRootKey])
  for (const key of [made.endorsementKey, made.storageRootKey])
    expect(readTpmPublic(key?.toString('base64') ?? '').type).toBe('rsa')
  expect(await tpm.keys(true)).toEqual(made)
  expect(await tpm.keys(false)).toEqual(made)
  expect(double.commands.filter((name) => name === 'createPrimary')).toHaveLength(2)
  expect(double.loaded.size).toBe(0)
  expect(await tpm.templateOf(made.endorsementKey!)).toBe(ENDORSEMENT_TEMPLATES[0])
})

test('which of the three templates made a key, or none', async () => {
  const double = tpmCommandsDouble()
  const tpm = await device(double)
  const keys = new Set<string>()
  for (const template of ENDORSEMENT_TEMPLATES) {
    const { handle, bytes } = await tpmCommands(double).createPrimary(template.hierarchy, template.area)
    await tpmCommands(double).flush(handle)
    expect(await tpm.templateOf(bytes)).toBe(template)
    keys.add(registrationIdOf(bytes))
  }
  expect(keys.size).toBe(3)
  expect(await tpm.templateOf(Buffer.from(EK, 'base64'))).toBeUndefined()
  expect([double.loaded.size, double.persistent.size]).toEqual([0, 0])
})

test('a simulator is started, and may have been', async () => {
  const double = tpmCommandsDouble()
  await device(double, true)
  await device(double)
  expect(double.commands).toEqual(['startup'])
})

test.each([
  ['createPrimary', 0x9a2, /refused createPrimary with 0x9a2: the hierarchy has a password/],
  ['createPrimary', 0x902, /no room for another key/],
  ['evictControl', 0x14c, /refused evictControl with 0x14c$/],
  ['readPublic', 0x101, /refused readPublic with 0x101$/],
])('%s refused with %i', async (command, code, message) => {
  const double = tpmCommandsDouble()
  double.refuse = { command, code }
  const tpm = await device(double)
  await expect(tpm.keys(true)).rejects.toThrow(message)
  expect(double.loaded.size).toBe(0)
})

test.each([
  ['nothing', ''],
  ['less than it says', '80010000000b00000000'],
  ['more than it says', '80010000000a0000000000'],
  ['a key longer than the answer', '80010000000c00000000ffff'],
])('an answer of %s is refused', async (_what, answer) => {
  const exchange = async (): Promise<Buffer> => Buffer.from(answer, 'hex')
  await expect(tpmCommands({ exchange }).readPublic(1)).rejects.toThrow(/the answer is none of a TPM/)
})
