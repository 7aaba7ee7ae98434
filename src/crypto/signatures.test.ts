import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { expect, test } from 'vitest'
import {
  authority,
  basicConstraints,
  certificate,
  device,
  ecKeys,
  type Keys,
  oid,
  rsaKeys,
  sequence,
  tlv,
} from '../../tests/certificates.ts'
import { limits } from '../base/limits.ts'
import { parseCertificate } from './certificates.ts'
import { checkSignature, keyWeakness } from './signatures.ts'

const root = authority('root')

test.each<[string, Keys, RegExp | undefined]>([
  ['RSA-PSS of 1024 bits', generateKeyPairSync('rsa-pss', { modulusLength: 1_024 }), /an RSA key of 1024 bits/],
  ['RSA-PSS of 2048 bits', generateKeyPairSync('rsa-pss', { modulusLength: 2_048 }), undefined],
  [
    'DSA',
    generateKeyPairSync('dsa', { modulusLength: 1_024, divisorLength: 160 }),
    /a key of the kind 1\.2\.840\.10040/,
  ],
  ['Ed25519', generateKeyPairSync('ed25519'), undefined],
  ['Ed448', generateKeyPairSync('ed448'), undefined],
])('weakness of a key: %s', (_, keys, weakness) => {
  const found = keyWeakness(parseCertificate(device('d', root, { keys }).der))
  if (weakness === undefined) expect(found).toBeUndefined()
  else expect(found).toMatch(weakness)
})

const rsa = rsaKeys()
const odd = (bytes: number): string => Buffer.alloc(bytes, 0xff).toString('base64url')
const rsaOf = (modulusBytes: number, exponentBytes: number): Keys => ({
  privateKey: rsa.privateKey,
  publicKey: createPublicKey({ key: { kty: 'RSA', n: odd(modulusBytes), e: odd(exponentBytes) }, format: 'jwk' }),
})

/** Its exponent has a length that is not in its shortest form: OpenSSL reads that, we do not. */
const lax: Keys = {
  privateKey: rsa.privateKey,
  publicKey: { export: () => withLongLength(rsa.publicKey) } as unknown as KeyObject,
}

function withLongLength(key: KeyObject): Buffer {
  const { n = '' } = key.export({ format: 'jwk' })
  const modulus = tlv(0x02, [0], Buffer.from(n, 'base64url'))
  const bits = tlv(0x03, [0], sequence(modulus, [0x02, 0x81, 0x03, 1, 0, 1]))
  return sequence(sequence(oid('1.2.840.113549.1.1.1'), tlv(0x05)), bits)
}

// A stranger presents authorities of his own, and each of them is tried: with such keys that takes half a second.
test.each<[string, Keys, string]>([
  ['an exponent of four bytes', rsaOf(limits.rsaKeyBitsMost / 8, limits.rsaExponentBytes), 'invalid'],
  ['a longer exponent', rsaOf(256, limits.rsaExponentBytes + 1), 'unsupported'],
  ['a longer modulus', rsaOf(limits.rsaKeyBitsMost / 8 + 1, 3), 'unsupported'],
  ['an exponent that is not DER', lax, 'unsupported'],
  ['an unusual curve', ecKeys('sect571r1'), 'unsupported'],
])('an issuer with %s: %s', (_, keys, verdict) => {
  const issuer = certificate({ subject: 'issuer', by: root, keys, extensions: [basicConstraints(true)] })
  const child = device('d', issuer, { extensions: [] })
  expect(checkSignature(parseCertificate(child.der), parseCertificate(issuer.der))).toBe(verdict)
})
