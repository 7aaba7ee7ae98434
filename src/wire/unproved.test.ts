import { expect, test } from 'vitest'
import { ceilings, plainAddress, sourceOf } from './unproved.ts'

/** Strangers of a source, counting who was cut. */
function crowd() {
  const cut: string[] = []
  let number = 0
  return { cut, from: (source: string) => ({ source, cut: () => void cut.push(`${source}#${number++}`) }) }
}

test('IPv4 behind a dual-stack listener keeps its own form', () => {
  expect(plainAddress('::ffff:10.1.2.3')).toBe('10.1.2.3')
  expect(plainAddress('10.1.2.3')).toBe('10.1.2.3')
  expect(plainAddress('2001:db8::1')).toBe('2001:db8::1')
})

test.each([
  ['10.1.2.3', '10.1.2.3'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:db8:1:2::9', '2001:db8:1:2'],
  ['2001:DB8::9', '2001:db8:0:0'],
  ['::1', '0:0:0:0'],
  ['fe80::1%eth0', 'fe80:0:0:0'],
  ['1::', '1:0:0:0'],
])('%s counts as %s', (address, source) => {
  expect(sourceOf(address)).toBe(source)
})

test('a source over its ceiling is turned away and gets in again when one of it left', () => {
  const { from, cut } = crowd()
  const places = ceilings(2, 100)
  const first = places.admit(from('a'))
  expect(places.admit(from('a'))).toBeDefined()
  expect(places.admit(from('a'))).toBeUndefined()
  expect(places.admit(from('b'))).toBeDefined()
  first?.leave()
  first?.leave()
  expect(places.count()).toBe(2)
  expect(places.admit(from('a'))).toBeDefined()
  expect(cut).toEqual([])
})

test('when all places are taken the largest source makes room, and equals wait', () => {
  const { from, cut } = crowd()
  const places = ceilings(10, 12)
  for (let n = 0; n < 10; n++) places.admit(from('greedy'))
  for (const source of ['a', 'b', 'c', 'd', 'e', 'f']) expect(places.admit(from(source))).toBeDefined()
  expect(cut).toHaveLength(4)
  expect(cut.every((name) => name.startsWith('greedy'))).toBe(true)
  expect(places.count()).toBe(12)

  const even = ceilings(10, 3)
  for (const source of ['a', 'b', 'c']) even.admit(from(source))
  expect(even.admit(from('d'))).toBeUndefined()
})

test('a stranger that was cut for another may still leave, once', () => {
  const places = ceilings(10, 2)
  const { from } = crowd()
  const taken = [places.admit(from('a')), places.admit(from('a'))]
  places.admit(from('b'))
  for (const place of taken) place?.leave()
  expect(places.count()).toBe(1)
})
