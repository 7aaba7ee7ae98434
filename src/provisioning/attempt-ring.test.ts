import { expect, test } from 'vitest'
import { limits } from '../base/limits.ts'
import { createAttemptRing } from './attempt-ring.ts'
import type { Refused } from './attempts.ts'

let count = 0
const refused = (registrationId: string, source: string): Refused => ({
  at: ++count,
  operation: 'register',
  idScope: '0neA',
  registrationId,
  errorCode: 401002,
  errorMessage: 'Unauthorized',
  trackingId: `t${count}`,
  source,
  credential: 'sas',
  steps: [],
})

const { attemptEntries, attemptsPerSource, attemptsPerRegistration } = limits

test('found by registration id in any case, oldest first, and by tracking id', () => {
  const ring = createAttemptRing()
  const [first, second] = [refused('Dev', 'a'), refused('dev', 'b')]
  ring.add(first)
  ring.add(second)
  expect(ring.find({ registrationId: 'DEV' })).toEqual([first, second])
  expect(ring.find({ trackingId: second.trackingId! })).toEqual([second])
  expect(ring.find({ registrationId: 'other' })).toEqual([])
  expect(ring.find({ trackingId: 'other' })).toEqual([])
})

test('a source keeps so many and no more, and pushes out nobody else', () => {
  const ring = createAttemptRing()
  ring.add(refused('mine', 'me'))
  for (let at = 0; at < attemptsPerSource; at++) ring.add(refused(`guess-${at}`, 'stranger'))
  expect(ring.size).toBe(attemptsPerSource + 1)
  expect(ring.find({ registrationId: 'guess-0' })).toHaveLength(1)
  ring.add(refused('one-more', 'stranger'))
  expect(ring.size).toBe(attemptsPerSource + 1)
  expect(ring.find({ registrationId: 'guess-0' })).toEqual([])
  expect(ring.find({ registrationId: 'one-more' })).toHaveLength(1)
  expect(ring.find({ registrationId: 'mine' })).toHaveLength(1)
})

test('a registration id keeps so many, and who asks most under it loses his own', () => {
  const ring = createAttemptRing()
  const mine = refused('dev', 'me')
  ring.add(mine)
  for (let at = 1; at < attemptsPerRegistration; at++) ring.add(refused('dev', 'stranger'))
  expect(ring.find({ registrationId: 'dev' })).toHaveLength(attemptsPerRegistration)
  const forgotten = ring.find({ registrationId: 'dev' })[1]!
  for (let at = 0; at < 50; at++) ring.add(refused('dev', 'stranger'))
  const kept = ring.find({ registrationId: 'dev' })
  expect(kept).toHaveLength(attemptsPerRegistration)
  expect(kept[0]).toBe(mine)
  expect(ring.find({ trackingId: forgotten.trackingId! })).toEqual([])
})

test('when everything is full, the source with the most gives way, whoever comes', () => {
  const ring = createAttemptRing()
  ring.add(refused('mine', 'me'))
  for (let at = 1; at < attemptEntries; at++) ring.add(refused(`d${at}`, `s${at % 40}`))
  expect(ring.size).toBe(attemptEntries)
  for (let at = 0; at < attemptEntries; at++) ring.add(refused(`e${at}`, `t${at % 100}`))
  expect(ring.size).toBe(attemptEntries)
  expect(ring.find({ registrationId: 'mine' })).toHaveLength(1)
  expect(ring.find({ registrationId: `e${attemptEntries - 1}` })).toHaveLength(1)
})
