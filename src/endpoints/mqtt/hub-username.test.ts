import { expect, test } from 'vitest'
import { parseHubUsername } from './hub-username.ts'

const device = { host: 'h', deviceId: 'd', moduleId: undefined, modelId: undefined }
const module = { ...device, moduleId: 'm' }
const model = 'dtmi:com:example:Thing;1'

/** The spellings of hub-device.md 1.7. */
test.each([
  ['Node', `h/d/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18`, device],
  [
    'Node, model raw',
    `h/d/?api-version=2021-04-12&model-id=${model}&DeviceClientType=x`,
    { ...device, modelId: model },
  ],
  [
    'Python',
    `h/d/m/?api-version=2020-09-30&DeviceClientType=x&model-id=${encodeURIComponent(model)}`,
    { ...module, modelId: model },
  ],
  ['a custom port', 'h:8883/d/?api-version=2021-04-12', { ...device, host: 'h:8883' }],
  ['the client type raw, with slashes', 'h/d/?api-version=2020-09-30&DeviceClientType=a/b/c', device],
  ['legacy, two segments', 'h/d/api-version=2017-06-30/DeviceClientType=x', device],
  ['legacy, one segment', 'h/d/m/api-version=2017-06-30&DeviceClientType=x', module],
  ['bare', 'h/d', device],
  ['bare module', 'h/d/m', module],
  ['a slash at the end', 'h/d/', device],
  ['system modules, raw', 'h/d/$edgeHub/?api-version=2018-06-30', { ...device, moduleId: '$edgeHub' }],
  ['an auth chain', 'h/d/?api-version=2020-09-30&auth-chain=d;edge', device],
  ['a device named like a parameter', 'h/api-version=1', { ...device, deviceId: 'api-version=1' }],
])('%s', (_, username, expected) => {
  expect(parseHubUsername(username)).toEqual(expected)
})

test.each(['', 'h', 'h/', '/d', 'h//m', 'h/d/m/x'])('%j is no user name of a hub device', (username) => {
  expect(parseHubUsername(username)).toBeUndefined()
})
