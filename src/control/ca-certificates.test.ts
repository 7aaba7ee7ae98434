import { describe, expect, test } from 'vitest'
import {
  authority,
  authorityExtensions,
  basicConstraints,
  certificate,
  device,
  ecKeys,
  keyUsage,
  name,
  type Party,
  pem,
  rsaKeys,
} from '../../tests/certificates.ts'
import { absent, any, controlForTest, etag, operator, refusal } from '../../tests/support/control.ts'
import type { IfMatch } from '../base/etags.ts'
import type { JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { CaCertificate, Owner } from './control.ts'
import { certificates as documents } from './documents.ts'

const DAY = 24 * 3600 * 1000
/** Where TestClock stands. */
const NOW = Date.UTC(2026, 0, 1)
const valid = { from: NOW - DAY, until: NOW + DAY }
const root = authority('root', valid)
const base64 = ({ der }: Party): string => der.toString('base64')
const dps: Owner = { kind: 'dps', name: 'dps' }
const hub: Owner = { kind: 'hub', name: 'hub' }

async function prepared() {
  const made = await controlForTest()
  await made.control.provisioningServices.put(operator, 'dps', {}, absent)
  await made.control.hubs.put(operator, 'hub', {}, absent)
  return { ...made, certificates: made.control.certificates }
}

describe('upload', () => {
  const crlf = pem(root.der).replaceAll('\n', '\r\n')
  test.each<[string, string]>([
    ['DER in base64', base64(root)],
    ['PEM', pem(root.der)],
    ['PEM with CRLF and text around it', `subject=CN\r\n${crlf}\r\n\r\n`],
    ['PEM in base64', Buffer.from(pem(root.der)).toString('base64')],
  ])('%s', async (_, text) => {
    const { certificates, clock } = await prepared()
    const stored = await certificates.put(dps, 'My-CA', { certificate: text }, absent)
    expect(stored).toMatchObject({
      name: 'My-CA',
      isVerified: false,
      verificationCode: undefined,
      createdAt: clock.now(),
      updatedAt: clock.now(),
    })
    expect(stored.certificate.raw).toEqual(root.der)
    const { certificate: first, ...rest } = stored
    const { certificate: second, ...same } = (await certificates.get(dps, 'my-ca'))!
    expect([same, second.sha256]).toEqual([rest, first.sha256])
  })

  test.each<[string, Party]>([
    ['an intermediate', authority('intermediate', { by: root, ...valid })],
    ['an RSA root', authority('rsa root', { keys: rsaKeys(), ...valid })],
    ['a self-signed root of version 1 (npm pem, openssl x509 -req)', certificate({ subject: 'v1', version: 1 })],
    ['the same signed with SHA-1', certificate({ subject: 'v1', version: 1, digest: 'sha1' })],
    [
      'a CA without keyUsage (the SDK test tools)',
      certificate({ subject: 'bare', extensions: [basicConstraints(true)] }),
    ],
    ['an expired CA', authority('old', { from: NOW - 2 * DAY, until: NOW - DAY })],
  ])('%s is taken', async (_, party) => {
    const { certificates } = await prepared()
    expect((await certificates.put(dps, 'ca', { certificate: base64(party) }, absent)).certificate.raw).toEqual(
      party.der,
    )
  })

  const untouched = prepared()
  const keys = ecKeys()
  const noSigning = certificate({ subject: 'no signing', keys, extensions: [basicConstraints(true), keyUsage(0x80)] })
  test.each<[string, JsonObject, RegExp]>([
    ['nothing', {}, /properties\.certificate must be a value, found nothing/],
    ['a number', { certificate: 5 }, /properties\.certificate must be a string, found a number/],
    ['empty text', { certificate: '' }, /properties\.certificate must be a certificate\. .*found nothing/],
    ['other text', { certificate: 'not a certificate!' }, /properties\.certificate must be a certificate/],
    ['base64 of something else', { certificate: 'aGVsbG8=' }, /properties\.certificate must be a certificate/],
    [
      'trailing bytes',
      { certificate: `${Buffer.concat([root.der, Buffer.from([0])]).toString('base64')}` },
      /must be a certificate/,
    ],
    ['too much text', { certificate: 'A'.repeat(limits.certificateBytes * 2 + 1) }, /must be at most 32768 characters/],
    ['two certificates', { certificate: pem(root.der) + pem(root.der) }, /must be one CA certificate, found 2/],
    ['a device certificate', { certificate: base64(device('dev', root)) }, /must be a CA certificate .*found "CN=dev"/],
    [
      'a leaf of version 1',
      { certificate: base64(certificate({ subject: 'leaf', by: root, version: 1 })) },
      /must be a CA cert/,
    ],
    ['a CA that may not sign', { certificate: base64(noSigning) }, /found a keyUsage without keyCertSign/],
    [
      'isVerified as text',
      { certificate: base64(root), isVerified: 'true' },
      /isVerified must be true or false, found a string/,
    ],
  ])('%s is refused, nothing is written', async (_, input, message) => {
    const { certificates, store } = await untouched
    const refused = await refusal(certificates.put(dps, 'ca', input, absent))
    expect(refused).toMatchObject({ code: 400004, message: expect.stringMatching(message) })
    expect(await store.count(documents)).toBe(0)
    expect(await certificates.trusted(dps)).toEqual({ version: '0', certificates: [] })
  })

  test.each(['', 'a b', 'a/b', 'x'.repeat(65), 'ä'])('the name %j is refused', async (bad) => {
    const { certificates } = await untouched
    const { code, message } = await refusal(certificates.put(dps, bad, { certificate: base64(root) }, absent))
    expect({ code, message }).toMatchObject({ code: 400004, message: expect.stringContaining('1 to 64 of A-Z') })
  })

  test('an unknown owner is a 404', async () => {
    const { certificates } = await prepared()
    const nobody: Owner = { kind: 'hub', name: 'nobody' }
    const input = { certificate: base64(root) }
    expect(await refusal(certificates.put(nobody, 'ca', input, absent))).toMatchObject({ code: 404000 })
    expect(await refusal(certificates.list(nobody))).toMatchObject({ code: 404000 })
    expect(await certificates.trusted(nobody)).toEqual({ version: '0', certificates: [] })
  })

  test('services and hubs keep theirs apart; names differ by more than case', async () => {
    const { certificates } = await prepared()
    await certificates.put(dps, 'CA', { certificate: base64(root), isVerified: true }, absent)
    expect(await certificates.list(hub)).toEqual([])
    expect(await refusal(certificates.put(dps, 'ca', { certificate: base64(root) }, absent))).toMatchObject({
      code: 412001,
    })
    expect((await certificates.put(hub, 'ca', { certificate: base64(root) }, absent)).name).toBe('ca')
    expect((await certificates.trusted(hub)).certificates).toEqual([])
  })

  test('25 and no more, also when two come at once', async () => {
    const { certificates, another } = await prepared()
    const input = { certificate: base64(root) }
    for (let n = 0; n < limits.caCertificates - 1; n++) await certificates.put(dps, `ca-${n}`, input, absent)
    const last = await Promise.allSettled([
      certificates.put(dps, 'one', input, absent),
      another().certificates.put(dps, 'two', input, absent),
    ])
    expect(last.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(await certificates.list(dps)).toHaveLength(limits.caCertificates)
    expect(await refusal(certificates.put(dps, 'three', input, absent))).toMatchObject({ code: 403000 })
    expect((await certificates.put(dps, 'ca-0', input, any)).name).toBe('ca-0')
  })
})

describe('If-Match', () => {
  type Change = (of: Awaited<ReturnType<typeof prepared>>, ifMatch: IfMatch) => Promise<unknown>
  const other = authority('other', valid)
  const changes: readonly (readonly [string, Change, number])[] = [
    [
      'PUT',
      ({ certificates }, ifMatch) => certificates.put(dps, 'ca', { certificate: base64(other) }, ifMatch),
      412001,
    ],
    ['DELETE', ({ certificates }, ifMatch) => certificates.remove(dps, 'ca', ifMatch), 400004],
    ['generate', ({ certificates }, ifMatch) => certificates.generateVerificationCode(dps, 'ca', ifMatch), 400004],
    ['verify', ({ certificates }, ifMatch) => certificates.verify(dps, 'ca', base64(root), ifMatch), 400004],
  ]
  test.each(changes)('%s of an existing certificate needs it, and the right etag', async (_, change, missing) => {
    const of = await prepared()
    const before = await of.certificates.put(dps, 'ca', { certificate: base64(root) }, absent)
    expect(await refusal(change(of, absent))).toMatchObject({ code: missing })
    expect(await refusal(change(of, etag('AAAAAAAAAAA=')))).toMatchObject({ code: 412001 })
    expect((await of.certificates.get(dps, 'ca'))?.etag).toBe(before.etag)
  })

  test.each(changes.slice(1))(
    '%s of an unknown certificate is a 404 that lists the ones there are',
    async (_, change) => {
      const of = await prepared()
      await of.certificates.put(dps, 'another', { certificate: base64(root) }, absent)
      const { code, message } = await refusal(change(of, any))
      expect({ code, message }).toEqual({
        code: 404008,
        message: 'Expected the name of an uploaded certificate (another), found "ca".',
      })
    },
  )

  test('is ignored while creating (dps.md 7.3)', async () => {
    const { certificates } = await prepared()
    expect((await certificates.put(dps, 'ca', { certificate: base64(root) }, etag('x'))).name).toBe('ca')
  })

  test('with one etag, one of two concurrent changes wins', async () => {
    const { certificates, another } = await prepared()
    const before = await certificates.put(dps, 'ca', { certificate: base64(root) }, absent)
    const results = await Promise.allSettled([
      certificates.generateVerificationCode(dps, 'ca', etag(before.etag)),
      another().certificates.remove(dps, 'ca', etag(before.etag)),
    ])
    expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
  })
})

describe('proof of possession', () => {
  const begun = async () => {
    const of = await prepared()
    const uploaded = await of.certificates.put(dps, 'ca', { certificate: base64(root) }, absent)
    const coded = await of.certificates.generateVerificationCode(dps, 'ca', etag(uploaded.etag))
    const verify = (text: string) => of.certificates.verify(dps, 'ca', text, any)
    return { ...of, uploaded, coded, code: coded.verificationCode!, verify }
  }
  const proof = (code: string, by: Party = root, more = {}) => device(code, by, { ...valid, ...more })

  test('the code has 48 hex digits, and the etag changes', async () => {
    const { uploaded, coded, code, certificates } = await begun()
    expect(code).toMatch(/^[0-9A-F]{48}$/)
    expect(coded.etag).not.toBe(uploaded.etag)
    const again = await certificates.generateVerificationCode(dps, 'ca', any)
    expect(again.verificationCode).not.toBe(code)
    expect(again.isVerified).toBe(false)
  })

  test.each<[string, (code: string) => string]>([
    ['an ordinary client certificate', (code) => base64(proof(code))],
    ['the code in lower case', (code) => base64(proof(code.toLowerCase()))],
    ['PEM with the chain behind it', (code) => pem(proof(code).der) + pem(root.der)],
    ['without any extension', (code) => base64(certificate({ subject: code, by: root, ...valid }))],
    ['with further parts in its name', (code) => base64(device(name('O=Contoso', `CN=${code}`), root, valid))],
  ])('%s verifies, and uses the code up', async (_, make) => {
    const { code, verify, coded, certificates } = await begun()
    const verified = await verify(make(code))
    expect(verified).toMatchObject({ isVerified: true, verificationCode: undefined })
    expect(verified.etag).not.toBe(coded.etag)
    expect((await certificates.trusted(dps)).certificates.map((each) => each.name)).toEqual(['ca'])
    expect(await refusal(verify(make(code)))).toMatchObject({
      code: 400003,
      message: expect.stringContaining('Call generateVerificationCode first'),
    })
  })

  const stranger = authority('root', valid)
  test.each<[string, (code: string) => string, RegExp]>([
    ['nothing', () => '', /certificate must be a certificate/],
    [
      'another CN',
      () => base64(proof('0'.repeat(48))),
      /must be a certificate with the verification code as its subject CN, found the subject "CN=0000/,
    ],
    ['two CNs', (code) => base64(device(name(`CN=${code}`, 'CN=x'), root, valid)), /subject CN/],
    ['the CA itself', () => base64(root), /subject CN/],
    [
      'self-signed',
      (code) => base64(certificate({ subject: code, ...valid })),
      /signed by the key of the CA certificate ca/,
    ],
    [
      'a CA of the same name with another key',
      (code) => base64(proof(code, stranger)),
      /signed by the key of the CA certificate ca/,
    ],
    [
      'another issuer name',
      (code) => base64(proof(code, { ...root, subject: name('CN=else') })),
      /signed by the key of the CA certificate ca/,
    ],
    [
      'the right name over a wrong signature',
      (code) => base64(proof(code, { ...root, keys: stranger.keys })),
      /signed by the key/,
    ],
    ['SHA-1', (code) => base64(proof(code, root, { digest: 'sha1' })), /signed by the key/],
    [
      'not yet valid',
      (code) => base64(proof(code, root, { from: NOW + 1000 })),
      /must be valid now .*found one valid from 2026-01-01T00:00:01/,
    ],
    ['expired', (code) => base64(proof(code, root, { until: NOW - 1000 })), /must be valid now/],
    [
      'below an intermediate',
      (code) => base64(proof(code, authority('sub', { by: root, ...valid }))),
      /signed by the key/,
    ],
  ])('%s is refused, and the code stays good', async (_, make, message) => {
    const { code, verify, coded, certificates } = await begun()
    expect(await refusal(verify(make(code)))).toMatchObject({ code: 400004, message: expect.stringMatching(message) })
    const { certificate: _before, ...before } = coded
    const { certificate: _after, ...after } = (await certificates.get(dps, 'ca'))!
    expect(after).toEqual(before)
    expect((await verify(base64(proof(code)))).isVerified).toBe(true)
  })

  test('without a code there is nothing to verify', async () => {
    const { certificates } = await prepared()
    await certificates.put(dps, 'ca', { certificate: base64(root) }, absent)
    expect(await refusal(certificates.verify(dps, 'ca', base64(root), any))).toMatchObject({ code: 400003 })
  })

  test('a new upload forgets verification and code', async () => {
    const { certificates, coded } = await begun()
    const replaced = await certificates.put(dps, 'ca', { certificate: base64(root) }, etag(coded.etag))
    expect(replaced).toMatchObject({ isVerified: false, verificationCode: undefined, createdAt: coded.createdAt })
    const now = await certificates.put(dps, 'ca', { certificate: base64(root), isVerified: true }, any)
    expect(now.isVerified).toBe(true)
    expect((await certificates.put(dps, 'ca', { certificate: base64(root) }, any)).isVerified).toBe(false)
  })
})

describe('what is trusted', () => {
  test('are the verified ones, by name; the version changes with every change and on every node', async () => {
    const { certificates, another } = await prepared()
    const node = another().certificates
    const versions: string[] = []
    const look = async (): Promise<string[]> => {
      const [here, there] = [await certificates.trusted(dps), await node.trusted(dps)]
      expect(there.version).toBe(here.version)
      versions.push(here.version)
      return there.certificates.map((each) => each.name)
    }
    expect(await look()).toEqual([])
    await certificates.put(dps, 'b', { certificate: base64(root), isVerified: true }, absent)
    await certificates.put(dps, 'a', { certificate: base64(root) }, absent)
    expect(await look()).toEqual(['b'])
    await certificates.put(dps, 'a', { certificate: base64(root), isVerified: true }, any)
    expect(await look()).toEqual(['a', 'b'])
    await node.remove(dps, 'b', any)
    expect(await look()).toEqual(['a'])
    await certificates.put(hub, 'x', { certificate: base64(root), isVerified: true }, absent)
    expect(await look()).toEqual(['a'])
    expect(new Set(versions).size).toBe(4)
  })

  test('goes with its owner, and does not come back with one of the same name', async () => {
    const { control, certificates, store } = await prepared()
    await certificates.put(dps, 'ca', { certificate: base64(root), isVerified: true }, absent)
    const before = await certificates.trusted(dps)
    await control.provisioningServices.remove(operator, 'dps', any)
    expect(await certificates.trusted(dps)).toEqual({ version: '0', certificates: [] })
    expect(await store.count(documents)).toBe(0)
    await control.provisioningServices.put(operator, 'dps', {}, absent)
    expect(await certificates.list(dps)).toEqual([])
    await certificates.put(dps, 'ca', { certificate: base64(root), isVerified: true }, absent)
    expect((await certificates.trusted(dps)).version).not.toBe(before.version)
  })

  test('an upload beside the deletion of its owner leaves nothing behind', async () => {
    for (let round = 0; round < 10; round++) {
      const { control, another, store } = await prepared()
      await Promise.allSettled([
        control.provisioningServices.remove(operator, 'dps', any),
        another().certificates.put(dps, 'ca', { certificate: base64(root) }, absent),
      ])
      expect(await control.provisioningServices.list()).toEqual([])
      expect(await store.count(documents)).toBe(0)
    }
  })
})

test('lists in the order of names', async () => {
  const { certificates } = await prepared()
  const keys = ecKeys()
  const one = certificate({ subject: 'x', keys, extensions: authorityExtensions(keys) })
  for (const each of ['c', 'A', 'b']) await certificates.put(dps, each, { certificate: base64(one) }, absent)
  const names = (list: readonly CaCertificate[]): string[] => list.map((each) => each.name)
  expect(names(await certificates.list(dps))).toEqual(['A', 'b', 'c'])
})
