import { once } from 'node:events'
import tls from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { connectRaw, exchangeRaw, type RawTarget, requestText } from '../support/raw-https.ts'
import { enrolling } from '../support/service-client.ts'
import { dpsTokens, unixNow } from '../support/tokens.ts'

// What old and plain HTTP and TLS stacks do (dps.md 1.7, 8.6; attestation-crypto.md B2).

let muster: TestMuster
let target: RawTarget
let authorization: string

beforeAll(async () => {
  muster = await startMuster()
  const { address, ports, idScope } = muster.addresses
  target = { address, port: ports.https, ca: muster.ca }
  const key = newKey()
  await enrolling(muster).enroll('plain', symmetricKeys(key, newKey()))
  authorization = dpsTokens['python']?.(idScope, 'plain', key, unixNow()) ?? ''
})
afterAll(() => stopClean(muster))

async function handshake(
  options: tls.ConnectionOptions,
): Promise<{ protocol: string | null; keyType: string | undefined }> {
  const { address, ports } = muster.addresses
  const socket = tls.connect({ host: address, port: ports.https, ca: muster.ca, ...options })
  try {
    await once(socket, 'secureConnect')
    const certificate = socket.getPeerX509Certificate()
    return { protocol: socket.getProtocol(), keyType: certificate?.publicKey.asymmetricKeyType }
  } finally {
    socket.destroy()
  }
}

test.for([
  ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ec'],
  ['ECDHE-ECDSA-AES256-GCM-SHA384', 'ec'],
  ['ECDHE-RSA-AES128-GCM-SHA256', 'rsa'],
  ['ECDHE-RSA-AES256-GCM-SHA384', 'rsa'],
  ['ECDHE-RSA-AES128-SHA256', 'rsa'],
  ['ECDHE-RSA-AES256-SHA384', 'rsa'],
] as const)('TLS 1.2 with %s finds the %s certificate', async ([ciphers, keyType]) => {
  const found = await handshake({ maxVersion: 'TLSv1.2', ciphers })
  expect(found).toEqual({ protocol: 'TLSv1.2', keyType })
})

test('TLS 1.3 is spoken, TLS 1.1 is not', async () => {
  expect((await handshake({ minVersion: 'TLSv1.3' })).protocol).toBe('TLSv1.3')
  await expect(
    handshake({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
  ).rejects.toMatchObject({ code: expect.stringMatching(/^E/) })
})

const head = (more: string): string =>
  `PUT /${muster.addresses.idScope}/registrations/plain/register?api-version=2019-03-31 HTTP/1.1
  Host: dps.example.net
  Authorization: ${authorization}
  Content-Type: application/json
  ${more}`

test('a client that waits for 100 Continue before it sends its body', async () => {
  const connection = await connectRaw(target)
  const body = '{"registrationId":"plain"}'
  const proceed = await connection.exchange(
    requestText(head(`Expect: 100-continue\nContent-Length: ${Buffer.byteLength(body)}`)),
  )
  expect(proceed.statusLine).toBe('HTTP/1.1 100 Continue')
  expect((await connection.exchange(body)).status).toBe(202)
  connection.close()
})

test('a body in chunks', async () => {
  const chunked = '10\r\n{"registrationId\r\n9\r\n":"plain"\r\n1\r\n}\r\n0\r\n\r\n'
  const answer = await exchangeRaw(target, requestText(head('Transfer-Encoding: chunked')) + chunked)
  expect(answer.status, answer.body).toBe(202)
})

test('requests one after the other on one connection, and one that ends it', async () => {
  const connection = await connectRaw(target)
  for (let at = 0; at < 5; at++)
    expect((await connection.exchange(requestText(head('Content-Length: {length}'), '{}'))).status).toBe(202)
  const last = await connection.exchange(requestText(head('Connection: close\nContent-Length: {length}'), '{}'))
  expect(last.header('connection')).toBe('close')
  connection.close()
})

test.for([
  ['no request line', 'rubbish\r\n\r\n'],
  ['two lengths', 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'],
  [
    'a length and chunks',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
  ['20 KB of headers', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`],
] as const)('%s is refused, and the next client is served', async ([, request]) => {
  const refused = await exchangeRaw(target, request).then(
    ({ status }) => status,
    () => 'closed',
  )
  expect(['closed', 400, 404, 431]).toContain(refused)
  expect((await exchangeRaw(target, requestText(head('Content-Length: {length}'), '{}'))).status).toBe(202)
})
