import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
import { caReferences, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, withoutRoot } from '../support/pki.ts'
import { exchangeRaw, requestText } from '../support/raw-https.ts'
import { type Answer, type Rest, signedRest } from '../support/rest.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { sasToken, unixNow } from '../support/tokens.ts'

// What time does to credentials, with a service whose clock the test can set ahead.

const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE
let aheadMs = 0
const clock: Clock = { now: () => Date.now() + aheadMs, after: systemClock.after }

let muster: TestMuster
let dps: Enrolling

beforeAll(async () => {
  muster = await startMuster({ world: { clock } })
  dps = enrolling(muster)
})
afterAll(() => stopClean(muster))

test('one token of 30 seconds, made for register, is good for every poll of its operation', async () => {
  aheadMs = 0
  const key = newKey()
  await dps.enroll('patient', symmetricKeys(key, newKey()))
  const scope = muster.addresses.idScope
  const path = `/${scope}/registrations/patient`
  const token = sasToken({
    sr: `${scope}/registrations/patient`.toLowerCase(),
    key,
    se: unixNow() + 30,
    skn: 'registration',
  })
  const rust: Rest = signedRest(muster, 'dps.example.net', () => token)
  const register = (): Promise<Answer> => rust('PUT', `${path}/register?api-version=2021-06-01`, { body: {} })
  const registered = await register()
  expect(registered.status).toBe(202)
  const { operationId } = registered.body as { operationId: string }
  const poll = (): Promise<Answer> => rust('GET', `${path}/operations/${operationId}?api-version=2021-06-01`)
  for (const minutes of [0, 1, 6, 30]) {
    aheadMs = minutes * MINUTE
    expect([200, 202], `${minutes} minutes later`).toContain((await poll()).status)
  }
  // It opens no other operation, and no other key asks after this one.
  expect((await register()).body).toMatchObject({ errorCode: 401002 })
  const stranger = signedRest(muster, 'dps.example.net', () =>
    sasToken({ sr: `${scope}/registrations/patient`, key: newKey(), se: unixNow() + 7200 }),
  )
  expect((await stranger('GET', `${path}/operations/${operationId}?api-version=2021-06-01`)).status).toBe(401)
})

test('a certificate is good until its last day, and its CA until its own', async () => {
  aheadMs = 0
  const pki = await createPki('Time')
  await uploadCa(muster, 'time', pki.root.certificate)
  await dps.enrollGroup('time', caReferences('time'))
  const credential = withoutRoot(await deviceCertificate('timely', pki.second))
  const { address, ports, idScope } = muster.addresses
  const register = async (): Promise<number> => {
    const request = requestText(
      `PUT /${idScope}/registrations/timely/register?api-version=2019-03-31 HTTP/1.1
      Host: dps.example.net
      Content-Length: 0`,
    )
    return (await exchangeRaw({ address, port: ports.https, ca: muster.ca, credential }, request)).status
  }
  expect(await register()).toBe(202)
  aheadMs = 29 * DAY
  expect(await register()).toBe(202)
  aheadMs = 31 * DAY
  expect(await register()).toBe(401)
  aheadMs = 0
  expect(await register()).toBe(202)
})
