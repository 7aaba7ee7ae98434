import { expect, test } from 'vitest'
import { TestClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { createGroup } from './group.ts'
import type { Operation } from './operations.ts'

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A writer that notes the size of its transactions. */
function noted(windowMs: number) {
  const sizes: number[] = []
  const clock = new TestClock()
  let sweeps = 0
  const group = createGroup({
    writer: {
      write: (operations) => {
        sizes.push(operations.length)
        return operations.map(() => ['done', 1, []])
      },
      sweep: () => ++sweeps < 3,
    },
    clock,
    windowMs,
  })
  const settled: number[] = []
  const add = (count: number, operation: Operation = ['release', 'l', 'me']) => {
    for (let at = 0; at < count; at++) group.add(operation, () => settled.push(settled.length))
  }
  return { group, add, sizes, settled, clock, sweeps: () => sweeps }
}

test('a window of 0 gathers one turn of the event loop', async () => {
  const { add, sizes, settled } = noted(0)
  add(3)
  expect(sizes).toEqual([])
  await turn()
  add(2)
  await turn()
  expect(sizes).toEqual([3, 2])
  expect(settled).toHaveLength(5)
})

test('a lone commit does not wait; those that follow share the next window', async () => {
  const { add, sizes, clock } = noted(5)
  add(1)
  await turn()
  expect(sizes).toEqual([1])
  add(1)
  clock.advance(4)
  add(2)
  await turn()
  expect(sizes).toEqual([1])
  clock.advance(1)
  expect(sizes).toEqual([1, 3])
  clock.advance(100)
  add(1)
  await turn()
  expect(sizes).toEqual([1, 3, 1])
})

test('a clock that was set back makes nobody wait longer than a window', async () => {
  const { add, sizes, clock } = noted(5)
  clock.advance(1_000_000)
  add(1)
  await turn()
  const now = clock.now()
  clock.now = () => now - 1_000_000
  add(1)
  clock.advance(5)
  expect(sizes).toEqual([1, 1])
})

test('a full transaction does not wait for its window, and what does not fit comes next', async () => {
  const { add, sizes } = noted(5)
  add(1)
  await turn()
  add(limits.storeGroup + 10)
  await turn()
  await turn()
  expect(sizes).toEqual([1, limits.storeGroup, 10])
})

test('large values fill a transaction too', async () => {
  const { add, sizes } = noted(0)
  add(20, ['commit', [], [['c_notes', 'a', 'x'.repeat(512 * 1024)]], [], [], []])
  for (let turns = 0; turns < 7; turns++) await turn()
  expect(sizes).toEqual([3, 3, 3, 3, 3, 3, 2])
})

test('what is larger than a transaction has one of its own, and what came before it is not held up', async () => {
  const { add, sizes } = noted(0)
  const large: Operation = [
    'commit',
    [],
    Array.from({ length: limits.storeGroup }, (_, n) => ['c', `${n}`, '']),
    [],
    [],
    [],
  ]
  add(2)
  add(2, large)
  add(3)
  for (let turns = 0; turns < 4; turns++) await turn()
  expect(sizes).toEqual([2, 1, 1, 3])
})

test('sweeping begins at the start and after a trim, a step at a time', async () => {
  const { add, sweeps, clock } = noted(0)
  clock.advance(limits.storeSweepPauseMs)
  expect(sweeps()).toBe(1)
  clock.advance(limits.storeSweepPauseMs * 10)
  expect(sweeps()).toBe(3)
  add(1)
  await turn()
  clock.advance(limits.storeSweepPauseMs * 10)
  expect(sweeps()).toBe(3)
  add(1, ['trim', 'l', 1])
  await turn()
  clock.advance(limits.storeSweepPauseMs * 10)
  expect(sweeps()).toBe(4)
})

test('at the end everything that waits is written', () => {
  const { group, add, sizes, settled, clock } = noted(5)
  add(limits.storeGroup * 2 + 1)
  group.end()
  expect(sizes).toEqual([limits.storeGroup, limits.storeGroup, 1])
  expect(settled).toHaveLength(limits.storeGroup * 2 + 1)
  clock.advance(10)
  expect(sizes).toHaveLength(3)
})
