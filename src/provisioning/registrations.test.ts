import { expect, test } from 'vitest'
import {
  API,
  any,
  caller,
  certificateClaim,
  create,
  ended,
  HUB_A,
  HUB_B,
  keyClaim,
  type ProvisioningRoom,
  provisioningRoom,
  putService,
  refusal,
  registered,
  settled,
} from '../../tests/support/provisioning.ts'
import { derivedKey } from '../../tests/support/tokens.ts'
import { issueDeviceCertificate } from '../crypto/issuing.ts'

const KEY = Buffer.alloc(64, 7).toString('base64')
const OTHER = Buffer.alloc(64, 9).toString('base64')
const symmetricKey = { attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: OTHER } } }

async function enroll(room: ProvisioningRoom, registrationId: string, more: object = {}): Promise<void> {
  const document = { registrationId, ...symmetricKey, ...more }
  await room.provisioning.enrollments.put(caller, room.service, registrationId, document, create)
}

test('a device is assigned: answers, record and hub device', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  const initialTwin = { tags: { plant: 'graz' }, properties: { desired: { interval: 30 } } }
  await enroll(room, 'Dev-1', { initialTwin, capabilities: { iotEdge: true } })
  const claim = keyClaim(room, 'Dev-1', KEY)
  const { registrations } = room.provisioning

  const accepted = await registrations.register(claim, {}, API)
  expect(accepted).toEqual({
    operationId: expect.stringMatching(/^5\.[0-9a-f]{16}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
    status: 'assigning',
  })
  const status = await ended(room.provisioning, claim, accepted.operationId)
  expect(status).toEqual({
    operationId: accepted.operationId,
    status: 'assigned',
    registrationState: {
      registrationId: 'Dev-1',
      createdDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
      assignedHub: HUB_A,
      deviceId: 'Dev-1',
      status: 'assigned',
      substatus: 'initialAssignment',
      lastUpdatedDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
      etag: expect.stringMatching(/^[A-Za-z0-9+/]+=*$/),
    },
  })
  expect(Buffer.from(status.registrationState!.etag!, 'base64').toString()).toMatch(/^"[0-9a-f-]{36}"$/)
  expect(await registrations.get(room.service, 'dev-1', API)).toEqual(status.registrationState)
  expect(await registrations.lookup(claim, {}, API)).toEqual(status.registrationState)
  expect((await room.provisioning.enrollments.get(room.service, 'DEV-1', API))['registrationState']).toEqual(
    status.registrationState,
  )
  expect(room.hubs.get(HUB_A)!.devices.get('Dev-1')!.device).toEqual({
    deviceId: 'Dev-1',
    authentication: { type: 'sas', symmetricKey: { primaryKey: KEY, secondaryKey: OTHER } },
    iotEdge: true,
    twin: { tags: { plant: 'graz' }, desired: { interval: 30 } },
  })
  expect(await room.store.count({ name: 'registrations', indexes: {} })).toBe(1)
})

test('a disabled enrollment: accepted, then disabled, with a record that shows it', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'off', { provisioningStatus: 'disabled' })
  const claim = keyClaim(room, 'off', KEY)
  const accepted = await room.provisioning.registrations.register(claim, {}, API)
  expect(accepted.status).toBe('assigning')
  expect(await ended(room.provisioning, claim, accepted.operationId)).toEqual({
    operationId: '',
    status: 'disabled',
    registrationState: { registrationId: 'off', status: 'disabled' },
  })
  expect(await room.provisioning.registrations.get(room.service, 'off', API)).toMatchObject({
    status: 'disabled',
    etag: expect.any(String),
    lastUpdatedDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
  })
  expect([...room.hubs.values()].flatMap((hub) => hub.calls)).toEqual([])
})

test('no linked hub: the operation fails, with a record', async () => {
  const room = await provisioningRoom({ linked: [] })
  await enroll(room, 'nowhere')
  const status = await registered(room.provisioning, keyClaim(room, 'nowhere', KEY))
  expect(status).toMatchObject({
    status: 'failed',
    registrationState: {
      status: 'failed',
      errorCode: 400208,
      errorMessage: expect.stringContaining('No hub is linked'),
    },
  })
  expect(status.registrationState).not.toHaveProperty('assignedHub')
  expect(await room.provisioning.registrations.get(room.service, 'nowhere', API)).toMatchObject({ status: 'failed' })
})

test('a certificate request is answered inside the operation, and refused by a look-up', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'csr')
  const claim = keyClaim(room, 'csr', KEY)
  const { operationId } = await room.provisioning.registrations.register(claim, { csr: 'MIIB' }, API)
  expect(await ended(room.provisioning, claim, operationId)).toMatchObject({
    status: 'failed',
    registrationState: {
      errorCode: 400000,
      errorMessage: 'Device sent CSR but it is not configured in the service.',
    },
  })
  expect(await refusal(room.provisioning.registrations.lookup(claim, { csr: 'MIIB' }, API))).toMatchObject({
    code: 400004,
  })
})

test('who is refused, and how', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'dev')
  const { registrations } = room.provisioning
  const claim = keyClaim(room, 'dev', KEY)
  const named = { idScope: room.service.idScope, registrationId: 'dev' }
  const tpm = { tpm: { endorsementKey: 'AToAAQALAAMA' } }
  const cases: [string, Parameters<typeof registrations.register>, number][] = [
    ['wrong key', [keyClaim(room, 'dev', Buffer.alloc(64, 1).toString('base64')), {}, API], 401002],
    ['nobody enrolled', [keyClaim(room, 'stranger', KEY), {}, API], 401002],
    ['no credential', [{ ...named, kind: 'none' }, {}, API], 401002],
    ['TPM, never enrolled', [{ ...named, kind: 'none' }, tpm, API], 404201],
    ['TPM keys beside a token', [claim, tpm, API], 400004],
    ['another scope', [{ ...claim, idScope: '0ne00000000' }, {}, API], 401002],
    ['bad id', [{ ...claim, registrationId: 'dev.' }, {}, API], 400202],
    ['a token that is none', [{ ...named, kind: 'sas', token: 'Bearer x' }, {}, API], 401002],
  ]
  for (const [name, call, code] of cases)
    expect({ name, ...(await refusal(registrations.register(...call))) }).toMatchObject({ name, code })
  expect(await refusal(registrations.get(room.service, 'dev', API))).toMatchObject({ code: 404201 })
})

test('the ID scope does not depend on letter case, nor does the registration id', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'Mixed-Case')
  const first = await registered(room.provisioning, keyClaim(room, 'mixed-case', KEY))
  // The default device id is the registration id as the device writes it; the record keeps its first spelling.
  expect(first.registrationState).toMatchObject({ registrationId: 'mixed-case', deviceId: 'mixed-case' })
  const scope = { ...room, service: { ...room.service, idScope: room.service.idScope.toLowerCase() } }
  const second = await registered(room.provisioning, keyClaim(scope, 'MIXED-CASE', KEY))
  expect(second.registrationState).toMatchObject({ registrationId: 'mixed-case', deviceId: 'mixed-case' })
})

test('registering again: the same hub, the twin left alone, the substatus by api-version', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', OTHER)
  const first = await registered(room.provisioning, claim)
  room.hubs.get(HUB_A)!.devices.get('dev')!.data = { tags: { kept: true }, desired: {} }
  room.clock.advance(1_000)
  const second = await registered(room.provisioning, claim)
  expect(second.operationId).not.toBe(first.operationId)
  expect(second.registrationState).toMatchObject({
    substatus: 'reprovisionedToInitialAssignment',
    createdDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
    lastUpdatedDateTimeUtc: '2026-01-01T00:00:01.0000000Z',
  })
  expect(second.registrationState!.etag).not.toBe(first.registrationState!.etag)
  expect(room.hubs.get(HUB_A)!.devices.get('dev')!.data.tags).toEqual({ kept: true })
  const old = await room.provisioning.registrations.status(claim, second.operationId, '2019-03-31')
  expect(old.registrationState!.substatus).toBe('initialAssignment')
  expect(await room.provisioning.registrations.get(room.service, 'dev', '2021-10-01')).toMatchObject({
    substatus: 'reprovisionedToInitialAssignment',
  })
  // The operation before is still answered for: with the state of the registration as it is.
  expect(await room.provisioning.registrations.status(claim, first.operationId, API)).toEqual({
    ...second,
    operationId: first.operationId,
  })
})

test('a repeated register while assigning joins the operation; a hundred at once end assigned', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  let open = () => {}
  room.hubs.get(HUB_A)!.gate = new Promise((resolve) => {
    open = resolve
  })
  const { registrations } = room.provisioning
  const answers = await Promise.all(Array.from({ length: 100 }, () => registrations.register(claim, {}, API)))
  expect(new Set(answers.map(({ operationId }) => operationId)).size).toBe(1)
  const again = await registrations.register(claim, {}, API)
  expect(again).toEqual(answers[0])
  expect(await registrations.status(claim, again.operationId, API)).toEqual({
    operationId: again.operationId,
    status: 'assigning',
    registrationState: { registrationId: 'dev', status: 'assigning' },
  })
  open()
  expect((await ended(room.provisioning, claim, again.operationId)).status).toBe('assigned')
  expect(room.hubs.get(HUB_A)!.calls).toEqual(['provision dev keep'])
})

test('registering with two certificates in turn: the last one is in the hub, both operations are answered', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  const [first, second] = await Promise.all(
    [1, 2].map(() => issueDeviceCertificate({ commonName: 'dev', days: 30, keyType: 'ec', now: room.clock.now() })),
  )
  const certificate = (pem: string) => ({ certificate: pem })
  const clientCertificates = { primary: certificate(first!.certificate), secondary: certificate(second!.certificate) }
  await enroll(room, 'dev', { attestation: { type: 'x509', x509: { clientCertificates } } })
  const [one, two] = [first!, second!].map((issued) => certificateClaim(room, 'dev', issued.certificate))
  let open = () => {}
  room.hubs.get(HUB_A)!.gate = new Promise((resolve) => {
    open = resolve
  })
  const { registrations } = room.provisioning
  const older = await registrations.register(one!, {}, API)
  await settled()
  const newer = await registrations.register(two!, {}, API)
  expect(newer.operationId).not.toBe(older.operationId)
  open()
  const status = await ended(room.provisioning, two!, newer.operationId)
  expect(status.registrationState).toMatchObject({ status: 'assigned', x509: {} })
  // Asked for with the other certificate of the same enrollment.
  expect((await ended(room.provisioning, one!, older.operationId)).status).toBe('assigned')
  const { authentication } = room.hubs.get(HUB_A)!.devices.get('dev')!.device
  const { sha256Thumbprint } = (
    (await room.provisioning.enrollments.get(room.service, 'dev', API)) as {
      attestation: { x509: { clientCertificates: { secondary: { info: { sha256Thumbprint: string } } } } }
    }
  ).attestation.x509.clientCertificates.secondary.info
  expect(authentication).toEqual({
    type: 'selfSigned',
    x509Thumbprint: { primaryThumbprint: sha256Thumbprint, secondaryThumbprint: null },
  })
})

test('a poll needs the identity that registered, and an operation of its own', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'dev')
  await enroll(room, 'other')
  const claim = keyClaim(room, 'dev', KEY)
  const { registrations } = room.provisioning
  const { operationId } = await registered(room.provisioning, claim)
  await registered(room.provisioning, keyClaim(room, 'other', KEY))
  const wrong = keyClaim(room, 'dev', Buffer.alloc(64, 1).toString('base64'))
  expect(await refusal(registrations.status(wrong, operationId, API))).toMatchObject({ code: 401002 })
  expect(await refusal(registrations.status({ ...claim, kind: 'none' }, operationId, API))).toMatchObject({
    code: 401002,
  })
  expect(await refusal(registrations.status(claim, '5.0.unknown', API))).toMatchObject({ code: 404203 })
  expect(await refusal(registrations.status(keyClaim(room, 'other', KEY), operationId, API))).toMatchObject({
    code: 404203,
  })
  expect(await refusal(registrations.status(keyClaim(room, 'nobody', KEY), operationId, API))).toMatchObject({
    code: 404203,
  })
})

test('a token that was valid at register is good for the polls of its operation, for an hour', async () => {
  const room = await provisioningRoom({ settings: { clockSkewMs: 1_000 } })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  const { registrations } = room.provisioning
  room.clock.advance(3_590_000)
  const { operationId } = await registered(room.provisioning, claim)
  room.clock.advance(60_000)
  expect(await refusal(registrations.register(claim, {}, API))).toMatchObject({ code: 401002 })
  expect(await refusal(registrations.lookup(claim, {}, API))).toMatchObject({ code: 401002 })
  expect((await registrations.status(claim, operationId, API)).status).toBe('assigned')
  room.clock.advance(3_600_000)
  expect(await refusal(registrations.status(claim, operationId, API))).toMatchObject({ code: 401002 })
})

test('a registration stays assigning for as long as the setting says', async () => {
  const room = await provisioningRoom({ settings: { assigningMs: 5_000 } })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  room.clock.advance(4_999)
  await settled()
  expect((await room.provisioning.registrations.status(claim, operationId, API)).status).toBe('assigning')
  room.clock.advance(1)
  expect((await ended(room.provisioning, claim, operationId)).status).toBe('assigned')
})

test('the device id: of the enrollment, fixed by the first assignment until the record is deleted', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev', { deviceId: 'first' })
  const claim = keyClaim(room, 'dev', KEY)
  const deviceId = async () => (await registered(room.provisioning, claim)).registrationState?.deviceId
  expect(await deviceId()).toBe('first')
  const changed = { registrationId: 'dev', ...symmetricKey, deviceId: 'second' }
  await room.provisioning.enrollments.put(caller, room.service, 'dev', changed, any)
  expect(await deviceId()).toBe('first')
  await room.provisioning.registrations.remove(caller, room.service, 'dev', { kind: 'absent' })
  const anew = await registered(room.provisioning, claim)
  expect(anew.registrationState).toMatchObject({ deviceId: 'second', substatus: 'initialAssignment' })
  // The device that was made under the old id stays (dps.md 8.4).
  expect([...room.hubs.get(HUB_A)!.devices.keys()]).toEqual(['first', 'second'])
})

test('deleting the enrollment while its device is being assigned leaves nothing behind', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  let open = () => {}
  room.hubs.get(HUB_A)!.gate = new Promise((resolve) => {
    open = resolve
  })
  const { operationId } = await room.provisioning.registrations.register(claim, {}, API)
  await settled()
  await room.provisioning.enrollments.remove(caller, room.service, 'dev', { kind: 'any' })
  open()
  await room.provisioning.registrations.stop()
  expect(await refusal(room.provisioning.registrations.status(claim, operationId, API))).toMatchObject({ code: 404203 })
  expect(await room.provisioning.contents(room.service)).toBeUndefined()
  expect(await room.store.due({ name: 'assignments' }, Number.MAX_SAFE_INTEGER, 10)).toEqual([])
})

test('what changed while a registration waited decides: disabled, another attestation, a deleted group', async () => {
  const room = await provisioningRoom({ settings: { assigningMs: 1_000 } })
  const { enrollments, enrollmentGroups, registrations } = room.provisioning
  await enroll(room, 'off')
  await enroll(room, 'x509')
  await enrollmentGroups.put(caller, room.service, 'group', { enrollmentGroupId: 'group', ...symmetricKey }, create)
  const claims = [
    keyClaim(room, 'off', KEY),
    keyClaim(room, 'x509', KEY),
    keyClaim(room, 'member', derivedKey(KEY, 'member')),
  ]
  await Promise.all(claims.map((claim) => registrations.register(claim, {}, API)))
  const off = { registrationId: 'off', ...symmetricKey, provisioningStatus: 'disabled' }
  await enrollments.put(caller, room.service, 'off', off, any)
  const { certificate } = await issueDeviceCertificate({
    commonName: 'x509',
    days: 1,
    keyType: 'ec',
    now: room.clock.now(),
  })
  const clientCertificates = { primary: { certificate } }
  const x509 = { registrationId: 'x509', attestation: { type: 'x509', x509: { clientCertificates } } }
  await enrollments.put(caller, room.service, 'x509', x509, any)
  await enrollmentGroups.remove(caller, room.service, 'group', { kind: 'any' })
  room.clock.advance(1_000)
  await room.provisioning.registrations.stop()
  const states = await Promise.all(['off', 'x509', 'member'].map((id) => registrations.get(room.service, id, API)))
  expect(states.map(({ status, errorCode }) => [status, errorCode])).toEqual([
    ['disabled', undefined],
    ['failed', 401002],
    ['failed', 404204],
  ])
})

test('a service that is being deleted takes no new device', async () => {
  const room = await provisioningRoom()
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  await room.store.commit({ delete: [{ in: room.service.presence.in, id: room.service.presence.id }] })
  expect(await refusal(room.provisioning.registrations.register(claim, {}, API))).toMatchObject({ code: 404000 })
})

test('changing the linked hubs changes what the next registration gets', async () => {
  const room = await provisioningRoom({ linked: [HUB_A] })
  await enroll(room, 'dev')
  const claim = keyClaim(room, 'dev', KEY)
  expect((await registered(room.provisioning, claim)).registrationState!.assignedHub).toBe(HUB_A)
  await putService(room.control, [HUB_B], 'Hashed')
  expect((await registered(room.provisioning, claim)).registrationState!.assignedHub).toBe(HUB_B)
})
