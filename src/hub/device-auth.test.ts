import { expect, test } from 'vitest'
import { deviceToken, hubWorld, operator, PRIMARY, SECONDARY, sasDevice } from '../../tests/support/hub-world.ts'
import { lowerHex, sasToken } from '../../tests/support/tokens.ts'
import type { Code } from '../base/errors.ts'
import { parseIfMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import { readCertificates } from '../crypto/certificates.ts'
import { createAuthority, issueDeviceCertificate } from '../crypto/issuing.ts'
import type { Credential } from './device-auth.ts'

const world = await hubWorld()
const { hub, iotHub, clock, control } = world
const absent = parseIfMatch(undefined)
const any = parseIfMatch('*')
const refusal = (code: Code, message = '') =>
  expect.objectContaining({ name: 'ServiceError', code, message: expect.stringContaining(message) })

const KEY_M = Buffer.alloc(32, 7).toString('base64')
await hub.registry.putDevice(operator, iotHub, 'Dev.1', sasDevice(), absent)
await hub.registry.putDevice(operator, iotHub, 'd$1#', sasDevice(), absent)
await hub.registry.putModule(
  operator,
  iotHub,
  'Dev.1',
  '$edge',
  { authentication: { symmetricKey: { primaryKey: KEY_M, secondaryKey: SECONDARY } } },
  absent,
)

const authenticate = (deviceId: string, credential: Credential, moduleId?: string) =>
  hub.deviceAuth.authenticate({ hub: iotHub, deviceId, moduleId, credential })
const withToken = (deviceId: string, token: string, moduleId?: string) =>
  authenticate(deviceId, { kind: 'sas', token }, moduleId)
const now = () => Math.floor(clock.now() / 1000)
const token = (sr: string, more: { key?: string; skn?: string; se?: number } = {}) =>
  sasToken({ sr, key: PRIMARY, se: now() + 60, ...more })

const enc = encodeURIComponent
/** What the SDKs put into `sr` (hub-device.md 1.1, edge.md 4.2). */
test.each([
  ['Node, Python', enc('hub1.example/devices/Dev.1')],
  ['Node with a port', enc('hub1.example:8883/devices/Dev.1')],
  ['C#, ids encoded twice', enc(`hub1.example/devices/${enc('Dev.1')}`)],
  ['Java', 'hub1.example/devices/Dev.1'],
  ['C with the Edge HSM', lowerHex('hub1.example/devices/Dev.1')],
  ['identityd, in lower case', 'hub1.example/devices/dev.1'],
  ['the 1.1 daemon', 'hub1.example%2Fdevices%2Fdev.1'],
  ['VS Code', 'hub1.example%2Fdevices%2FDev.1%2Fapi-version%3D2016-11-14'],
  ['another case of the host', enc('HUB1.Example/devices/Dev.1')],
])('a device token is admitted as written by %s', async (_, sr) => {
  expect(await withToken('Dev.1', token(sr))).toMatchObject({
    scope: 'device',
    type: 'sas',
    expiresAt: (now() + 60) * 1000,
  })
})

test('both keys, an empty policy name, and ids with special characters', async () => {
  await withToken('Dev.1', token('hub1.example/devices/Dev.1', { key: SECONDARY }))
  await withToken('Dev.1', token('hub1.example/devices/Dev.1', { skn: '' }))
  for (const sr of [
    'hub1.example/devices/d$1#',
    enc('hub1.example/devices/d$1#'),
    enc(`hub1.example/devices/${enc('d$1#')}`),
  ])
    await withToken('d$1#', token(sr))
})

test('module tokens: the module key for the module, nobody else for it', async () => {
  const sr = enc(`hub1.example/devices/Dev.1/modules/${enc('$edge')}`)
  const identity = await withToken('Dev.1', token(sr, { key: KEY_M }), '$edge')
  expect(identity).toMatchObject({ scope: 'module', moduleId: '$edge' })
  await expect(withToken('Dev.1', token(sr), '$edge')).rejects.toEqual(refusal(401003, 'neither key'))
  await expect(withToken('Dev.1', token('hub1.example/devices/Dev.1', { key: KEY_M }), '$edge')).rejects.toEqual(
    refusal(401003, 'does not name'),
  )
  await expect(withToken('Dev.1', token(sr))).rejects.toEqual(refusal(401003, 'does not name'))
  await expect(withToken('Dev.1', token(sr), 'nobody')).rejects.toEqual(refusal(404010))
})

test('policies with DeviceConnect speak for every device; the others do not', async () => {
  const keyOf = (name: string) => iotHub.policies.find(({ keyName }) => keyName === name)!.primaryKey
  for (const sr of ['hub1.example', 'hub1.example/devices', enc('hub1.example/devices/Dev.1')])
    expect(await withToken('Dev.1', token(sr, { key: keyOf('device'), skn: 'device' }))).toMatchObject({ scope: 'hub' })
  await withToken(
    'Dev.1',
    token('hub1.example/devices/Dev.1', { key: keyOf('iothubowner'), skn: 'iothubowner' }),
    '$edge',
  )
  const refused = async (more: { key: string; skn: string }, code: Code, sr = 'hub1.example') =>
    expect(withToken('Dev.1', token(sr, more))).rejects.toEqual(refusal(code))
  await refused({ key: keyOf('service'), skn: 'service' }, 401002)
  await refused({ key: PRIMARY, skn: 'device' }, 401003)
  await refused({ key: keyOf('device'), skn: 'nobody' }, 401003)
  await refused({ key: keyOf('device'), skn: 'device' }, 401003, 'hub1.example/devices/other')
  await refused({ key: keyOf('device'), skn: 'device' }, 401003, 'hub1.example/messages')
})

test('a device that is called api-version=… is a device like any other', async () => {
  await hub.registry.putDevice(operator, iotHub, 'api-version=1', sasDevice(), absent)
  const sr = 'hub1.example/devices/api-version=1'
  await withToken('api-version=1', token(sr))
  await hub.registry.putModule(operator, iotHub, 'Dev.1', 'api-version=1', sasDevice(), absent)
  await withToken('Dev.1', token('hub1.example/devices/Dev.1/modules/api-version=1'), 'api-version=1')
  const { primaryKey } = iotHub.policies.find(({ keyName }) => keyName === 'device')!
  await expect(withToken('Dev.1', token(sr, { key: primaryKey, skn: 'device' }))).rejects.toEqual(refusal(401003))
})

test.each([
  ['no token at all', { kind: 'none' }, 401003, 'neither a token nor'],
  ['something else', { kind: 'sas', token: 'Bearer x' }, 401003, 'not of the form'],
  [
    'a wrong key',
    { kind: 'sas', token: token('hub1.example/devices/Dev.1', { key: KEY_M }) },
    401003,
    'neither key of Device Dev.1',
  ],
  ['another device', { kind: 'sas', token: token('hub1.example/devices/Dev.1x') }, 401003, 'does not name'],
  ['another hub', { kind: 'sas', token: token('hub2.example/devices/Dev.1') }, 401003, 'does not name'],
  ['only the hub, with a device key', { kind: 'sas', token: token('hub1.example') }, 401003, 'does not name'],
  ['an empty chain', { kind: 'x509', chain: [] }, 401003, 'no certificate'],
] as const)('refused: %s', async (_, credential, code, message) => {
  await expect(authenticate('Dev.1', credential)).rejects.toEqual(refusal(code, message))
})

test('the clock may differ by five minutes and no more', async () => {
  const skew = limits.tokenSkewMs / 1000
  await withToken('Dev.1', token('hub1.example/devices/Dev.1', { se: now() - skew + 1 }))
  await expect(withToken('Dev.1', token('hub1.example/devices/Dev.1', { se: now() - skew }))).rejects.toEqual(
    refusal(401003, 'expired at'),
  )
  await withToken('Dev.1', token('hub1.example/devices/Dev.1', { se: 999_999_999_999_999 }))
})

test('unknown devices: 404001 to a token, 401003 to a certificate; ids that cannot be are unknown', async () => {
  for (const id of ['nobody', 'a b', 'x'.repeat(200), 'dev.1'])
    await expect(withToken(id, token(enc(`hub1.example/devices/${id}`)))).rejects.toEqual(refusal(404001, id))
  await expect(authenticate('nobody', { kind: 'x509', chain: [Buffer.alloc(3)] })).rejects.toEqual(refusal(401003))
})

test('disabled: told only to whoever proved the identity; its modules are refused too', async () => {
  await hub.registry.putDevice(operator, iotHub, 'off', sasDevice({ status: 'disabled' }), absent)
  await hub.registry.putModule(operator, iotHub, 'off', 'm', sasDevice(), absent)
  await expect(withToken('off', deviceToken(clock, 'off'))).rejects.toEqual(refusal(401003, 'disabled'))
  await expect(withToken('off', deviceToken(clock, 'off', { key: KEY_M }))).rejects.toEqual(
    refusal(401003, 'neither key'),
  )
  await expect(withToken('off', deviceToken(clock, 'off/modules/m'), 'm')).rejects.toEqual(refusal(401003, 'disabled'))
})

const authority = await createAuthority({ commonName: 'root', days: 30, keyType: 'ec', now: clock.now() })
const issuing = await createAuthority({
  commonName: 'issuing',
  days: 30,
  keyType: 'ec',
  now: clock.now(),
  issuer: authority,
})
const der = (pem: string) => readCertificates(pem).map(({ raw }) => raw)
const certificate = async (commonName: string, issuer?: typeof issuing, days = 30) =>
  der((await issueDeviceCertificate({ authority: issuer, commonName, days, keyType: 'ec', now: clock.now() })).chain)

const thumbprinted = (primary: string | null, secondary: string | null = null) => ({
  authentication: {
    type: 'selfSigned',
    x509Thumbprint: { primaryThumbprint: primary, secondaryThumbprint: secondary },
  },
})

test('thumbprints: SHA-1 or SHA-256, either slot, any letter case; other certificates and tokens are refused', async () => {
  const chain = await certificate('whatever')
  const [leaf] = readCertificates(chain[0]!)
  const x509 = { kind: 'x509', chain } as const
  for (const [n, body] of [
    thumbprinted(leaf!.sha1),
    thumbprinted(leaf!.sha256.toLowerCase()),
    thumbprinted('F'.repeat(40), leaf!.sha1.toLowerCase()),
    thumbprinted(null, leaf!.sha256),
  ].entries()) {
    await hub.registry.putDevice(operator, iotHub, `t${n}`, body, absent)
    expect(await authenticate(`t${n}`, x509)).toMatchObject({
      scope: 'device',
      type: 'x509',
      expiresAt: leaf!.notAfter,
    })
  }
  await expect(authenticate('t0', { kind: 'x509', chain: await certificate('whatever') })).rejects.toEqual(
    refusal(401003, 'neither registered thumbprint'),
  )
  await expect(withToken('t0', deviceToken(clock, 't0'))).rejects.toEqual(refusal(401003, 'selfSigned'))
  await expect(authenticate('Dev.1', x509)).rejects.toEqual(refusal(401003, 'type sas'))
  await expect(authenticate('t0', { kind: 'x509', chain: [Buffer.from('no certificate')] })).rejects.toEqual(
    refusal(401003, 'cannot be read'),
  )
})

test('a certificate with the right thumbprint is refused after its end', async () => {
  const chain = await certificate('short', undefined, 1)
  await hub.registry.putDevice(operator, iotHub, 'short', thumbprinted(readCertificates(chain[0]!)[0]!.sha1), absent)
  await authenticate('short', { kind: 'x509', chain })
  clock.advance(3 * 24 * 3600_000)
  await expect(authenticate('short', { kind: 'x509', chain })).rejects.toEqual(refusal(401003, 'expired'))
})

test('authorities: verified in the hub, the CN is the device or {device}/{module}', async () => {
  const byAuthority = { authentication: { type: 'certificateAuthority' } }
  await hub.registry.putDevice(operator, iotHub, 'ca-dev', byAuthority, absent)
  await hub.registry.putModule(operator, iotHub, 'ca-dev', 'm', byAuthority, absent)
  const chain = await certificate('ca-dev', issuing)
  const x509 = { kind: 'x509', chain } as const
  const owner = { kind: 'hub', name: 'hub1' } as const
  await expect(authenticate('ca-dev', x509)).rejects.toEqual(refusal(401003, 'not trusted'))
  await control.certificates.put(owner, 'root', { certificate: authority.certificate, isVerified: false }, absent)
  await expect(authenticate('ca-dev', x509)).rejects.toEqual(refusal(401003, 'not trusted'))
  await control.certificates.put(owner, 'root', { certificate: authority.certificate, isVerified: true }, any)
  expect(await authenticate('ca-dev', x509)).toMatchObject({ scope: 'device', type: 'x509' })
  const module = { kind: 'x509', chain: await certificate('ca-dev/m', issuing) } as const
  expect(await authenticate('ca-dev', module, 'm')).toMatchObject({ scope: 'module', type: 'x509' })
  await expect(authenticate('ca-dev', module)).rejects.toEqual(
    refusal(401003, 'common name must be ca-dev, found ca-dev/m'),
  )
  await expect(authenticate('ca-dev', x509, 'm')).rejects.toEqual(refusal(401003, 'common name must be ca-dev/m'))
  // The CN is case-sensitive; the intermediate must come along.
  await expect(authenticate('ca-dev', { kind: 'x509', chain: await certificate('CA-dev', issuing) })).rejects.toEqual(
    refusal(401003, 'common name'),
  )
  await expect(authenticate('ca-dev', { kind: 'x509', chain: chain.slice(0, 1) })).rejects.toEqual(
    refusal(401003, 'not trusted'),
  )
})

test('whom a token speaks for', () => {
  const named = (sr: string, skn?: string) =>
    hub.deviceAuth.namedBy(iotHub, token(sr, skn === undefined ? {} : { skn }))
  expect(named('hub1.example/devices/a')).toEqual({ deviceId: 'a', moduleId: undefined })
  expect(named(enc('hub1.example:443/devices/a/modules/$m'))).toEqual({ deviceId: 'a', moduleId: '$m' })
  expect(named('hub1.example')).toBeUndefined()
  expect(named('hub2.example/devices/a')).toBeUndefined()
  expect(named('hub1.example/devices/a', 'device')).toBeUndefined()
  expect(hub.deviceAuth.namedBy(iotHub, 'nonsense')).toBeUndefined()
})
