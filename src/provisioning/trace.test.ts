import fc from 'fast-check'
import { expect, test } from 'vitest'
import { limits } from '../base/limits.ts'
import type { PresentedCertificate, Step } from './attestation/verdict.ts'
import type { Claim } from './claims.ts'
import { printableText, type Trace, traced, traceFor, traceOf } from './trace.ts'

const claim: Claim = {
  idScope: '0neA',
  registrationId: 'dev',
  trackingId: 'd3b07384-d9a0-4c9b-8f3e-000000000000',
  transport: 'HTTPS',
  source: '2001:db8:0:1',
  kind: 'none',
}
const certificate = (name: string): PresentedCertificate => ({
  subjectName: name,
  issuerName: name,
  sha1Thumbprint: 'A'.repeat(40),
  sha256Thumbprint: 'B'.repeat(64),
  notBeforeUtc: '2026-01-01T00:00:00Z',
  notAfterUtc: '2027-01-01T00:00:00Z',
  verdict: 'not-judged',
})
const step = (reason: string, text = ''): Step => ({ reason, detail: { text } })
const bytes = (trace: Trace): number => Buffer.byteLength(JSON.stringify(trace))
const words = (trace: Trace): string[] => trace.steps.map(({ reason }) => reason)

test('what fits stays as it is', () => {
  const steps = Array.from({ length: limits.attemptSteps }, (_, at) => step(`s${at}`))
  expect(words(traceOf(claim, { steps }))).toEqual(steps.map(({ reason }) => reason))
  const text = 'x'.repeat(limits.attemptTextLength)
  expect(traceOf(claim, { steps: [step('s', text)] }).steps).toEqual([step('s', text)])
})

test('one step too many: the first and the last ones stay', () => {
  const steps = Array.from({ length: limits.attemptSteps + 1 }, (_, at) => step(`s${at}`))
  const found = traceOf(claim, { steps })
  expect(found.steps).toHaveLength(limits.attemptSteps)
  expect(found.steps.slice(0, 2)).toEqual([step('s0'), { reason: 'steps-left-out', detail: { count: 2 } }])
  expect(words(found).slice(2)).toEqual(steps.slice(3).map(({ reason }) => reason))
  expect(words(traced(found, [step('end')]))).toContain('end')
})

test('one character too many is cut', () => {
  const [found] = traceOf(claim, { steps: [step('s', 'x'.repeat(limits.attemptTextLength + 1))] }).steps
  expect(found!.detail!['text']).toBe(`${'x'.repeat(limits.attemptTextLength)}…`)
})

test('no trace is larger than its bound, and what decided is always in it', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 400 })
  const steps = fc.array(fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), text), { maxLength: 60 })
  const chain = fc.array(text, { maxLength: limits.presentedChain })
  fc.assert(
    fc.property(steps, chain, (details, names) => {
      const given = details.map((detail, at) => ({ reason: `a-step-with-a-name-${at}`, detail }))
      const found = traceOf(claim, { steps: given, certificates: names.map(certificate) })
      expect(bytes(found)).toBeLessThanOrEqual(limits.attemptBytes)
      expect(found.steps.at(-1)?.reason).toBe(given.at(-1)?.reason)
      expect(found.certificates?.[0]?.verdict).toBe(names.length === 0 ? undefined : 'not-judged')
    }),
    { numRuns: 300 },
  )
})

test('texts of strangers are printable and tell no signature', () => {
  expect(printableText('a\u001b[2Jb\u202ec\nd')).toBe('a·[2Jb·c·d')
  expect(printableText('hub/devices/d?sig=abc%2Bdef&se=1')).toBe('hub/devices/d?sig=[redacted]&se=1')
})

test('a trace goes on only for its own operation', () => {
  const carried = { operationId: 'a', ...traceOf(claim, { steps: [step('s')] }) }
  const credential = { kind: 'symmetricKey' } as const
  expect(traceFor({ operationId: 'a', credential }, carried)).toBe(carried)
  const lost = { operationId: 'b', credential: 'sas', steps: [{ reason: 'attested-elsewhere' }] }
  expect(traceFor({ operationId: 'b', credential }, carried)).toEqual(lost)
  expect(traceFor({ operationId: 'b', credential }, undefined)).toEqual(lost)
})
