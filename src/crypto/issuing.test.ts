import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { connect, createServer } from 'node:tls'
import { beforeAll, describe, expect, test } from 'vitest'
import { authority, type Keys, keyIdOf, NOW, name, pem } from '../../tests/certificates.ts'
import { type Certificate, CertificateError, readCertificates } from './certificates.ts'
import { proveSignedBy, validateChain } from './chains.ts'
import {
  createAuthority,
  type Issued,
  issueDeviceCertificate,
  issueServerCertificate,
  issueVerificationCertificate,
} from './issuing.ts'

const DAY = 24 * 3600 * 1000
const one = (issued: Issued): Certificate => readCertificates(issued.certificate)[0]!

describe.each(['ec', 'rsa'] as const)('%s', (keyType) => {
  let root: Issued
  let middle: Issued
  beforeAll(async () => {
    root = await createAuthority({ commonName: 'Root', days: 365, keyType, now: NOW })
    middle = await createAuthority({ commonName: 'Middle', days: 365, keyType, now: NOW, issuer: root, pathLength: 0 })
  })

  test('a device below an intermediate passes the own validator and OpenSSL', async () => {
    const issued = await issueDeviceCertificate({
      authority: middle,
      commonName: 'dev-001',
      days: 30,
      keyType,
      now: NOW,
    })
    const [leaf, ...presented] = readCertificates(issued.chain)
    expect(presented.map((each) => each.commonName)).toEqual(['Middle', 'Root'])
    const verdict = validateChain({ leaf: leaf!, presented: presented.slice(0, 1), anchors: [one(root)], now: NOW })
    expect(verdict).toMatchObject({ ok: true, validUntil: NOW + 30 * DAY })
    expect(leaf!.x509.checkIssued(presented[0]!.x509) && leaf!.x509.verify(presented[0]!.publicKey)).toBe(true)
    expect(leaf!.x509.checkPrivateKey(createPrivateKey(issued.key))).toBe(true)
  })

  test('extensions are those of certGen.sh (edge.md 8.1)', async () => {
    expect(one(root).extensions).toMatchObject({
      basicConstraints: { ca: true, pathLength: undefined },
      keyUsage: { keyCertSign: true },
      extendedKeyUsage: undefined,
    })
    expect(one(middle).extensions.basicConstraints).toEqual({ ca: true, pathLength: 0 })
    expect(one(middle).extensions.authorityKeyId).toBe(one(root).extensions.subjectKeyId)
    const leaf = one(await issueDeviceCertificate({ authority: middle, commonName: 'd', days: 1, keyType, now: NOW }))
    expect(leaf.extensions).toMatchObject({
      basicConstraints: { ca: false },
      keyUsage: { keyCertSign: false },
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.4'],
      authorityKeyId: one(middle).extensions.subjectKeyId,
    })
  })

  test('a self-signed device is its own proof', async () => {
    const issued = await issueDeviceCertificate({ commonName: 'alone', days: 30, keyType, now: NOW })
    const leaf = one(issued)
    expect(issued.chain).toBe(issued.certificate)
    expect(proveSignedBy(leaf, leaf)).toEqual({ ok: true })
    expect(validateChain({ leaf, presented: [], anchors: [leaf], now: NOW }).ok).toBe(true)
  })

  test('a verification certificate proves possession', async () => {
    const proof = one(await issueVerificationCertificate({ authority: root, code: 'A1B2C3', now: NOW }))
    expect(proof.commonName).toBe('A1B2C3')
    expect(proveSignedBy(proof, one(root))).toEqual({ ok: true })
    expect(proveSignedBy(proof, one(middle))).toMatchObject({ ok: false })
  })
})

describe('server certificates', () => {
  test('carry names and addresses, and clients accept them', async () => {
    const now = new Date(NOW).getTime()
    const root = await createAuthority({ commonName: 'Root', days: 20_000, keyType: 'ec', now })
    const names = ['localhost', 'dps.example.net', '*.devices.example.net', '127.0.0.1', '::1']
    const issued = await issueServerCertificate({ authority: root, names, days: 20_000, keyType: 'rsa', now })
    expect(one(issued).x509.subjectAltName).toBe(
      'DNS:localhost, DNS:dps.example.net, DNS:*.devices.example.net, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
    )
    expect(one(issued).commonName).toBe('localhost')
    expect(one(issued).extensions.extendedKeyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
    await handshake(issued, root, 'dps.example.net')
  })

  test('a first name above 64 characters is no common name', async () => {
    const root = await createAuthority({ commonName: 'Root', days: 1, keyType: 'ec', now: NOW })
    const long = `${'a'.repeat(60)}.${'b'.repeat(60)}.example`
    const both = await issueServerCertificate({
      authority: root,
      names: [long, 'h.example'],
      days: 1,
      keyType: 'ec',
      now: NOW,
    })
    expect(one(both).commonName).toBe('h.example')
    expect(one(both).x509.checkHost(long)).toBe(long)
  })

  test.each([
    ['no names', []],
    ['a blank', ['a b']],
    ['a URL', ['https://h.example']],
    ['nothing', ['']],
    ['too much', [`${'a.'.repeat(130)}example`]],
  ])('%s are refused', async (_, names) => {
    const root = await createAuthority({ commonName: 'Root', days: 1, keyType: 'ec', now: NOW })
    await expect(issueServerCertificate({ authority: root, names, days: 1, keyType: 'ec', now: NOW })).rejects.toThrow(
      CertificateError,
    )
  })
})

/** A TLS client with checks on connects to a server with this certificate. */
async function handshake(server: Issued, root: Issued, servername: string): Promise<void> {
  const listener = createServer({ cert: server.chain, key: server.key }, (socket) => socket.end())
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  try {
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ port: address.port, host: '127.0.0.1', servername, ca: root.certificate }, () => {
        socket.end()
        resolve()
      })
      socket.on('error', reject)
    })
  } finally {
    listener.close()
  }
}

test('every text ends with one newline, keys are PKCS#8', async () => {
  const root = await createAuthority({ commonName: 'Root', days: 1, keyType: 'ec', now: NOW })
  const { certificate, key, chain } = await issueDeviceCertificate({
    authority: root,
    commonName: 'd',
    days: 1,
    keyType: 'ec',
    now: NOW,
  })
  expect(certificate).toMatch(/^-----BEGIN CERTIFICATE-----\n[^-]+\n-----END CERTIFICATE-----\n$/)
  expect(key).toMatch(/^-----BEGIN PRIVATE KEY-----\n[^-]+\n-----END PRIVATE KEY-----\n$/)
  expect(chain).toBe(certificate + root.certificate)
})

test('serial numbers are positive, 16 bytes, and differ', async () => {
  const serials = await Promise.all(
    Array.from({ length: 20 }, () => createAuthority({ commonName: 'r', days: 1, keyType: 'ec', now: NOW })),
  )
  const texts = serials.map((each) => one(each).serialNumber)
  expect(new Set(texts).size).toBe(20)
  for (const text of texts) expect(text).toMatch(/^[4-7][0-9A-F]{31}$/)
})

test('a certificate does not outlive its issuer, and is valid for clocks an hour behind', async () => {
  const root = await createAuthority({ commonName: 'Root', days: 10, keyType: 'ec', now: NOW })
  const leaf = one(
    await issueDeviceCertificate({ authority: root, commonName: 'd', days: 30, keyType: 'ec', now: NOW }),
  )
  expect(leaf.notAfter).toBe(NOW + 10 * DAY)
  expect(leaf.notBefore).toBe(NOW - 3600 * 1000)
})

test('a long validity crosses 2050', async () => {
  const root = one(await createAuthority({ commonName: 'Root', days: 36_500, keyType: 'ec', now: NOW }))
  expect(root.notAfter).toBe(NOW + 36_500 * DAY)
})

test('a common name is taken as it is, not as a list of attributes', async () => {
  const odd = 'a, O=Contoso + CN=b "c"'
  const leaf = one(await issueDeviceCertificate({ commonName: odd, days: 1, keyType: 'ec', now: NOW }))
  expect(leaf.commonName).toBe(odd)
})

describe('an operator’s own authority', () => {
  const subject = name('C=DE', 'O=Contoso', 'CN=Own Root')
  const sec1 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const pkcs1 = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const own = (keys: Keys, type: 'sec1' | 'pkcs1'): Issued => {
    const certificate = pem(authority(subject, { keys, digest: type === 'sec1' ? 'sha384' : 'sha256' }).der)
    return { certificate, chain: certificate, key: keys.privateKey.export({ format: 'pem', type }).toString() }
  }

  test.each([
    ['EC P-384 key in SEC1 form', own(sec1, 'sec1')],
    ['RSA key in PKCS#1 form', own(pkcs1, 'pkcs1')],
  ])('with an %s issues; names and key ids chain', async (_, issuer) => {
    const leaf = one(
      await issueDeviceCertificate({ authority: issuer, commonName: 'd', days: 1, keyType: 'ec', now: NOW }),
    )
    const root = one(issuer)
    expect(leaf.issuerName.raw.equals(root.subjectName.raw)).toBe(true)
    expect(leaf.extensions.authorityKeyId).toBe(keyIdOf(root.publicKey).toString('hex'))
    expect(validateChain({ leaf, presented: [], anchors: [root], now: NOW }).ok).toBe(true)
  })

  test.each<[string, () => Promise<Issued>, RegExp]>([
    ['whose key is another’s', async () => ({ ...own(sec1, 'sec1'), key: own(pkcs1, 'pkcs1').key }), /does not belong/],
    ['whose key is no key', async () => ({ ...own(sec1, 'sec1'), key: 'nothing' }), /cannot be read/],
    ['without a certificate', async () => ({ ...own(sec1, 'sec1'), certificate: '' }), /found nothing/],
    [
      'that has expired',
      () => createAuthority({ commonName: 'old', days: 1, keyType: 'ec', now: NOW - 2 * DAY }),
      /has expired/,
    ],
    [
      'that is a device',
      () => issueDeviceCertificate({ commonName: 'd', days: 1, keyType: 'ec', now: NOW }),
      /not a certificate authority/,
    ],
  ])('%s is refused', async (_, make, message) => {
    const issued = issueVerificationCertificate({ authority: await make(), code: 'X', now: NOW })
    await expect(issued).rejects.toThrow(CertificateError)
    await expect(issued).rejects.toThrow(message)
  })
})

test.each([
  ['no common name', '', 1],
  ['a common name of 65 characters', 'x'.repeat(65), 1],
  ['no days', 'd', 0],
  ['days that are no number', 'd', Number.NaN],
])('%s: refused', async (_, commonName, days) => {
  await expect(issueDeviceCertificate({ commonName, days, keyType: 'ec', now: NOW })).rejects.toThrow(CertificateError)
})
