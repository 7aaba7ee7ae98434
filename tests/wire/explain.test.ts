import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuthority, issueDeviceCertificate } from '../../src/crypto/issuing.ts'
import { stopClean } from '../support/clean-stop.ts'
import { muster as runMuster } from '../support/command-line.ts'
import { manage, managed, uploadCa } from '../support/control-plane.ts'
import { type Asking, type DeviceApi, deviceApi, operationOf } from '../support/device-api.ts'
import { caReferences, clientCertificates, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, fullChain, leafOnly, type Pki, withoutRoot } from '../support/pki.ts'
import type { RawAnswer } from '../support/raw-https.ts'
import { connectMqtt, rawConnect, rawPublish, rawSubscribe, readMessage } from '../support/raw-mqtt.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey, sasToken, unixNow } from '../support/tokens.ts'
import { type TpmDouble, tpmDouble } from '../support/tpm-double.ts'

// Why was my device refused? Every refusal is explained on one screen that names cause and remedy, no screen holds a
// secret, and what the device is told stays as Azure says it (users-and-lessons.md 1, #3; dps.md 1.6, 8.1 to 8.3).

const DAY_MS = 24 * 60 * 60 * 1000
const golden = join(import.meta.dirname, '..', 'golden', 'explain')

let muster: TestMuster
let device: DeviceApi
let dps: Enrolling
let pki: Pki
let readyFile: string

/** Everything that was made here and must not stand in any trace or log. */
const secrets = new Set<string>()
const secret = (text: string): string => {
  secrets.add(text)
  return text
}
const key = (): string => secret(newKey())
const screens: string[] = []

beforeAll(async () => {
  muster = await startMuster()
  device = deviceApi(muster)
  dps = enrolling(muster)
  pki = await createPki('Plant')
  for (const { key: privateKey } of Object.values(pki)) secret(privateKey)
  readyFile = join(muster.folder, 'ready.json')
  writeFileSync(join(muster.folder, 'token'), secret(muster.app.managementToken))
  const { addresses } = muster
  const management = { url: `http://127.0.0.1:${addresses.ports.management}`, tokenFile: join(muster.folder, 'token') }
  writeFileSync(readyFile, JSON.stringify({ ...addresses, caFile: muster.app.caFile, management }))
  await uploadCa(muster, 'plant', pki.root.certificate)
  await dps.enrollGroup('plant', caReferences('plant'))
})

const held = (): string[] =>
  [...secrets].flatMap((each) => [each, encodeURIComponent(each), each.replaceAll('\n', '\\n')])

afterAll(async () => {
  const everything = [...screens, ...muster.logged].join('\n')
  for (const each of held()) expect(everything.includes(each), 'a secret in a trace or in the log').toBe(false)
  expect(secrets.size).toBeGreaterThan(40)
  await stopClean(muster)
})

const explain = (...words: string[]) =>
  runMuster(['dps', 'registration', 'explain', ...words], { readyFile, cwd: muster.folder })

const signed = (registrationId: string, by: string, more: { se?: number; sr?: string } = {}): string => {
  const { se = unixNow() + 3600, sr = `${muster.addresses.idScope}/registrations/${registrationId}` } = more
  const token = sasToken({ sr, key: by, se, skn: 'registration' })
  const [, sig = ''] = /sig=([^&]+)/.exec(token) ?? []
  secret(token)
  secret(sig)
  secret(decodeURIComponent(sig))
  return token
}

const certificate = async (...args: Parameters<typeof deviceCertificate>) => {
  const issued = await deviceCertificate(...args)
  secret(issued.key)
  return issued
}

interface Case {
  readonly name: string
  readonly reason: string
  /** What the device is told. */
  readonly told: { readonly errorCode: number; readonly message: string | RegExp }
  readonly asking: (id: string) => Promise<Omit<Asking, 'registrationId'>>
}

const UNAUTHORIZED = { errorCode: 401002, message: 'Unauthorized' }
const INVALID = { errorCode: 401002, message: 'Invalid certificate' }
const NO_CA = { errorCode: 401002, message: 'CA certificate not found' }

const enrolledKey = async (id: string): Promise<string> => {
  const own = key()
  await dps.enroll(id, symmetricKeys(own, key()))
  return own
}

const cases: readonly Case[] = [
  {
    name: 'wrong-key',
    reason: 'signature-mismatch',
    told: UNAUTHORIZED,
    asking: async (id) => {
      await enrolledKey(id)
      return { authorization: signed(id, key()) }
    },
  },
  {
    name: 'group-key-itself',
    reason: 'group-key-itself',
    told: UNAUTHORIZED,
    asking: async (id) => {
      const groupKey = key()
      await dps.enrollGroup('line-1', symmetricKeys(groupKey, key()))
      return { authorization: signed(id, groupKey) }
    },
  },
  {
    name: 'no-derived-key',
    reason: 'no-group-key-matches',
    told: UNAUTHORIZED,
    asking: async (id) => ({ authorization: signed(id, secret(derivedKey(key(), id))) }),
  },
  {
    name: 'stranger-with-same-name',
    reason: 'thumbprint-mismatch',
    told: INVALID,
    asking: async (id) => {
      await dps.enroll(id, clientCertificates((await certificate(id)).certificate))
      return { certificate: leafOnly(await certificate(id)) }
    },
  },
  {
    name: 'missing-intermediate',
    reason: 'issuer-not-found',
    told: NO_CA,
    asking: async (id) => ({ certificate: leafOnly(await certificate(id, pki.second)) }),
  },
  {
    name: 'expired-leaf',
    reason: 'expired',
    told: INVALID,
    asking: async (id) => ({ certificate: withoutRoot(await certificate(id, pki.second, { expiredDays: 3 })) }),
  },
  {
    name: 'not-yet-valid',
    reason: 'not-yet-valid',
    told: INVALID,
    asking: async (id) => {
      const common = { commonName: id, keyType: 'ec', days: 30 } as const
      const issued = await issueDeviceCertificate({ ...common, now: Date.now() + 20 * DAY_MS, authority: pki.second })
      secret(issued.key)
      return { certificate: withoutRoot(issued) }
    },
  },
  {
    name: 'unverified-ca',
    reason: 'authority-not-verified',
    told: NO_CA,
    asking: async (id) => {
      const root = await createAuthority({ commonName: 'Shop root', days: 9, keyType: 'ec', now: Date.now() })
      secret(root.key)
      await uploadCa(muster, 'shop', root.certificate, { verified: false })
      return { certificate: fullChain(await certificate(id, root)) }
    },
  },
  {
    name: 'unknown-root',
    reason: 'untrusted-root',
    told: NO_CA,
    asking: async (id) => {
      const root = await createAuthority({ commonName: 'Nobody', days: 9, keyType: 'ec', now: Date.now() })
      secret(root.key)
      return { certificate: fullChain(await certificate(id, root)) }
    },
  },
  {
    name: 'self-signed',
    reason: 'self-signed',
    told: NO_CA,
    asking: async (id) => ({ certificate: leafOnly(await certificate(id)) }),
  },
  {
    name: 'no-group',
    reason: 'no-group-for-authority',
    told: UNAUTHORIZED,
    asking: async (id) => {
      const root = await createAuthority({ commonName: 'Idle root', days: 9, keyType: 'ec', now: Date.now() })
      secret(root.key)
      await uploadCa(muster, 'idle', root.certificate)
      return { certificate: leafOnly(await certificate(id, root)) }
    },
  },
  {
    name: 'other-common-name',
    reason: 'common-name-mismatch',
    told: INVALID,
    asking: async () => ({ certificate: withoutRoot(await certificate('somebody-else', pki.second)) }),
  },
  {
    name: 'other-attestation',
    reason: 'attestation-mismatch',
    told: UNAUTHORIZED,
    asking: async (id) => {
      await enrolledKey(id)
      return { certificate: leafOnly(await certificate(id)) }
    },
  },
  {
    name: 'wrong-id-scope',
    reason: 'unknown-id-scope',
    told: UNAUTHORIZED,
    asking: async (id) => {
      const sr = `0neDEADBEEF/registrations/${id}`
      return { idScope: '0neDEADBEEF', authorization: signed(id, await enrolledKey(id), { sr }) }
    },
  },
  {
    name: 'token-expired',
    reason: 'token-expired',
    told: UNAUTHORIZED,
    asking: async (id) => ({ authorization: signed(id, await enrolledKey(id), { se: unixNow() - 3600 }) }),
  },
  {
    name: 'token-for-another-resource',
    reason: 'token-for-another-resource',
    told: UNAUTHORIZED,
    asking: async (id) => ({ authorization: signed(id, await enrolledKey(id), { sr: `hub.example/devices/${id}` }) }),
  },
  {
    name: 'token-malformed',
    reason: 'token-malformed',
    told: UNAUTHORIZED,
    asking: async (id) => ({ authorization: `SharedAccessSignature ${await enrolledKey(id)}` }),
  },
  { name: 'no-credential', reason: 'no-credential', told: UNAUTHORIZED, asking: async () => ({}) },
]

/** What differs from run to run. */
const steady = (text: string): string =>
  text
    .replaceAll(muster.addresses.idScope, '<id scope>')
    .replaceAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, '<guid>')
    .replaceAll(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>')
    .replaceAll(/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g, '<time> UTC')
    .replaceAll(/\b[0-9A-F]{64}\b/g, '<SHA-256>')
    .replaceAll(/\b[0-9A-F]{40}\b/g, '<SHA-1>')
    .replaceAll(/\b(fingerprint|expected|found): [0-9a-f]{12}\b/g, '$1: <fingerprint>')
    .replaceAll(/127\.0\.0\.1:\d+/g, '127.0.0.1:<port>')

function expectGolden(name: string, screen: string): void {
  const file = join(golden, `${name}.txt`)
  if (process.env['UPDATE_GOLDEN'] === '1') {
    mkdirSync(golden, { recursive: true })
    writeFileSync(file, steady(screen))
  }
  expect(steady(screen), 'UPDATE_GOLDEN=1 rewrites it').toBe(readFileSync(file, 'utf8'))
  // One screen: a terminal of 50 lines and 100 columns.
  const lines = screen.trimEnd().split('\n')
  expect(lines.length).toBeLessThanOrEqual(50)
  for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(120)
}

async function expectExplained(name: string, id: string, reason: string, outcome: string): Promise<void> {
  const shown = await explain('--registration-id', id)
  expect(shown).toMatchObject({ code: 0, err: '' })
  screens.push(shown.out)
  expectGolden(name, shown.out)
  expect(shown.out).toMatch(new RegExp(`^${id}: ${outcome}`))
  expect(shown.out).toContain(`  Reason       ${reason}\n`)
}

test.for(cases.map((each) => [each.name, each] as const))('%s', async ([name, { reason, told, asking }]) => {
  const asked = { registrationId: name, ...(await asking(name)) }
  const answer = await device.register(asked)
  expectAzure(answer, told)
  await expectExplained(name, name, reason, 'refused')

  const { trackingId } = answer.json() as { trackingId: string }
  const tracked = await explain('--tracking-id', trackingId, '--output', 'json')
  screens.push(tracked.out)
  const { value } = JSON.parse(tracked.out) as { value: Record<string, unknown>[] }
  expect(value).toHaveLength(1)
  expect(value[0]).toMatchObject({ trackingId, reason, operation: 'register', transport: 'HTTPS' })
})

/** Code and words of the real service, and nothing of ours beside them (dps.md 1.6). */
function expectAzure(answer: RawAnswer, told: Case['told']): void {
  expect(answer.status).toBe(Math.floor(told.errorCode / 1000))
  const body = answer.json() as Record<string, unknown>
  expect(Object.keys(body).sort()).toEqual(['errorCode', 'message', 'timestampUtc', 'trackingId'])
  expect(body).toMatchObject({ errorCode: told.errorCode, message: told.message })
}

test('a device that is disabled, by its registration and by the tracking id of its request', async () => {
  const own = key()
  await dps.enroll('disabled', { ...symmetricKeys(own, key()), provisioningStatus: 'disabled' })
  const asking = { registrationId: 'disabled', authorization: signed('disabled', own) }
  const opened = await device.register(asking)
  const answer = await device.settle(asking, operationOf(opened))
  expect((answer.json() as { status: string }).status).toBe('disabled')
  await expectExplained('disabled-enrollment', 'disabled', 'enrollment-disabled', 'disabled')
  const [, trackingId = ''] = opened.headers.find(([name]) => name.toLowerCase() === 'x-ms-request-id') ?? []
  const tracked = await explain('--tracking-id', trackingId)
  expect(tracked.out).toContain('The enrollment that speaks for this device is disabled.')
})

test('devices that were assigned: by a chain, and by a derived key', async () => {
  const chained = { registrationId: 'chained', certificate: withoutRoot(await certificate('chained', pki.second)) }
  expect(((await device.settled(chained)).json() as { status: string }).status).toBe('assigned')
  await expectExplained('assigned-by-chain', 'chained', 'assigned', 'assigned')

  const groupKey = key()
  await dps.enrollGroup('line-2', symmetricKeys(groupKey, key()))
  const own = secret(derivedKey(groupKey, 'derived'))
  const derived = { registrationId: 'derived', authorization: signed('derived', own) }
  expect(((await device.settled(derived)).json() as { status: string }).status).toBe('assigned')
  const { out } = await explain('--registration-id', 'derived')
  screens.push(out)
  expect(out).toContain('signature-matches-derived-key')
  expect(out).toContain('enrollmentGroupId: line-2')
})

test('a refusal after a good registration comes first, the good one stays', async () => {
  const own = await enrolledKey('changed')
  await device.settled({ registrationId: 'changed', authorization: signed('changed', own) })
  await device.register({ registrationId: 'changed', authorization: signed('changed', key()) })
  const { out } = await explain('--registration-id', 'changed', '--output', 'json')
  screens.push(out)
  const { value } = JSON.parse(out) as { value: { outcome: string }[] }
  expect(value.map(({ outcome }) => outcome)).toEqual(['refused', 'assigned'])
  expect((await explain('--registration-id', 'changed')).out).toMatch(/Earlier attempts\n.+ assigned {2}assigned/)
  const table = await explain('--registration-id', 'changed', '--output', 'table')
  expect(table.out).toMatch(/^Time +Registration ID/)
})

test.each([
  ['MQTT', false],
  ['MQTT over WebSocket', true],
] as const)('a refusal over %s', async (transport, inWebSocket) => {
  const { address, ports, idScope } = muster.addresses
  const id = inWebSocket ? 'over-websocket' : 'over-mqtt'
  await enrolledKey(id)
  const client = await connectMqtt({
    address,
    port: inWebSocket ? ports.https : ports.mqtts,
    ca: muster.ca,
    ...(inWebSocket && { webSocket: { path: '/$iothub/websocket', protocol: 'mqtt' } }),
  })
  const username = `${idScope}/registrations/${id}/api-version=2019-03-31`
  client.write(
    rawConnect({ clientId: id, username, password: signed(id, key()), clean: true, keepAlive: 60 }),
    rawSubscribe(1, '$dps/registrations/res/#', 1),
    rawPublish('$dps/registrations/PUT/iotdps-register/?$rid=1', '', 2),
  )
  const packets = [await client.next(), await client.next(), await client.next(), await client.next()]
  const { trackingId } = JSON.parse(readMessage(packets[3]!).payload) as { trackingId: string }
  client.close()
  const { out } = await explain('--tracking-id', trackingId, '--output', 'json')
  screens.push(out)
  const { value } = JSON.parse(out) as { value: object[] }
  expect(value).toHaveLength(1)
  expect(value[0]).toMatchObject({ transport, source: address, registrationId: id, reason: 'signature-mismatch' })
})

test('a TPM that is not the enrolled one, and one that was challenged', async () => {
  const [mine, other] = [tpmDouble(), tpmDouble()]
  const attestation = { type: 'tpm', tpm: { endorsementKey: mine.endorsementKey } }
  await dps.enroll('chip', { attestation })
  const showing = ({ endorsementKey, storageRootKey }: TpmDouble) =>
    device.register({
      registrationId: 'chip',
      body: JSON.stringify({ registrationId: 'chip', tpm: { endorsementKey, storageRootKey } }),
    })
  for (const each of [mine, other]) {
    secret(each.endorsementKey)
    secret(each.storageRootKey)
  }
  const challenged = await showing(mine)
  const { authenticationKey } = challenged.json() as { authenticationKey: string }
  secret(authenticationKey)
  expect((await explain('--registration-id', 'chip')).out).toContain('  Reason       challenged\n')
  expect((await showing(other)).status).toBe(401)
  await expectExplained('another-tpm', 'chip', 'endorsement-key-mismatch', 'refused')
})

test('a request that is none, and a poll with another key', async () => {
  await device.register({ registrationId: 'ends-with-a-dot.', authorization: signed('ends-with-a-dot.', key()) })
  expect((await explain('--registration-id', 'ends-with-a-dot.')).out).toContain('400202')
  const own = await enrolledKey('polled')
  const asking = { registrationId: 'polled', authorization: signed('polled', own) }
  const operation = operationOf(await device.register(asking))
  await device.poll({ ...asking, authorization: signed('polled', key()) }, operation)
  const { out } = await explain('--registration-id', 'polled', '--output', 'json')
  screens.push(out)
  const { value } = JSON.parse(out) as { value: object[] }
  expect(value[0]).toMatchObject({ operation: 'status', reason: 'signature-mismatch', outcome: 'refused' })
})

test('a terminal is not written to by a stranger’s certificate', async () => {
  const evil = '\u001b]0;gotcha\u0007\u202e'
  const issued = await certificate(`evil${evil}`)
  await device.register({ registrationId: 'evil', certificate: leafOnly(issued) })
  const { out } = await explain('--registration-id', 'evil')
  const json = await explain('--registration-id', 'evil', '--output', 'json')
  for (const text of [out, json.out]) {
    expect(text).toContain('gotcha')
    for (const character of ['\u0007', '\u001b', '\u202e', '\\u001b']) expect(text).not.toContain(character)
  }
})

test('wrong usage, unknown ids, and no token', async () => {
  expect(await explain()).toMatchObject({ code: 2, out: '' })
  expect(await explain('--rid', 'a', '--tid', 'b')).toMatchObject({ code: 2, out: '' })
  const unknown = await explain('--rid', 'never-seen')
  expect(unknown).toMatchObject({ code: 1, out: '' })
  expect(unknown.err).toContain('no attempt of "never-seen" is known')
  const path = `/muster/provisioningServices/${muster.addresses.dps.name}/attempts`
  expect((await manage(muster, 'GET', path)).status).toBe(400)
  expect((await manage(muster, 'GET', `${path}?registrationId=a&trackingId=b`)).status).toBe(400)
  const long = (length: number) => manage(muster, 'GET', `${path}?registrationId=${'x'.repeat(length)}`)
  expect((await long(128)).status).toBe(200)
  expect((await long(129)).status).toBe(400)
  expect((await manage(muster, 'GET', '/muster/provisioningServices/nobody/attempts?trackingId=b')).status).toBe(404)
  const { management } = muster.addresses.ports
  expect((await fetch(`http://127.0.0.1:${management}${path}?trackingId=b`)).status).toBe(401)
})

test('no hub is linked', async () => {
  const name = muster.addresses.dps.name
  const path = `/provisioningServices/${name}`
  const found = (await managed(muster, 'GET', path)) as { location: string; properties: object }
  await managed(muster, 'PUT', path, {
    body: { ...found, properties: { ...found.properties, iotHubs: [] } },
    headers: { 'If-Match': '*' },
  })
  const asking = { registrationId: 'no-hub', authorization: signed('no-hub', await enrolledKey('no-hub')) }
  expect(((await device.settled(asking)).json() as { status: string }).status).toBe('failed')
  await expectExplained('no-hub-linked', 'no-hub', 'no-hub-to-choose', 'failed')
})
