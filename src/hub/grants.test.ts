import { expect, test } from 'vitest'
import {
  eventually,
  type HubWorld,
  hubWorld,
  identityOf,
  openSession,
  operator,
  sasDevice,
  type WatchedSession,
} from '../../tests/support/hub-world.ts'
import { sasToken } from '../../tests/support/tokens.ts'
import { parseIfMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import { readCertificates } from '../crypto/certificates.ts'
import { createAuthority, issueDeviceCertificate } from '../crypto/issuing.ts'
import type { Credential } from './device-auth.ts'

const absent = parseIfMatch(undefined)
const any = parseIfMatch('*')

const DAY = 24 * 3600_000

async function connected({ hub, iotHub }: HubWorld, deviceId: string, device: object, credential: Credential) {
  await hub.registry.putDevice(operator, iotHub, deviceId, device, absent)
  return openSession(hub, await hub.deviceAuth.authenticate({ hub: iotHub, deviceId, credential }))
}

/** A session of a device that shows a token of the policy. */
function byPolicy(world: HubWorld, deviceId: string, keyName: string, which: 'primaryKey' | 'secondaryKey') {
  const { iotHub, clock } = world
  const key = iotHub.policies.find((policy) => policy.keyName === keyName)![which]
  const token = sasToken({ sr: 'hub1.example', key, skn: keyName.toUpperCase(), se: clock.now() / 1000 + 3600 })
  return connected(world, deviceId, sasDevice(), { kind: 'sas', token })
}

test('a policy that is removed, re-keyed or loses DeviceConnect cuts whom its key let in, and nobody else', async () => {
  const world = await hubWorld()
  const { control, clock } = world
  const own = await openSession(world.hub, await identityOf(world, 'own'))
  const primary = await byPolicy(world, 'primary', 'device', 'primaryKey')
  const secondary = await byPolicy(world, 'secondary', 'device', 'secondaryKey')
  const removed = await byPolicy(world, 'removed', 'iothubowner', 'primaryKey')
  await control.hubs.regenerateKey(operator, 'hub1', 'device', 'primary', any)
  await control.hubs.removePolicy(operator, 'hub1', 'iothubowner', any)
  await control.hubs.putPolicy(operator, 'hub1', { keyName: 'DEVICE', rights: 'DeviceConnect' }, any)
  clock.advance(limits.sessionRecheckMs)
  await eventually(() => primary.cuts.length + removed.cuts.length === 2)
  expect([primary.cuts, removed.cuts, secondary.cuts]).toEqual([['credentials'], ['credentials'], []])
  await control.hubs.putPolicy(operator, 'hub1', { keyName: 'DEVICE', rights: 'ServiceConnect' }, any)
  clock.advance(limits.sessionRecheckMs)
  await eventually(() => secondary.cuts.length === 1)
  await own.session.confirm()
})

test('a CA certificate that is removed, or not verified any more, cuts whom it let in', async () => {
  const world = await hubWorld()
  const { control, clock } = world
  const owner = { kind: 'hub', name: 'hub1' } as const
  const authority = async (name: string) => {
    const made = await createAuthority({ commonName: name, days: 30, keyType: 'ec', now: clock.now() })
    await control.certificates.put(owner, name, { certificate: made.certificate, isVerified: true }, absent)
    return made
  }
  const [one, two] = [await authority('one'), await authority('two')]
  const byAuthority = async (deviceId: string, issuer: typeof one) => {
    const subject = { commonName: deviceId, days: 30, keyType: 'ec', now: clock.now() } as const
    const issued = await issueDeviceCertificate({ ...subject, authority: issuer })
    const chain = readCertificates(issued.chain).map(({ raw }) => raw)
    return connected(world, deviceId, { authentication: { type: 'certificateAuthority' } }, { kind: 'x509', chain })
  }
  const [first, second] = [await byAuthority('d1', one), await byAuthority('d2', two)]
  await control.certificates.remove(owner, 'one', any)
  clock.advance(limits.sessionRecheckMs)
  await eventually(() => first.cuts.length === 1)
  expect([first.cuts, second.cuts]).toEqual([['credentials'], []])
  await control.certificates.put(owner, 'two', { certificate: two.certificate, isVerified: false }, any)
  clock.advance(limits.sessionRecheckMs)
  await eventually(() => second.cuts.length === 1)
})

test('a certificate that expires ends the session as a token does, whichever of the chain it is', async () => {
  const world = await hubWorld()
  const { control, clock } = world
  const root = await createAuthority({ commonName: 'root', days: 2, keyType: 'ec', now: clock.now() })
  const owner = { kind: 'hub', name: 'hub1' } as const
  await control.certificates.put(owner, 'root', { certificate: root.certificate, isVerified: true }, absent)
  const issued = async (commonName: string, days: number, authority?: typeof root) => {
    const { chain } = await issueDeviceCertificate({ commonName, authority, days, keyType: 'ec', now: clock.now() })
    return readCertificates(chain)
  }
  const shown = (chain: readonly { readonly raw: Buffer }[]) =>
    ({ kind: 'x509', chain: chain.map(({ raw }) => raw) }) as const
  const own = await issued('own', 1)
  const thumbprint = { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: own[0]!.sha256 } }
  const byThumbprint = await connected(world, 'own', { authentication: thumbprint }, shown(own))
  const byRoot = { authentication: { type: 'certificateAuthority' } }
  const underRoot = await connected(world, 'd1', byRoot, shown(await issued('d1', 30, root)))
  const born = clock.now()
  const endsAfter = async (days: number, { cuts }: WatchedSession) => {
    clock.advance(born + days * DAY - clock.now())
    expect(cuts).toEqual([])
    clock.advance(limits.sessionTokenGraceMs)
    await eventually(() => {
      clock.advance(limits.sessionRecheckMs)
      return cuts.length > 0
    })
    expect(cuts).toEqual(['expired'])
  }
  await endsAfter(1, byThumbprint)
  await endsAfter(2, underRoot)
})

test('a hub that is gone, or made again under its name, has none of its sessions any more', async () => {
  const world = await hubWorld()
  const { control, clock } = world
  const { session, cuts } = await openSession(world.hub, await identityOf(world, 'd1'))
  // Nothing in this world counts what the hub holds, so that it can be deleted over its device.
  await control.hubs.remove(operator, 'hub1', any)
  await control.hubs.put(operator, 'hub1', { hostNames: ['hub1.example'] }, absent)
  clock.advance(limits.sessionRecheckMs)
  await eventually(() => cuts.length === 1)
  await expect(session.confirm()).rejects.toMatchObject({ code: 404001 })
})
