import { afterAll, beforeAll, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
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
import { createPki, deviceCertificate, leafOnly, withoutRoot } from '../support/pki.ts'
import { byCertificate, byKey, type Credential, provision, sdkError, useHub } from '../support/sdk.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey } from '../support/tokens.ts'

// One case of the unmodified Azure SDKs per attestation, provisioned over HTTPS and connected over MQTT. The matrix is
// in tests/sdk (npm run test:sdk).

let muster: TestMuster
let dps: Enrolling

beforeAll(async () => {
  muster = await startMuster({
    standardPorts: true,
    config: { registration: { assigningMs: 0, retryAfterSeconds: 1 } },
  })
  dps = enrolling(muster)
})
afterAll(() => stopClean(muster))

async function live(registrationId: string, credential: Credential): Promise<void> {
  const { assignedHub, deviceId } = await provision(muster, { registrationId, credential })
  expect({ assignedHub, deviceId }).toEqual({ assignedHub: hubOf(muster).hostName, deviceId: registrationId })
  expect(await useHub(assignedHub, deviceId, credential)).toMatchObject(initialTwin.properties.desired)
}

test.concurrent('X.509, individual', async () => {
  const issued = await deviceCertificate('smoke-individual')
  await dps.enroll('smoke-individual', { ...clientCertificates(issued.certificate), initialTwin })
  await live('smoke-individual', byCertificate(leafOnly(issued)))
})

test.concurrent('X.509, group by a verified root through two intermediates', async () => {
  const pki = await createPki('Smoke')
  await uploadCa(muster, 'smoke-root', pki.root.certificate)
  await dps.enrollGroup('smoke-root', { ...caReferences('smoke-root'), initialTwin })
  await live('smoke-root-device', byCertificate(withoutRoot(await deviceCertificate('smoke-root-device', pki.second))))
})

test.concurrent('X.509, group by an uploaded intermediate', async () => {
  const pki = await createPki('Smoke line', 'rsa')
  await uploadCa(muster, 'smoke-line', pki.first.certificate)
  await dps.enrollGroup('smoke-line', { ...signingCertificates(pki.first.certificate), initialTwin })
  await live('smoke-line-device', byCertificate(withoutRoot(await deviceCertificate('smoke-line-device', pki.second))))
})

test.concurrent('symmetric key, individual; another key is refused', async () => {
  const key = newKey()
  await dps.enroll('smoke-key', { ...symmetricKeys(key, newKey()), initialTwin })
  await live('smoke-key', byKey(key))
  const refused = await sdkError(provision(muster, { registrationId: 'smoke-key', credential: byKey(newKey()) }))
  expect(refused).toMatchObject({ name: 'UnauthorizedError', answer: { errorCode: 401002 } })
})

test.concurrent('symmetric key, derived for a group', async () => {
  const groupKey = newKey()
  await dps.enrollGroup('smoke-group', { ...symmetricKeys(groupKey, newKey()), initialTwin })
  await live('smoke-derived', byKey(derivedKey(groupKey, 'smoke-derived')))
})
