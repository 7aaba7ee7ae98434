import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { covers, parseSasToken, resourceOf, resourcesOf, segmentsOf, signSas, verifySas } from './sas.ts'

const key = Buffer.from('0123456789abcdef0123456789abcdef')
const hmac = (sr: string, se: string | number): string =>
  createHmac('sha256', key).update(`${sr}\n${se}`).digest('base64')
const upper = encodeURIComponent
const lower = (text: string): string => upper(text).replace(/%[0-9A-F]{2}/g, (hex) => hex.toLowerCase())
/** Like Java's URLEncoder and .NET's WebUtility for these texts. */
const dotNet = (text: string): string => upper(text).replaceAll("'", '%27')

const scoped = '0ne00AB12CD/registrations/Dev-001'
const device = 'hub.example.net/devices/dev 1'
const SE = 1_767_225_600

/** One line per client, as the reference pages describe them: who, the token, the resource it means, the policy. */
const forms: readonly [client: string, token: string, resource: string, policy: string | undefined][] = [
  [
    'DPS Node, symmetric: raw sr, skn before se',
    `sr=${scoped}&sig=${upper(hmac(scoped, SE))}&skn=registration&se=${SE}`,
    scoped,
    'registration',
  ],
  [
    'DPS Node, TPM: encoded sr',
    `sr=${upper(scoped)}&sig=${upper(hmac(upper(scoped), SE))}&se=${SE}&skn=registration`,
    scoped,
    'registration',
  ],
  ['DPS Python: no skn', `sr=${upper(scoped)}&sig=${upper(hmac(upper(scoped), SE))}&se=${SE}`, scoped, undefined],
  [
    'DPS C: lower-case hex',
    `sr=${lower(scoped)}&sig=${lower(hmac(lower(scoped), SE))}&se=${SE}&skn=registration`,
    scoped,
    'registration',
  ],
  ['DPS Java: raw slashes, skn empty', `sr=${scoped}&sig=${upper(hmac(scoped, SE))}&se=${SE}&skn=`, scoped, undefined],
  [
    'DPS Rust: lower-cased audience',
    `sr=${scoped.toLowerCase()}&sig=${upper(hmac(scoped.toLowerCase(), SE))}&se=${SE}&skn=registration`,
    scoped.toLowerCase(),
    'registration',
  ],
  [
    'hub Node: encoded, host with port',
    `sr=${upper('hub.local:8443/devices/d')}&sig=${upper(hmac(upper('hub.local:8443/devices/d'), SE))}&se=${SE}`,
    'hub.local:8443/devices/d',
    undefined,
  ],
  [
    'hub C#: ids encoded twice',
    `sr=${dotNet(`hub.example.net/devices/${dotNet('a@b')}`)}&sig=${upper(hmac(dotNet(`hub.example.net/devices/${dotNet('a@b')}`), SE))}&se=${SE}`,
    'hub.example.net/devices/a%40b',
    undefined,
  ],
  [
    'hub Java: raw slashes, encoded id',
    `sr=hub.example.net/devices/a%40b&sig=${upper(hmac('hub.example.net/devices/a%40b', SE))}&se=${SE}`,
    'hub.example.net/devices/a@b',
    undefined,
  ],
  [
    'hub C: nothing encoded, empty skn last',
    `sr=${device}&sig=${lower(hmac(device, SE))}&se=${SE}&skn=`,
    device,
    undefined,
  ],
  [
    'hub C: an id with a bare percent sign',
    `sr=hub.example.net/devices/50%&sig=${lower(hmac('hub.example.net/devices/50%', SE))}&se=${SE}`,
    'hub.example.net/devices/50%',
    undefined,
  ],
  [
    'service Node: raw host, order sr sig skn se',
    `sr=hub.example.net&sig=${upper(hmac('hub.example.net', SE))}&skn=iothubowner&se=${SE}`,
    'hub.example.net',
    'iothubowner',
  ],
  [
    'service Python: sig with raw slashes',
    `sr=hub.example.net&sig=${upper(hmac('hub.example.net', SE)).replaceAll('%2F', '/')}&se=${SE}&skn=service`,
    'hub.example.net',
    'service',
  ],
  [
    'documentation: sig, se, skn, sr',
    `sig=${upper(hmac('hub.example.net', SE))}&se=${SE}&skn=device&sr=hub.example.net`,
    'hub.example.net',
    'device',
  ],
  [
    'CLI lookup: literal %2F',
    `sr=${upper(scoped)}&sig=${upper(hmac(upper(scoped), SE))}&se=${SE}&skn=registration`,
    scoped,
    'registration',
  ],
  ['signed over the decoded form', `sr=${upper(scoped)}&sig=${upper(hmac(scoped, SE))}&se=${SE}`, scoped, undefined],
  ['signed over the encoded form', `sr=${scoped}&sig=${upper(hmac(upper(scoped), SE))}&se=${SE}`, scoped, undefined],
  ['signature not encoded at all', `sr=${scoped}&sig=${hmac(scoped, SE)}&se=${SE}`, scoped, undefined],
  [
    'plus signs of the signature read as blanks on the way',
    `sr=${scoped}&sig=${hmac(scoped, SE).replaceAll('+', ' ')}&se=${SE}`,
    scoped,
    undefined,
  ],
  ['expiry with a fraction', `sr=${scoped}&sig=${upper(hmac(scoped, `${SE}.5`))}&se=${SE}.5`, scoped, undefined],
]

describe.each(forms)('%s', (_, parameters, resource, policy) => {
  test('verifies with its key only', () => {
    const token = parseSasToken(`SharedAccessSignature ${parameters}`)!
    expect(token).toMatchObject({ skn: policy })
    expect(Math.floor(token.se)).toBe(SE)
    expect(resourceOf(token)).toBe(resource)
    expect(verifySas(token, key)).toBe(true)
    expect(verifySas(token, Buffer.alloc(32))).toBe(false)
    expect(verifySas({ ...token, seText: String(SE + 3600) }, key)).toBe(false)
    expect(verifySas({ ...token, sr: `${token.sr}x` }, key)).toBe(false)
  })
})

test('the scheme is recognised in any case', () => {
  for (const scheme of ['SharedAccessSignature', 'sharedaccesssignature', 'SHAREDACCESSSIGNATURE'])
    expect(parseSasToken(`${scheme} sr=h&sig=YQ%3D%3D&se=1`)).toMatchObject({ sr: 'h', sig: 'YQ==', se: 1 })
})

test.each([
  ['nothing', ''],
  ['another scheme', 'Bearer abc'],
  ['no blank after the scheme', 'SharedAccessSignaturesr=h&sig=YQ&se=1'],
  ['no resource', 'SharedAccessSignature sig=YQ&se=1'],
  ['an empty resource', 'SharedAccessSignature sr=&sig=YQ&se=1'],
  ['no signature', 'SharedAccessSignature sr=h&se=1'],
  ['a signature with broken escapes', 'SharedAccessSignature sr=h&sig=%zz&se=1'],
  ['no expiry', 'SharedAccessSignature sr=h&sig=YQ'],
  ['an expiry that is no number', 'SharedAccessSignature sr=h&sig=YQ&se=tomorrow'],
  ['a negative expiry', 'SharedAccessSignature sr=h&sig=YQ&se=-1'],
  ['an expiry in exponent form', 'SharedAccessSignature sr=h&sig=YQ&se=1e99'],
  ['a repeated parameter', 'SharedAccessSignature sr=h&sr=i&sig=YQ&se=1'],
  ['a repeated parameter in other case', 'SharedAccessSignature sr=h&SR=i&sig=YQ&se=1'],
  ['more than the bound', `SharedAccessSignature sr=${'h'.repeat(5_000)}&sig=YQ&se=1`],
])('%s is no token', (_, text) => {
  expect(parseSasToken(text)).toBeUndefined()
})

test('a signature that is not 32 bytes never verifies', () => {
  for (const sig of ['YQ', hmac('h', 1).slice(0, 20), `${hmac('h', 1)}AAAA`])
    expect(verifySas({ sr: 'h', sig, se: 1, seText: '1', skn: undefined }, key)).toBe(false)
})

test('every reading of a resource is offered for authorization, without repetition', () => {
  const of = (sr: string) => resourcesOf({ sr, sig: '', se: 0, seText: '0', skn: undefined })
  expect(of('h/devices/d')).toEqual(['h/devices/d'])
  expect(of('h%2Fdevices%2Fa%2540b')).toEqual(['h/devices/a%40b', 'h/devices/a@b', 'h%2Fdevices%2Fa%2540b'])
  expect(of('h/devices/50%')).toEqual(['h/devices/50%'])
})

test.each([
  ['h', 'h/devices/d', true],
  ['h/devices', 'h/devices/d', true],
  ['h/devices/', 'h/devices/d', true],
  ['h/devices/d', 'h/devices/d', true],
  ['h/devices/d', 'h/devices/d/modules/m', true],
  ['h/devices/d/modules/m', 'h/devices/d', false],
  ['h/devices/d', 'h/devices/dx', false],
  ['h/dev', 'h/devices/d', false],
  ['H/devices/d', 'h/devices/d', false],
  ['', 'h', false],
  ['/', 'h', false],
  ['h//devices', 'h/devices/d', false],
])('%j covers %j: %s', (resource, requested, expected) => {
  expect(covers(resource, requested)).toBe(expected)
})

test('a resource of slashes is taken apart at once', () => {
  const slashes = '/'.repeat(100_000)
  expect(segmentsOf(`${slashes}h${slashes}d${slashes}`)).toHaveLength(100_001)
})

test('what is signed here is read and verified here, encoded or not', () => {
  const text = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 60 }).filter((each) => !/[&\s]/.test(each))
  fc.assert(
    fc.property(text, fc.uint8Array({ minLength: 16, maxLength: 64 }), fc.nat(), (resource, bytes, expiresAt) => {
      const token = parseSasToken(signSas({ resource, key: Buffer.from(bytes), expiresAt, policy: 'service' }))!
      expect(token).toMatchObject({ se: expiresAt, skn: 'service' })
      expect(resourceOf(token)).toBe(resource)
      expect(verifySas(token, Buffer.from(bytes))).toBe(true)
    }),
    { seed: 7 },
  )
  const raw = signSas({ resource: scoped, key, expiresAt: SE, encode: false })
  expect(raw).toBe(`SharedAccessSignature sr=${scoped}&sig=${upper(hmac(scoped, SE))}&se=${SE}`)
})

test('no text makes the reader throw', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      for (const each of [text, `SharedAccessSignature ${text}`, `SharedAccessSignature sr=${text}&sig=YQ&se=1`]) {
        const token = parseSasToken(each)
        if (token !== undefined) expect([verifySas(token, key), resourcesOf(token).length > 0]).toEqual([false, true])
      }
    }),
    { seed: 8, numRuns: 500 },
  )
})
