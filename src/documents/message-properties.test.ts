import { expect, test } from 'vitest'
import {
  type BagPair,
  fromBag,
  propertiesSize,
  requireSystemProperties,
  SYSTEM_PROPERTIES,
  toBag,
} from './message-properties.ts'

test('the bag of the Node client (hub-device.md 2.2): system and application properties are told apart', () => {
  const pairs: BagPair[] = [
    ['$.mid', 'id 1'],
    ['$.ct', 'application/json'],
    ['$.ce', 'utf-8'],
    ['p q', 'v&w'],
    ['$.sub', 'comp'],
    ['iothub-ack', 'full'],
    ['$.unknown', 'x'],
    ['alone', null],
  ]
  expect(fromBag(pairs)).toEqual({
    system: {
      'message-id': 'id 1',
      'content-type': 'application/json',
      'content-encoding': 'utf-8',
      'dt-subject': 'comp',
      'iothub-ack': 'full',
    },
    application: { 'p q': 'v&w', '$.unknown': 'x', alone: '' },
  })
})

test('the stamps of the connection are never taken from the device', () => {
  expect(
    fromBag([
      ['$.cdid', 'somebody else'],
      ['$.cmid', 'else'],
    ]),
  ).toEqual({ system: {}, application: {} })
})

test('the last of two equal keys counts, and no name is special to the language', () => {
  const { application } = fromBag([
    ['a', '1'],
    ['a', '2'],
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ])
  expect(Object.entries(application)).toEqual([
    ['a', '2'],
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ])
})

test('a bag for a device has system properties first, in the order that SDKs expect, and survives the way back', () => {
  const properties = {
    system: { 'content-type': 'text/plain', to: '/devices/d/messages/deviceBound', 'message-id': 'm' },
    application: { b: '2', a: '1' },
  }
  const bag = toBag(properties)
  expect(bag.map(([key]) => key)).toEqual(['$.mid', '$.to', '$.ct', 'b', 'a'])
  expect(fromBag(bag)).toEqual(properties)
})

test('no two system properties share a spelling', () => {
  for (const of of ['name', 'bag', 'header'] as const) {
    const all = SYSTEM_PROPERTIES.map((each) => each[of]).filter((each) => each !== undefined)
    expect(new Set(all).size).toBe(all.length)
  }
})

test('size: values of system, names and values of application properties, in UTF-8', () => {
  expect(propertiesSize({ system: { 'message-id': 'é' }, application: { ab: 'cde' } })).toBe(2 + 5)
})

test('a message id has 128 characters at most, a creation time is UTC and ends in Z', () => {
  requireSystemProperties({ 'message-id': 'x'.repeat(128), 'iothub-creation-time-utc': '2021-04-21T11:30:16.1234567Z' })
  expect(() => requireSystemProperties({ 'message-id': 'x'.repeat(129) })).toThrow('at most 128 characters, found 129')
  for (const bad of ['2021-04-21T11:30:16-07:00', '2021-04-21T11:30:16', 'now', '2021-13-41T11:30:16Z'])
    expect(() => requireSystemProperties({ 'iothub-creation-time-utc': bad })).toThrow('ISO 8601 time in UTC')
})
