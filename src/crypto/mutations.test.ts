import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  alternativeNames,
  authority,
  certificate,
  device,
  directory,
  dnsName,
  ecKeys,
  email,
  ip,
  NOW,
  name,
  nameConstraints,
  type Party,
  rsaKeys,
  uri,
} from '../../tests/certificates.ts'
import { type Random, seededRandom } from '../base/random.ts'
import {
  type Certificate,
  CertificateError,
  certificateInfo,
  parseCertificate,
  readCertificates,
} from './certificates.ts'
import { proveSignedBy, validateChain } from './chains.ts'

const MUTANTS = 20_000
const SEED = 20_261_121

const keys = ecKeys()
const root = authority('root', { keys })
const narrow = authority(name('C=DE', 'O=Contoso, "Ltd"', 'CN=Gerät'), {
  by: root,
  keys: rsaKeys(),
  more: [
    nameConstraints({
      permitted: [dnsName('a.example'), directory(name('CN=d'))],
      excluded: [ip([10, 0, 0, 0, 255, 0, 0, 0]), email('b.example'), uri('.c.example')],
    }),
  ],
})
const rich = device(name('CN=d'), narrow, {
  extensions: [
    alternativeNames(
      dnsName('x.a.example'),
      ip([11, 0, 0, 1]),
      uri('https://d.example/'),
      email('me@a.example'),
      directory(name('CN=d', 'O=x')),
    ),
  ],
})
const seeds: readonly Party[] = [
  root,
  narrow,
  rich,
  device('dev', root, { keys }),
  certificate({ subject: 'v1', version: 1 }),
]

const below = (random: Random, bound: number): number => Math.floor(random.fraction() * bound)

/** One to four wounds: a byte changed, cut out, put in, a piece copied elsewhere, the end cut off. */
function mutant(original: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(original)
  for (let wounds = 1 + below(random, 4); wounds > 0 && bytes.length > 0; wounds--) {
    const at = below(random, bytes.length)
    const length = 1 + below(random, 8)
    switch (below(random, 6)) {
      case 0:
      case 1:
        bytes[at] = below(random, 2) === 0 ? below(random, 256) : bytes[at]! ^ (1 << below(random, 8))
        break
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])
        break
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), random.bytes(length), bytes.subarray(at)])
        break
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(below(random, bytes.length)), bytes.subarray(at)])
        break
      default:
        bytes = bytes.subarray(0, at)
    }
  }
  return bytes
}

/** The value, or undefined where a CertificateError said no; anything else is thrown on. */
function unlessRefused<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch (error) {
    if (error instanceof CertificateError && error.message !== '') return undefined
    throw error
  }
}

function exercise(certificate: Certificate): void {
  certificateInfo(certificate)
  void certificate.commonName
  void certificate.keyId
  unlessRefused(() => certificate.x509)
  unlessRefused(() => certificate.publicKey)
}

test('mutated certificates are refused in words, and never accepted as what they were', () => {
  const random = seededRandom(SEED)
  const [top, middle, leaf] = [root, narrow, rich].map(({ der }) => parseCertificate(der))
  const anchors = [top!]
  expect(validateChain({ leaf: leaf!, presented: [middle!], anchors, now: NOW }).ok).toBe(true)
  let parsed = 0
  for (let at = 0; at < MUTANTS; at++) {
    const original = seeds[at % seeds.length]!.der
    const bytes = mutant(original, random)
    const certificate = unlessRefused(() => parseCertificate(bytes))
    if (certificate === undefined) continue
    parsed += 1
    exercise(certificate)
    const asLeaf = validateChain({ leaf: certificate, presented: [middle!], anchors, now: NOW })
    if (asLeaf.ok) expect(seeds.some(({ der }) => der.equals(bytes))).toBe(true)
    // In the places of intermediate and anchor it must not throw; as an anchor it is trusted on the operator's word.
    validateChain({ leaf: leaf!, presented: [certificate], anchors, now: NOW })
    validateChain({ leaf: leaf!, presented: [middle!], anchors: [certificate], now: NOW })
    proveSignedBy(leaf!, certificate)
  }
  // Both outcomes have to be well represented, or the mutations test nothing.
  expect(parsed).toBeGreaterThan(MUTANTS / 50)
  expect(parsed).toBeLessThan(MUTANTS / 2)
})

test('bytes of any kind are refused in words', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      unlessRefused(() => parseCertificate(bytes))
      unlessRefused(() =>
        parseCertificate(Buffer.concat([Buffer.from([0x30, 0x82, bytes.length >> 8, bytes.length & 0xff]), bytes])),
      )
      unlessRefused(() => readCertificates(bytes))
    }),
    { seed: SEED, numRuns: 2_000 },
  )
})

test('texts of any kind are refused in words', () => {
  const base64 = seeds[3]!.der.toString('base64')
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), fc.nat(base64.length), (text, at) => {
      const wounded = base64.slice(0, at) + text + base64.slice(at)
      unlessRefused(() => readCertificates(text))
      unlessRefused(() => readCertificates(wounded))
      unlessRefused(() => readCertificates(`-----BEGIN CERTIFICATE-----\n${wounded}\n-----END CERTIFICATE-----`))
      unlessRefused(() => readCertificates(Buffer.from(text).toString('base64')))
    }),
    { seed: SEED, numRuns: 2_000 },
  )
})
