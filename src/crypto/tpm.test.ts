import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { rsaPair, tpmDouble } from '../../tests/support/tpm-double.ts'
import { type Random, seededRandom } from '../base/random.ts'
import { activationBlob, credential, duplicate, identityKey, parseTpmPublic, readTpmPublic, TpmError } from './tpm.ts'
import { cfb, kdfa } from './tpm-kdf.ts'

/** `start`, `start` + 1, …: how the vectors write their inputs. */
const run = (start: number, count = 32): Buffer => Buffer.from(Array.from({ length: count }, (_, at) => start + at))
const hex = (bytes: Buffer): string => bytes.toString('hex')
const NONE = Buffer.alloc(0)

// attestation-crypto.md A4.4: accepted by a TPM.
const EK =
  `AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAp8HXmUcILme4tbObBNBFVYebTlRW6ANvrPoKT9/uBJW1UhmwxKq/wfQClxPo
     IZS42tP31euZCOlxMQ/W+rXG6cTXjkp8zkTVAf+776URvkoPGx3DptR0yH4B5GQ6AnDeBPkD//+VOXEDJ2YxnZxrMyS7Nmu8TAJfIrchntXT1GxpxY42Q3he+E/LTLaumzSYcw2k
     QbscyB08tkkyLEcXR1/k84BhBy7MfZ47v+ja/lDcmrd2cn/QoXZY3rcOvhpQ2E3bNJEae+azYiCaTPpRpqBusfR9HhzbGdwj89NRlqTicdMKUCIcyGR9OQpTjAy2PJrLi3Rb5xZZ
     pm5gIVuMSQ==`.replaceAll(/\s/g, '')
const SRK =
  `ARoAAQALAAMEcgAAAAYAgABDABAIAAAAAAABALMlks8g2LO880saEK3qDyFE6FgNzsrsw1OC/Hok02GwluALv8DEhhl9mIwEdzyiqwF/1+18i92wMFFGt0hQd2ORNyiJlO9bTa21
     JMLpyap5HOUckBwwGHX7CJNssRkBOXe94hEEzdtAEGETfrn2PKkwb80A0GEXjugpW7uZLa0gxoAl6XPJ68w8xsSRSupA8acmo/DUUNl8+S/yaBE+Ka1pkeqzFCearnPr9mXB70wS
     l+zTqC7gbugkmhPm1fqAe2delD1u47YeNkQD+YLwm4BgNE1achyUJj4TuM+/+JqD0mnsF5Jm3ioZ+4tJAiWvNSKfXPyWSYtFXAHKvHQLrLc=`.replaceAll(
    /\s/g,
    '',
  )

test('names of the keys of A4.4', () => {
  expect(hex(readTpmPublic(EK).name)).toBe('000bd2ed1ff16b033c6fb0486a0609beafc328b35067d630891931732fc9d0490e90')
  expect(hex(readTpmPublic(SRK).name)).toBe('000bfa174dab9fa97d3f09bc0140a64901e469dd0e355c856fd68a88947655f8644c')
  expect(readTpmPublic(EK).bytes.toString('base64')).toBe(EK)
})

test('the bare area is read as the sized one', () => {
  const bare = Buffer.from(EK, 'base64').subarray(2)
  expect(parseTpmPublic(bare).bytes.toString('base64')).toBe(EK)
  expect(parseTpmPublic(bare).name).toEqual(readTpmPublic(EK).name)
})

test('the vector of A4.4', () => {
  const srkName = readTpmPublic(SRK).name
  const identity = identityKey(run(0), run(0x20))
  const inner = run(0x40, 16)
  expect(hex(identity.area)).toBe(
    '0008000b000404400020bef56b8c1cc84e11edd717528d2cd99356bd2bbf8f015209c3f84aeeaba8e8a20005000b002084e4bd6ca2af96412fdc62fe44d4e9709cdc31933081a62486a48a154b582d53',
  )
  expect(hex(identity.name)).toBe('000b71fa08d0f7d66be8b67e24810cfbbb8a633af10e1eddc0e2b926ecd1c21d2db1')
  expect(hex(identity.sensitive)).toBe(
    '0048000800000020202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f0020000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f',
  )
  expect(hex(kdfa(run(0x80), 'STORAGE', identity.name, NONE, 128))).toBe('16e8e41c54a233e0e7b658b2f1204666')
  expect(hex(kdfa(run(0x80), 'INTEGRITY', NONE, NONE, 256))).toBe(
    '341d57cb90c0195844bb22792d813979c0281ae7df204307fb1c4f04e9e4d419',
  )
  expect(hex(kdfa(run(0), 'STORAGE', Buffer.from('abc'), NONE, 128))).toBe('d4bc34e09ec1319ed5a2cd6a1d77c277')
  expect(hex(credential(run(0x60), srkName, inner, 128))).toBe(
    '003400202fd8aed8a05d46e299d32b56ba72293c1e1fe0b7df636390fa1ad1de8ff26df710df9cf438a00814ceb4d5be005f99c273bc',
  )
  expect(hex(duplicate(run(0x80), identity, inner, 128))).toBe(
    '008e002012649c20a7b058c32ffbd0fe1aa164edf17b6d9a6a594cad65fee3f504389c4a5dcdb5a73adcb88e26817fe01dd8103689b54f10966f6c50429af6f35d4cf3a0' +
      '5783ccf7409a4df56d94722814ee26160696de0cfb0e0015bfcc45c972d2d004c64b49ea61e85b3d0449f1796360fcf96d408d6fb03888c1c2a631e5b11676f278726131' +
      '206d6aeb76648bcd',
  )
  expect(hex(cfb(inner, Buffer.from('hub/dev')))).toBe('70ec3465f9cda8')
  const signed = createHmac('sha256', run(0)).update('0ne00000001%2Fregistrations%2Fabc\n1700000000').digest('base64')
  expect(signed).toBe('PoPd3zD4JD+VBspGI5SPJe2BRg6nzPWBosJdhWVsCO4=')
})

test('the vector of dps.md 4.5', () => {
  const srkName = Buffer.concat([Buffer.from('000b', 'hex'), run(0x90)])
  const identity = identityKey(run(0x50), run(0x70))
  const inner = run(0x40, 16)
  expect(hex(kdfa(run(0), 'STORAGE', srkName, NONE, 128))).toBe('601d9537e9b1161ed614f82e27c53383')
  expect(hex(kdfa(run(0), 'INTEGRITY', NONE, NONE, 256))).toBe(
    'bacf689f634ece301e1f1b15b072d9c87db6a69585db42b1a0cb8f73ebe2692e',
  )
  expect(hex(credential(run(0), srkName, inner, 128))).toBe(
    '0034002035dcede0b45cb078de44461ea699ae1f4d3563960433e980e8452e83a76ce6c6060b3999f677c1fd702aae299517e9713e59',
  )
  expect(hex(identity.area)).toBe(
    '0008000b000404400020bef56b8c1cc84e11edd717528d2cd99356bd2bbf8f015209c3f84aeeaba8e8a20005000b0020ff5d5704ae8224708db9dc579dc062ca2a12c819fa36e21b9712be82cc96f700',
  )
  expect(hex(identity.name)).toBe('000bae069747550bbbca029ce5b2aff853ea1e537c7868979c6f6419690168137a04')
  expect(hex(duplicate(run(0x20), identity, inner, 128))).toBe(
    '008e002023aba51d94b1f701614e55e4eb0f2c93fb814ed96222feec12481e5f3a0efd71ecbcd38a803aa5f7fd9a24dc5fc668583f2a2e65' +
      'f8c71c246b2d8603199bad57dcf1d32f7db614711d112288bc64bb019a158820d556079ccc0bef95feb224ac907a56344291075838a32cb5f1' +
      '9b7cafbf1238b7ae9b60eb73d049c60dd31ff07b5623890d18a656dbc43370',
  )
})

test.each([
  ['rsa', 798],
  ['ecc', 610],
] as const)('a TPM with an %s storage key gets the key out of the blob', (storage, size) => {
  const tpm = tpmDouble(storage)
  const [endorsementKey, storageRootKey] = [readTpmPublic(tpm.endorsementKey), readTpmPublic(tpm.storageRootKey)]
  const key = run(0x11)
  const uri = 'hub.example/dev'
  const blob = activationBlob({ endorsementKey, storageRootKey, key, uri }, seededRandom(1))
  expect(blob.length).toBe(size + uri.length)
  expect(tpm.activate(blob.toString('base64'))).toEqual(key)
  expect(tpm.uri(blob.toString('base64'))).toBe(uri)
})

test('nobody else does: another endorsement key, another storage key, a flipped bit', () => {
  const pair = rsaPair()
  const [tpm, otherStorage, other] = [tpmDouble('ecc', pair), tpmDouble('ecc', pair), tpmDouble('ecc')]
  const keys = { endorsementKey: readTpmPublic(tpm.endorsementKey), storageRootKey: readTpmPublic(tpm.storageRootKey) }
  const blob = activationBlob({ ...keys, key: run(0), uri: 'x' }, seededRandom(2))
  expect(() => otherStorage.activate(blob.toString('base64'))).toThrow('INTEGRITY')
  expect(() => other.activate(blob.toString('base64'))).toThrow()
  for (const at of [10, 40, 100, 320, 400, 470, 540, 600]) {
    const flipped = Buffer.from(blob)
    flipped[at] = flipped[at]! ^ 1
    expect(() => tpm.activate(flipped.toString('base64'))).toThrow()
  }
})

test('a long text is cut where SASL has no more room', () => {
  const tpm = tpmDouble('ecc')
  const keys = { endorsementKey: readTpmPublic(tpm.endorsementKey), storageRootKey: readTpmPublic(tpm.storageRootKey) }
  expect(activationBlob({ ...keys, key: run(0), uri: 'x'.repeat(400) }, seededRandom(3)).length).toBe(610 + 150)
})

test('a source of chance that is broken ends in an error, not in a loop', () => {
  const { endorsementKey, storageRootKey } = tpmDouble('ecc').ids
  const keys = { endorsementKey: readTpmPublic(endorsementKey), storageRootKey: readTpmPublic(storageRootKey) }
  const zeros: Random = { ...seededRandom(1), bytes: (count) => Buffer.alloc(count) }
  expect(() => activationBlob({ ...keys, key: run(0), uri: '' }, zeros)).toThrow(TpmError)
})

const edit = (base64: string, at: number, bytes: string): Buffer => {
  const copy = Buffer.from(base64, 'base64')
  Buffer.from(bytes, 'hex').copy(copy, at)
  return copy
}

test.each([
  ['nothing', NONE, /length/],
  ['a wrong length', edit(EK, 0, '0139'), /length/],
  ['too much', Buffer.alloc(2000), /at most 1024 bytes/],
  ['another type', edit(EK, 2, '0008'), /RSA or ECC key, found algorithm 0x0008/],
  ['SHA-384 names', edit(EK, 4, '000c'), /name algorithm SHA-256, found 0x000c/],
  ['a signing key', edit(EK, 6, '00040472'), /restricted and decrypt/],
  ['a policy of an odd size', edit(EK, 10, '001f'), /policy of 32 bytes, found 31/],
  ['no symmetric algorithm', edit(SRK, 12, '0010'), /symmetric algorithm AES/],
  ['AES-192', edit(SRK, 14, '00c0'), /128 or 256 symmetric key bits, found 192/],
  ['another mode', edit(SRK, 16, '0040'), /symmetric mode CFB/],
  ['a signing scheme', edit(SRK, 18, '0014'), /scheme none/],
  ['RSA-1024', edit(SRK, 20, '0400'), /2048, 3072 or 4096 bits, found 1024/],
  ['another exponent', edit(SRK, 22, '00000003'), /exponent 65537, found 3/],
  ['a short modulus', edit(SRK, 28, '00'), /odd modulus/],
  ['an even modulus', edit(SRK, 283, 'b6'), /odd modulus/],
])('refused: %s', (_what, bytes, complaint) => {
  expect(() => parseTpmPublic(bytes)).toThrow(TpmError)
  expect(() => parseTpmPublic(bytes)).toThrow(complaint)
})

test('refused: a point that is not on the curve, bytes after the key, base64 that is none', () => {
  const ecc = tpmDouble('ecc').storageRootKey
  expect(() => parseTpmPublic(edit(ecc, 60, 'ffffff'))).toThrow(/not a public key/)
  const longer = Buffer.concat([edit(EK, 0, '013b'), Buffer.alloc(1)])
  expect(() => parseTpmPublic(longer)).toThrow(/found 1 more bytes/)
  for (const text of ['', 'AT oA', 'AToA!', 'AToAA', `${EK}AAAA`, 'A'.repeat(4000)])
    expect(() => readTpmPublic(text)).toThrow(TpmError)
})

test('whatever bytes come: a key that can be used, or a TpmError', () => {
  const seeds = [EK, SRK, tpmDouble('ecc').storageRootKey].map((base64) => Buffer.from(base64, 'base64'))
  const ek = readTpmPublic(EK)
  const random = seededRandom(9)
  const mutant = fc
    .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }), fc.nat(330))
    .map(([seed, edits, end]) => {
      const copy = Buffer.from(seed)
      for (const [at, value] of edits) if (at < copy.length) copy[at] = value
      return end % 3 === 0 ? copy.subarray(0, end) : copy
    })
  fc.assert(
    fc.property(fc.oneof(mutant, fc.uint8Array({ maxLength: 64 }).map(Buffer.from)), (bytes) => {
      try {
        const storageRootKey = parseTpmPublic(Buffer.from(bytes))
        activationBlob({ endorsementKey: ek, storageRootKey, key: run(0), uri: '' }, random)
      } catch (error) {
        expect(error).toBeInstanceOf(TpmError)
      }
    }),
    { seed: 20_261_121, numRuns: 3_000 },
  )
})
