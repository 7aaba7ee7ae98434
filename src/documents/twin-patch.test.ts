import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isObject, type Json, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { sectionForService } from './twin-document.ts'
import { patchSection } from './twin-patch.ts'
import { freshTwin, type TwinSection } from './twin-record.ts'
import { requireTwinContent, requireTwinSize, twinSize } from './twin-rules.ts'

const section = (properties: JsonObject): TwinSection => freshTwin({ tags: {}, desired: properties }, 0).desired
const at = (ms: number, version: number) => ({
  $lastUpdated: `1970-01-01T00:00:0${ms / 1000}.0000000Z`,
  $lastUpdatedVersion: version,
})

test('objects merge, scalars and arrays replace, null deletes, an object replaces a scalar', () => {
  const before = section({ a: { b: 1, c: 2 }, list: [1, 2], gone: true, scalar: 1 })
  const after = patchSection(
    before,
    { a: { b: null, d: [3] }, list: [9], gone: null, missing: null, scalar: { x: 1 } },
    1000,
  )
  expect(after.properties).toEqual({ a: { c: 2, d: [3] }, list: [9], scalar: { x: 1 } })
  expect(after.version).toBe(2)
})

test('a null inside a new object makes an empty object (C# Twin_ServiceDoesNotCreateNullPropertyInCollection)', () => {
  expect(patchSection(section({}), { a: { b: null, c: { d: null } } }, 1).properties).toEqual({ a: { c: {} } })
})

test('metadata: what the patch names and the way to it is stamped, the rest keeps its stamps', () => {
  const first = patchSection(section({ a: { b: 1, c: 2 }, other: { deep: true } }), { a: { b: 5 } }, 1000)
  const second = patchSection(first, { other: null, list: [{ x: 1 }] }, 2000)
  expect(sectionForService(second, 'desired')).toEqual({
    a: { b: 5, c: 2 },
    list: [{ x: 1 }],
    $metadata: { ...at(2000, 3), a: { ...at(1000, 2), b: at(1000, 2), c: at(0, 1) }, list: at(2000, 3) },
    $version: 3,
  })
})

test('reported metadata has times only', () => {
  expect(sectionForService(section({ a: 1 }), 'reported')).toEqual({
    a: 1,
    $metadata: { $lastUpdated: '1970-01-01T00:00:00.0000000Z', a: { $lastUpdated: '1970-01-01T00:00:00.0000000Z' } },
    $version: 1,
  })
})

test('names of the language are ordinary names', () => {
  const patch = JSON.parse('{"__proto__": {"x": 1}, "constructor": 2, "toString": null}') as JsonObject
  const after = patchSection(section({}), patch, 1000)
  expect(Object.entries(after.properties)).toEqual([
    ['__proto__', { x: 1 }],
    ['constructor', 2],
  ])
  const shown = sectionForService(section({ constructor: { a: 1 } }), 'desired')
  expect((shown['$metadata'] as JsonObject)['constructor']).toEqual({ ...at(0, 1), a: at(0, 1) })
})

// --- properties

const name = fc.constantFrom('a', 'b', 'c', '__proto__')
const scalar = fc.oneof(fc.integer(), fc.string({ maxLength: 3 }), fc.boolean())
const array = fc.array(scalar, { maxLength: 3 })
const document = (leaf: fc.Arbitrary<Json>): fc.Arbitrary<JsonObject> =>
  fc.letrec<{ object: JsonObject; value: Json }>((tie) => ({
    object: fc
      .array(fc.tuple(name, tie('value')), { maxLength: 4 })
      .map((pairs): JsonObject => Object.fromEntries(pairs)),
    value: fc.oneof({ depthSize: 'small' }, leaf, tie('object')),
  })).object
const content = document(fc.oneof(scalar, array) as fc.Arbitrary<Json>)
const patches = document(fc.oneof(scalar, array, fc.constant(null)) as fc.Arbitrary<Json>)

/** RFC 7386, word by word: an independent reading of the same rule. */
function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch
  const result = new Map(isObject(target) ? Object.entries(target as JsonObject) : [])
  for (const [key, value] of Object.entries(patch as JsonObject))
    if (value === null) result.delete(key)
    else result.set(key, mergePatch(result.get(key), value))
  return Object.fromEntries(result)
}

/** Every member has a stamp, every stamp a member. */
function mirrors(properties: JsonObject, metadata: JsonObject): void {
  const stamps = Object.keys(metadata).filter((key) => !key.startsWith('$'))
  expect(stamps.sort()).toEqual(Object.keys(properties).sort())
  for (const [key, value] of Object.entries(properties)) {
    const own = metadata[key] as JsonObject
    expect(own['$lastUpdated']).toBeTypeOf('string')
    mirrors(isObject(value) ? (value as JsonObject) : {}, own)
  }
}

test('any series of patches gives what RFC 7386 gives, with metadata that mirrors it', () => {
  fc.assert(
    fc.property(content, fc.array(patches, { minLength: 1, maxLength: 5 }), (start, series) => {
      let expected: Json = start
      let actual = section(start)
      for (const [index, patch] of series.entries()) {
        expected = mergePatch(expected, patch)
        actual = patchSection(JSON.parse(JSON.stringify(actual)) as TwinSection, patch, index + 1)
        expect(actual.version).toBe(index + 2)
        mirrors(actual.properties, sectionForService(actual, 'desired')['$metadata'] as JsonObject)
      }
      expect(actual.properties).toEqual(expected)
    }),
    { seed: 11, numRuns: 300 },
  )
})

test('a patch twice is as once, but for the version', () => {
  fc.assert(
    fc.property(content, patches, (start, patch) => {
      const once = patchSection(section(start), patch, 1)
      expect(patchSection(once, patch, 2).properties).toEqual(once.properties)
    }),
    { seed: 12, numRuns: 200 },
  )
})

// --- rules

const nested = (depth: number): JsonObject => (depth === 0 ? {} : { k: depth === 1 ? 1 : nested(depth - 1) })

test.each<[string, unknown, string | undefined]>([
  ['the largest integer', { a: 4_503_599_627_370_495, b: -4_503_599_627_370_496, c: 1e-300, d: 0.1 }, undefined],
  ['an integer too large', { a: 4_503_599_627_370_496 }, 'must be an integer from'],
  ['an integer too small', { a: { b: -4_503_599_627_370_497 } }, 'reported.a.b must be an integer'],
  ['a number that no double holds', JSON.parse('{"a":[1e400]}'), 'reported.a[0] must be a number of 64 bits'],
  ['the longest string', { a: 'é'.repeat(limits.twinStringBytes / 2) }, undefined],
  [
    'a string too long',
    { a: `${'é'.repeat(limits.twinStringBytes / 2)}x` },
    'a string of at most 4096 bytes, found 4097',
  ],
  ['the longest name', { ['k'.repeat(limits.twinKeyBytes)]: 1 }, undefined],
  ['a name too long', { ['k'.repeat(limits.twinKeyBytes + 1)]: 1 }, 'names of at most 1024 bytes'],
  ['an empty name', { '': 1 }, 'found an empty name'],
  ['a dollar', { $a: 1 }, 'found "$a"'],
  ['a dot', { 'a.b': 1 }, 'found "a.b"'],
  ['a blank', { 'a b': 1 }, 'found "a b"'],
  ['a control character', { 'a\u0085': 1 }, 'without control characters'],
  ['ten levels', nested(10), undefined],
  ['eleven levels', nested(11), 'nest 10 levels deep at most'],
  ['an array below the tenth level', { k: nested(9) }, undefined],
  ['null as a deletion', { a: null, b: { c: null } }, undefined],
  ['null in an array', { a: [null] }, 'reported.a[0] must be a value, found null'],
  ['null in an object in an array', { a: [{ b: null }] }, 'reported.a[0].b must be a value'],
  ['a bad name in an array', { a: [{ 'x.y': 1 }] }, 'reported.a[0] must be names without'],
  ['a date stays a string', { a: '2023-01-31T10:37:08.4599400' }, undefined],
])('twin content: %s', (_, value, complaint) => {
  const check = () => requireTwinContent('reported', value as JsonObject, 'delete')
  if (complaint === undefined) check()
  else expect(check).toThrow(complaint)
})

test('whole content holds no null', () => {
  expect(() => requireTwinContent('tags', { a: { b: null } }, 'refused')).toThrow(
    'tags.a.b must be a value, found null',
  )
})

test('sizes: names and strings in UTF-8, 8 for a number, 4 for a boolean, nothing for structure', () => {
  expect(twinSize({ ab: 'é', n: 1.5, t: true, list: [1, 'x', { k: false }] })).toBe(
    2 + 2 + 1 + 8 + 1 + 4 + 4 + 8 + 1 + 1 + 4,
  )
  const filled = (bytes: number) =>
    Object.fromEntries(
      Array.from({ length: bytes / 1024 }, (_, n) => [
        String(n % 10) + 'k'.repeat(23) + String.fromCharCode(97 + n),
        'v'.repeat(999),
      ]),
    )
  requireTwinSize('tags', filled(limits.tagsBytes))
  expect(() => requireTwinSize('tags', { ...filled(limits.tagsBytes), x: true })).toThrow('may have 8192 bytes')
  requireTwinSize('reported', filled(limits.reportedBytes - 10 * 1024))
})

test('what has no size is bounded as text', () => {
  const empty = (count: number) => ({ a: Array.from({ length: count }, () => '') })
  requireTwinSize('reported', empty(40_000))
  expect(() => requireTwinSize('reported', empty(50_000))).toThrow('131072 bytes as JSON text, found 150007')
})
