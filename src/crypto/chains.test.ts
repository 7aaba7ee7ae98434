import { describe, expect, test } from 'vitest'
import {
  alternativeNames,
  attribute,
  authority,
  authorityKeyId,
  basicConstraints,
  CLIENT_AUTH,
  certificate,
  device,
  dnsName,
  ecKeys,
  extension,
  keyIdOf,
  keyUsage,
  NOW,
  name,
  nameConstraints,
  nameOf,
  type Party,
  printable,
  purposes,
  rsaKeys,
  SERVER_AUTH,
  subjectKeyId,
  tlv,
  utf8,
} from '../../tests/certificates.ts'
import { limits } from '../base/limits.ts'
import { type Certificate, parseCertificate } from './certificates.ts'
import { type ChainInput, type ChainVerdict, proveSignedBy, validateChain } from './chains.ts'

const DAY = 24 * 3600 * 1000
const parsed = (parties: readonly Party[]): Certificate[] => parties.map(({ der }) => parseCertificate(der))

/** Leaf first, then what is presented with it. */
const judge = (chain: readonly Party[], anchors: readonly Party[], more: Partial<ChainInput> = {}): ChainVerdict => {
  const [leaf, ...presented] = parsed(chain)
  return validateChain({ leaf: leaf!, presented, anchors: parsed(anchors), now: NOW, ...more })
}
const reasonOf = (verdict: ChainVerdict): string => (verdict.ok ? 'ok' : verdict.reason)
const pathOf = (verdict: ChainVerdict): string[] =>
  verdict.ok ? verdict.path.map((each) => each.commonName ?? each.subject) : [verdict.reason]

const root = authority('root')
const first = authority('first', { by: root })
const second = authority('second', { by: first })
const leaf = device('dev-001', second)

describe('accepted', () => {
  test('a leaf through two intermediates to a root', () => {
    const verdict = judge([leaf, second, first], [root])
    expect(pathOf(verdict)).toEqual(['dev-001', 'second', 'first', 'root'])
    expect(verdict).toMatchObject({ ok: true, anchor: { commonName: 'root' }, validUntil: parsed([leaf])[0]!.notAfter })
  })

  test.each<[string, readonly Party[]]>([
    ['in another order', [leaf, first, second]],
    ['with the root', [leaf, second, first, root]],
    ['with the root in the middle', [leaf, root, second, first]],
    ['with a stranger among them', [leaf, authority('stranger'), second, first]],
    ['twice', [leaf, second, second, first, first]],
    ['with the leaf again', [leaf, leaf, second, first]],
  ])('the chain presented %s', (_, chain) => {
    expect(pathOf(judge(chain, [root]))).toEqual(['dev-001', 'second', 'first', 'root'])
  })

  test('an intermediate as anchor in its own right, whatever stands above it', () => {
    expect(pathOf(judge([leaf], [second]))).toEqual(['dev-001', 'second'])
    expect(pathOf(judge([leaf, second], [first]))).toEqual(['dev-001', 'second', 'first'])
  })

  test('the nearest anchor ends the path; further ones are told', () => {
    const verdict = judge([leaf, second, first], [root, second])
    expect(pathOf(verdict)).toEqual(['dev-001', 'second'])
    expect(verdict.ok && verdict.above.map((each) => each.commonName)).toEqual(['first', 'root'])
    const alone = judge([leaf], [root, second])
    expect(alone.ok && alone.above).toEqual([])
  })

  test('an anchor above that is not acceptable is not told, and does no harm', () => {
    const old = authority('old root', { until: NOW - DAY })
    const middle = authority('middle', { by: old })
    const verdict = judge([device('d', middle)], [old, middle])
    expect(verdict.ok && [verdict.path.length, verdict.above.length]).toEqual([2, 0])
  })

  test('a leaf that is itself trusted', () => {
    const alone = certificate({ subject: 'alone' })
    expect(pathOf(judge([alone], [alone]))).toEqual(['alone'])
  })

  test('the earliest end of the path is the end of the verdict', () => {
    const short = authority('short', { by: root, until: NOW + DAY })
    expect(judge([device('d', short), short], [root])).toMatchObject({ validUntil: NOW + DAY })
  })

  test('both ends of the validity belong to it', () => {
    const exact = device('d', root, { from: NOW, until: NOW + DAY })
    expect(reasonOf(judge([exact], [root], { now: NOW }))).toBe('ok')
    expect(reasonOf(judge([exact], [root], { now: NOW + DAY }))).toBe('ok')
    expect(reasonOf(judge([exact], [root], { now: NOW - 1 }))).toBe('not-yet-valid')
    expect(reasonOf(judge([exact], [root], { now: NOW + DAY + 1 }))).toBe('expired')
  })

  test('names that differ in case, blanks and string type chain', () => {
    const issuer = authority(nameOf([attribute('O', printable('Contoso  Ltd'))], [attribute('CN', printable('Root'))]))
    const child = device('d', issuer, { issuerName: name('O= contoso ltd', 'CN=ROOT') })
    expect(reasonOf(judge([child], [issuer]))).toBe('ok')
  })

  test.each([
    ['P-384', () => ecKeys('P-384'), 'sha384' as const],
    ['P-521', () => ecKeys('P-521'), 'sha256' as const],
    ['RSA-2048', () => rsaKeys(2048), 'sha256' as const],
  ])('%s keys', (_, keys, digest) => {
    const anchor = authority('root', { keys: keys(), digest })
    expect(reasonOf(judge([device('d', anchor, { digest })], [anchor]))).toBe('ok')
  })

  test('a self-issued intermediate (a new key of one authority) beside the old one', () => {
    const newer = authority('root', { by: root })
    expect(reasonOf(judge([device('d', newer), newer], [root]))).toBe('ok')
  })

  test('the good one of two cross-signed versions, whichever is presented first', () => {
    const keys = ecKeys()
    const other = authority('other root')
    const good = authority('cross', { by: root, keys })
    const expired = authority('cross', { by: root, keys, until: NOW - DAY })
    const foreign = authority('cross', { by: other, keys })
    const child = device('d', good)
    for (const chain of [
      [expired, foreign, good],
      [foreign, good, expired],
      [good, expired, foreign],
    ])
      expect(reasonOf(judge([child, ...chain], [root]))).toBe('ok')
  })
})

describe('shapes of real tools (attestation-crypto.md B5)', () => {
  test('cert_helper.js: intermediates without key usage, leaf with a critical purpose only', () => {
    const keys = ecKeys()
    const intermediate = certificate({
      subject: 'intermediate',
      by: root,
      keys,
      extensions: [
        basicConstraints(true),
        subjectKeyId(keyIdOf(keys.publicKey)),
        authorityKeyId(keyIdOf(root.keys.publicKey)),
      ],
    })
    const child = device('d', intermediate, { extensions: [purposes([CLIENT_AUTH], true)] })
    expect(reasonOf(judge([child, intermediate], [root]))).toBe('ok')
  })

  test('a self-signed X.509 v1 certificate without extensions, trusted as it is', () => {
    const alone = certificate({ subject: 'dev-v1', version: 1 })
    expect(reasonOf(judge([alone], [alone]))).toBe('ok')
  })

  test('an X.509 v1 root as anchor', () => {
    const old = certificate({ subject: 'v1 root', version: 1 })
    expect(reasonOf(judge([device('d', old, { extensions: [] })], [old]))).toBe('ok')
    const between = authority('between', { by: old })
    expect(reasonOf(judge([device('d', between), between], [old]))).toBe('ok')
  })

  test('certGen.sh: RSA, authority key id with issuer and serial, nsCertType, two purposes', () => {
    const keys = rsaKeys()
    const named = (party: Party) =>
      authorityKeyId(keyIdOf(party.keys.publicKey), { issuer: party.subject, serial: party.serial })
    const caExtensions = (by: Party | undefined) => [
      basicConstraints(true),
      keyUsage(0x86),
      subjectKeyId(keyIdOf(keys.publicKey)),
      ...(by === undefined ? [] : [named(by)]),
    ]
    const top = certificate({ subject: 'Azure_IoT_Hub_CA_Cert_Test_Only', keys, extensions: caExtensions(undefined) })
    const middle = certificate({
      subject: 'Azure_IoT_Hub_Intermediate_Cert_Test_Only',
      by: top,
      keys,
      extensions: caExtensions(top),
    })
    const child = device('d', middle, {
      keys,
      extensions: [
        basicConstraints(false),
        extension('2.16.840.1.113730.1.1', tlv(0x03, [5, 0xa0])),
        subjectKeyId(keyIdOf(keys.publicKey)),
        named(middle),
        keyUsage(0xe0),
        purposes([CLIENT_AUTH, '1.3.6.1.5.5.7.3.4']),
      ],
    })
    // One key for all three, as only a test would have it: subject and key together tell them apart.
    expect(reasonOf(judge([child, middle, top], [top]))).toBe('ok')
  })

  test('az iot: self-signed without extensions is its own authority only when trusted', () => {
    const alone = certificate({ subject: 'd' })
    expect(reasonOf(judge([alone], [root]))).toBe('self-signed')
  })
})

describe('refused', () => {
  const under = (issuer: Party, more: readonly Party[] = []) => judge([device('d', issuer), issuer, ...more], [root])
  const shapedIssuer = (extensions: (keys: ReturnType<typeof ecKeys>) => Buffer[], version: 1 | 3 = 3) => {
    const keys = ecKeys()
    return certificate({ subject: 'issuer', by: root, keys, version, extensions: extensions(keys) })
  }

  test.each<[string, string, () => ChainVerdict]>([
    ['a missing intermediate', 'issuer-not-found', () => judge([leaf, second], [root])],
    ['all intermediates missing', 'issuer-not-found', () => judge([leaf], [root])],
    ['no anchors at all', 'untrusted-root', () => judge([leaf, second, first, root], [])],
    ['a root that is not trusted', 'untrusted-root', () => judge([leaf, second, first, root], [authority('other')])],
    ['a self-signed stranger', 'self-signed', () => judge([certificate({ subject: 'dev-001' })], [root])],
    [
      'a stranger that calls its root the same',
      'issuer-key-mismatch',
      () => judge([device('d', authority('root'))], [root]),
    ],
    [
      'a stranger that calls its root the same and presents it',
      'untrusted-root',
      () => {
        const false_ = authority('root')
        return judge([device('d', false_), false_], [root])
      },
    ],
    [
      'a stranger that calls its root the same and leaves key ids out',
      'signature-invalid',
      () => judge([device('d', authority('root'), { extensions: [] })], [root]),
    ],
    ['an issuer with CA:FALSE', 'not-a-ca', () => under(shapedIssuer(() => [basicConstraints(false), keyUsage(0x86)]))],
    ['an issuer without basic constraints', 'not-a-ca', () => under(shapedIssuer(() => [keyUsage(0x86)]))],
    ['an issuer of version 1 that is not the anchor', 'not-a-ca', () => under(shapedIssuer(() => [], 1))],
    ['a device that issues devices', 'not-a-ca', () => judge([device('d', leaf), leaf, second, first], [root])],
    [
      'an issuer whose key usage lacks keyCertSign',
      'key-usage-not-cert-sign',
      () => under(shapedIssuer(() => [basicConstraints(true), keyUsage(0x80)])),
    ],
    [
      'an anchor of version 3 that is no authority',
      'not-a-ca',
      () => {
        const anchor = certificate({ subject: 'no ca', extensions: [keyUsage(0x80)] })
        return judge([device('d', anchor)], [anchor])
      },
    ],
    ['an expired leaf', 'expired', () => judge([device('d', root, { until: NOW - 1000 })], [root])],
    ['a leaf of tomorrow', 'not-yet-valid', () => judge([device('d', root, { from: NOW + 1000 })], [root])],
    ['an expired intermediate', 'expired', () => under(authority('old', { by: root, until: NOW - DAY }))],
    ['an intermediate of tomorrow', 'not-yet-valid', () => under(authority('new', { by: root, from: NOW + DAY }))],
    [
      'an expired anchor',
      'expired',
      () => {
        const old = authority('old', { until: NOW - DAY })
        return judge([device('d', old)], [old])
      },
    ],
    [
      'an unknown critical extension of the leaf',
      'unknown-critical-extension',
      () => judge([device('d', root, { extensions: [extension('1.2.3.4', utf8('x'), true)] })], [root]),
    ],
    [
      'an unknown critical extension of an intermediate',
      'unknown-critical-extension',
      () => under(authority('odd', { by: root, more: [extension('1.2.3.4', utf8('x'), true)] })),
    ],
    [
      'a leaf for servers only',
      'not-for-client-auth',
      () => judge([device('d', root, { extensions: [purposes([SERVER_AUTH])] })], [root]),
    ],
    [
      'an intermediate for servers only',
      'not-for-client-auth',
      () => under(authority('web', { by: root, more: [purposes([SERVER_AUTH])] })),
    ],
    [
      'a broken name constraint',
      'name-constraint-broken',
      () => {
        const narrow = authority('narrow', { by: root, more: [nameConstraints({ permitted: [dnsName('a.example')] })] })
        const child = device('d', narrow, { extensions: [alternativeNames(dnsName('b.example'))] })
        return judge([child, narrow], [root])
      },
    ],
    [
      'a path length of 0 with an intermediate below',
      'path-length-exceeded',
      () => {
        const top = authority('top', { by: root, pathLength: 0 })
        return under(authority('below', { by: top }), [top])
      },
    ],
    [
      'a path length of the anchor',
      'path-length-exceeded',
      () => {
        const top = authority('top', { pathLength: 0 })
        const below = authority('below', { by: top })
        return judge([device('d', below), below], [top])
      },
    ],
    ['a SHA-1 signature', 'signature-weak', () => judge([device('d', root, { digest: 'sha1' })], [root])],
    [
      'an MD5 signature',
      'signature-weak',
      () => {
        const rsa = authority('rsa root', { keys: rsaKeys() })
        return judge([device('d', rsa, { digest: 'md5' })], [rsa])
      },
    ],
    [
      'an RSA key of 1024 bits in the leaf',
      'weak-key',
      () => judge([device('d', root, { keys: rsaKeys(1024) })], [root]),
    ],
    [
      'an RSA key of 1024 bits in an intermediate',
      'weak-key',
      () => under(authority('w', { by: root, keys: rsaKeys(1024) })),
    ],
    ['a curve of 192 bits', 'weak-key', () => judge([device('d', root, { keys: ecKeys('P-192') })], [root])],
  ])('%s: %s', (_, reason, run) => {
    expect(reasonOf(run())).toBe(reason)
  })

  test('the certificate at fault is told, and the sentence names it', () => {
    const verdict = judge([leaf, second], [root])
    expect(verdict).toMatchObject({ ok: false, certificate: { commonName: 'second' } })
    expect(!verdict.ok && verdict.detail).toMatch(
      /The issuer "CN=first" of the certificate "CN=second" was not presented/,
    )
  })

  test('a subject of kilobytes is cut in the sentence', () => {
    const verdict = judge([device('x'.repeat(10_000), authority('nowhere'))], [root])
    expect(!verdict.ok && verdict.detail.length).toBeLessThan(500)
  })

  test('every bit of a signature counts', () => {
    for (const bit of [1, 9, 100, 300, 500]) {
      const der = Buffer.from(leaf.der)
      const at = der.length - 1 - Math.floor(bit / 8)
      der[at] = der[at]! ^ (1 << (bit % 8))
      expect(reasonOf(judge([{ ...leaf, der }, second, first], [root]))).toBe('signature-invalid')
    }
  })

  test('a signature algorithm that does not fit the issuer’s key', () => {
    const rsa = authority('root', { keys: rsaKeys() })
    const child = device('d', rsa, { extensions: [] })
    // Same name as an anchor with an elliptic key, no key ids: only the algorithm tells them apart.
    const bare = certificate({ subject: 'root', extensions: [basicConstraints(true)] })
    expect(reasonOf(judge([child], [bare]))).toBe('signature-invalid')
  })
})

describe('switches', () => {
  test('purposes are not looked at without requireClientAuth', () => {
    const child = device('d', root, { extensions: [purposes([SERVER_AUTH])] })
    expect(reasonOf(judge([child], [root], { requireClientAuth: false }))).toBe('ok')
  })

  test('any purpose serves, and the anchor’s own purposes do not matter', () => {
    const web = authority('web', { more: [purposes([SERVER_AUTH])] })
    const child = device('d', web, { extensions: [purposes(['2.5.29.37.0'])] })
    expect(reasonOf(judge([child], [web]))).toBe('ok')
  })

  test('an expired anchor passes without checkAnchorTime; an expired leaf that is one does not', () => {
    const old = authority('old', { until: NOW - DAY })
    expect(reasonOf(judge([device('d', old)], [old], { checkAnchorTime: false }))).toBe('ok')
    expect(reasonOf(judge([old], [old], { checkAnchorTime: false }))).toBe('expired')
  })
})

describe('path lengths', () => {
  test('self-issued intermediates do not count', () => {
    const top = authority('top', { pathLength: 1 })
    const middle = authority('middle', { by: top, pathLength: 0 })
    const renewed = authority('middle', { by: middle, pathLength: 0 })
    expect(reasonOf(judge([device('d', renewed), renewed, middle], [top]))).toBe('ok')
  })

  test('as many intermediates as allowed pass', () => {
    const top = authority('top', { pathLength: 2 })
    const one = authority('one', { by: top })
    const two = authority('two', { by: one })
    const three = authority('three', { by: two })
    expect(reasonOf(judge([device('d', two), two, one], [top]))).toBe('ok')
    expect(reasonOf(judge([device('d', three), three, two, one], [top]))).toBe('path-length-exceeded')
  })

  test('an authority without limit below one with a limit does not lift it', () => {
    const top = authority('top', { pathLength: 1 })
    const one = authority('one', { by: top })
    const two = authority('two', { by: one })
    expect(reasonOf(judge([device('d', two), two, one], [top]))).toBe('path-length-exceeded')
  })
})

describe('it ends soon, whatever is presented', () => {
  /** Wall clock is no measure on a shared machine: CPU time of this process is. */
  const cpuMs = (run: () => void): number => {
    const start = process.cpuUsage()
    run()
    const { user, system } = process.cpuUsage(start)
    return (user + system) / 1000
  }

  test('two intermediates that signed each other', () => {
    const a = ecKeys()
    const b = ecKeys()
    const rootA = authority('a', { keys: a })
    const rootB = authority('b', { keys: b })
    const aByB = authority('a', { keys: a, by: rootB })
    const bByA = authority('b', { keys: b, by: rootA })
    let verdict: ChainVerdict | undefined
    expect(cpuMs(() => (verdict = judge([device('d', aByB), aByB, bByA], [root])))).toBeLessThan(500)
    expect(reasonOf(verdict!)).toBe('issuer-not-found')
    expect(reasonOf(judge([device('d', aByB), aByB, bByA], [rootB]))).toBe('ok')
  })

  /** `count` authorities, each signed by each of the others: the number of paths grows like a factorial. */
  function mesh(count: number): Party[] {
    const roots = Array.from({ length: count }, (_, at) => authority(`mesh ${at}`))
    return roots.flatMap((by) =>
      roots.filter((each) => each !== by).map((each) => authority(each.subject, { by, keys: each.keys })),
    )
  }

  test('a mesh of authorities that all signed each other is left after a bounded number of links', () => {
    const nodes = mesh(10)
    let verdict: ChainVerdict | undefined
    expect(cpuMs(() => (verdict = judge([device('d', nodes[0]!), ...nodes], [root])))).toBeLessThan(500)
    expect(reasonOf(verdict!)).toBe('too-many-signatures')
  })

  test('the bound counts links, and a path within it is found', () => {
    const namesakes = Array.from({ length: limits.chainSignatureChecks - 1 }, () =>
      certificate({ subject: 'root', extensions: [basicConstraints(true)] }),
    )
    const child = device('d', root, { extensions: [] })
    expect(reasonOf(judge([child], [...namesakes, root]))).toBe('ok')
    const fresh = device('d', root, { extensions: [] })
    expect(reasonOf(judge([fresh], [...namesakes, namesakes[0]!, root]))).toBe('too-many-signatures')
  })

  test('presented namesakes that signed nothing are tried a bounded number of times, trusted ones are not counted', () => {
    const namesake = () => certificate({ subject: 'signer', extensions: [basicConstraints(true)] })
    const signer = certificate({ subject: 'signer', by: root, extensions: [basicConstraints(true)] })
    const child = device('d', signer, { extensions: [] })
    const others = Array.from({ length: limits.chainMisses }, namesake)
    expect(reasonOf(judge([child, ...others.slice(1), signer], [...others, root]))).toBe('ok')
    expect(reasonOf(judge([device('d', signer, { extensions: [] }), ...others, signer], [root]))).toBe(
      'too-many-signatures',
    )
  })

  const tower = (height: number): { chain: Party[]; top: Party } => {
    const top = authority('storey 0')
    const storeys = [top]
    for (let at = 1; at < height; at++) storeys.unshift(authority(`storey ${at}`, { by: storeys[0]! }))
    return { chain: [device('d', storeys[0]!), ...storeys.slice(0, -1)], top }
  }

  test('eight certificates are a path, nine are not', () => {
    const eight = tower(limits.chainDepth - 1)
    const verdict = judge(eight.chain, [eight.top])
    expect(verdict.ok && verdict.path.length).toBe(8)
    const nine = tower(limits.chainDepth)
    expect(reasonOf(judge(nine.chain, [nine.top]))).toBe('too-deep')
    expect(reasonOf(judge(nine.chain, [nine.top, eight.top]))).toBe('too-deep')
  })

  test('a path of eight does not continue above its anchor', () => {
    const eight = tower(limits.chainDepth)
    const nearest = eight.chain.at(-1)!
    const verdict = judge(eight.chain, [eight.top, nearest])
    expect(verdict.ok && [verdict.path.length, verdict.above.length]).toEqual([8, 0])
  })

  test('complete but unacceptable paths are judged a bounded number of times', () => {
    const keys = ecKeys()
    const versions = Array.from({ length: limits.chainPaths }, () =>
      authority('cross', { by: root, keys, until: NOW - DAY }),
    )
    const good = authority('cross', { by: root, keys })
    const child = device('d', good)
    expect(reasonOf(judge([child, ...versions.slice(1), good], [root]))).toBe('ok')
    expect(reasonOf(judge([device('d', good), ...versions, good], [root]))).toBe('expired')
  })

  test('names that nobody could compare', () => {
    const subtrees = Array.from({ length: 100 }, (_, at) => dnsName(`${at}.example`))
    const narrow = authority('narrow', { by: root, more: [nameConstraints({ excluded: subtrees })] })
    const child = device('d', narrow, {
      extensions: [alternativeNames(...Array.from({ length: 100 }, (_, at) => dnsName(`h${at}`)))],
    })
    expect(reasonOf(judge([child, narrow], [root]))).toBe('name-constraint-broken')
  })
})

describe('remembered verdicts', () => {
  test('an accepted chain stays accepted, and its parts prove nothing elsewhere', () => {
    const anchor = authority('cached root')
    const between = authority('cached', { by: anchor })
    const child = device('d', between)
    for (let round = 0; round < 3; round++) expect(reasonOf(judge([child, between], [anchor]))).toBe('ok')
    expect(reasonOf(judge([child, between], [root]))).toBe('issuer-not-found')
    expect(reasonOf(judge([child, between], [anchor], { now: NOW + 1000 * DAY }))).toBe('expired')
    const impostor = authority('cached', { by: anchor })
    expect(reasonOf(judge([child, impostor], [anchor]))).toBe('issuer-key-mismatch')
  })

  test('an intermediate that was seen is the same object when it is parsed again; a leaf is not', () => {
    const anchor = authority('cached root 2')
    const between = authority('cached 2', { by: anchor })
    const child = device('d', between)
    judge([child, between], [anchor])
    expect(parseCertificate(between.der)).toBe(parseCertificate(between.der))
    expect(parseCertificate(child.der)).not.toBe(parseCertificate(child.der))
  })

  test('nothing of a refused chain is remembered', () => {
    const stranger = authority('stranger')
    const between = authority('between', { by: stranger })
    judge([device('d', between), between, stranger], [root])
    expect(parseCertificate(between.der)).not.toBe(parseCertificate(between.der))
  })
})

describe('proof of possession (dps.md 7.3)', () => {
  const [ca] = parsed([root])
  test('a certificate that the authority signed', () => {
    expect(proveSignedBy(parsed([device('CODE', root)])[0]!, ca!)).toEqual({ ok: true })
    expect(proveSignedBy(parsed([device('CODE', root, { extensions: [], version: 1 })])[0]!, ca!)).toEqual({ ok: true })
  })

  test.each<[string, string, () => Party]>([
    ['an intermediate of it signed', 'issuer-not-found', () => device('CODE', first)],
    ['another authority of the same name signed', 'signature-invalid', () => device('CODE', authority('root'))],
    ['it signs itself', 'issuer-not-found', () => certificate({ subject: 'CODE' })],
    ['the signature is SHA-1', 'signature-weak', () => device('CODE', root, { digest: 'sha1' })],
  ])('%s: %s', (_, reason, make) => {
    expect(proveSignedBy(parsed([make()])[0]!, ca!)).toMatchObject({ ok: false, reason })
  })
})

test('the same certificates are accepted by OpenSSL, link by link', () => {
  const [a, b, c, d] = parsed([leaf, second, first, root])
  expect([a!.x509.verify(b!.publicKey), b!.x509.verify(c!.publicKey), c!.x509.verify(d!.publicKey)]).toEqual([
    true,
    true,
    true,
  ])
  expect(a!.x509.checkIssued(b!.x509)).toBe(true)
})
