import { describe, expect, test } from 'vitest'
import { lowerHex, sasToken } from '../../tests/support/tokens.ts'
import { TestClock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { seededRandom } from '../base/random.ts'
import { createAuthorize, dpsRefusals, hubRefusals, type Refusals } from './authorize.ts'
import {
  type DpsRight,
  defaultPolicies,
  dpsPolicies,
  dpsRights,
  hubPolicies,
  hubRights,
  type Policy,
} from './policies.ts'

const clock = new TestClock()
const now = Math.floor(clock.now() / 1000)
const authorize = createAuthorize(clock)
const random = seededRandom(7)
const hub = defaultPolicies(hubPolicies, random)
const dps: Policy<DpsRight>[] = [
  ...defaultPolicies(dpsPolicies, random),
  ...dpsRights.map((right) => ({
    keyName: right,
    primaryKey: random.bytes(32).toString('base64'),
    secondaryKey: random.bytes(32).toString('base64'),
    rights: [right],
  })),
]
const HOST = 'muster.test'

const token = (policy: Policy<string> | undefined, parts: Partial<Parameters<typeof sasToken>[0]> = {}): string =>
  sasToken({ sr: HOST, key: policy?.primaryKey ?? '', se: now + 60, skn: policy?.keyName ?? '', ...parts })

const named = <R extends string>(policies: readonly Policy<R>[], keyName: string): Policy<R> =>
  policies.find((policy) => policy.keyName === keyName)!

/** `ok`, or the code. */
function verdict(run: () => unknown): string | number {
  try {
    run()
    return 'ok'
  } catch (error) {
    if (error instanceof ServiceError) return error.code
    throw error
  }
}

describe('rights of policies', () => {
  const hubTable: Readonly<Record<string, readonly string[]>> = {
    iothubowner: ['RegistryRead', 'RegistryWrite', 'ServiceConnect', 'DeviceConnect'],
    service: ['ServiceConnect'],
    device: ['DeviceConnect'],
    registryRead: ['RegistryRead'],
    registryReadWrite: ['RegistryRead', 'RegistryWrite'],
  }
  const hubOperations = Object.keys(hubTable).flatMap((keyName) => hubRights.map((right) => [keyName, right] as const))
  test.each(hubOperations)('hub policy %s, operation that needs %s', (keyName, right) => {
    const run = () => authorize(hub, [HOST], token(named(hub, keyName)), right, `${HOST}/devices/d`, hubRefusals)
    expect(verdict(run)).toBe(hubTable[keyName]!.includes(right) ? 'ok' : 401002)
  })

  const dpsTable: Readonly<Record<string, readonly string[]>> = {
    provisioningserviceowner: [...dpsRights],
    ServiceConfig: ['ServiceConfig'],
    DeviceConnect: ['DeviceConnect'],
    EnrollmentRead: ['EnrollmentRead'],
    EnrollmentWrite: ['EnrollmentRead', 'EnrollmentWrite'],
    RegistrationStatusRead: ['RegistrationStatusRead'],
    RegistrationStatusWrite: ['RegistrationStatusRead', 'RegistrationStatusWrite'],
  }
  const dpsOperations = Object.keys(dpsTable).flatMap((keyName) => dpsRights.map((right) => [keyName, right] as const))
  test.each(dpsOperations)('DPS policy %s, operation that needs %s', (keyName, right) => {
    const run = () => authorize(dps, [HOST], token(named(dps, keyName)), right, `${HOST}/enrollments/e`, dpsRefusals)
    expect(verdict(run)).toBe(dpsTable[keyName]!.includes(right) ? 'ok' : 401002)
  })

  test('of several rights, one is enough', () => {
    const either = ['RegistryWrite', 'ServiceConnect'] as const
    const by = (keyName: string) => () =>
      authorize(hub, [HOST], token(named(hub, keyName)), either, `${HOST}/devices/d`, hubRefusals)
    expect(['service', 'registryReadWrite', 'registryRead'].map((keyName) => verdict(by(keyName)))).toEqual([
      'ok',
      'ok',
      401002,
    ])
  })
})

const owner = hub[0]!
const ask = (text: string | undefined, resource = `${HOST}/devices/d`, hosts: readonly string[] = [HOST]) =>
  authorize(hub, hosts, text, 'RegistryRead', resource, hubRefusals)

test('answers with the policy that signed, by its primary or secondary key, its name in any case', () => {
  expect(ask(token(owner))).toEqual({ kind: 'policy', name: 'iothubowner' })
  expect(ask(token(owner, { key: owner.secondaryKey }))).toEqual({ kind: 'policy', name: 'iothubowner' })
  expect(ask(token(owner, { skn: 'IoTHubOwner' }))).toEqual({ kind: 'policy', name: 'iothubowner' })
})

describe('what proves nothing is 401003 at the hub and 401002 at the provisioning service', () => {
  test.each<[string, string | undefined, RegExp]>([
    ['no token', undefined, /found no Authorization/],
    ['an empty token', '  ', /found no Authorization/],
    ['a Bearer token', 'Bearer eyJhbGciOi', /Bearer token.*connection string/],
    ['something else', 'Basic dXNlcjpwYXNz', /found something else/],
    ['a malformed token', 'SharedAccessSignature sr=x', /found something else/],
    ['no policy', token(owner, { skn: '' }), /names no shared access policy/],
    ['an unknown policy', token(owner, { skn: 'nobody' }), /no policy "nobody" with a key/],
    ["another policy's key", token(owner, { key: hub[1]!.primaryKey }), /no policy "iothubowner" with a key/],
    ['an expired token', token(owner, { se: now }), /expired at 2026-01-01T00:00:00.0000000Z/],
  ])('%s', (_, text, message) => {
    const by = (refusals: Refusals) => () => authorize(hub, [HOST], text, 'RegistryRead', `${HOST}/devices`, refusals)
    expect(by(hubRefusals)).toThrow(message)
    expect([verdict(by(hubRefusals)), verdict(by(dpsRefusals))]).toEqual([401003, 401002])
  })

  test('a token of the last second is accepted, one second later no more', () => {
    const moving = new TestClock()
    const text = token(owner, { se: now + 1 })
    const run = () => createAuthorize(moving)(hub, [HOST], text, 'RegistryRead', `${HOST}/devices`, hubRefusals)
    moving.advance(999)
    expect(verdict(run)).toBe('ok')
    moving.advance(1)
    expect(verdict(run)).toBe(401003)
  })

  test('no refusal repeats the signature or a key', () => {
    const text = token(owner, { key: hub[1]!.primaryKey })
    expect(() => ask(text)).toThrow(expect.not.stringContaining(text.match(/sig=([^&]+)/)![1]!))
  })
})

describe('the resource of the token', () => {
  const aliases = [`${HOST}:8443`, 'localhost', '[::1]:8443']
  test.each<[string, string, string | number]>([
    ['host', HOST, 'ok'],
    ['host with its port', `${HOST}:8443`, 'ok'],
    ['host with another port', `${HOST}:9`, 'ok'],
    ['host in capitals', 'MUSTER.Test', 'ok'],
    ['another name of the host', 'localhost:8443', 'ok'],
    ['an address', '[::1]', 'ok'],
    ['host, encoded', encodeURIComponent(`${HOST}:8443`), 'ok'],
    ['host, encoded in lower-case hex', lowerHex(`${HOST}:8443`), 'ok'],
    ['host and a slash', `${HOST}/`, 'ok'],
    ['the collection', `${HOST}/devices`, 'ok'],
    ['the collection in capitals', `${HOST}/Devices`, 'ok'],
    ['the item', `${HOST}/devices/d%231`, 'ok'],
    ['the item, encoded twice (C#)', encodeURIComponent(`${HOST}/devices/d%231`), 'ok'],
    ['the item in another case', `${HOST}/devices/D%231`, 401002],
    ['a prefix that ends inside a segment', `${HOST}/devices/d`, 401002],
    ['another collection', `${HOST}/twins`, 401002],
    ['something below', `${HOST}/devices/d%231/modules/m`, 401002],
    ['another host', 'elsewhere.test', 401002],
    ['a host that begins like ours', `${HOST}.evil.test`, 401002],
  ])('%s: %s is %s', (_, sr, expected) => {
    expect(verdict(() => ask(token(owner, { sr }), `${HOST}:8443/devices/d#1`, aliases))).toBe(expected)
  })
})
