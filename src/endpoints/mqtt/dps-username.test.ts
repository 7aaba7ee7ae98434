import { expect, test } from 'vitest'
import { parseDpsUsername } from './dps-username.ts'

const named = { idScope: '0ne00000001', registrationId: 'dev-001', apiVersion: '2019-03-31' }

test.each([
  [
    'Node',
    '0ne00000001/registrations/dev-001/api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1',
    {},
  ],
  [
    'Python',
    '0ne00000001/registrations/dev-001/api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%283.11.2%3BLinux%20x%3Bx86_64%29',
    {},
  ],
  ['C', '0ne00000001/registrations/dev-001/api-version=2021-06-01&ClientVersion=1.15.0', { apiVersion: '2021-06-01' }],
  ['C, not encoded', '0ne00000001/registrations/dev-001/api-version=2019-03-31&ClientVersion=a/b c=d&e', {}],
  ['Java', '0ne00000001/registrations/dev-001/api-version=2019-03-31&ClientVersion=2019-03-31', {}],
  ['azure-sdk-for-c', '0ne00000001/registrations/dev-001/api-version=2019-03-31', {}],
  [
    'the pre-release client',
    '0ne00000001/registrations/a.b_c:d-/api-version=2026-11-02-preview',
    { registrationId: 'a.b_c:d-', apiVersion: '2026-11-02-preview' },
  ],
] as const)('%s', (_, username, more) => {
  expect(parseDpsUsername(username)).toEqual({ ...named, ...more })
})

test.each([
  '',
  '0ne00000001',
  '0ne00000001/registrations/dev-001',
  '0ne00000001/registrations/dev-001/',
  '0ne00000001/registrations/dev-001/ClientVersion=1&api-version=2019-03-31',
  '0ne00000001/registrations//api-version=2019-03-31',
  '/registrations/dev-001/api-version=2019-03-31',
  '0ne00000001/registrations/dev/001/api-version=2019-03-31',
  'hub.example/dev-001/?api-version=2021-04-12',
])('not of the form: %s', (username) => {
  expect(parseDpsUsername(username)).toBeUndefined()
})
