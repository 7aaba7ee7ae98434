import { expect, test } from 'vitest'
import { asWill, isGranted, readPublication, withRetain } from './hub-topics.ts'

const device = { deviceId: 'd', moduleId: undefined }
const module = { deviceId: 'd', moduleId: 'm' }
const none = { system: {}, application: {} }

test.each([
  ['devices/d/messages/events', none],
  ['devices/d/messages/events/', none],
  ['devices/d/messages/events/a=1&b=%2F', { system: {}, application: { a: '1', b: '/' } }],
  // C# ends every bag with a slash.
  [
    'devices/d/messages/events/%24.mid=x&$.ct=t/',
    { system: { 'message-id': 'x', 'content-type': 't' }, application: {} },
  ],
])('telemetry: %s', (topic, properties) => {
  expect(readPublication(device, topic)).toEqual({ kind: 'telemetry', properties })
})

test('module telemetry names device and module', () => {
  expect(readPublication(module, 'devices/d/modules/m/messages/events/%24.on=out/')).toEqual({
    kind: 'telemetry',
    properties: { system: { 'iothub-outputname': 'out' }, application: {} },
  })
})

test('twin requests and method answers', () => {
  expect(readPublication(device, '$iothub/twin/GET/?$rid=7')).toEqual({ kind: 'twin-get', rid: '7' })
  expect(readPublication(device, '$iothub/twin/PATCH/properties/reported/?$rid=8&$version=4')).toEqual({
    kind: 'twin-patch',
    rid: '8',
    version: '4',
  })
  expect(readPublication(device, '$iothub/methods/res/-200/?$rid=1')).toEqual({ kind: 'method-answer' })
})

test.each([
  'devices/e/messages/events',
  'devices/D/messages/events',
  'devices/d/messages/eventsx',
  'devices/d/modules/m/messages/events',
  'devices/d/messages/devicebound',
  '$iothub/twin/PATCH/properties/desired/?$rid=1',
  '$iothub/twin/POST/?$rid=1',
  '$iothub/methods/POST/x/?$rid=1',
  'something',
])('a device may not publish to %s', (topic) => {
  expect(readPublication(device, topic)).toBeUndefined()
})

test('what is granted to whom', () => {
  const shared = [
    '$iothub/twin/res/#',
    '$iothub/twin/PATCH/properties/desired/#',
    '$iothub/methods/POST/#',
    '$iothub/methods/POST/reboot/#',
  ]
  const ofDevice = ['devices/d/messages/devicebound/#']
  const ofModule = [
    'devices/d/modules/m/messages/devicebound/#',
    'devices/d/modules/m/inputs/#',
    'devices/d/modules/m/#',
  ]
  for (const filter of shared) expect([isGranted(device, filter), isGranted(module, filter)]).toEqual([true, true])
  for (const filter of ofDevice) expect([isGranted(device, filter), isGranted(module, filter)]).toEqual([true, false])
  for (const filter of ofModule) expect([isGranted(device, filter), isGranted(module, filter)]).toEqual([false, true])
  for (const filter of [
    '#',
    'devices/#',
    'devices/+/messages/devicebound/#',
    'devices/e/messages/devicebound/#',
    '$iothub/#',
    'devices/d/messages/events/#',
  ])
    expect(isGranted(device, filter)).toBe(false)
})

test('retain and will become properties', () => {
  expect(withRetain(none, { retain: false })).toEqual(none)
  expect(asWill(withRetain({ system: {}, application: { a: '1' } }, { retain: true })).application).toEqual({
    a: '1',
    'mqtt-retain': 'true',
    'iothub-MessageType': 'Will',
  })
})
