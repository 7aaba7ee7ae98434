import type { ProvisioningServiceClient } from 'azure-iot-provisioning-service'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
import { caReferences, clientCertificates, initialTwin, newKey, symmetricKeys } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate } from '../support/pki.ts'
import { byKey, provision, provisioningService, sdkError } from '../support/sdk.ts'
import { derivedKey } from '../support/tokens.ts'

let muster: TestMuster
let client: ProvisioningServiceClient

beforeAll(async () => {
  muster = await startMuster({
    standardPorts: true,
    config: { registration: { assigningMs: 0, retryAfterSeconds: 1 } },
  })
  client = provisioningService(muster)
})
afterAll(() => stopClean(muster))

/** Types that the package does not export. */
type IndividualEnrollment = Awaited<ReturnType<ProvisioningServiceClient['getIndividualEnrollment']>>['responseBody']
type EnrollmentGroup = Awaited<ReturnType<ProvisioningServiceClient['getEnrollmentGroup']>>['responseBody']
type Query = ReturnType<ProvisioningServiceClient['createIndividualEnrollmentQuery']>

/** The SDK's types demand read-only members of an enrollment that is yet to be created. */
const individual = (document: object): IndividualEnrollment => document as IndividualEnrollment
const group = (document: object): EnrollmentGroup => document as EnrollmentGroup

const create = async (document: object): Promise<IndividualEnrollment> =>
  (await client.createOrUpdateIndividualEnrollment(individual(document))).responseBody
const createGroup = async (document: object): Promise<EnrollmentGroup> =>
  (await client.createOrUpdateEnrollmentGroup(group(document))).responseBody

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/
/** The JSON value includes its quotes (dps.md 6.3). */
const ETAG = /^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$/

describe('individual enrollments', () => {
  test('create, get, update, delete', async () => {
    const [primaryKey, secondaryKey] = [newKey(), newKey()]
    const created = await create({
      registrationId: 'life',
      deviceId: 'life-device',
      ...symmetricKeys(primaryKey, secondaryKey),
      initialTwin,
      capabilities: { iotEdge: true },
      allocationPolicy: 'static',
      iotHubs: [hubOf(muster).hostName],
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false },
      optionalDeviceInformation: { contact: 'somebody' },
    })
    const document = {
      registrationId: 'life',
      deviceId: 'life-device',
      initialTwin,
      capabilities: { iotEdge: true },
      provisioningStatus: 'enabled',
      allocationPolicy: 'static',
      iotHubs: [hubOf(muster).hostName],
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false },
      optionalDeviceInformation: { contact: 'somebody' },
    }
    expect(created).toMatchObject({ ...document, ...symmetricKeys(primaryKey, secondaryKey) })
    expect(created.etag).toMatch(ETAG)
    expect(created.createdDateTimeUtc).toMatch(ISO)
    expect(created.lastUpdatedDateTimeUtc).toBe(created.createdDateTimeUtc)
    expect(created).not.toHaveProperty('registrationState')

    const read = (await client.getIndividualEnrollment('life')).responseBody
    expect(read).toMatchObject({ ...document, etag: created.etag })
    // Keys are told by PUT and attestationmechanism alone (dps.md 6.3).
    expect(read.attestation).toEqual({ type: 'symmetricKey' })

    // As the CLI does: what was read goes back with a change and its etag, and the keys stay.
    const updated = await create({ ...read, provisioningStatus: 'disabled' })
    expect(updated).toMatchObject({
      ...document,
      provisioningStatus: 'disabled',
      ...symmetricKeys(primaryKey, secondaryKey),
    })
    expect(updated.etag).not.toBe(created.etag)
    expect(updated.createdDateTimeUtc).toBe(created.createdDateTimeUtc)

    await client.deleteIndividualEnrollment('life', updated.etag)
    expect(await sdkError(client.getIndividualEnrollment('life'))).toMatchObject({
      message: 'Not found',
      status: 404,
      answer: { errorCode: 404201 },
    })
  })

  test('defaults', async () => {
    const created = await create({ registrationId: 'plain', attestation: { type: 'symmetricKey' } })
    expect(created).toEqual({
      registrationId: 'plain',
      attestation: {
        type: 'symmetricKey',
        symmetricKey: { primaryKey: expect.any(String), secondaryKey: expect.any(String) },
      },
      capabilities: { iotEdge: false },
      provisioningStatus: 'enabled',
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: true },
      etag: expect.stringMatching(ETAG),
      createdDateTimeUtc: expect.stringMatching(ISO),
      lastUpdatedDateTimeUtc: expect.stringMatching(ISO),
    })
  })

  test('ETag conflicts: 409 without an etag, 412 with a stale one', async () => {
    const document = { registrationId: 'conflict', attestation: { type: 'symmetricKey' } }
    const first = await create(document)
    expect(await sdkError(create(document))).toMatchObject({ name: 'DeviceAlreadyExistsError', status: 409 })
    const second = await create({ ...document, etag: first.etag })
    const stale = { name: 'InvalidEtagError', status: 412 }
    expect(await sdkError(create({ ...document, etag: first.etag }))).toMatchObject(stale)
    expect(await sdkError(client.deleteIndividualEnrollment('conflict', first.etag))).toMatchObject(stale)
    expect(await sdkError(client.deleteIndividualEnrollment(individual(first)))).toMatchObject(stale)
    expect((await client.getIndividualEnrollment('conflict')).responseBody.etag).toBe(second.etag)

    const any = await create({ ...document, etag: '*' })
    expect(any.etag).not.toBe(second.etag)
    await client.deleteIndividualEnrollment('conflict')
    expect(await sdkError(client.deleteIndividualEnrollment('conflict'))).toMatchObject({
      status: 404,
      answer: { errorCode: 404201 },
    })
  })

  test('an id that must be percent-encoded', async () => {
    const created = await create({ registrationId: 'Dev:1.a_b-', attestation: { type: 'symmetricKey' } })
    expect(created.registrationId).toBe('Dev:1.a_b-')
    expect((await client.getIndividualEnrollment('Dev:1.a_b-')).responseBody.registrationId).toBe('Dev:1.a_b-')
    // Ids are compared without regard to case (dps.md 1.9).
    expect((await client.getIndividualEnrollment('dev:1.A_B-')).responseBody.registrationId).toBe('Dev:1.a_b-')
    await client.deleteIndividualEnrollment('Dev:1.a_b-')
  })

  test('X.509: the certificate is answered as its info, and kept when the info comes back', async () => {
    const issued = await deviceCertificate('described')
    const created = await create({ registrationId: 'described', ...clientCertificates(issued.certificate) })
    const { primary } = created.attestation.x509?.clientCertificates ?? {}
    expect(primary?.certificate ?? '').toBe('')
    expect(primary?.info).toEqual({
      subjectName: 'CN=described',
      issuerName: 'CN=described',
      sha1Thumbprint: expect.stringMatching(/^[0-9A-F]{40}$/),
      sha256Thumbprint: expect.stringMatching(/^[0-9A-F]{64}$/),
      notBeforeUtc: expect.stringMatching(/Z$/),
      notAfterUtc: expect.stringMatching(/Z$/),
      serialNumber: expect.stringMatching(/^[0-9A-F]+$/),
      version: 3,
    })
    const updated = await create({ ...created, deviceId: 'described-device' })
    expect(updated.attestation).toEqual(created.attestation)
    expect(updated.deviceId).toBe('described-device')
  })

  test('the attestation mechanism tells the keys', async () => {
    const keys = [newKey(), newKey()] as const
    await create({ registrationId: 'mechanism', ...symmetricKeys(...keys) })
    const { responseBody } = await client.getIndividualEnrollmentAttestationMechanism('mechanism')
    expect(responseBody).toEqual(symmetricKeys(...keys).attestation)
    expect(await sdkError(client.getIndividualEnrollmentAttestationMechanism('nobody'))).toMatchObject({
      status: 404,
      answer: { errorCode: 404201 },
    })
  })

  test('bad input: 400 with the code and what was expected', async () => {
    expect(
      await sdkError(
        create({ registrationId: 'bad', attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: '!' } } }),
      ),
    ).toMatchObject({
      name: 'ArgumentError',
      status: 400,
      answer: { errorCode: 400004, message: expect.stringContaining('primaryKey must be base64 of 16 to 64 bytes') },
    })
    expect(await sdkError(client.getIndividualEnrollment('bad'))).toMatchObject({ status: 404 })
  })
})

/** Everything a query answers with, and how many pages it took. The SDK's promise form forgets where it was. */
async function pagesOf(query: Query): Promise<{ ids: string[]; pages: number; types: Set<unknown> }> {
  const ids: string[] = []
  const types = new Set<unknown>()
  let pages = 0
  while (query.hasMoreResults) {
    const { responseBody, httpResponse } = (await query.next(query.continuationToken)) as unknown as {
      responseBody: { registrationId?: string; enrollmentGroupId?: string }[]
      httpResponse: { headers: Record<string, unknown> }
    }
    pages += 1
    types.add(httpResponse.headers['x-ms-item-type'])
    ids.push(...responseBody.map((item) => item.registrationId ?? item.enrollmentGroupId ?? ''))
  }
  return { ids, pages, types }
}

describe('queries', () => {
  const numbered = (prefix: string, count: number): string[] =>
    Array.from({ length: count }, (_, at) => `${prefix}-${at}`)

  test('individual enrollments, in pages', async () => {
    const expected = numbered('paged', 7)
    for (const registrationId of expected) await create({ registrationId, attestation: { type: 'symmetricKey' } })
    const all = await pagesOf(client.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }))
    expect(all.pages).toBe(1)
    expect(all.ids).toEqual(expect.arrayContaining(expected))
    expect([...all.types]).toEqual(['Enrollment'])

    const paged = await pagesOf(client.createIndividualEnrollmentQuery({ query: 'SELECT *' }, 3))
    expect(paged.pages).toBe(Math.ceil(all.ids.length / 3))
    expect(paged.ids.toSorted()).toEqual(all.ids.toSorted())

    for (const registrationId of expected) await client.deleteIndividualEnrollment(registrationId)
    const left = await pagesOf(client.createIndividualEnrollmentQuery({ query: '*' }))
    expect(left.ids).not.toEqual(expect.arrayContaining(['paged-0']))
  })

  test('enrollment groups, in pages', async () => {
    const expected = numbered('paged-group', 5)
    for (const enrollmentGroupId of expected)
      await createGroup({ enrollmentGroupId, attestation: { type: 'symmetricKey' } })
    const query = client.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, 2)
    const { ids, types } = await pagesOf(query)
    expect(ids).toEqual(expect.arrayContaining(expected))
    expect([...types]).toEqual(['EnrollmentGroup'])
    for (const enrollmentGroupId of expected) await client.deleteEnrollmentGroup(enrollmentGroupId)
    const left = await pagesOf(client.createEnrollmentGroupQuery({ query: 'SELECT *' }))
    expect(left.ids.filter((id) => expected.includes(id))).toEqual([])
  })

  test('an empty list is one page without a continuation', async () => {
    await createGroup({ enrollmentGroupId: 'nobody-registered', attestation: { type: 'symmetricKey' } })
    const { ids, pages, types } = await pagesOf(
      client.createEnrollmentGroupDeviceRegistrationStateQuery({ query: '*' }, 'nobody-registered'),
    )
    expect({ ids, pages, types: [...types] }).toEqual({ ids: [], pages: 1, types: ['DeviceRegistration'] })
  })
})

describe('enrollment groups', () => {
  test('create, get, update, delete', async () => {
    const keys = [newKey(), newKey()] as const
    const created = await createGroup({ enrollmentGroupId: 'Group-1', ...symmetricKeys(...keys), initialTwin })
    expect(created).toEqual({
      enrollmentGroupId: 'Group-1',
      ...symmetricKeys(...keys),
      initialTwin,
      capabilities: { iotEdge: false },
      provisioningStatus: 'enabled',
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: true },
      etag: expect.stringMatching(ETAG),
      createdDateTimeUtc: expect.stringMatching(ISO),
      lastUpdatedDateTimeUtc: expect.stringMatching(ISO),
    })
    const read = (await client.getEnrollmentGroup('Group-1')).responseBody
    expect(read).toEqual({ ...created, attestation: { type: 'symmetricKey' } })
    expect((await client.getEnrollmentGroupAttestationMechanism('Group-1')).responseBody).toEqual(
      symmetricKeys(...keys).attestation,
    )
    const renewed = [newKey(), newKey()] as const
    const updated = await createGroup({ ...read, ...symmetricKeys(...renewed) })
    expect(updated).toMatchObject(symmetricKeys(...renewed))
    expect(updated.etag).not.toBe(created.etag)
    expect(await sdkError(client.deleteEnrollmentGroup('Group-1', created.etag ?? ''))).toMatchObject({ status: 412 })
    await client.deleteEnrollmentGroup(updated)
    expect(await sdkError(client.getEnrollmentGroup('Group-1'))).toMatchObject({ status: 404 })
  })

  test('ETag conflicts: 409 without an etag, 412 with a stale one', async () => {
    const document = { enrollmentGroupId: 'group-conflict', attestation: { type: 'symmetricKey' } }
    const { etag } = await createGroup(document)
    expect(await sdkError(createGroup(document))).toMatchObject({ name: 'DeviceAlreadyExistsError', status: 409 })
    await createGroup({ ...document, etag })
    expect(await sdkError(createGroup({ ...document, etag }))).toMatchObject({ name: 'InvalidEtagError', status: 412 })
    await client.deleteEnrollmentGroup('group-conflict')
  })

  test('by the names of CA certificates, verified or not yet', async () => {
    const { root } = await createPki('Referenced')
    await uploadCa(muster, 'referenced', root.certificate, { verified: false })
    const created = await createGroup({ enrollmentGroupId: 'by-ca', ...caReferences('referenced') })
    expect(created.attestation).toEqual(caReferences('referenced').attestation)
    expect((await client.getEnrollmentGroup('by-ca')).responseBody.attestation).toEqual(created.attestation)
    await client.deleteEnrollmentGroup('by-ca')
  })
})

describe('bulk', () => {
  type Bulk = Parameters<ProvisioningServiceClient['runBulkEnrollmentOperation']>[0]
  interface BulkResult {
    readonly isSuccessful: boolean
    readonly errors: readonly { registrationId: string; errorCode: number; errorStatus: string }[]
  }
  /** The SDK's promise form never settles (its source asks for the callback that it replaced), so the callback form. */
  const run = (mode: string, enrollments: readonly object[]): Promise<BulkResult> =>
    new Promise((resolve, reject) =>
      client.runBulkEnrollmentOperation({ mode, enrollments } as unknown as Bulk, (error, result) =>
        error ? reject(error) : resolve(result as BulkResult),
      ),
    )

  test('create, update, updateIfMatchETag, delete', async () => {
    const attestation = { type: 'symmetricKey' }
    const documents = ['bulk-1', 'bulk-2', 'bulk-3'].map((registrationId) => ({ registrationId, attestation }))
    expect(await run('create', documents)).toEqual({ isSuccessful: true, errors: [] })
    const again = await run('create', [...documents.slice(0, 1), { registrationId: 'bulk-4', attestation }])
    expect(again).toMatchObject({
      isSuccessful: false,
      errors: [{ registrationId: 'bulk-1', errorCode: 409201, errorStatus: expect.any(String) }],
    })
    // Items stand for themselves: the other one was made.
    const fourth = (await client.getIndividualEnrollment('bulk-4')).responseBody

    const disabled = documents.map((document) => ({ ...document, provisioningStatus: 'disabled' }))
    expect(await run('update', disabled)).toEqual({ isSuccessful: true, errors: [] })
    expect((await client.getIndividualEnrollment('bulk-2')).responseBody.provisioningStatus).toBe('disabled')

    const matched = await run('updateIfMatchETag', [
      { ...fourth, deviceId: 'bulk-four' },
      { ...disabled[0], etag: '"00000000-0000-0000-0000-000000000000"' },
    ])
    expect(matched).toMatchObject({ isSuccessful: false, errors: [{ registrationId: 'bulk-1', errorCode: 412001 }] })
    expect((await client.getIndividualEnrollment('bulk-4')).responseBody.deviceId).toBe('bulk-four')

    expect(await run('delete', [...documents, { registrationId: 'bulk-4', attestation }])).toEqual({
      isSuccessful: true,
      errors: [],
    })
    expect(await run('delete', documents.slice(0, 1))).toMatchObject({
      isSuccessful: false,
      errors: [{ registrationId: 'bulk-1', errorCode: 404201 }],
    })
  })

  test('more than ten items are refused as a whole', async () => {
    const many = Array.from({ length: 11 }, (_, at) => ({
      registrationId: `many-${at}`,
      attestation: { type: 'symmetricKey' },
    }))
    expect(await sdkError(run('create', many))).toMatchObject({ name: 'ArgumentError', status: 400 })
    expect(await sdkError(client.getIndividualEnrollment('many-0'))).toMatchObject({ status: 404 })
  })
})

describe('registration records', () => {
  const registerIn = async (enrollmentGroupId: string, registrationIds: readonly string[]): Promise<void> => {
    const keys = [newKey(), newKey()] as const
    await createGroup({ enrollmentGroupId, ...symmetricKeys(...keys) })
    await Promise.all(
      registrationIds.map((registrationId) =>
        provision(muster, { registrationId, credential: byKey(derivedKey(keys[0], registrationId)) }),
      ),
    )
  }

  test('get, query by group in pages, delete', async () => {
    const ids = ['record-1', 'record-2', 'record-3']
    await registerIn('recorded', ids)
    const record = (await client.getDeviceRegistrationState('record-1')).responseBody
    expect(record).toEqual({
      registrationId: 'record-1',
      createdDateTimeUtc: expect.stringMatching(ISO),
      lastUpdatedDateTimeUtc: expect.stringMatching(ISO),
      assignedHub: hubOf(muster).hostName,
      deviceId: 'record-1',
      status: 'assigned',
      substatus: 'initialAssignment',
      etag: expect.any(String),
    })
    // Base64 of the quoted text (dps.md 1.5).
    expect(Buffer.from(record.etag, 'base64').toString()).toMatch(ETAG)

    const specification = { query: '*' }
    const all = await pagesOf(client.createEnrollmentGroupDeviceRegistrationStateQuery(specification, 'recorded'))
    expect(all.ids.toSorted()).toEqual(ids)
    expect([...all.types]).toEqual(['DeviceRegistration'])
    const paged = await pagesOf(client.createEnrollmentGroupDeviceRegistrationStateQuery(specification, 'recorded', 2))
    expect(paged).toMatchObject({ pages: 2, ids: all.ids })

    expect(await sdkError(client.deleteDeviceRegistrationState('record-2', 'IiI='))).toMatchObject({ status: 412 })
    await client.deleteDeviceRegistrationState(record)
    await client.deleteDeviceRegistrationState('record-2')
    expect(await sdkError(client.getDeviceRegistrationState('record-1'))).toMatchObject({ status: 404 })
    expect(await sdkError(client.deleteDeviceRegistrationState('record-1'))).toMatchObject({ status: 404 })
    const left = await pagesOf(client.createEnrollmentGroupDeviceRegistrationStateQuery(specification, 'recorded'))
    expect(left.ids).toEqual(['record-3'])
  })

  test('the individual enrollment carries its registration state', async () => {
    const key = newKey()
    await create({ registrationId: 'stateful', ...symmetricKeys(key, newKey()) })
    const result = await provision(muster, { registrationId: 'stateful', credential: byKey(key) })
    const { registrationState } = (await client.getIndividualEnrollment('stateful')).responseBody
    expect(registrationState).toMatchObject({
      status: 'assigned',
      deviceId: 'stateful',
      assignedHub: result.assignedHub,
    })
    // The device's etag and the service's are one (dps.md 1.5).
    expect(registrationState.etag).toBe(result['etag'])
  })

  test('a changed device id takes effect once the record is deleted', async () => {
    const key = newKey()
    const first = await create({ registrationId: 'moving', deviceId: 'moving-a', ...symmetricKeys(key, newKey()) })
    const register = () => provision(muster, { registrationId: 'moving', credential: byKey(key) })
    expect(await register()).toMatchObject({ deviceId: 'moving-a' })
    const { etag } = (await client.getIndividualEnrollment('moving')).responseBody
    await create({ ...first, deviceId: 'moving-b', etag })
    await client.deleteDeviceRegistrationState('moving')
    expect(await register()).toMatchObject({ deviceId: 'moving-b' })
  })
})
