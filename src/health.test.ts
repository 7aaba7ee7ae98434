import { expect, test } from 'vitest'
import { TestClock } from './base/clock.ts'
import { ServiceError } from './base/errors.ts'
import { limits } from './base/limits.ts'
import { createLog } from './base/log.ts'
import { createHealth } from './health.ts'
import type { Store } from './store/store.ts'

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A health whose stores do as they are told. */
function world() {
  const clock = new TestClock()
  const logged: { level: number; msg: string; missing?: string[]; freeBytes?: number }[] = []
  const answers = { documents: async () => {}, telemetry: async () => {} }
  const threads = { expected: 2, listening: 2 }
  const storeOf = (name: 'documents' | 'telemetry') =>
    ({ lease: () => answers[name]().then(() => undefined) }) as Pick<Store, 'lease'> as Store
  const health = createHealth({
    clock,
    log: createLog('info', { write: (line) => void logged.push(JSON.parse(line)) }),
    dataFolder: import.meta.dirname,
    stores: { store: storeOf('documents'), telemetry: storeOf('telemetry') },
    threads: () => threads,
  })
  const next = async () => {
    clock.advance(limits.healthCheckMs)
    await turn()
  }
  return { clock, logged, answers, threads, health, next }
}

const full = async (): Promise<never> => {
  throw new ServiceError(503001, 'The data store does not answer.', { cause: new Error('database or disk is full') })
}

test('not ready before the stores were asked, ready after, and nothing is logged for that', async () => {
  const { health, logged } = world()
  expect(health.missing()).toEqual(['the stores were not asked yet'])
  await health.start()
  expect(health.missing()).toEqual([])
  expect(logged).toEqual([])
})

test('a full disk is missed and logged once, with what to do; so is that there is room again', async () => {
  const { health, logged, answers, next } = world()
  await health.start()
  answers.telemetry = full
  await next()
  await next()
  const reason = 'the telemetry store cannot be written: database or disk is full'
  expect(health.missing()).toEqual([reason])
  expect(logged).toMatchObject([{ level: 50, missing: [reason], freeBytes: expect.any(Number) }])
  expect(logged[0]?.msg).toContain(`make room on the file system of ${import.meta.dirname}`)
  answers.telemetry = async () => {}
  await next()
  await next()
  expect(health.missing()).toEqual([])
  expect(logged.map(({ msg }) => msg).at(-1)).toBe('ready again')
  expect(logged).toHaveLength(2)
})

test('a writer that does not answer is not waited for', async () => {
  const { health, clock, answers } = world()
  answers.documents = () => new Promise(() => {})
  const started = health.start()
  await turn()
  clock.advance(limits.healthAnswerMs)
  await started
  expect(health.missing()).toEqual(['the documents store has not answered for 5 s'])
})

test('threads on their way at a start are missed and not logged; one that goes later is', async () => {
  const { health, threads, logged, next } = world()
  threads.listening = 1
  await health.start()
  expect(health.missing()).toEqual(['1 of 2 threads do not listen'])
  threads.listening = 2
  await next()
  expect(logged).toEqual([])
  threads.listening = 0
  expect(health.missing()).toEqual(['2 of 2 threads do not listen'])
  await next()
  expect(logged).toMatchObject([{ missing: ['2 of 2 threads do not listen'] }])
})

test('after the stop nothing is told: the stores go', async () => {
  const { health, logged, answers, next } = world()
  await health.start()
  answers.documents = full
  health.stop()
  await next()
  expect(logged).toEqual([])
})
