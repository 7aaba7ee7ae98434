import { expect, test } from 'vitest'
import {
  alternativeNames,
  authority,
  certificate,
  directory,
  dnsName,
  ecKeys,
  email,
  ip,
  name,
  nameConstraints,
  oid,
  tlv,
  uri,
  utf8,
} from '../../tests/certificates.ts'
import { parseCertificate } from './certificates.ts'
import { brokenNameConstraint } from './name-constraints.ts'

const keys = ecKeys()

/** Whether a certificate with these alternative names (and subject) passes an authority with these subtrees. */
function passes(
  names: readonly Buffer[],
  subtrees: { permitted?: readonly Buffer[]; excluded?: readonly Buffer[] },
  subject = name('CN=d'),
): boolean {
  const ca = authority('narrow', { keys, more: [nameConstraints(subtrees)] })
  const child = certificate({ subject, keys, extensions: names.length === 0 ? [] : [alternativeNames(...names)] })
  return brokenNameConstraint(parseCertificate(child.der), parseCertificate(ca.der)) === undefined
}

const bits = (text: string): number[] => text.split(/[./]/).map(Number)

test.each<[string, Buffer, Buffer, boolean]>([
  ['a host is within itself', dnsName('a.example'), dnsName('a.example'), true],
  ['a host below', dnsName('x.y.a.example'), dnsName('a.example'), true],
  ['a host that only ends alike', dnsName('xa.example'), dnsName('a.example'), false],
  ['case does not matter', dnsName('X.A.Example'), dnsName('a.EXAMPLE'), true],
  ['a final dot does not matter', dnsName('x.a.example.'), dnsName('a.example'), true],
  ['a leading dot: below', dnsName('x.a.example'), dnsName('.a.example'), true],
  ['a leading dot: not itself', dnsName('a.example'), dnsName('.a.example'), false],
  ['every host is within the empty one', dnsName('a'), dnsName(''), true],
  ['an address of the host', email('me@a.example'), email('a.example'), true],
  ['an address below the host', email('me@x.a.example'), email('a.example'), false],
  ['an address below a leading dot', email('me@x.a.example'), email('.a.example'), true],
  ['the mailbox itself', email('me@A.example'), email('me@a.example'), true],
  ['another mailbox', email('Me@a.example'), email('me@a.example'), false],
  ['an address that is none', email('a.example'), email('a.example'), false],
  ['a URI of the host', uri('https://user@A.example:8443/path?q#f'), uri('a.example'), true],
  ['a URI below the host', uri('https://x.a.example/'), uri('a.example'), false],
  ['a URI below a leading dot', uri('coap://x.a.example'), uri('.a.example'), true],
  ['a URI with an address', uri('https://10.0.0.1/'), uri('.example'), false],
  ['a URI with an IPv6 address', uri('https://[::1]:8443/'), uri('.example'), false],
  ['a URI without a host', uri('urn:uuid:1'), uri('.example'), false],
  ['an address within the mask', ip([10, 1, 2, 3]), ip(bits('10.1.0.0/255.255.0.0')), true],
  ['an address beside the mask', ip([10, 2, 2, 3]), ip(bits('10.1.0.0/255.255.0.0')), false],
  [
    'IPv6 within the mask',
    ip([0xfd, ...Array(15).fill(1)]),
    ip([0xfd, ...Array(15).fill(0), 0xff, ...Array(15).fill(0)]),
    true,
  ],
  ['IPv6 against an IPv4 mask', ip([0xfd, ...Array(15).fill(1)]), ip(bits('0.0.0.0/0.0.0.0')), false],
  ['an address of odd length', ip([10, 1, 2]), ip(bits('0.0.0.0/0.0.0.0')), false],
  ['a directory name below', directory(name('O=Contoso', 'CN=x')), directory(name('O= contoso')), true],
  ['a directory name beside', directory(name('O=Contoso', 'CN=x')), directory(name('O=Fabrikam')), false],
  ['a directory name above', directory(name('O=Contoso')), directory(name('O=Contoso', 'OU=a')), false],
])('permitted: %s', (_, given, subtree, expected) => {
  const subject = name('O=Contoso', 'CN=d')
  expect(passes([given], { permitted: [subtree] }, subject)).toBe(expected)
})

test.each<[string, Buffer, Buffer, boolean]>([
  ['a host below', dnsName('x.a.example'), dnsName('a.example'), false],
  ['a host beside', dnsName('x.b.example'), dnsName('a.example'), true],
  ['a URI without a host cannot be cleared', uri('urn:uuid:1'), uri('.example'), false],
  ['an address that is none cannot be cleared', email('nobody'), email('a.example'), false],
  ['a mask of odd length cannot be cleared', ip([10, 0, 0, 1]), ip([10, 0, 0]), false],
  ['a directory name that cannot be read', directory(utf8('x')), directory(name('O=Contoso')), false],
])('excluded: %s', (_, given, subtree, expected) => {
  expect(passes([given], { excluded: [subtree] })).toBe(expected)
})

test('kinds without a constraint are free, and one permitted subtree of a kind is enough', () => {
  expect(passes([ip([10, 0, 0, 1]), uri('urn:x')], { permitted: [dnsName('a.example')] })).toBe(true)
  expect(passes([dnsName('b.example')], { permitted: [dnsName('a.example'), dnsName('b.example')] })).toBe(true)
  expect(
    passes([dnsName('x.b.example')], { permitted: [dnsName('b.example')], excluded: [dnsName('x.b.example')] }),
  ).toBe(false)
})

test('the subject is a directory name, and its e-mail address an address', () => {
  const within = { permitted: [directory(name('O=Contoso'))] }
  expect(passes([], within, name('O=Contoso', 'CN=d'))).toBe(true)
  expect(passes([], within, name('O=Fabrikam', 'CN=d'))).toBe(false)
  expect(passes([], within, Buffer.from([0x30, 0]))).toBe(true)
  expect(passes([], { excluded: [email('a.example')] }, name('CN=d', 'E=me@a.example'))).toBe(false)
  expect(passes([], { excluded: [email('b.example')] }, name('CN=d', 'E=me@a.example'))).toBe(true)
})

test('a name of a kind that is not understood passes only where it is not constrained', () => {
  const registered = tlv(0x88, oid('1.2.3').subarray(2))
  expect(passes([registered], { permitted: [dnsName('a.example')] })).toBe(true)
  expect(passes([registered], { permitted: [registered] })).toBe(false)
  expect(passes([registered], { excluded: [registered] })).toBe(false)
})
