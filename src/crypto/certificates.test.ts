import { X509Certificate } from 'node:crypto'
import { expect, test } from 'vitest'
import {
  attribute,
  authority,
  basicConstraints,
  boolean,
  certificate,
  device,
  ecKeys,
  explicit,
  extension,
  ia5,
  integer,
  keyUsage,
  name,
  nameOf,
  octets,
  oid,
  pem,
  printable,
  sequence,
  tlv,
  utf8,
} from '../../tests/certificates.ts'
import { limits } from '../base/limits.ts'
import { CertificateError, certificateInfo, parseCertificate, readCertificates } from './certificates.ts'

const keys = ecKeys()
const root = authority('root', { keys })
const leaf = device('dev-001', root, { keys })
const parsed = (shape: Partial<Parameters<typeof certificate>[0]>) =>
  parseCertificate(certificate({ subject: 'x', keys, ...shape }).der)

test('what is read agrees with OpenSSL', () => {
  const own = parseCertificate(leaf.der)
  const node = new X509Certificate(leaf.der)
  expect(own.sha256).toBe(node.fingerprint256.replaceAll(':', ''))
  expect(own.sha1).toBe(node.fingerprint.replaceAll(':', ''))
  expect(own.serialNumber).toBe(node.serialNumber)
  expect(own.notBefore).toBe(Date.parse(node.validFrom))
  expect(own.notAfter).toBe(Date.parse(node.validTo))
  expect(own.publicKey.equals(node.publicKey)).toBe(true)
  expect(own.x509.raw.equals(leaf.der)).toBe(true)
  expect(own).toMatchObject({ version: 3, commonName: 'dev-001', subject: 'CN=dev-001', issuer: 'CN=root' })
})

test('the info of a certificate has every member, in the style of .NET', () => {
  const subject = name('C=US', 'S=WA', 'L=Redmond', 'O=Contoso, Inc.', 'OU=IoT', 'CN=dev-001', 'E=a@b.example')
  const { der } = certificate({
    subject,
    keys,
    serial: Buffer.from('00ab01', 'hex'),
    from: Date.UTC(2026, 0, 2, 3, 4, 5),
    until: Date.UTC(2051, 0, 1),
  })
  const own = parseCertificate(der)
  const text = 'E=a@b.example, CN=dev-001, OU=IoT, O="Contoso, Inc.", L=Redmond, S=WA, C=US'
  expect(certificateInfo(own)).toEqual({
    subjectName: text,
    sha1Thumbprint: own.sha1,
    sha256Thumbprint: own.sha256,
    issuerName: text,
    notBeforeUtc: '2026-01-02T03:04:05Z',
    notAfterUtc: '2051-01-01T00:00:00Z',
    serialNumber: 'AB01',
    version: 3,
  })
  expect(own.sha1).toMatch(/^[0-9A-F]{40}$/)
  expect(own.sha256).toMatch(/^[0-9A-F]{64}$/)
})

test.each([
  ['a quote', 'a"b', 'CN="a""b"'],
  ['a plus sign', 'a+b', 'CN="a+b"'],
  ['a blank at the end', 'a ', 'CN="a "'],
  ['nothing', '', 'CN=""'],
  ['other scripts', 'Gerät-β', 'CN=Gerät-β'],
])('.NET quoting: %s', (_, text, expected) => {
  expect(parsed({ subject: name(`CN=${text}`) }).subject).toBe(expected)
})

test('a relative name of several attributes is joined by a plus sign, unknown types by their number', () => {
  const subject = nameOf(
    [attribute('O', utf8('Contoso'))],
    [attribute('CN', utf8('x')), attribute('1.2.3.4', utf8('y'))],
  )
  expect(parsed({ subject }).subject).toBe('CN=x + OID.1.2.3.4=y, O=Contoso')
})

test.each([
  ['UTF8String', utf8('dev')],
  ['PrintableString', printable('dev')],
  ['IA5String', ia5('dev')],
  ['TeletexString', tlv(0x14, Buffer.from('dev'))],
  ['BMPString', tlv(0x1e, Buffer.from('dev', 'utf16le').swap16())],
  ['UniversalString', tlv(0x1c, Buffer.from('000000640000006500000076', 'hex'))],
])('a common name as %s is read', (_, value) => {
  expect(parsed({ subject: nameOf([attribute('CN', value)]) }).commonName).toBe('dev')
})

test.each([
  ['none', name('O=Contoso')],
  ['two: neither may be taken for the identity', name('CN=dev-001', 'CN=dev-002')],
  ['bytes that are no UTF-8', nameOf([attribute('CN', tlv(0x0c, [0xff, 0xfe]))])],
  ['a value that is no string', nameOf([attribute('CN', integer(1))])],
])('a common name is undefined: %s', (_, subject) => {
  expect(parsed({ subject }).commonName).toBeUndefined()
})

test('a common name with a NUL keeps it, so that it equals no id', () => {
  expect(parsed({ subject: name('CN=dev-001\0.evil') }).commonName).toBe('dev-001\0.evil')
})

test('serial numbers of any shape are read', () => {
  const serial = (hex: string) => parsed({ serial: Buffer.from(hex, 'hex') }).serialNumber
  expect([serial('00'), serial('0080'), serial('ff'), serial('7f'.repeat(40))]).toEqual([
    '00',
    '80',
    'FF',
    '7F'.repeat(40),
  ])
})

test('what standards forbid and real tools write is read (attestation-crypto.md B5)', () => {
  expect(parsed({ version: 1 })).toMatchObject({ version: 1, extensions: { basicConstraints: undefined } })
  expect(parsed({ version: 2, uniqueIds: tlv(0x81, [0, 1]) }).version).toBe(2)
  const explicitFalse = sequence(oid('2.5.29.19'), boolean(false), octets(sequence(boolean(false))))
  expect(parsed({ extensions: [explicitFalse] }).extensions.basicConstraints).toEqual({
    ca: false,
    pathLength: undefined,
  })
  expect(parsed({ subject: sequence() }).subject).toBe('')
})

// --- refusals

const refused = (der: Buffer): string => {
  try {
    parseCertificate(der)
  } catch (error) {
    expect(error).toBeInstanceOf(CertificateError)
    return (error as Error).message
  }
  throw new Error('it was accepted')
}
const shaped = (shape: Partial<Parameters<typeof certificate>[0]>): Buffer =>
  certificate({ subject: 'x', keys, ...shape }).der

test.each<[string, () => Buffer, RegExp]>([
  ['nothing', () => Buffer.alloc(0), /too early/],
  ['trailing bytes', () => Buffer.concat([leaf.der, Buffer.from([0])]), /1 unexpected bytes follow/],
  ['half a certificate', () => leaf.der.subarray(0, leaf.der.length / 2), /too early/],
  [
    'a certificate above the bound',
    () => Buffer.concat([leaf.der, Buffer.alloc(limits.certificateBytes)]),
    /may have 16384/,
  ],
  [
    'BER: an indefinite length',
    () => Buffer.concat([Buffer.from([0x30, 0x80]), leaf.der.subarray(4), Buffer.from([0, 0])]),
    /BER/,
  ],
  [
    'BER: a length longer than needed',
    () => Buffer.concat([Buffer.from([0x30, 0x83, 0]), leaf.der.subarray(2)]),
    /shortest form/,
  ],
  ['BER: a short length in long form', () => sequence(Buffer.from([0x30, 0x81, 0x01, 0x00])), /shortest form/],
  ['a length beyond four bytes', () => Buffer.from([0x30, 0x85, 1, 0, 0, 0, 0]), /too large/],
  ['a long tag', () => sequence(Buffer.from([0x3f, 0x01, 0x00])), /not used/],
  ['another type', () => tlv(0x31, leaf.der), /expected tag 0x30, found 0x31/],
  [
    'two signature algorithms',
    () => shaped({ innerAlgorithm: sequence(oid('1.2.840.10045.4.3.3')) }),
    /two different signature/,
  ],
  [
    'extensions in version 1',
    () => shaped({ version: 1, extensions: [basicConstraints(true)] }),
    /version is 1 instead of 3/,
  ],
  [
    'extensions in version 2',
    () => shaped({ version: 2, extensions: [basicConstraints(true)] }),
    /version is 2 instead of 3/,
  ],
  ['unique ids in version 1', () => shaped({ version: 1, uniqueIds: tlv(0x81, [0, 1]) }), /unique identifiers/],
  ['an unknown version', () => shaped({ version: 4 as 3 }), /version 4/],
  [
    'two extensions of one kind',
    () => shaped({ extensions: [basicConstraints(true), basicConstraints(false)] }),
    /two extensions 2\.5\.29\.19/,
  ],
  [
    'two unknown extensions of one kind',
    () => shaped({ extensions: [extension('1.2.3', utf8('')), extension('1.2.3', utf8(''))] }),
    /two extensions/,
  ],
  ['a boolean of value 1', () => shaped({ extensions: [extension('2.5.29.19', sequence(tlv(0x01, [1])))] }), /boolean/],
  [
    'a negative path length',
    () => shaped({ extensions: [extension('2.5.29.19', sequence(boolean(true), tlv(0x02, [0xff])))] }),
    /0 to 2147483647/,
  ],
  ['a padded integer', () => shaped({ serial: Buffer.from([0, 1]) }), /shortest form/],
  ['an empty integer', () => shaped({ serial: Buffer.alloc(0) }), /shortest form/],
  [
    'bytes after basic constraints',
    () => shaped({ extensions: [extension('2.5.29.19', Buffer.concat([sequence(), Buffer.from([5, 0])]))] }),
    /unexpected bytes/,
  ],
  ['an empty key usage', () => shaped({ extensions: [extension('2.5.29.15', tlv(0x03))] }), /key usage/],
  [
    'a key usage with nine unused bits',
    () => shaped({ extensions: [extension('2.5.29.15', tlv(0x03, [9, 0]))] }),
    /key usage/,
  ],
  [
    'an object identifier that does not end',
    () => shaped({ extensions: [sequence(tlv(0x06, [0x80, 0x81]), octets(utf8('')))] }),
    /object identifier/,
  ],
  ['an empty relative name', () => shaped({ subject: sequence(tlv(0x31)) }), /empty part/],
  [
    'a name constraint with a minimum',
    () =>
      shaped({ extensions: [extension('2.5.29.30', sequence(tlv(0xa0, sequence(tlv(0x82, [97]), tlv(0x80, [1])))))] }),
    /minimum/,
  ],
  [
    'a name constraint with a maximum',
    () =>
      shaped({ extensions: [extension('2.5.29.30', sequence(tlv(0xa0, sequence(tlv(0x82, [97]), tlv(0x81, [1])))))] }),
    /unexpected bytes/,
  ],
  [
    'a wrapper of version with more in it',
    () => sequence(sequence(explicit(0, Buffer.concat([integer(2), integer(1)]))), sequence(), tlv(0x03, [0])),
    /malformed/,
  ],
])('%s is refused', (_, der, message) => {
  expect(refused(der())).toMatch(message)
})

test.each<[string, Buffer]>([
  ['no seconds', tlv(0x17, Buffer.from('2601010000Z'))],
  ['fractions', tlv(0x18, Buffer.from('20260101000000.5Z'))],
  ['a time zone', tlv(0x17, Buffer.from('260101000000+0100'))],
  ['no such day', tlv(0x17, Buffer.from('260230000000Z'))],
  ['no such hour', tlv(0x17, Buffer.from('260101240000Z'))],
  ['letters', tlv(0x17, Buffer.from('yesterday'))],
  ['another type', utf8('20260101000000Z')],
])('a validity with %s is refused', (_, from) => {
  const until = tlv(0x18, Buffer.from('20300101000000Z'))
  expect(refused(shaped({ validity: sequence(from, until) }))).toMatch(/not a time/)
  expect(refused(shaped({ validity: sequence(until, from) }))).toMatch(/not a time/)
})

test('years go by the rule of 50, and beyond 2049 in four digits', () => {
  expect(parsed({ from: Date.UTC(1999, 0, 1), until: Date.UTC(2050, 0, 1) })).toMatchObject({
    notBefore: Date.UTC(1999, 0, 1),
    notAfter: Date.UTC(2050, 0, 1),
  })
  expect(parsed({ until: Date.UTC(9999, 11, 31, 23, 59, 59) }).notAfter).toBe(Date.UTC(9999, 11, 31, 23, 59, 59))
})

test('keyCertSign is told apart from the other usages', () => {
  const usage = (bits: number) => parsed({ extensions: [keyUsage(bits)] }).extensions.keyUsage?.keyCertSign
  expect([usage(0x04), usage(0x86), usage(0x80), usage(0x02), usage(0)]).toEqual([true, true, false, false, false])
})

// --- uploads (dps.md 6.3, attestation-crypto.md B6)

const text = pem(leaf.der)
const base64 = leaf.der.toString('base64')

test.each<[string, string | Buffer]>([
  ['DER', leaf.der],
  ['PEM', text],
  ['PEM as bytes', Buffer.from(text)],
  ['PEM with CRLF', text.replaceAll('\n', '\r\n')],
  ['PEM with blanks after it', `${text}\r\n \t\n`],
  ['PEM without a final newline', text.trimEnd()],
  ['PEM in one line', `-----BEGIN CERTIFICATE-----${base64}-----END CERTIFICATE-----`],
  ['PEM with text around it', `subject=CN = dev-001\n${text}done\n`],
  ['PEM with its private key before it', `-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n${text}`],
  ['PEM labelled X509 CERTIFICATE', pem(leaf.der, 'X509 CERTIFICATE')],
  [
    'PEM labelled TRUSTED CERTIFICATE, with settings after it',
    pem(Buffer.concat([leaf.der, sequence()]), 'TRUSTED CERTIFICATE'),
  ],
  ['PEM behind a byte order mark', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(text)])],
  ['base64 of DER', base64],
  ['base64 of DER in lines', base64.replace(/.{64}/g, '$&\r\n')],
  ['base64 of DER as bytes', Buffer.from(base64)],
  ['base64 of PEM', Buffer.from(text).toString('base64')],
  ['base64 of PEM with CRLF', Buffer.from(text.replaceAll('\n', '\r\n')).toString('base64')],
])('an upload as %s is read', (_, input) => {
  const [only, ...others] = readCertificates(input)
  expect(only?.raw.equals(leaf.der)).toBe(true)
  expect(others).toEqual([])
})

test('every block of a PEM file is read, in order', () => {
  const file = `${text}${pem(root.der).replaceAll('\n', '\r\n')}`
  expect(readCertificates(file).map((each) => each.commonName)).toEqual(['dev-001', 'root'])
  expect(readCertificates(Buffer.from(file).toString('base64'))).toHaveLength(2)
})

test.each<[string, string | Buffer, RegExp]>([
  ['nothing', '', /found nothing/],
  ['blanks', ' \r\n', /found nothing/],
  ['JSON', '{"certificate":1}', /other characters/],
  ['base64 of something else', Buffer.from('hello world').toString('base64'), /something else/],
  ['DER with trailing bytes', Buffer.concat([leaf.der, Buffer.from([0])]), /unexpected bytes/],
  ['two DER certificates in a row', Buffer.concat([leaf.der, root.der]), /unexpected bytes/],
  ['a private key', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', /not its key/],
  [
    'a request',
    '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n',
    /not its key or a request/,
  ],
  ['a block that does not end', text.replace(/-----END.*/, ''), /no complete/],
  ['a whole block after one without its end', `${text.replace(/-----END.*/, '')}${pem(root.der)}`, /without its/],
  ['a whole block after one without its begin', `${text.replace(/-----BEGIN.*/, '')}${pem(root.der)}`, /without its/],
  ['a block that holds nothing', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----', /found nothing/],
  ['a PKCS#7 file', '-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n', /no complete/],
  ['more certificates than allowed', text.repeat(limits.certificatesPerText + 1), /21 certificates; 20 are allowed/],
  ['megabytes', 'A'.repeat(1 << 20), /too large/],
])('an upload of %s is refused', (_, input, message) => {
  expect(() => readCertificates(input)).toThrow(CertificateError)
  expect(() => readCertificates(input)).toThrow(message)
})

test('an upload whose key nobody can use is refused, though its bytes are well formed', () => {
  const der = Buffer.from(leaf.der)
  const key = parseCertificate(leaf.der).publicKeyInfo
  // The point's first byte says how it is encoded; 05 is no way.
  der[der.indexOf(key) + key.length - 65] = 0x05
  expect(() => parseCertificate(der)).not.toThrow()
  expect(() => readCertificates(der)).toThrow(/public key is not usable/)
})
