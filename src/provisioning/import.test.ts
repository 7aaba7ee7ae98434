import { describe, expect, test } from 'vitest'
import { API, certificateClaim, keyClaim, provisioningRoom, registered } from '../../tests/support/provisioning.ts'
import { limits } from '../base/limits.ts'
import type { ImportTarget } from '../control/control.ts'
import { certificateInfo, readCertificates } from '../crypto/certificates.ts'
import { issueDeviceCertificate } from '../crypto/issuing.ts'

async function importing(kind: 'enrollments' | 'enrollmentGroups' = 'enrollments', mode = 'createOrUpdate') {
  const room = await provisioningRoom()
  const { control, provisioning, service } = room
  const target: ImportTarget = { owner: { kind: 'dps', name: service.name }, presence: service.presence, id: 'i1' }
  const rules = provisioning[kind].importRules(service, mode)
  await control.imports.open(target, { kind, mode })
  let from = 0
  const send = async (...lines: object[]) => {
    from += lines.length
    const texts = lines.map((line) => JSON.stringify(line))
    return control.imports.append(rules, target, from - lines.length, texts)
  }
  const failures = async () => (await control.imports.failures(target, 0)).failures
  return { ...room, send, failures }
}

const KEY = Buffer.alloc(32, 9).toString('base64')
const symmetric = { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } }

test('an imported enrollment registers its device', async () => {
  const room = await importing()
  const twin = { tags: { site: 'a' }, properties: { desired: { rate: 5 } } }
  expect(
    await room.send({ registrationId: 'r1', deviceId: 'D1', attestation: symmetric, initialTwin: twin }),
  ).toMatchObject({
    succeeded: 1,
  })
  const { status } = await registered(room.provisioning, keyClaim(room, 'r1', KEY))
  expect(status).toBe('assigned')
})

test.each([
  ['create', 'there', {}, 409201],
  ['create', 'new', {}, undefined],
  ['createOrUpdate', 'there', {}, undefined],
  ['update', 'there', {}, undefined],
  ['update', 'new', {}, 404201],
  ['updateIfMatchETag', 'there', { etag: '"1"' }, 412001],
  ['updateIfMatchETag', 'there', { etag: '*' }, undefined],
  ['updateIfMatchETag', 'there', {}, 400004],
  ['delete', 'there', {}, undefined],
  ['delete', 'new', {}, 404201],
  ['merge', 'there', {}, 400004],
])('%s of an enrollment that is %s', async (importMode, registrationId, more, code) => {
  const { send, failures } = await importing()
  await send({ registrationId: 'there', attestation: symmetric })
  await send({ registrationId, importMode, attestation: symmetric, ...more })
  expect((await failures()).map((failure) => failure.code)).toEqual(code === undefined ? [] : [code])
})

test('keys that a line leaves out stay; deleting takes the registration along', async () => {
  const room = await importing()
  await room.send({ registrationId: 'r1', attestation: symmetric })
  await registered(room.provisioning, keyClaim(room, 'r1', KEY))
  await room.send({ registrationId: 'R1', attestation: { type: 'symmetricKey' }, provisioningStatus: 'disabled' })
  expect(await room.provisioning.enrollments.attestationMechanism(room.service, 'r1')).toEqual(symmetric)
  await room.send({ registrationId: 'r1', importMode: 'delete' })
  await expect(room.provisioning.registrations.get(room.service, 'r1', API)).rejects.toMatchObject({ code: 404201 })
})

describe('X.509 by thumbprint, as lists of another service show it', () => {
  test('a device with that certificate registers, one with another does not', async () => {
    const room = await importing()
    const issued = async (days: number) =>
      issueDeviceCertificate({ authority: undefined, commonName: 'x1', days, keyType: 'ec', now: room.clock.now() })
    const [own, other] = [await issued(30), await issued(31)]
    const info = certificateInfo(readCertificates(own.certificate)[0]!)
    const attestation = {
      type: 'x509',
      x509: { clientCertificates: { primary: { certificate: null, info }, secondary: null } },
    }
    await room.send({ registrationId: 'x1', attestation, registrationState: { status: 'assigned' }, etag: '"x"' })
    expect(await room.failures()).toEqual([])
    expect((await registered(room.provisioning, certificateClaim(room, 'x1', own.certificate))).status).toBe('assigned')
    const refused = registered(room.provisioning, certificateClaim(room, 'x1', other.certificate))
    await expect(refused).rejects.toMatchObject({ code: 401002 })
    const shown = await room.provisioning.enrollments.get(room.service, 'x1', API)
    expect(shown['attestation']).toEqual({ type: 'x509', x509: { clientCertificates: { primary: { info } } } })
  })

  test.each([
    ['no thumbprint', { subjectName: 'CN=x' }, 'must be a value'],
    ['half a thumbprint', { sha1Thumbprint: 'AB' }, 'thumbprint in hexadecimal'],
    ['a time that is none', { notAfterUtc: 'never' }, 'must be a time'],
  ])('%s is refused', async (what, wrong, message) => {
    const { send, failures } = await importing()
    const whole = {
      ...{ subjectName: 'CN=x', issuerName: 'CN=x', serialNumber: '1', version: 3 },
      ...{ sha1Thumbprint: 'A'.repeat(40), sha256Thumbprint: 'B'.repeat(64) },
      ...{ notBeforeUtc: '2024-01-01T00:00:00Z', notAfterUtc: '2034-01-01T00:00:00Z' },
    }
    const info = what === 'no thumbprint' ? wrong : { ...whole, ...wrong }
    const attestation = { type: 'x509', x509: { clientCertificates: { primary: { info } } } }
    await send({ registrationId: 'x1', attestation })
    expect(await failures()).toMatchObject([{ line: 1, id: 'x1', message: expect.stringContaining(message) }])
  })
})

test('groups are counted one by one: the last that fits fits, the next is refused', async () => {
  const { send, failures } = await importing('enrollmentGroups', 'create')
  const groups = Array.from({ length: limits.enrollmentGroups + 2 }, (_, n) => ({
    enrollmentGroupId: `g${n}`,
    attestation: symmetric,
  }))
  expect(await send(...groups)).toMatchObject({ succeeded: limits.enrollmentGroups, failed: 2 })
  expect((await failures()).map(({ line, code }) => [line, code])).toEqual([
    [limits.enrollmentGroups + 1, 403000],
    [limits.enrollmentGroups + 2, 403000],
  ])
})

test('what an enrollment may not be is said by line', async () => {
  const { send, failures } = await importing()
  await send(
    { registrationId: 'a b', attestation: symmetric },
    { registrationId: 'ok', attestation: { type: 'none' } },
    { registrationId: 'h', attestation: symmetric, iotHubs: ['elsewhere.example'] },
    { attestation: symmetric },
  )
  expect((await failures()).map(({ line, id, code }) => [line, id, code])).toEqual([
    [1, 'a b', 400202],
    [2, 'ok', 400004],
    [3, 'h', 400004],
    [4, '', 400004],
  ])
})

describe('at the ceiling of groups', () => {
  async function full() {
    const room = await importing('enrollmentGroups')
    const group = (at: number) => ({ enrollmentGroupId: `g${at}`, attestation: symmetric })
    await room.send(...Array.from({ length: limits.enrollmentGroups }, (_, at) => group(at)))
    expect(await room.failures()).toEqual([])
    return { ...room, group }
  }

  test('one that is there is updated', async () => {
    const { send, failures, group } = await full()
    expect(await send(group(0))).toMatchObject({ succeeded: limits.enrollmentGroups + 1, failed: 0 })
    expect(await failures()).toEqual([])
  })

  test('a line that makes room counts for the line after it', async () => {
    const { send, failures, group } = await full()
    await send({ ...group(0), importMode: 'delete' }, { ...group(limits.enrollmentGroups), importMode: 'create' })
    expect(await failures()).toEqual([])
  })
})
