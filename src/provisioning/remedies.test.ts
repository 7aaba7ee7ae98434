import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { explain, isExplained } from './remedies.ts'

/** Words of steps on the way, after which something else decides. */
const ON_THE_WAY = new Set([
  'no-individual-enrollment',
  'individual-enrollment',
  'token-read',
  'key-tried',
  'attested-elsewhere',
  'signature-matches',
  'signature-matches-derived-key',
  'thumbprint-matches',
  'chain-accepted',
  'group-for-authority',
  'stays-by-policy',
  'hub-chosen',
  'webhook-asked',
  'webhook-answered',
  'hub-answered',
  'steps-left-out',
])

const read = (...parts: string[]): string => readFileSync(join(import.meta.dirname, ...parts), 'utf8')

const rooms = ['.', 'attestation'].flatMap((folder) =>
  readdirSync(join(import.meta.dirname, folder))
    .filter((name) => name.endsWith('.ts') && !name.includes('.test.'))
    .map((name) => read(folder, name)),
)
/** `reason: 'word'`, `because('word')`. */
const steps = rooms.flatMap((text) =>
  [...text.matchAll(/(?:reason: |because\()'([a-z-]+)'/g)].map(([, reason]) => reason!),
)
/** The members of the unions in crypto. */
const chainReasons = ['chains.ts', 'path-checks.ts'].flatMap((file) =>
  [...read('..', 'crypto', file).matchAll(/^ {2}\| '([a-z-]+)'$/gm)].map(([, reason]) => reason!),
)

test('every step that can decide has a cause and a remedy', () => {
  expect(steps.length).toBeGreaterThan(30)
  expect(chainReasons.length).toBe(18)
  const missing = [...steps, ...chainReasons].filter((reason) => !ON_THE_WAY.has(reason) && !isExplained(reason))
  expect([...new Set(missing)]).toEqual([])
})

test('a cause is one sentence, and a remedy says what to do', () => {
  for (const reason of [...steps, ...chainReasons].filter(isExplained)) {
    const { cause, remedy } = explain([{ reason }])
    expect(cause, reason).toMatch(/^[A-Z].+\.$/)
    expect(cause.match(/\. [A-Z]/g) ?? [], reason).toEqual([])
    expect(remedy, reason).toMatch(/^[A-Z].+\.$/s)
  }
})

test('a word without a text, and no step at all', () => {
  expect(explain([{ reason: 'brand-new' }])).toMatchObject({ reason: 'brand-new', cause: expect.any(String) })
  expect(explain([], 'failed').reason).toBe('failed')
  expect(explain([{ reason: 'hub-answered' }], 'assigned').reason).toBe('assigned')
  expect(explain([{ reason: '__proto__' }]).cause).toContain('__proto__')
})
