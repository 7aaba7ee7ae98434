import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
import { caReferences, clientCertificates, newKey, signingCertificates, symmetricKeys } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, fullChain, leafOnly, withoutRoot } from '../support/pki.ts'
import { connectRaw, type RawAnswer, type RawTarget, requestText } from '../support/raw-https.ts'
import { type Rest, restOf } from '../support/rest.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey, sasToken, unixNow } from '../support/tokens.ts'

// Which enrollment speaks for a device (dps.md 8.1, 8.2), and what is made in the hub (8.4).

let muster: TestMuster
let dps: Enrolling
let hub: Rest

beforeAll(async () => {
  muster = await startMuster()
  dps = enrolling(muster)
  hub = restOf(muster, hubOf(muster).connectionString)
})
afterAll(() => stopClean(muster))

type Certificate = NonNullable<RawTarget['credential']>

/** Registers under `id` as the device writes it; the answer to register if refused, else the final poll. */
async function register(
  id: string,
  { key, certificate }: { key?: string; certificate?: Certificate },
): Promise<RawAnswer> {
  const { address, ports, idScope } = muster.addresses
  const token = key && sasToken({ sr: `${idScope}/registrations/${id}`, key, se: unixNow() + 60, skn: 'registration' })
  const head = (line: string): string =>
    [line, 'Host: dps.example.net', 'Content-Length: 0', ...(token ? [`Authorization: ${token}`] : [])].join('\n')
  const connection = await connectRaw({ address, port: ports.https, ca: muster.ca, credential: certificate })
  const path = `/${idScope}/registrations/${id}`
  let answer = await connection.exchange(requestText(head(`PUT ${path}/register?api-version=2021-06-01 HTTP/1.1`)))
  if (answer.status === 202) {
    const { operationId } = answer.json() as { operationId: string }
    const poll = requestText(head(`GET ${path}/operations/${operationId}?api-version=2021-06-01 HTTP/1.1`))
    do answer = await connection.exchange(poll)
    while (answer.status === 202)
  }
  connection.close()
  return answer
}

const statusOf = (answer: RawAnswer): unknown => (answer.json() as { status?: string; errorCode?: number }).status
const assignedId = (answer: RawAnswer): unknown =>
  (answer.json() as { registrationState?: { deviceId?: string } }).registrationState?.deviceId

const recordsOf = async (group: string): Promise<string[]> => {
  const { body } = await dps.rest('POST', `/registrations/${group}/query?api-version=2021-10-01`)
  return (body as { registrationId: string }[]).map(({ registrationId }) => registrationId)
}

describe('X.509', () => {
  test('the group of the nearest certificate decides, also when it is disabled', async () => {
    const pki = await createPki('Nearest')
    await uploadCa(muster, 'nearest-root', pki.root.certificate)
    await dps.enrollGroup('nearest-root', caReferences('nearest-root'))
    const certificate = async (name: string): Promise<Certificate> =>
      withoutRoot(await deviceCertificate(name, pki.second))
    expect(statusOf(await register('nearest-1', { certificate: await certificate('nearest-1') }))).toBe('assigned')
    expect(await recordsOf('nearest-root')).toEqual(['nearest-1'])

    await dps.enrollGroup('nearest-line', signingCertificates(pki.first.certificate))
    expect(statusOf(await register('nearest-2', { certificate: await certificate('nearest-2') }))).toBe('assigned')
    expect(await recordsOf('nearest-line')).toEqual(['nearest-2'])

    await dps.enrollGroup('nearest-shop', {
      ...signingCertificates(pki.second.certificate),
      provisioningStatus: 'disabled',
    })
    expect(statusOf(await register('nearest-3', { certificate: await certificate('nearest-3') }))).toBe('disabled')
    // Above the disabled group nothing has changed.
    const beside = withoutRoot(await deviceCertificate('nearest-4', pki.first))
    expect(statusOf(await register('nearest-4', { certificate: beside }))).toBe('assigned')
    expect((await recordsOf('nearest-line')).toSorted()).toEqual(['nearest-2', 'nearest-4'])
  })

  test('the secondary certificate of a group, while the CA changes', async () => {
    const [old, next] = [await createPki('Old CA'), await createPki('Next CA')]
    await uploadCa(muster, 'old-ca', old.root.certificate)
    await uploadCa(muster, 'next-ca', next.root.certificate)
    await dps.enrollGroup('changing', caReferences('old-ca', 'next-ca'))
    for (const [at, pki] of [old, next].entries()) {
      const certificate = withoutRoot(await deviceCertificate(`changing-${at}`, pki.second))
      expect(statusOf(await register(`changing-${at}`, { certificate }))).toBe('assigned')
    }
    expect((await recordsOf('changing')).toSorted()).toEqual(['changing-0', 'changing-1'])
  })

  test('ids are compared without regard to case: enrollment, common name and path', async () => {
    const issued = await deviceCertificate('MIXED-case')
    await dps.enroll('Mixed-Case', clientCertificates(issued.certificate))
    expect(statusOf(await register('mixed-CASE', { certificate: leafOnly(issued) }))).toBe('assigned')
    expect((await dps.rest('GET', '/registrations/Mixed-Case?api-version=2021-10-01')).status).toBe(200)
  })

  test('a certificate where a key is enrolled, and a key where a certificate is', async () => {
    const issued = await deviceCertificate('mechanism-key')
    await dps.enroll('mechanism-key', symmetricKeys(newKey(), newKey()))
    expect((await register('mechanism-key', { certificate: leafOnly(issued) })).status).toBe(401)
    const other = await deviceCertificate('mechanism-cert')
    await dps.enroll('mechanism-cert', clientCertificates(other.certificate))
    expect((await register('mechanism-cert', { key: newKey() })).status).toBe(401)
  })

  test('certificates in any order after the leaf, and unrelated ones among them', async () => {
    const [pki, other] = [await createPki('Unordered'), await createPki('Unrelated')]
    await uploadCa(muster, 'unordered', pki.root.certificate)
    await dps.enrollGroup('unordered', caReferences('unordered'))
    const issued = await deviceCertificate('unordered', pki.second)
    const cert = [issued, pki.root, other.first, pki.first, pki.second].map(({ certificate }) => certificate).join('')
    expect(statusOf(await register('unordered', { certificate: { cert, key: issued.key } }))).toBe('assigned')
  })

  test('a CA certificate itself is no device, and no leaf vouches for another', async () => {
    const pki = await createPki('Vouching')
    await uploadCa(muster, 'vouching', pki.root.certificate)
    await dps.enrollGroup('vouching', caReferences('vouching'))
    // A device that signs certificates with its own key.
    const device = await deviceCertificate('voucher', pki.second)
    const { createAuthority } = await import('../../src/crypto/issuing.ts')
    const rogue = await createAuthority({ commonName: 'voucher', days: 1, keyType: 'ec', now: Date.now() })
    const forged = await deviceCertificate('vouched', rogue)
    const cert = [forged, device, pki.second, pki.first].map(({ certificate }) => certificate).join('')
    expect((await register('vouched', { certificate: { cert, key: forged.key } })).status).toBe(401)
    expect(statusOf(await register('voucher', { certificate: fullChain(device) }))).toBe('assigned')
  })
})

describe('symmetric key', () => {
  test('an individual enrollment decides alone: the derived key of a group does not open it', async () => {
    const groupKey = newKey()
    await dps.enrollGroup('outer', symmetricKeys(groupKey, newKey()))
    const own = newKey()
    await dps.enroll('inner', symmetricKeys(own, newKey()))
    expect((await register('inner', { key: derivedKey(groupKey, 'inner') })).status).toBe(401)
    expect(statusOf(await register('inner', { key: own }))).toBe('assigned')
  })

  test('each of several groups is tried', async () => {
    const keys = Array.from({ length: 5 }, () => newKey())
    for (const [at, key] of keys.entries()) await dps.enrollGroup(`several-${at}`, symmetricKeys(newKey(), key))
    for (const [at, key] of keys.entries()) {
      const id = `several-device-${at}`
      expect(statusOf(await register(id, { key: derivedKey(key, id) }))).toBe('assigned')
      expect(await recordsOf(`several-${at}`)).toEqual([id])
    }
  })

  test('the key may be derived from the id as sent or from its lower-case form', async () => {
    const groupKey = newKey()
    await dps.enrollGroup('spelling', symmetricKeys(groupKey, newKey()))
    expect(statusOf(await register('Spelling-As-Sent', { key: derivedKey(groupKey, 'Spelling-As-Sent') }))).toBe(
      'assigned',
    )
    expect(statusOf(await register('Spelling-Lower', { key: derivedKey(groupKey, 'spelling-lower') }))).toBe('assigned')
    expect((await register('spelling-upper', { key: derivedKey(groupKey, 'SPELLING-UPPER') })).status).toBe(401)
  })

  test('new group keys count at once, old ones no more', async () => {
    const [before, after] = [newKey(), newKey()]
    await dps.enrollGroup('rotated', symmetricKeys(before, newKey()))
    expect(statusOf(await register('rotated-1', { key: derivedKey(before, 'rotated-1') }))).toBe('assigned')
    await dps.enrollGroup('rotated', symmetricKeys(after, newKey()))
    expect((await register('rotated-1', { key: derivedKey(before, 'rotated-1') })).status).toBe(401)
    expect(statusOf(await register('rotated-1', { key: derivedKey(after, 'rotated-1') }))).toBe('assigned')
  })

  test('a deleted enrollment lets nobody in', async () => {
    const key = newKey()
    await dps.enroll('leaving', symmetricKeys(key, newKey()))
    expect(statusOf(await register('leaving', { key }))).toBe('assigned')
    await dps.rest('DELETE', '/enrollments/leaving?api-version=2021-10-01')
    expect((await register('leaving', { key })).status).toBe(401)
  })
})

describe('the hub’s side', () => {
  const device = async (deviceId: string): Promise<unknown> =>
    (await hub('GET', `/devices/${deviceId}?api-version=2021-04-12`)).body

  test('a device that somebody deleted from the hub is made again', async () => {
    const key = newKey()
    await dps.enroll('vanished', symmetricKeys(key, newKey()))
    await register('vanished', { key })
    const before = (await device('vanished')) as { generationId: string }
    await hub('DELETE', '/devices/vanished?api-version=2021-04-12')
    expect(assignedId(await register('vanished', { key }))).toBe('vanished')
    const after = (await device('vanished')) as { generationId: string }
    expect(after).toMatchObject({ authentication: { symmetricKey: { primaryKey: key } } })
    expect(after.generationId).not.toBe(before.generationId)
  })

  test('registering again changes neither generation nor twin, and leaves a disabled device disabled', async () => {
    const key = newKey()
    const initialTwin = { tags: { a: 1 }, properties: { desired: { b: 2 } } }
    await dps.enroll('settled', { ...symmetricKeys(key, newKey()), initialTwin })
    await register('settled', { key })
    const before = (await device('settled')) as { generationId: string }
    await hub('PUT', '/devices/settled?api-version=2021-04-12', {
      body: { ...before, status: 'disabled', statusReason: 'stolen' },
      headers: { 'If-Match': '*' },
    })
    await register('settled', { key })
    expect(await device('settled')).toMatchObject({
      generationId: before.generationId,
      status: 'disabled',
      statusReason: 'stolen',
    })
  })

  test('an Edge enrollment makes an Edge device with its system modules', async () => {
    const groupKey = newKey()
    await dps.enrollGroup('edges', { ...symmetricKeys(groupKey, newKey()), capabilities: { iotEdge: true } })
    await register('edge-of-group', { key: derivedKey(groupKey, 'edge-of-group') })
    expect(await device('edge-of-group')).toMatchObject({
      capabilities: { iotEdge: true },
      deviceScope: expect.stringMatching(/^ms-azure-iot-edge:\/\/edge-of-group-\d+$/),
    })
    const { body } = await hub('GET', '/devices/edge-of-group/modules?api-version=2021-04-12')
    expect((body as { moduleId: string }[]).map(({ moduleId }) => moduleId).toSorted()).toEqual([
      '$edgeAgent',
      '$edgeHub',
    ])
  })
})
