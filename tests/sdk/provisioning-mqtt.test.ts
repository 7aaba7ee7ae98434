import azureIotDeviceMqtt from 'azure-iot-device-mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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

// The unmodified Node clients, provisioning and device, over MQTT and over MQTT in WebSockets (dps.md 2).

let muster: TestMuster
let dps: Enrolling
/** Its root is verified; the group `factory` stands for it. */
let pki: Pki
/** Its intermediate is uploaded with the group `line`; its root is verified too. */
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

describe.concurrent.each([
  ['mqtt', azureIotDeviceMqtt.Mqtt],
  ['mqtt-ws', azureIotDeviceMqtt.MqttWs],
] as const)('over %s', (transport, deviceTransport) => {
  const register = (registrationId: string, credential: Credential, idScope?: string) =>
    provision(muster, { registrationId, credential, transport, ...(idScope !== undefined && { idScope }) })

  /** Registers, then lives over the same transport: connected, one message sent, the first twin read. */
  async function expectAssigned(registrationId: string, credential: Credential, deviceId = registrationId) {
    const result = await register(registrationId, credential)
    expect(result).toMatchObject({
      registrationId,
      status: 'assigned',
      substatus: 'initialAssignment',
      assignedHub: hubOf(muster).hostName,
      deviceId,
    })
    const desired = await useHub(result.assignedHub, result.deviceId, credential, deviceTransport)
    expect(desired).toMatchObject(initialTwin.properties.desired)
  }

  /** Connected and subscribed, then refused on the topic of the answer: what every client looks for (dps.md 2.2). */
  async function expectRefused(registrationId: string, credential: Credential, refusal: object, idScope?: string) {
    const error = await sdkError(register(registrationId, credential, idScope))
    expect(error).toMatchObject({ name: 'UnauthorizedError', answer: refusal })
    expect(await sdkError(registryOf(muster).get(registrationId))).toMatchObject({ name: 'DeviceNotFoundError' })
  }

  async function expectDisabled(registrationId: string, credential: Credential) {
    const error = await sdkError(register(registrationId, credential))
    expect(error).toMatchObject({ name: 'SyntaxError', message: 'status is disabled' })
    const record = await dps.rest('GET', `/registrations/${registrationId}?api-version=2021-10-01`)
    expect(record.body).toMatchObject({ registrationId, status: 'disabled' })
  }

  const wrongKey = { errorCode: 401000, message: 'Unauthorized' }
  const wrongCertificate = { errorCode: 401002, message: 'Invalid certificate' }
  const noCa = { errorCode: 401002, message: 'CA certificate not found' }
  const named = (name: string): string => `${transport}-${name}`

  test('X.509, individual: the primary and the secondary certificate', async () => {
    const id = named('individual-cert')
    const [primary, secondary] = await Promise.all([
      deviceCertificate(id),
      deviceCertificate(id, undefined, { keyType: 'rsa' }),
    ])
    const document = clientCertificates(primary.certificate, secondary.certificate)
    await dps.enroll(id, { ...document, initialTwin, deviceId: `${transport}-Renamed` })
    await expectAssigned(id, byCertificate(leafOnly(primary)), `${transport}-Renamed`)
    await expectAssigned(id, byCertificate(leafOnly(secondary)), `${transport}-Renamed`)
  })

  test('X.509, individual: a stranger of the same name, an expired certificate, another common name', async () => {
    const id = named('individual-stranger')
    const [own, stranger] = await Promise.all([deviceCertificate(id), deviceCertificate(id)])
    await dps.enroll(id, clientCertificates(own.certificate))
    await expectRefused(id, byCertificate(leafOnly(stranger)), wrongCertificate)

    const expired = await deviceCertificate(named('individual-expired'), undefined, { expiredDays: 2 })
    await dps.enroll(named('individual-expired'), clientCertificates(expired.certificate))
    await expectRefused(named('individual-expired'), byCertificate(leafOnly(expired)), wrongCertificate)

    const other = await deviceCertificate(named('individual-other'))
    await dps.enroll(named('individual-asked'), clientCertificates(other.certificate))
    await expectRefused(named('individual-asked'), byCertificate(leafOnly(other)), wrongCertificate)
  })

  test('X.509, individual: a disabled enrollment', async () => {
    const id = named('individual-disabled')
    const issued = await deviceCertificate(id)
    await dps.enroll(id, { ...clientCertificates(issued.certificate), provisioningStatus: 'disabled' })
    await expectDisabled(id, byCertificate(leafOnly(issued)))
  })

  test('X.509, group by a verified root: chains with and without the root', async () => {
    const [short, full] = await Promise.all([
      deviceCertificate(named('group-chain'), pki.second),
      deviceCertificate(named('group-full'), pki.second, { keyType: 'rsa' }),
    ])
    await expectAssigned(named('group-chain'), byCertificate(withoutRoot(short)))
    await expectAssigned(named('group-full'), byCertificate(fullChain(full)))
  })

  test('X.509, group by an uploaded intermediate', async () => {
    const issued = await deviceCertificate(named('line-device'), line.second)
    await expectAssigned(named('line-device'), byCertificate(withoutRoot(issued)))
  })

  test('X.509, group: a missing intermediate, a stranger CA, an expired leaf, an unverified CA', async () => {
    const alone = await deviceCertificate(named('group-leaf-only'), pki.second)
    await expectRefused(named('group-leaf-only'), byCertificate(leafOnly(alone)), noCa)

    const stranger = await deviceCertificate(named('group-stranger'), (await createPki('Factory')).second)
    await expectRefused(named('group-stranger'), byCertificate(fullChain(stranger)), noCa)

    const expired = await deviceCertificate(named('group-expired'), pki.second, { expiredDays: 2 })
    await expectRefused(named('group-expired'), byCertificate(withoutRoot(expired)), wrongCertificate)

    const later = await createPki(named('Later'))
    await uploadCa(muster, named('later-root'), later.root.certificate, { verified: false })
    await dps.enrollGroup(named('later'), caReferences(named('later-root')))
    const unverified = await deviceCertificate(named('group-unverified'), later.second)
    await expectRefused(named('group-unverified'), byCertificate(withoutRoot(unverified)), noCa)
  })

  test('X.509, group: disabled, and an individual enrollment that blocks one device', async () => {
    const closed = await createPki(named('Closed'))
    await uploadCa(muster, named('closed-root'), closed.root.certificate)
    await dps.enrollGroup(named('closed'), {
      ...caReferences(named('closed-root')),
      provisioningStatus: 'disabled',
    })
    const issued = await deviceCertificate(named('group-disabled'), closed.second)
    await expectDisabled(named('group-disabled'), byCertificate(withoutRoot(issued)))

    const blocked = await deviceCertificate(named('group-blocked'), pki.second)
    await dps.enroll(named('group-blocked'), {
      ...clientCertificates(blocked.certificate),
      provisioningStatus: 'disabled',
    })
    await expectDisabled(named('group-blocked'), byCertificate(withoutRoot(blocked)))
  })

  test('symmetric key, individual: the primary and the secondary key', async () => {
    const [primary, secondary] = [newKey(), newKey(16)]
    await dps.enroll(named('individual-key'), { ...symmetricKeys(primary, secondary), initialTwin })
    await expectAssigned(named('individual-key'), byKey(primary))
    await expectAssigned(named('individual-key'), byKey(secondary))
  })

  test('symmetric key, individual: a wrong key, no enrollment, a disabled enrollment', async () => {
    const key = newKey()
    await dps.enroll(named('individual-wrong'), symmetricKeys(key, newKey()))
    await expectRefused(named('individual-wrong'), byKey(newKey()), wrongKey)
    await expectRefused(named('individual-nobody'), byKey(key), wrongKey)
    await dps.enroll(named('individual-off'), {
      ...symmetricKeys(key, newKey()),
      provisioningStatus: 'disabled',
    })
    await expectDisabled(named('individual-off'), byKey(key))
  })

  test('symmetric key, group: keys derived from both group keys', async () => {
    for (const [name, groupKey] of Object.entries(groupKeys)) {
      const id = named(`derived-${name}`)
      await expectAssigned(id, byKey(derivedKey(groupKey, id)))
    }
  })

  test("symmetric key, group: the group's own key, another device's, a disabled group", async () => {
    await expectRefused(named('derived-not'), byKey(groupKeys[0]), wrongKey)
    await expectRefused(named('derived-mine'), byKey(derivedKey(groupKeys[0], 'theirs')), wrongKey)
    const key = newKey()
    await dps.enrollGroup(named('keys-off'), {
      ...symmetricKeys(key, newKey()),
      provisioningStatus: 'disabled',
    })
    await expectDisabled(named('derived-off'), byKey(derivedKey(key, named('derived-off'))))
  })

  test('a payload is accepted and dropped', async () => {
    const key = newKey()
    await dps.enroll(named('payload'), symmetricKeys(key, newKey()))
    const result = await provision(muster, {
      registrationId: named('payload'),
      credential: byKey(key),
      payload: { model: 'x1', nested: [1, 2] },
      transport,
    })
    expect(result).toMatchObject({ status: 'assigned' })
    expect(result).not.toHaveProperty('payload')
  })

  test('enrollments of another ID scope mean nothing', async () => {
    const other = (await managed(muster, 'PUT', `/provisioningServices/other-${transport}`, {
      body: { properties: { iotHubs: [{ connectionString: hubOf(muster).connectionString }] } },
    })) as { properties: { idScope: string } }
    const key = newKey()
    await dps.enroll(named('scoped'), symmetricKeys(key, newKey()))
    await expectRefused(named('scoped'), byKey(key), wrongKey, other.properties.idScope)
    await expectRefused(named('scoped'), byKey(key), wrongKey, '0ne00000000')
  })

  test('twenty devices at once', async () => {
    const ids = Array.from({ length: 20 }, (_, at) => named(`fleet-${at}`))
    const results = await Promise.all(ids.map((id) => register(id, byKey(derivedKey(groupKeys[0], id)))))
    expect(results.map(({ status, deviceId }) => ({ status, deviceId }))).toEqual(
      ids.map((deviceId) => ({ status: 'assigned', deviceId })),
    )
  })
})
