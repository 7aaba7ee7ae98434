import { expect, test } from 'vitest'
import { every, systemClock } from '../base/clock.ts'
import { MovableClock, millisecondsOf, momentOf } from './clock.ts'

const HOUR = 3_600_000

test('runs with real time until it is moved, and from there on', async () => {
  const clock = new MovableClock()
  expect(Math.abs(clock.now() - systemClock.now())).toBeLessThan(100)
  await clock.moveTo(clock.now() + HOUR)
  expect(Math.abs(clock.now() - systemClock.now() - HOUR)).toBeLessThan(100)
})

test('what fell due is done once, in order, at the new time, and is waited for', async () => {
  const clock = new MovableClock()
  const done: string[] = []
  const start = clock.now()
  clock.after(2 * HOUR, () => done.push(`second at ${Math.round((clock.now() - start) / HOUR)}`))
  clock.after(HOUR, async () => {
    await new Promise((resolve) => setImmediate(resolve))
    done.push('first, later')
  })
  clock.after(HOUR, () => done.push('cancelled')).cancel()
  clock.after(5 * HOUR, () => done.push('not yet'))
  const repeated = every(
    clock,
    HOUR,
    async () => void done.push('repeated'),
    () => done.push('failed'),
  )
  await clock.moveTo(start + 4 * HOUR)
  expect(done).toEqual(['repeated', 'second at 4', 'first, later'])
  await clock.moveTo(start + 5.5 * HOUR)
  expect(done).toEqual(['repeated', 'second at 4', 'first, later', 'not yet', 'repeated'])
  repeated.cancel()
})

test('back: what waits keeps waiting as long as it had to', async () => {
  const clock = new MovableClock()
  const start = clock.now()
  const due: number[] = []
  clock.after(HOUR, () => due.push(clock.now()))
  await clock.moveTo(start - 100 * HOUR)
  await clock.moveTo(start - 99.5 * HOUR)
  expect(due).toHaveLength(0)
  await clock.moveTo(start - 98.9 * HOUR)
  expect(due).toHaveLength(1)
})

test('what is not moved comes by itself', async () => {
  const clock = new MovableClock()
  await clock.moveTo(clock.now() + HOUR)
  await new Promise<void>((resolve) => clock.after(1, resolve))
})

test('durations and moments', () => {
  expect(millisecondsOf({ days: 1, hours: 2, minutes: 3, seconds: 4, milliseconds: 5 })).toBe(93_784_005)
  expect(millisecondsOf(7)).toBe(7)
  expect(() => millisecondsOf(-1)).toThrow('To go back, set the time')
  expect(() => millisecondsOf(Number.NaN)).toThrow(RangeError)
  expect(() => millisecondsOf({ weeks: 1 } as object)).toThrow('found "weeks"')
  expect(momentOf('2031-01-01')).toBe(Date.UTC(2031, 0, 1))
  expect(() => momentOf('soon')).toThrow('found soon')
})
