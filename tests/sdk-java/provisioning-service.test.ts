import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DeviceProcess, foreignClient } from '../support/device-process.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { hasJava, javaClients, startJavaDevices } from '../support/java.ts'
import { type ProvisioningWorld, startProvisioningWorld } from '../support/provisioning-world.ts'
import { byKey } from '../support/sdk.ts'
import { derivedKey } from '../support/tokens.ts'

// The unmodified Java provisioning service client (dps.md 6), and what its devices leave behind.

let world: ProvisioningWorld
let devices: DeviceProcess

const isPossible = hasJava()

beforeAll(async () => {
  if (!isPossible) return
  const clients = javaClients()
  world = await startProvisioningWorld({ hostName: 'dps.muster.test' })
  devices = startJavaDevices(clients, world.muster)
}, 300_000)
afterAll(async () => {
  await devices?.stop()
  await world?.stop()
})

const call = (method: string, more: object = {}): Promise<unknown> =>
  devices.ask({ do: method, connectionString: world.muster.addresses.dps.connectionString, ...more })

const identifiersOf = (pages: unknown, name: string): unknown[] =>
  (pages as Record<string, unknown>[][]).flat().map((item) => item[name])

test.skipIf(!isPossible)('individual enrollments: made, changed, read, listed by pages, deleted', async () => {
  const [primaryKey, secondaryKey] = [newKey(), newKey()]
  const document = { registrationId: 'java-one', ...symmetricKeys(primaryKey, secondaryKey), deviceId: 'One' }
  const made = (await call('createOrUpdateIndividualEnrollment', { document })) as { etag: string }
  expect(made).toMatchObject({ registrationId: 'java-one', deviceId: 'One', provisioningStatus: 'enabled' })
  const changed = { ...made, provisioningStatus: 'disabled' }
  expect(await call('createOrUpdateIndividualEnrollment', { document: changed })).toMatchObject({
    provisioningStatus: 'disabled',
  })
  await expect(call('createOrUpdateIndividualEnrollment', { document: changed })).rejects.toThrow(
    'ProvisioningServiceClientPreconditionFailedException',
  )
  expect(await call('getIndividualEnrollment', { name: 'java-one' })).toMatchObject({ provisioningStatus: 'disabled' })
  expect(await call('getIndividualEnrollmentAttestationMechanism', { name: 'java-one' })).toMatchObject({
    type: 'symmetricKey',
    symmetricKey: { primaryKey, secondaryKey },
  })

  const documents = ['java-two', 'java-three'].map((registrationId) => ({
    registrationId,
    ...symmetricKeys(newKey(), newKey()),
  }))
  expect(await call('runBulkEnrollmentOperation', { mode: 'CREATE', documents })).toMatchObject({ isSuccessful: true })
  const pages = (await call('createIndividualEnrollmentQuery')) as unknown[][]
  expect(pages.map(({ length }) => length)).toEqual([2, 1])
  expect(identifiersOf(pages, 'registrationId').sort()).toEqual(['java-one', 'java-three', 'java-two'])

  await expect(call('deleteIndividualEnrollment', { name: 'java-one', etag: made.etag })).rejects.toThrow(
    'ProvisioningServiceClientPreconditionFailedException',
  )
  await call('deleteIndividualEnrollment', { name: 'java-one', etag: '*' })
  await expect(call('getIndividualEnrollment', { name: 'java-one' })).rejects.toThrow(
    'ProvisioningServiceClientNotFoundException',
  )
})

test.skipIf(!isPossible)('enrollment groups, and the records of their devices', async () => {
  const keys = [newKey(), newKey()] as const
  const document = { enrollmentGroupId: 'java-group', ...symmetricKeys(...keys) }
  const made = (await call('createOrUpdateEnrollmentGroup', { document })) as { etag: string }
  expect(await call('getEnrollmentGroup', { name: 'java-group' })).toMatchObject({ enrollmentGroupId: 'java-group' })
  expect(identifiersOf(await call('createEnrollmentGroupQuery'), 'enrollmentGroupId')).toContain('java-group')

  const credential = byKey(derivedKey(keys[0], 'java-member'))
  const { register } = foreignClient(() => devices, { prefix: '', transport: 'http' })
  await register(world.muster, { registrationId: 'java-member', credential })
  const record = { registrationId: 'java-member', status: 'assigned' }
  expect(await call('getDeviceRegistrationState', { name: 'java-member' })).toMatchObject(record)
  const records = await call('createEnrollmentGroupRegistrationStateQuery', { name: 'java-group' })
  expect(records).toMatchObject([[record]])
  await call('deleteDeviceRegistrationState', { name: 'java-member' })
  await expect(call('getDeviceRegistrationState', { name: 'java-member' })).rejects.toThrow(
    'ProvisioningServiceClientNotFoundException',
  )
  await call('deleteEnrollmentGroup', { name: 'java-group', etag: made.etag })
  await expect(call('getEnrollmentGroup', { name: 'java-group' })).rejects.toThrow(
    'ProvisioningServiceClientNotFoundException',
  )
})
