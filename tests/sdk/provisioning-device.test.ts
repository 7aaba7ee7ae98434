import { X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Issued } from '../../src/crypto/issuing.ts'
import { stopClean } from '../support/clean-stop.ts'
import { managed, uploadCa } from '../support/control-plane.ts'
import {
  caReferences,
  clientCertificates,
  initialTwin,
  newKey,
  signingCertificates,
  symmetricKeys,
} from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, fullChain, leafOnly, type Pki, withoutRoot } from '../support/pki.ts'
import { byCertificate, byKey, type Credential, provision, registryOf, sdkError, useHub } from '../support/sdk.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey } from '../support/tokens.ts'

let muster: TestMuster
let dps: Enrolling
/** Its root is verified; the group `factory` stands for it. */
let pki: Pki
/** Its intermediate is uploaded with the group `line`; its root is verified too, as dps.md 7.3 demands. */
let line: Pki
const groupKeys = [newKey(), newKey()] as const

beforeAll(async () => {
  muster = await startMuster({
    standardPorts: true,
    config: { registration: { assigningMs: 0, retryAfterSeconds: 1 } },
  })
  dps = enrolling(muster)
  ;[pki, line] = await Promise.all([createPki('Factory'), createPki('Line')])
  await uploadCa(muster, 'factory-root', pki.root.certificate)
  await uploadCa(muster, 'line-root', line.root.certificate)
  await dps.enrollGroup('factory', { ...caReferences('factory-root'), initialTwin })
  await dps.enrollGroup('line', { ...signingCertificates(line.first.certificate), initialTwin })
  await dps.enrollGroup('keys', { ...symmetricKeys(...groupKeys), initialTwin })
})
afterAll(() => stopClean(muster))

/** Registers, then lives: assigned where and as whom it should be, connected, one message sent, the first twin read. */
async function expectAssigned(
  registrationId: string,
  credential: Credential,
  deviceId = registrationId,
): Promise<void> {
  const result = await provision(muster, { registrationId, credential })
  expect(result).toMatchObject({
    registrationId,
    status: 'assigned',
    substatus: 'initialAssignment',
    assignedHub: hubOf(muster).hostName,
    deviceId,
  })
  const desired = await useHub(result.assignedHub, result.deviceId, credential)
  expect(desired).toMatchObject(initialTwin.properties.desired)
}

const thumbprint = ({ certificate }: Issued): string =>
  new X509Certificate(certificate).fingerprint256.replaceAll(':', '')

async function thumbprintInHub(deviceId: string): Promise<string | null | undefined> {
  const { authentication } = (await registryOf(muster).get(deviceId)).responseBody
  expect(authentication).toMatchObject({ type: 'selfSigned' })
  return authentication?.x509Thumbprint?.primaryThumbprint
}

describe.concurrent('X.509 individual enrollment', () => {
  test('the primary and the secondary self-signed certificate', async () => {
    const [primary, secondary] = await Promise.all([
      deviceCertificate('individual-cert'),
      deviceCertificate('individual-cert', undefined, { keyType: 'rsa' }),
    ])
    await dps.enroll('individual-cert', {
      ...clientCertificates(primary.certificate, secondary.certificate),
      initialTwin,
      deviceId: 'Renamed.Device',
    })
    await expectAssigned('individual-cert', byCertificate(leafOnly(primary)), 'Renamed.Device')
    expect(await thumbprintInHub('Renamed.Device')).toBe(thumbprint(primary))

    // Registering with the secondary makes its thumbprint the primary in the hub (dps.md 8.4).
    await expectAssigned('individual-cert', byCertificate(leafOnly(secondary)), 'Renamed.Device')
    expect(await thumbprintInHub('Renamed.Device')).toBe(thumbprint(secondary))
  })

  test('a certificate that a CA signed needs no chain', async () => {
    const unknown = await createPki('Unknown')
    const issued = await deviceCertificate('individual-ca-signed', unknown.second)
    await dps.enroll('individual-ca-signed', { ...clientCertificates(issued.certificate), initialTwin })
    await expectAssigned('individual-ca-signed', byCertificate(leafOnly(issued)))
  })

  test.for([
    ['self-signed', 'individual-stranger-own', undefined],
    ['from another CA', 'individual-stranger-ca', 'Stranger'],
  ] as const)('a stranger with the same common name, %s, is refused', async ([, registrationId, ca]) => {
    const own = await deviceCertificate(registrationId)
    await dps.enroll(registrationId, clientCertificates(own.certificate))
    const authority = ca === undefined ? undefined : (await createPki(ca)).second
    const stranger = await deviceCertificate(registrationId, authority)
    await expectRefused(registrationId, byCertificate(fullChain(stranger)), 'Invalid certificate')
    await expectUnknownToHub(registrationId)
  })

  test('an expired certificate is refused', async () => {
    const expired = await deviceCertificate('individual-expired', undefined, { expiredDays: 2 })
    await dps.enroll('individual-expired', clientCertificates(expired.certificate))
    await expectRefused('individual-expired', byCertificate(leafOnly(expired)), 'Invalid certificate')
  })

  test('a common name other than the registration id is refused', async () => {
    const issued = await deviceCertificate('individual-other-name')
    await dps.enroll('individual-asked', clientCertificates(issued.certificate))
    await expectRefused('individual-asked', byCertificate(leafOnly(issued)), 'Invalid certificate')
  })

  test('a disabled enrollment ends in the status disabled', async () => {
    const issued = await deviceCertificate('individual-disabled')
    const document = clientCertificates(issued.certificate)
    await dps.enroll('individual-disabled', { ...document, provisioningStatus: 'disabled' })
    await expectDisabled('individual-disabled', byCertificate(leafOnly(issued)))
    await dps.enroll('individual-disabled', { ...document, initialTwin })
    await expectAssigned('individual-disabled', byCertificate(leafOnly(issued)))
  })
})

describe.concurrent('X.509 enrollment group by a verified root CA', () => {
  test('a chain through two intermediates, the root left at home', async () => {
    const issued = await deviceCertificate('group-two-intermediates', pki.second)
    await expectAssigned('group-two-intermediates', byCertificate(withoutRoot(issued)))
    expect(await thumbprintInHub('group-two-intermediates')).toBe(thumbprint(issued))
  })

  test('a full-chain file that ends with the root', async () => {
    const issued = await deviceCertificate('group-full-chain', pki.second, { keyType: 'rsa' })
    await expectAssigned('group-full-chain', byCertificate(fullChain(issued)))
  })

  test('a missing intermediate is refused', async () => {
    const issued = await deviceCertificate('group-leaf-only', pki.second)
    await expectRefused('group-leaf-only', byCertificate(leafOnly(issued)), 'CA certificate not found')
    await expectUnknownToHub('group-leaf-only')
  })

  test.for([
    ['self-signed', 'group-stranger-own', undefined],
    ['from another CA of the same names', 'group-stranger-ca', 'Factory'],
  ] as const)('a stranger %s is refused', async ([, registrationId, ca]) => {
    const authority = ca === undefined ? undefined : (await createPki(ca)).second
    const stranger = await deviceCertificate(registrationId, authority)
    await expectRefused(registrationId, byCertificate(fullChain(stranger)), 'CA certificate not found')
    await expectUnknownToHub(registrationId)
  })

  test('an expired leaf is refused', async () => {
    const expired = await deviceCertificate('group-expired', pki.second, { expiredDays: 2 })
    await expectRefused('group-expired', byCertificate(withoutRoot(expired)), 'Invalid certificate')
  })

  test('a common name other than the registration id is refused', async () => {
    const issued = await deviceCertificate('group-other-name', pki.second)
    await expectRefused('group-asked', byCertificate(withoutRoot(issued)), 'Invalid certificate')
  })

  test('a CA that is not verified is refused, and verified it is trusted', async () => {
    const later = await createPki('Later')
    await uploadCa(muster, 'later-root', later.root.certificate, { verified: false })
    await dps.enrollGroup('later', { ...caReferences('later-root'), initialTwin })
    const issued = await deviceCertificate('group-unverified', later.second)
    await expectRefused('group-unverified', byCertificate(withoutRoot(issued)), 'CA certificate not found')

    const path = `/provisioningServices/${muster.addresses.dps.name}/certificates/later-root`
    const { etag } = (await managed(muster, 'GET', path)) as { etag: string }
    await managed(muster, 'PUT', path, {
      headers: { 'If-Match': etag },
      body: { properties: { certificate: Buffer.from(later.root.certificate).toString('base64'), isVerified: true } },
    })
    await expectAssigned('group-unverified', byCertificate(withoutRoot(issued)))
  })

  test('a disabled group ends in the status disabled', async () => {
    const closed = await createPki('Closed')
    await uploadCa(muster, 'closed-root', closed.root.certificate)
    await dps.enrollGroup('closed', { ...caReferences('closed-root'), provisioningStatus: 'disabled' })
    const issued = await deviceCertificate('group-disabled', closed.second)
    await expectDisabled('group-disabled', byCertificate(withoutRoot(issued)))
  })

  test('a disabled individual enrollment blocks a device that the group would admit', async () => {
    const issued = await deviceCertificate('group-blocked', pki.second)
    await dps.enroll('group-blocked', { ...clientCertificates(issued.certificate), provisioningStatus: 'disabled' })
    await expectDisabled('group-blocked', byCertificate(withoutRoot(issued)))
    await expectUnknownToHub('group-blocked')
  })
})

describe.concurrent('X.509 enrollment group by an uploaded intermediate', () => {
  test('a device below it', async () => {
    const issued = await deviceCertificate('line-device', line.second)
    await expectAssigned('line-device', byCertificate(withoutRoot(issued)))
  })

  test('a device of the same root beside it is refused', async () => {
    const issued = await deviceCertificate('line-beside', line.root)
    await expectRefused('line-beside', byCertificate(withoutRoot(issued)), 'Unauthorized')
  })

  test('an intermediate whose root is not verified does not end the walk', async () => {
    const loose = await createPki('Loose')
    await dps.enrollGroup('loose', signingCertificates(loose.first.certificate))
    const issued = await deviceCertificate('loose-device', loose.second)
    await expectRefused('loose-device', byCertificate(fullChain(issued)), 'CA certificate not found')
  })

  test('a verified intermediate ends it, its own root being unknown', async () => {
    const own = await createPki('Own')
    await uploadCa(muster, 'own-intermediate', own.first.certificate)
    await dps.enrollGroup('own', { ...signingCertificates(own.first.certificate), initialTwin })
    const issued = await deviceCertificate('own-device', own.second)
    await expectAssigned('own-device', byCertificate(withoutRoot(issued)))
  })
})

describe.concurrent('symmetric key, individual enrollment', () => {
  test('the primary and the secondary key', async () => {
    const [primary, secondary] = [newKey(), newKey(16)]
    await dps.enroll('individual-key', { ...symmetricKeys(primary, secondary), initialTwin })
    await expectAssigned('individual-key', byKey(primary))
    const { authentication } = (await registryOf(muster).get('individual-key')).responseBody
    expect(authentication).toMatchObject({
      type: 'sas',
      symmetricKey: { primaryKey: primary, secondaryKey: secondary },
    })
    await expectAssigned('individual-key', byKey(secondary))
  })

  test('keys that the service made', async () => {
    const { attestation } = await dps.enroll('individual-made', { attestation: { type: 'symmetricKey' }, initialTwin })
    const { primaryKey } = (attestation as { symmetricKey: { primaryKey: string } }).symmetricKey
    expect(Buffer.from(primaryKey, 'base64')).toHaveLength(64)
    await expectAssigned('individual-made', byKey(primaryKey))
  })

  test('a payload is accepted and dropped', async () => {
    const key = newKey()
    await dps.enroll('individual-payload', symmetricKeys(key, newKey()))
    const payload = { model: 'x1', nested: { list: [1, 2] } }
    const result = await provision(muster, { registrationId: 'individual-payload', credential: byKey(key), payload })
    expect(result).toMatchObject({ status: 'assigned', deviceId: 'individual-payload' })
    expect(result).not.toHaveProperty('payload')
  })

  test('a wrong key is refused', async () => {
    await dps.enroll('individual-wrong', symmetricKeys(newKey(), newKey()))
    await expectRefused('individual-wrong', byKey(newKey()), 'Unauthorized')
    await expectUnknownToHub('individual-wrong')
  })

  test('a disabled enrollment ends in the status disabled', async () => {
    const key = newKey()
    await dps.enroll('individual-key-off', { ...symmetricKeys(key, newKey()), provisioningStatus: 'disabled' })
    await expectDisabled('individual-key-off', byKey(key))
  })
})

describe.concurrent('symmetric key, enrollment group', () => {
  test.for(groupKeys.map((key, at) => [['primary', 'secondary'][at], key] as const))(
    'a key derived from the %s group key',
    async ([name, groupKey]) => {
      const registrationId = `derived-${name}`
      await expectAssigned(registrationId, byKey(derivedKey(groupKey, registrationId)))
      const { authentication } = (await registryOf(muster).get(registrationId)).responseBody
      // The key derived from the primary group key is the hub's primary key, whichever the device used (dps.md 8.4).
      expect(authentication?.symmetricKey?.primaryKey).toBe(derivedKey(groupKeys[0], registrationId))
    },
  )

  test('the group key itself is refused', async () => {
    await expectRefused('derived-not', byKey(groupKeys[0]), 'Unauthorized')
  })

  test('a key derived for another device is refused', async () => {
    await expectRefused('derived-mine', byKey(derivedKey(groupKeys[0], 'derived-theirs')), 'Unauthorized')
  })

  test('a disabled group ends in the status disabled', async () => {
    const key = newKey()
    await dps.enrollGroup('keys-off', { ...symmetricKeys(key, newKey()), provisioningStatus: 'disabled' })
    await expectDisabled('derived-off', byKey(derivedKey(key, 'derived-off')))
  })

  test('a disabled individual enrollment blocks a device that the group would admit', async () => {
    const derived = derivedKey(groupKeys[0], 'derived-blocked')
    await dps.enroll('derived-blocked', { ...symmetricKeys(derived, newKey()), provisioningStatus: 'disabled' })
    await expectDisabled('derived-blocked', byKey(derived))
    await expectUnknownToHub('derived-blocked')
  })
})

describe('another ID scope', () => {
  test('enrollments of one provisioning service mean nothing in another', async () => {
    const hub = hubOf(muster)
    const other = (await managed(muster, 'PUT', '/provisioningServices/other-dps', {
      body: { properties: { iotHubs: [{ connectionString: hub.connectionString }] } },
    })) as { properties: { idScope: string } }
    const { idScope } = other.properties
    expect(idScope).toMatch(/^0ne[0-9A-F]{8}$/)
    const key = newKey()
    await dps.enroll('scoped-key', symmetricKeys(key, newKey()))
    const chain = withoutRoot(await deviceCertificate('scoped-cert', pki.second))
    for (const [registrationId, credential, message] of [
      ['scoped-key', byKey(key), 'Unauthorized'],
      ['scoped-cert', byCertificate(chain), 'CA certificate not found'],
    ] as const) {
      const refusal = await sdkError(provision(muster, { registrationId, credential, idScope }))
      expect(refusal).toMatchObject({ name: 'UnauthorizedError', answer: { errorCode: 401002, message } })
      await expectUnknownToHub(registrationId)
    }
    const nobody = await sdkError(
      provision(muster, { registrationId: 'scoped-key', credential: byKey(key), idScope: '0ne00000000' }),
    )
    expect(nobody.name).toBe('UnauthorizedError')
  })
})

/** Refused before an operation exists (dps.md 5.1), with Azure's code, and words that tell a stranger nothing. */
async function expectRefused(registrationId: string, credential: Credential, message: string): Promise<void> {
  const error = await sdkError(provision(muster, { registrationId, credential }))
  expect(error).toMatchObject({
    name: 'UnauthorizedError',
    status: 401,
    answer: { errorCode: 401002, message, trackingId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    headers: { 'x-ms-error-code': '401002' },
  })
}

/** The Node SDK knows no status `disabled`: it says so in these words (dps.md 1.10). */
async function expectDisabled(registrationId: string, credential: Credential): Promise<void> {
  const error = await sdkError(provision(muster, { registrationId, credential }))
  expect(error).toMatchObject({ name: 'SyntaxError', message: 'status is disabled' })
  const record = await dps.rest('GET', `/registrations/${registrationId}?api-version=2021-10-01`)
  expect(record.body).toMatchObject({
    registrationId,
    status: 'disabled',
    etag: expect.any(String),
    lastUpdatedDateTimeUtc: expect.any(String),
  })
}

async function expectUnknownToHub(deviceId: string): Promise<void> {
  expect(await sdkError(registryOf(muster).get(deviceId))).toMatchObject({ name: 'DeviceNotFoundError' })
}
