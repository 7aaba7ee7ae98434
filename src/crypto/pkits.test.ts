import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Certificate, CertificateError, parseCertificate } from './certificates.ts'
import { type ChainVerdict, validateChain } from './chains.ts'

interface Fixture {
  readonly anchor: string
  readonly authorities: Readonly<Record<string, string>>
  readonly cases: Readonly<Record<string, string>>
}

const fixture: Fixture = JSON.parse(readFileSync(join(import.meta.dirname, 'fixtures', 'pkits.json'), 'utf8'))
const read = (base64: string): Certificate => parseCertificate(Buffer.from(base64, 'base64'))
const anchor = read(fixture.anchor)
const authorities = Object.values(fixture.authorities).map(read)

/** Valid by RFC 5280, refused here on purpose: the only signatures with SHA-1 in the suite are those with DSA. */
const strict: Readonly<Record<string, string>> = {
  ValidDSASignaturesTest4: 'signature-weak',
  ValidDSAParameterInheritanceTest5: 'signature-weak',
}

function judge(base64: string): ChainVerdict | CertificateError {
  try {
    const leaf = read(base64)
    return validateChain({
      leaf,
      presented: authorities,
      anchors: [anchor],
      now: Date.UTC(2015, 0, 1),
      requireClientAuth: false,
    })
  } catch (error) {
    if (error instanceof CertificateError) return error
    throw error
  }
}

describe('NIST PKITS, path cases', () => {
  test.each(Object.entries(fixture.cases))('%s', (name, base64) => {
    const verdict = judge(base64)
    const expected = name.startsWith('Valid') ? 'ok' : 'refused'
    const found = verdict instanceof CertificateError ? 'refused' : verdict.ok ? 'ok' : (strict[name] ?? 'refused')
    expect(found).toBe(strict[name] ?? expected)
    if (name in strict) expect(verdict).toMatchObject({ ok: false, reason: strict[name] })
  })

  test('the suite is whole', () => {
    expect(Object.keys(fixture.cases)).toHaveLength(91)
  })
})
