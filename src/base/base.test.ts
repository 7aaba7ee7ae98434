import { expect, test } from 'vitest'
import { every, isoTime, TestClock } from './clock.ts'
import { asServiceError, codes, ServiceError, statusOf } from './errors.ts'
import {
  bareEtag,
  enrollmentEtag,
  identityEtag,
  parseIfMatch,
  registrationEtag,
  requireMatch,
  twinEtag,
} from './etags.ts'
import { compact, Fields, parseJson } from './json.ts'
import { limits } from './limits.ts'
import { createLog, redactText } from './log.ts'
import { parsePageRequest } from './pages.ts'
import { seededRandom, systemRandom } from './random.ts'

test('a test clock runs what falls due, in order, at its own time', () => {
  const clock = new TestClock(1_000)
  const seen: [string, number][] = []
  clock.after(20, () => seen.push(['late', clock.now()]))
  clock.after(10, () => {
    seen.push(['early', clock.now()])
    clock.after(5, () => seen.push(['nested', clock.now()]))
  })
  const cancelled = clock.after(1, () => seen.push(['never', clock.now()]))
  cancelled.cancel()
  clock.advance(19)
  expect(seen).toEqual([
    ['early', 1_010],
    ['nested', 1_015],
  ])
  clock.advance(1)
  expect(seen.at(-1)).toEqual(['late', 1_020])
  expect(clock.now()).toBe(1_020)
})

test('a repeated step goes on after a failure and ends when it is stopped', async () => {
  const clock = new TestClock()
  const failures: unknown[] = []
  let runs = 0
  const timer = every(
    clock,
    10,
    async () => {
      runs += 1
      if (runs === 1) throw new Error('once')
    },
    (error) => failures.push(error),
  )
  clock.advance(10)
  await settled()
  clock.advance(10)
  await settled()
  expect([runs, failures.length]).toEqual([2, 1])
  timer.cancel()
  clock.advance(100)
  expect(runs).toBe(2)
})

const settled = () => new Promise<void>((resolve) => setImmediate(resolve))

test('times carry seven fraction digits', () => {
  expect(isoTime(Date.UTC(2026, 0, 2, 3, 4, 5, 67))).toBe('2026-01-02T03:04:05.0670000Z')
})

test('the first three digits of every code are an HTTP status, and names are unique', () => {
  const names = Object.values(codes)
  expect(new Set(names).size).toBe(names.length)
  for (const code of Object.keys(codes).map(Number)) expect(code).toBeGreaterThanOrEqual(400_000)
  expect(statusOf(409203)).toBe(409)
})

test('an unexpected fault is told as 500001 and keeps its cause for the log', () => {
  const cause = new Error('disk on fire at /secret/path')
  const error = asServiceError(cause)
  expect([error.code, error.status, error.cause]).toEqual([500001, 500, cause])
  expect(error.message).not.toContain('secret')
  const refusal = new ServiceError(404001, 'dev1')
  expect(asServiceError(refusal)).toBe(refusal)
})

test.each([
  [undefined, { kind: 'absent' }],
  ['', { kind: 'absent' }],
  ['*', { kind: 'any' }],
  ['"*"', { kind: 'any' }],
  ['abc', { kind: 'etag', etag: 'abc' }],
  ['"abc"', { kind: 'etag', etag: 'abc' }],
  ['W/"abc"', { kind: 'etag', etag: 'abc' }],
  ['"\\"abc\\""', { kind: 'etag', etag: 'abc' }],
  ['""abc""', { kind: 'etag', etag: 'abc' }],
])('If-Match %s', (header, wanted) => {
  expect(parseIfMatch(header)).toEqual(wanted)
})

test('an etag of nearly nothing but quotes, as large as a body may be, is read at once', () => {
  const quotes = '"'.repeat(limits.dpsBodyBytes)
  expect(bareEtag(`x${quotes}y"`)).toHaveLength(limits.dpsBodyBytes + 2)
})

test('a stale etag is a 412, in every spelling of the right one it is not', () => {
  const etag = enrollmentEtag(77)
  for (const spelling of [etag, bareEtag(etag), `W/${etag}`, '*']) requireMatch(parseIfMatch(spelling), etag)
  expect(() => requireMatch(parseIfMatch(enrollmentEtag(76)), etag)).toThrow(expect.objectContaining({ code: 412001 }))
})

test('etags have the shapes that clients store', () => {
  expect(identityEtag(256812079)).toBe('MjU2ODEyMDc5')
  expect(twinEtag(1)).toBe('AAAAAAAAAAE=')
  expect(Buffer.from(registrationEtag(1), 'base64').toString()).toMatch(/^"[0-9a-f]{8}-0000-0000-0000-[0-9a-f]{12}"$/)
  expect(new Set([1, 2, 2 ** 33, 2 ** 33 + 1].map(enrollmentEtag)).size).toBe(4)
})

test('malformed JSON is a 400 that says where', () => {
  expect(() => parseJson('{"a":')).toThrow(expect.objectContaining({ code: 400004 }))
  expect(() => parseJson('{"a":1 "b"}')).toThrow(/not valid JSON at position 7/)
  // The complaint goes into the log, and the engine's own words repeat the text.
  expect(() => parseJson('{"primaryKey": sIlvvFSSFRi}')).toThrow(/^The request body is not valid JSON\.$/)
  expect(parseJson(Buffer.alloc(0))).toBeUndefined()
})

test('fields name the member, the expectation and what was found, and take any letter case', () => {
  const fields = new Fields({ RegistrationId: 'a', n: 'x', none: null, mode: 'CREATE' }, 'enrollment')
  expect(fields.string('registrationId')).toBe('a')
  expect(fields.get('none')).toBeUndefined()
  expect(fields.oneOf('mode', ['create', 'update'])).toBe('create')
  expect(() => fields.number('n')).toThrow('enrollment.n must be a number, found a string.')
  expect(() => fields.oneOf('registrationId', ['b'])).toThrow('one of b')
  expect(() => new Fields([], 'body')).toThrow('body must be a JSON object, found an array.')
})

test('compact leaves absent members out instead of sending null', () => {
  expect(JSON.stringify(compact({ a: 1, b: undefined }))).toBe('{"a":1}')
})

test('page sizes are whole numbers within the bound', () => {
  expect(parsePageRequest({ maxItemCount: '5000', continuation: '' }, 1_000)).toEqual({
    size: 1_000,
    continuation: undefined,
  })
  expect(parsePageRequest({ maxItemCount: '7', continuation: 'x' }, 1_000)).toEqual({ size: 7, continuation: 'x' })
  for (const bad of ['0', '1.5', 'many', '-2'])
    expect(() => parsePageRequest({ maxItemCount: bad, continuation: undefined }, 10)).toThrow('x-ms-max-item-count')
})

test('a log line holds no secret', () => {
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  log.info({ device: { primaryKey: 'c2VjcmV0', id: 'd1' }, authorization: 'c2VjcmV0' }, 'hello')
  expect(lines.join('')).toContain('d1')
  expect(lines.join('')).not.toContain('c2VjcmV0')
  expect(redactText('sr=a&sig=c2VjcmV0%3D&se=1; SharedAccessKey=c2VjcmV0; Bearer c2VjcmV0')).not.toContain('c2VjcmV0')
})

test('a log line repeats so much of a text and no more', () => {
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) }).child({ thread: 1 })
  const text = 'x'.repeat(limits.logTextLength)
  log.info({ path: text, client: `${text}yy`, count: 3 }, 'hello')
  const expected = { thread: 1, path: text, client: `${text}… (602 characters)`, count: 3, msg: 'hello' }
  expect(JSON.parse(lines[0]!)).toMatchObject(expected)
})

test('a seed gives the same chance again', () => {
  const draw = () => {
    const random = seededRandom(42)
    return [random.uuid(), random.bytes(4).toString('hex'), random.fraction()]
  }
  expect(draw()).toEqual(draw())
  expect(draw()[0]).toMatch(/^[0-9a-f-]{36}$/)
  expect(systemRandom.bytes(32)).not.toEqual(systemRandom.bytes(32))
})
