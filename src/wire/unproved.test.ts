import { expect, test } from 'vitest'
import { ceilings, plainAddress, sourceOf } from './unproved.ts'

/** Strangers by number, in order: who got a place, who was cut. */
function crowd() {
  const entered: string[] = []
  const cut: string[] = []
  let number = 0
  const from = (source: string) => {
    const name = `${source}#${number++}`
    return { source, enter: () => void entered.push(name), cut: () => void cut.push(name) }
  }
  return { entered, cut, from }
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

test('nobody has a place before he is let in, so many at a time', () => {
  const { from, entered } = crowd()
  const places = ceilings({ perSource: 10, inAll: 100, waiting: 10 })
  for (let n = 0; n < 5; n++) places.admit(from('a'))
  expect(places.count()).toEqual({ placed: 0, waiting: 5 })
  expect(places.letIn(2)).toBe(2)
  expect(places.letIn(0)).toBe(0)
  expect(places.count()).toEqual({ placed: 2, waiting: 3 })
  expect(places.letIn(10)).toBe(3)
  expect(places.letIn(10)).toBe(0)
  expect(entered).toHaveLength(5)
})

test('sources take turns, and of each the oldest goes first', () => {
  const { from, entered } = crowd()
  const places = ceilings({ perSource: 10, inAll: 100, waiting: 10 })
  for (const source of ['a', 'a', 'a', 'b', 'b', 'c']) places.admit(from(source))
  places.letIn(10)
  expect(entered).toEqual(['a#0', 'b#3', 'c#5', 'a#1', 'b#4', 'a#2'])
})

test('a source over its ceiling waits until one of it left; nobody else does', () => {
  const { from, cut, entered } = crowd()
  const places = ceilings({ perSource: 2, inAll: 100, waiting: 10 })
  const [first] = ['a', 'a', 'a', 'b'].map((source) => {
    const place = places.admit(from(source))
    places.letIn(10)
    return place
  })
  expect(entered).toEqual(['a#0', 'a#1', 'b#3'])
  expect(places.letIn(10)).toBe(0)
  first?.leave()
  first?.leave()
  expect(places.count()).toEqual({ placed: 2, waiting: 1 })
  expect(places.letIn(10)).toBe(1)
  expect(entered.at(-1)).toBe('a#2')
  expect(cut).toEqual([])
})

test('one that waits may go, and is not let in any more', () => {
  const { from, entered } = crowd()
  const places = ceilings({ perSource: 1, inAll: 10, waiting: 10 })
  places.admit(from('a'))
  places.admit(from('a')).leave()
  expect(places.letIn(10)).toBe(1)
  expect(entered).toEqual(['a#0'])
  expect(places.count()).toEqual({ placed: 1, waiting: 0 })
})

test('who may wait is bounded: the source with the most there loses its newest', () => {
  const { from, cut } = crowd()
  const places = ceilings({ perSource: 10, inAll: 10, waiting: 3 })
  for (const source of ['greedy', 'greedy', 'greedy', 'b', 'b', 'b']) places.admit(from(source))
  expect(cut).toEqual(['greedy#2', 'b#4', 'greedy#1'])
  expect(places.count()).toEqual({ placed: 0, waiting: 3 })
})

test('when all places are taken the largest source makes room, and equals wait', () => {
  const { from, cut, entered } = crowd()
  const places = ceilings({ perSource: 10, inAll: 12, waiting: 10 })
  const come = (source: string) => {
    const place = places.admit(from(source))
    places.letIn(1)
    return place
  }
  for (let n = 0; n < 10; n++) come('greedy')
  for (const source of ['a', 'b', 'c', 'd', 'e', 'f']) come(source)
  expect(cut).toEqual(['greedy#9', 'greedy#8', 'greedy#7', 'greedy#6'])
  expect(places.count()).toEqual({ placed: 12, waiting: 0 })
  expect(entered).toHaveLength(16)

  const even = crowd()
  const full = ceilings({ perSource: 10, inAll: 3, waiting: 10 })
  const [first] = ['a', 'b', 'c', 'd'].map((source) => {
    const place = full.admit(even.from(source))
    full.letIn(1)
    return place
  })
  expect(full.count()).toEqual({ placed: 3, waiting: 1 })
  first?.leave()
  full.letIn(1)
  expect(even.entered.at(-1)).toBe('d#3')
  expect(even.cut).toEqual([])
})

test('a stranger that was cut for another may still leave, once', () => {
  const places = ceilings({ perSource: 10, inAll: 2, waiting: 10 })
  const { from } = crowd()
  const taken = ['a', 'a', 'b'].map((source) => {
    const place = places.admit(from(source))
    places.letIn(1)
    return place
  })
  taken[0]!.leave()
  taken[1]!.leave()
  expect(places.count()).toEqual({ placed: 1, waiting: 0 })
})
