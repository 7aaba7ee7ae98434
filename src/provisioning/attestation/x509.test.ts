import { beforeAll, describe, expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  certificateClaim,
  create,
  HUB_A,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  refusal,
  registered,
} from '../../../tests/support/provisioning.ts'
import { createAuthority, type Issued, issueDeviceCertificate } from '../../crypto/issuing.ts'
import type { Claim } from '../claims.ts'

const now = Date.UTC(2026, 0, 1)
const DAY = 24 * 3_600_000
const owner = { kind: 'dps', name: 'dps' } as const

const authority = (commonName: string, issuer?: Issued, pathLength?: number): Promise<Issued> =>
  createAuthority({ commonName, days: 365, keyType: 'ec', now, issuer, pathLength })
const device = (commonName: string, signer?: Issued, at = now, days = 30): Promise<Issued> =>
  issueDeviceCertificate({ authority: signer, commonName, days, keyType: 'ec', now: at })

let root: Issued
let first: Issued
let second: Issued
let foreign: Issued
let leaf: Issued

beforeAll(async () => {
  root = await authority('root')
  first = await authority('intermediate 1', root)
  second = await authority('intermediate 2', first)
  foreign = await authority('foreign root')
  leaf = await device('dev', second)
})

const verify = async (room: ProvisioningRoom, name: string, { certificate }: Issued, isVerified = true) => {
  await room.control.certificates.put(owner, name, { certificate, isVerified }, { kind: 'absent' })
}

const enroll = (room: ProvisioningRoom, primary: Issued, more: object = {}, secondary?: Issued) => {
  const clientCertificates = {
    primary: { certificate: primary.certificate },
    ...(secondary && { secondary: { certificate: secondary.certificate } }),
  }
  const document = { registrationId: 'dev', attestation: { type: 'x509', x509: { clientCertificates } }, ...more }
  return room.provisioning.enrollments.put(caller, room.service, 'dev', document, create)
}

const group = (room: ProvisioningRoom, id: string, x509: object, more: object = {}) => {
  const document = { enrollmentGroupId: id, attestation: { type: 'x509', x509 }, ...more }
  return room.provisioning.enrollmentGroups.put(caller, room.service, id, document, create)
}
const byReference = (primary: string, secondary?: string) => ({ caReferences: { primary, secondary } })
const uploaded = ({ certificate }: Issued, other?: Issued) => ({
  signingCertificates: { primary: { certificate }, ...(other && { secondary: { certificate: other.certificate } }) },
})

/** Present these certificates, leaf first. */
const present = (room: ProvisioningRoom, ...certificates: Issued[]): Claim =>
  certificateClaim(room, 'dev', certificates.map(({ certificate }) => certificate).join(''))

const register = (room: ProvisioningRoom, claim: Claim) =>
  refusal(room.provisioning.registrations.register(claim, {}, API))

/** The group that admits the claim. */
async function groupOf(room: ProvisioningRoom, claim: Claim): Promise<string | undefined> {
  const status = await registered(room.provisioning, claim)
  expect(status.status).toBe('assigned')
  const groups = await room.provisioning.enrollmentGroups.query(
    room.service,
    { query: '*' },
    { size: 100, continuation: undefined },
    API,
  )
  for (const { enrollmentGroupId } of groups.items) {
    const page = { size: 100, continuation: undefined }
    const id = String(enrollmentGroupId)
    const { items } = await room.provisioning.registrations.queryGroup(room.service, id, undefined, page, API)
    if (items.some(({ registrationId }) => registrationId === 'dev')) return id
  }
  return undefined
}

const REFUSED = { code: 401002 }
const INVALID = { code: 401002, message: 'Invalid certificate' }
const NO_CA = { code: 401002, message: 'CA certificate not found' }

describe('individual enrollments', () => {
  test('primary and secondary certificate, self-signed or not; the one presented is the primary in the hub', async () => {
    const room = await provisioningRoom({ linked: [HUB_A] })
    const selfSigned = await device('dev')
    await enroll(room, selfSigned, {}, leaf)
    for (const certificate of [selfSigned, leaf]) {
      const claim = present(room, certificate)
      const { registrationState } = await registered(room.provisioning, claim)
      expect(registrationState).toMatchObject({ status: 'assigned', x509: {} })
      const { authentication } = room.hubs.get(HUB_A)!.devices.get('dev')!.device
      expect(authentication).toMatchObject({ type: 'selfSigned', x509Thumbprint: { secondaryThumbprint: null } })
    }
    expect(room.hubs.get(HUB_A)!.calls).toHaveLength(2)
  })

  test('a stranger with the same common name is refused, also with a chain that a group would admit', async () => {
    const room = await provisioningRoom()
    await enroll(room, await device('dev'))
    await verify(room, 'root', root)
    await group(room, 'group', byReference('root'))
    expect(await register(room, present(room, await device('dev')))).toMatchObject(INVALID)
    expect(await register(room, present(room, leaf, second, first))).toMatchObject(INVALID)
  })

  test('a disabled one blocks its device although a group would admit it', async () => {
    const room = await provisioningRoom()
    await enroll(room, leaf, { provisioningStatus: 'disabled' })
    await verify(room, 'root', root)
    await group(room, 'group', byReference('root'))
    expect((await registered(room.provisioning, present(room, leaf, second, first))).status).toBe('disabled')
  })

  test('the common name is the registration id, in whatever letter case', async () => {
    const room = await provisioningRoom()
    const upper = await device('DEV')
    const other = await device('other')
    await enroll(room, upper, {}, other)
    expect((await registered(room.provisioning, present(room, upper))).status).toBe('assigned')
    expect(await register(room, present(room, other))).toMatchObject(INVALID)
  })

  test('expired and future certificates, with five minutes of tolerance', async () => {
    const room = await provisioningRoom()
    const short = await device('dev', undefined, now, 1)
    await enroll(room, short)
    const end = (await room.provisioning.enrollments.get(room.service, 'dev', API)) as {
      attestation: {
        x509: { clientCertificates: { primary: { info: { notAfterUtc: string; notBeforeUtc: string } } } }
      }
    }
    const { notAfterUtc } = end.attestation.x509.clientCertificates.primary.info
    room.clock.advance(Date.parse(notAfterUtc) + 300_000 - room.clock.now())
    expect((await registered(room.provisioning, present(room, short))).status).toBe('assigned')
    room.clock.advance(1_000)
    expect(await register(room, present(room, short))).toMatchObject(INVALID)

    const later = await device('dev', undefined, room.clock.now() + 2 * DAY)
    const document = {
      registrationId: 'dev',
      attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: later.certificate } } } },
    }
    await room.provisioning.enrollments.put(caller, room.service, 'dev', document, any)
    expect(await register(room, present(room, later))).toMatchObject(INVALID)
    room.clock.advance(2 * DAY)
    expect((await registered(room.provisioning, present(room, later))).status).toBe('assigned')
  })

  test('a certificate does not do where a key is enrolled, nor a key where a certificate is', async () => {
    const room = await provisioningRoom()
    const key = Buffer.alloc(64, 1).toString('base64')
    const attestation = { type: 'symmetricKey', symmetricKey: { primaryKey: key, secondaryKey: key } }
    await room.provisioning.enrollments.put(caller, room.service, 'dev', { registrationId: 'dev', attestation }, create)
    expect(await register(room, present(room, leaf))).toMatchObject(REFUSED)
    const other = await provisioningRoom()
    await enroll(other, leaf)
    expect(await register(other, keyClaim(other, 'dev', key))).toMatchObject(REFUSED)
  })

  test('what is no certificate', async () => {
    const room = await provisioningRoom()
    await enroll(room, leaf)
    const named = { idScope: room.service.idScope, registrationId: 'dev', kind: 'x509' } as const
    expect(await register(room, { ...named, chain: [] })).toMatchObject(INVALID)
    expect(await register(room, { ...named, chain: [Buffer.from('30030201', 'hex')] })).toMatchObject(INVALID)
    const nobody = { ...named, registrationId: 'nobody' }
    expect(await register(room, { ...nobody, chain: [Buffer.from('3000', 'hex')] })).toMatchObject(INVALID)
  })
})

describe('enrollment groups', () => {
  test('by a verified root: every intermediate is presented, the root may be', async () => {
    for (const chain of [
      [leaf, second, first],
      [leaf, second, first, root],
      [leaf, first, second],
      [leaf, root, foreign, second, first],
    ]) {
      const room = await provisioningRoom()
      await verify(room, 'root', root)
      await group(room, 'line', byReference('root'))
      expect(await groupOf(room, present(room, ...chain))).toBe('line')
    }
  })

  test('missing intermediates', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    await group(room, 'line', byReference('root'))
    for (const chain of [[leaf], [leaf, second], [leaf, first], [leaf, root]])
      expect(await register(room, present(room, ...chain))).toMatchObject(NO_CA)
  })

  test('by a verified intermediate, primary or secondary reference: nothing above it is needed', async () => {
    const room = await provisioningRoom()
    await verify(room, 'foreign', foreign)
    await verify(room, 'second', second)
    await group(room, 'line', byReference('foreign', 'second'))
    expect(await groupOf(room, present(room, leaf))).toBe('line')
  })

  test('by an uploaded intermediate: the chain must go on to a verified certificate', async () => {
    const room = await provisioningRoom()
    await group(room, 'line', uploaded(foreign, second))
    expect(await register(room, present(room, leaf, second, first, root))).toMatchObject(NO_CA)
    await verify(room, 'root', root)
    expect(await register(room, present(room, leaf, second))).toMatchObject(NO_CA)
    expect(await groupOf(room, present(room, leaf, second, first))).toBe('line')
  })

  test('by an uploaded intermediate that is verified itself', async () => {
    const room = await provisioningRoom()
    await group(room, 'line', uploaded(second))
    await verify(room, 'second', second)
    expect(await groupOf(room, present(room, leaf))).toBe('line')
  })

  test('an unverified CA stands for nothing, until it is verified, and no more when it is deleted', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root, false)
    await group(room, 'line', byReference('root'))
    const claim = present(room, leaf, second, first)
    expect(await register(room, claim)).toMatchObject(NO_CA)
    const input = { certificate: root.certificate, isVerified: true }
    await room.control.certificates.put(owner, 'root', input, { kind: 'any' })
    expect(await groupOf(room, claim)).toBe('line')
    await room.control.certificates.remove(owner, 'root', { kind: 'any' })
    expect(await register(room, claim)).toMatchObject(NO_CA)
  })

  test('a verified chain without a group is not enough', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    expect(await register(room, present(room, leaf, second, first))).toMatchObject({
      code: 401002,
      message: 'Unauthorized',
    })
  })

  test('the first group from the leaf upwards decides, also when it is disabled', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    const claim = present(room, leaf, second, first)
    await group(room, 'by-root', byReference('root'))
    expect(await groupOf(room, claim)).toBe('by-root')
    await group(room, 'by-first', uploaded(first))
    expect(await groupOf(room, claim)).toBe('by-first')
    await group(room, 'by-second', uploaded(second), { provisioningStatus: 'disabled' })
    expect((await registered(room.provisioning, claim)).status).toBe('disabled')
    await room.provisioning.enrollmentGroups.remove(caller, room.service, 'by-second', { kind: 'any' })
    expect(await groupOf(room, claim)).toBe('by-first')
  })

  test('the walk goes on above the nearest verified certificate', async () => {
    const room = await provisioningRoom()
    await verify(room, 'second', second)
    await verify(room, 'root', root)
    await group(room, 'by-root', byReference('root'))
    expect(await groupOf(room, present(room, leaf, second, first))).toBe('by-root')
    // The way from the verified intermediate to the root was not presented.
    expect(await register(room, present(room, leaf, second))).toMatchObject({ message: 'Unauthorized' })
  })

  test('of two groups with one certificate the older decides', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    await group(room, 'z-older', byReference('root'))
    room.clock.advance(1_000)
    await group(room, 'a-newer', byReference('root'))
    expect(await groupOf(room, present(room, leaf, second, first))).toBe('z-older')
  })

  test('another common name, another authority of the same name, no authority', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    await group(room, 'line', byReference('root'))
    const impostor = await authority('root')
    expect(await register(room, present(room, await device('other', root), root))).toMatchObject(INVALID)
    expect(await register(room, present(room, await device('dev', impostor), impostor))).toMatchObject(REFUSED)
    const bounded = await authority('bounded', root, 0)
    const below = await authority('below', bounded)
    expect(await register(room, present(room, await device('dev', below), below, bounded))).toMatchObject(INVALID)
  })

  test('letters that only look like ours in lower case are other letters', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    await group(room, 'group', byReference('root'))
    // The Kelvin sign, whose lower case is an ASCII k.
    const { certificate } = await device('dev-\u212a', root)
    expect(await register(room, certificateClaim(room, 'dev-k', certificate))).toMatchObject(INVALID)
  })

  test('an expired leaf or intermediate, with five minutes of tolerance', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    await group(room, 'line', byReference('root'))
    const brief = await device('dev', root, now, 1)
    const claim = present(room, brief)
    expect((await registered(room.provisioning, claim)).status).toBe('assigned')
    room.clock.advance(DAY + 290_000)
    expect((await registered(room.provisioning, claim)).status).toBe('assigned')
    room.clock.advance(3_600_000)
    expect(await register(room, claim)).toMatchObject(INVALID)
  })

  test('what cannot be read among the presented certificates does no harm', async () => {
    const room = await provisioningRoom()
    await verify(room, 'root', root)
    await group(room, 'line', byReference('root'))
    const claim = present(room, leaf, second, first)
    if (claim.kind !== 'x509') throw new Error('expected certificates')
    expect(await groupOf(room, { ...claim, chain: [...claim.chain, Buffer.from('3000', 'hex')] })).toBe('line')
  })
})

test('a group change on one node is seen by the next registration on another', async () => {
  const room = await provisioningRoom()
  await verify(room, 'root', root)
  await group(room, 'line', byReference('root'))
  const other = room.again()
  const claim = present(room, leaf, second, first)
  expect((await registered(other, claim)).status).toBe('assigned')
  await room.provisioning.enrollmentGroups.remove(caller, room.service, 'line', { kind: 'any' })
  expect(await refusal(other.registrations.register(claim, {}, API))).toMatchObject(REFUSED)
})
