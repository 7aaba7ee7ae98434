import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isObject } from '../../src/base/json.ts'
import { seededRandom } from '../../src/base/random.ts'
import { type Muster, SeedError, startMuster } from '../../src/testing/index.ts'

// Damaged seeds: each is applied or refused with its place, and one that is refused has made nothing.

const ROUNDS = 300
const example = join(import.meta.dirname, '..', '..', 'docs', 'examples', 'seed.json')
const odd = [null, 0, -1, 1.5, '', 'x', '\ud800', 'a'.repeat(5_000), [], {}, [null], [[]], { a: {} }, true, '__proto__']

let muster: Muster
beforeAll(async () => {
  muster = await startMuster()
})
afterAll(() => muster.stop())

/** Every member of the document, as the object that holds it and its name. */
function membersOf(value: unknown): [holder: Record<string, unknown>, name: string][] {
  if (!isObject(value) && !Array.isArray(value)) return []
  const holder = value as Record<string, unknown>
  return Object.keys(holder).flatMap((name) => [[holder, name] as [typeof holder, string], ...membersOf(holder[name])])
}

test(`${ROUNDS} damaged seeds`, async () => {
  const random = seededRandom(20_261_121)
  const one = <T>(list: readonly T[]): T => list[Math.floor(random.fraction() * list.length)]!
  const outcomes = { applied: 0, refused: 0 }
  const empty = muster.hubs.length
  for (let round = 0; round < ROUNDS; round++) {
    const document = JSON.parse(readFileSync(example, 'utf8')) as { provisioningService: { idScope?: string } }
    // The service has one already.
    delete document.provisioningService.idScope
    for (let damages = random.fraction() < 0.5 ? 1 : 2; damages > 0; damages--) {
      const [holder, name] = one(membersOf(document))
      holder[name] = one(odd)
    }
    const thrown = await muster.seed(document as object).then(
      () => undefined,
      (error: unknown) => error,
    )
    if (thrown === undefined) {
      outcomes.applied++
      await muster.reset()
    } else {
      outcomes.refused++
      expect(thrown, JSON.stringify(document).slice(0, 2_000)).toBeInstanceOf(SeedError)
      expect((thrown as Error).message).toMatch(/^seed/)
      expect(muster.hubs).toHaveLength(empty)
    }
  }
  expect(outcomes.applied).toBeGreaterThan(0)
  expect(outcomes.refused).toBeGreaterThan(ROUNDS / 2)
})
