import type { Random } from '../../src/base/random.ts'
import { derivedKey, sas, serviceToken } from '../support/raw-client.ts'
import { below, mutated, pick } from './mutations.ts'

/** What the inputs need to know of a service, to get past its doors often enough. */
export interface HttpSubject {
  readonly idScope: string
  /** Key of the enrollment group that registrations of the corpus use, base64. */
  readonly groupKey: string
  readonly dps: { readonly hostName: string; readonly connectionString: string }
  readonly hub: { readonly hostName: string; readonly connectionString: string }
  /** A certificate as PEM text. */
  readonly certificate: string
}

const request = (line: string, headers: Readonly<Record<string, string>>, body?: unknown): Buffer => {
  const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)
  const length = body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(text)) }
  const lines = Object.entries({ ...headers, ...length }).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`${line} HTTP/1.1\r\n${lines.join('')}\r\n${text}`)
}

const JSON_TYPE = { 'Content-Type': 'application/json; charset=utf-8' }

/** Requests as real clients send them, with valid credentials, to be mutated. */
export function httpInputs(subject: HttpSubject): Buffer[] {
  return [...deviceInputs(subject), ...enrollmentInputs(subject), ...hubInputs(subject), ...shapes(subject)]
}

/** TPM2B_PUBLIC of an endorsement key (attestation-crypto.md A4.4). */
const TPM_KEY =
  'AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAp8HXmUcILme4tbObBNBFVYebTlRW6ANvrPoKT9/uBJW1UhmwxKq/wfQClxPo' +
  'IZS42tP31euZCOlxMQ/W+rXG6cTXjkp8zkTVAf+776URvkoPGx3DptR0yH4B5GQ6AnDeBPkD//+VOXEDJ2YxnZxrMyS7Nmu8TAJfIrchntXT1GxpxY42Q3he+E/LTLaumzSYcw2k' +
  'QbscyB08tkkyLEcXR1/k84BhBy7MfZ47v+ja/lDcmrd2cn/QoXZY3rcOvhpQ2E3bNJEae+azYiCaTPpRpqBusfR9HhzbGdwj89NRlqTicdMKUCIcyGR9OQpTjAy2PJrLi3Rb5xZZ' +
  'pm5gIVuMSQ=='

function deviceInputs({ idScope, groupKey, dps }: HttpSubject): Buffer[] {
  const path = `/${idScope}/registrations/fuzz-1`
  const headers = {
    Host: dps.hostName,
    Authorization: sas(path.slice(1), derivedKey(groupKey, 'fuzz-1'), 'registration'),
    'User-Agent': 'azure-iot-provisioning-device/1.9.1',
    Accept: 'application/json',
    ...JSON_TYPE,
  }
  const body = { registrationId: 'fuzz-1', payload: { a: [1, { b: null }] } }
  const tpm = { endorsementKey: TPM_KEY, storageRootKey: TPM_KEY }
  const { Authorization: _, ...unsigned } = headers
  return [
    request(`PUT ${path}/register?api-version=2021-06-01`, headers, body),
    request(`PUT ${path}/register?api-version=2019-03-31`, headers, ''),
    request(`PUT /${idScope}/registrations/fuzz-e1/register?api-version=2021-06-01`, unsigned, { tpm }),
    request(`GET ${path}/operations/5.fuzz.0a1b?api-version=2021-06-01`, headers),
    request(`POST ${path}?api-version=2021-06-01`, headers, body),
  ]
}

function enrollmentInputs({ dps, certificate }: HttpSubject): Buffer[] {
  const headers = { Host: dps.hostName, Authorization: serviceToken(dps.connectionString), ...JSON_TYPE }
  const version = 'api-version=2021-10-01'
  const enrollment = {
    registrationId: 'fuzz-e1',
    deviceId: 'fuzz-device',
    attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: 'QUFBQUFBQUFBQUFBQUFBQQ==', secondaryKey: '' } },
    provisioningStatus: 'enabled',
    reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false },
    initialTwin: { tags: { floor: 1 }, properties: { desired: { a: { b: [1, 2] } } } },
    allocationPolicy: 'hashed',
    iotHubs: [],
    capabilities: { iotEdge: false },
    optionalDeviceInformation: { note: 'x' },
  }
  const x509 = { type: 'x509', x509: { clientCertificates: { primary: { certificate } } } }
  const tpm = { type: 'tpm', tpm: { endorsementKey: TPM_KEY } }
  const group = { ...enrollment, enrollmentGroupId: 'fuzz-g1', registrationId: undefined, deviceId: undefined }
  return [
    request(`PUT /enrollments/fuzz-e1?${version}`, headers, enrollment),
    request(
      `PUT /enrollments/fuzz-e1?${version}`,
      { ...headers, 'If-Match': '"AAAA"' },
      { ...enrollment, attestation: x509 },
    ),
    request(
      `PUT /enrollments/fuzz-e1?${version}`,
      { ...headers, 'If-Match': '*' },
      { ...enrollment, attestation: tpm },
    ),
    request(`PUT /enrollmentGroups/fuzz-g1?${version}`, headers, group),
    request(`GET /enrollments/fuzz-e1?${version}`, headers),
    request(`POST /enrollments/fuzz-e1/attestationmechanism?${version}`, headers, ''),
    request(`DELETE /enrollments/fuzz-e1?${version}`, { ...headers, 'If-Match': '*' }),
    request(
      `POST /enrollments/query?${version}`,
      { ...headers, 'x-ms-max-item-count': '2' },
      { query: 'SELECT * FROM enrollments' },
    ),
    request(`POST /enrollments?${version}`, headers, { mode: 'create', enrollments: [enrollment] }),
    request(`POST /registrations/fuzz-g1/query?${version}`, { ...headers, 'x-ms-continuation': 'abc' }, ''),
    request(`GET /registrations/fuzz-1?${version}`, headers),
  ]
}

function hubInputs({ hub }: HttpSubject): Buffer[] {
  const headers = { Host: hub.hostName, Authorization: serviceToken(hub.connectionString), ...JSON_TYPE }
  const version = 'api-version=2021-04-12'
  const key = 'QUFBQUFBQUFBQUFBQUFBQQ=='
  const device = {
    deviceId: 'fuzz-d1',
    status: 'enabled',
    statusReason: 'because',
    capabilities: { iotEdge: true },
    authentication: { type: 'sas', symmetricKey: { primaryKey: key, secondaryKey: key } },
  }
  const thumbprints = {
    type: 'selfSigned',
    x509Thumbprint: { primaryThumbprint: 'A'.repeat(40), secondaryThumbprint: null },
  }
  return [
    request(`PUT /devices/fuzz-d1?${version}`, headers, device),
    request(
      `PUT /devices/fuzz-d2?${version}`,
      { ...headers, 'If-Match': '"AAAA"' },
      { ...device, authentication: thumbprints },
    ),
    request(`POST /devices?${version}`, headers, [{ id: 'fuzz-d3', importMode: 'create', status: 'enabled' }]),
    request(`GET /devices?top=5&${version}`, headers),
    request(`GET /devices/fuzz-d1?${version}`, headers),
    request(`PUT /devices/fuzz-d1/modules/m1?${version}`, headers, {
      deviceId: 'fuzz-d1',
      moduleId: 'm1',
      managedBy: 'x',
    }),
    request(`GET /twins/fuzz-d1?${version}`, headers),
    request(`POST /devices%2Fquery?${version}`, headers, { query: 'SELECT * FROM devices' }),
    request(`POST /devices/fuzz-d1?${version}`, { ...headers, 'X-HTTP-Method-Override': 'PATCH' }, {}),
    request(`DELETE /devices/fuzz-d1?${version}`, { ...headers, 'If-Match': '*' }),
    request(`GET /statistics/devices?${version}`, headers),
  ]
}

/** HTTP itself: framing, methods, upgrades, several requests in one segment. */
function shapes({ dps, idScope }: HttpSubject): Buffer[] {
  const host = { Host: dps.hostName }
  const get = request('GET /enrollments/x?api-version=2021-10-01', host)
  return [
    Buffer.concat([get, get, request('HEAD / HTTP/1.1', host)]),
    Buffer.from(
      `PUT /${idScope}/registrations/a/register?api-version=2021-06-01 HTTP/1.1\r\nHost: ${dps.hostName}\r\n` +
        'Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\nx: y\r\n\r\n',
    ),
    request('POST /enrollments/query', { ...host, Expect: '100-continue', Connection: 'close' }, '{}'),
    request('OPTIONS *', host),
    request('GET /$iothub/websocket', {
      ...host,
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Key': 'AAAA',
    }),
    request('CONNECT localhost:443', host),
    Buffer.from(`GET http://${dps.hostName}/devices?top=1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`),
    request(`GET /${'%41'.repeat(200)}?${'a=b&'.repeat(200)}`, { ...host, 'X-Long': 'x'.repeat(4_000) }),
  ]
}

/**
 * A mutated request. Many are mutated as bytes and end at the door; in the others the body alone is, as bytes or as
 * JSON, and the frame is kept right, so that they reach the rules behind.
 */
export function mutatedRequest(random: Random, corpus: readonly Buffer[]): Buffer {
  const way = random.fraction()
  if (way < 0.4) return mutated(random, corpus)
  const [head = '', body = ''] = pick(random, corpus).toString('latin1').split('\r\n\r\n')
  const framed = (changed: Buffer): Buffer =>
    Buffer.concat([
      Buffer.from(`${head.replace(/Content-Length: \d+/, `Content-Length: ${changed.length}`)}\r\n\r\n`),
      changed,
    ])
  if (way < 0.5) return framed(mutated(random, [Buffer.from(body, 'latin1')]))
  try {
    return framed(Buffer.from(JSON.stringify(changedJson(random, JSON.parse(body)))))
  } catch {
    return mutated(random, corpus)
  }
}

const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) })

const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e300,
  '',
  ' ',
  'x',
  'x'.repeat(200),
  'y'.repeat(5_000),
  'a/b?c#d%41+é\u0000\ud800',
  '__proto__',
  'constructor',
  '2026-13-45T99:99:99Z',
  [],
  [null],
  [[1], 'x', {}],
  {},
  { a: 1 },
  { $version: 3 },
  deep(12),
  deep(500),
]

/** One member or element somewhere in `value` replaced, removed or renamed. */
function changedJson(random: Random, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || random.fraction() < 0.15) return pick(random, ODD_VALUES)
  const entries = Object.entries(value)
  const at = below(random, entries.length + 1)
  const entry = entries[at]
  if (entry === undefined) {
    entries.push([pick(random, ['__proto__', 'extra', '$x', 'a.b', 'etag']), pick(random, ODD_VALUES)])
    return rebuilt(value, entries)
  }
  switch (pick(random, ['remove', 'rename', 'change', 'change', 'change', 'change', 'change', 'change'])) {
    case 'remove':
      entries.splice(at, 1)
      break
    case 'rename':
      entry[0] = pick(random, [entry[0].toUpperCase(), '__proto__', `${entry[0]}x`])
      break
    default:
      entry[1] = changedJson(random, entry[1])
  }
  return rebuilt(value, entries)
}

const rebuilt = (like: object, entries: readonly (readonly [string, unknown])[]): unknown =>
  Array.isArray(like) ? entries.map(([, each]) => each) : Object.fromEntries(entries)

/** Status codes of the answers in `output`; throws unless it consists of answers. */
export function statusesIn(output: Buffer): number[] {
  const text = output.toString('latin1')
  if (text !== '' && !text.startsWith('HTTP/1.1 '))
    throw new Error(`no HTTP answer: ${JSON.stringify(text.slice(0, 80))}`)
  return [...text.matchAll(/(?:^|\n|})HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
}
