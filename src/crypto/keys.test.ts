import { expect, test } from 'vitest'
import { seededRandom } from '../base/random.ts'
import { decodeKey, deriveDeviceKey, fingerprintOf, generateKey, sameBytes } from './keys.ts'

test('a device key of a group is the documented vector (P10, dps.md 1.8)', () => {
  const group = decodeKey('8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==')!
  expect(group).toHaveLength(64)
  expect(deriveDeviceKey(group, 'sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6').toString('base64')).toBe(
    'Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=',
  )
})

test('derivation sees the case of the registration id', () => {
  const group = Buffer.alloc(32, 7)
  expect(deriveDeviceKey(group, 'Dev')).not.toEqual(deriveDeviceKey(group, 'dev'))
})

test.each([15, 16, 32, 64, 65])('a key of %i bytes is accepted within 16 to 64', (length) => {
  const bytes = Buffer.alloc(length, 0xab)
  expect(decodeKey(bytes.toString('base64'))).toEqual(length >= 16 && length <= 64 ? bytes : undefined)
})

test.each([
  ['empty', ''],
  ['no base64', 'not a key at all!!!!!!!!'],
  ['white space', `${Buffer.alloc(32, 1).toString('base64')}\n`],
  ['no padding', Buffer.alloc(32, 1).toString('base64').replace('=', '')],
  ['padding in the middle', `AAAA====${Buffer.alloc(24, 1).toString('base64')}`],
  ['the URL alphabet', Buffer.alloc(33, 0xff).toString('base64url')],
  ['a megabyte', 'A'.repeat(1 << 20)],
])('%s is no key', (_, text) => {
  expect(decodeKey(text)).toBeUndefined()
})

test('new keys have 64 bytes unless asked otherwise, and differ', () => {
  const random = seededRandom(1)
  const first = generateKey(random)
  expect(decodeKey(first)).toHaveLength(64)
  expect(generateKey(random)).not.toBe(first)
  expect(decodeKey(generateKey(random, 32))).toHaveLength(32)
})

test('a fingerprint is short, stable and not the key', () => {
  const key = Buffer.alloc(32, 1).toString('base64')
  expect(fingerprintOf(key)).toMatch(/^[0-9a-f]{12}$/)
  expect(fingerprintOf(key)).toBe(fingerprintOf(key))
  expect(fingerprintOf(`${key} `)).not.toBe(fingerprintOf(key))
})

test('bytes of different lengths are not the same', () => {
  expect(sameBytes(Buffer.from('ab'), Buffer.from('ab'))).toBe(true)
  expect(sameBytes(Buffer.from('ab'), Buffer.from('ac'))).toBe(false)
  expect(sameBytes(Buffer.from('ab'), Buffer.from('abc'))).toBe(false)
  expect(sameBytes(Buffer.alloc(0), Buffer.alloc(0))).toBe(true)
})
