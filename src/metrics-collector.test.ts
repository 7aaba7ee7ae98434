import { expect, test } from 'vitest'
import { TestClock } from './base/clock.ts'
import { limits } from './base/limits.ts'
import { createMetrics } from './base/metrics.ts'
import { seededRandom } from './base/random.ts'
import { createInProcessBus } from './bus/in-process.ts'
import { answerMetrics, createMetricsCollector } from './metrics-collector.ts'

function world(workers: number) {
  const bus = createInProcessBus()
  const clock = new TestClock()
  const collect = createMetricsCollector({ bus, clock, random: seededRandom(1), workers, others: async () => [] })
  const worker = (source: string, done: number, open: number) => {
    const metrics = createMetrics()
    metrics.counter('done_total', 'Done.').add(done)
    metrics.gauge('open', 'Open.', () => open)
    return answerMetrics(bus, metrics, source)
  }
  const read = async () => {
    const lines = (await collect()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    return Object.fromEntries(lines.map((line) => line.split(' ')))
  }
  return { bus, clock, worker, read }
}

test('the numbers of all threads are added up', async () => {
  const { worker, read } = world(2)
  worker('a', 1, 10)
  worker('b', 2, 20)
  expect(await read()).toEqual({
    done_total: '3',
    open: '30',
    muster_worker_threads: '2',
    muster_worker_threads_answering: '2',
  })
})

test('a thread that ended is missed, and what it counted stays counted', async () => {
  const { bus, clock, worker, read } = world(2)
  const end = worker('a', 5, 10)
  worker('b', 2, 20)
  await read()
  end()
  // The one that is left answers; the other is waited for, so long and no longer.
  const heard = new Promise((resolve) => bus.subscribe('metrics.answer', resolve))
  const reading = read()
  await heard
  await new Promise((resolve) => setImmediate(resolve))
  clock.advance(limits.metricsAnswerMs)
  expect(await reading).toEqual({
    done_total: '7',
    open: '20',
    muster_worker_threads: '2',
    muster_worker_threads_answering: '1',
  })
  worker('c', 1, 1)
  expect(await read()).toMatchObject({ done_total: '8', muster_worker_threads_answering: '2' })
})

test('more ended threads than are kept one by one are kept as their sum', async () => {
  const { worker, read } = world(1)
  for (let n = 0; n < limits.metricSources + 5; n++) {
    const end = worker(`thread-${n}`, 1, 1)
    await read()
    end()
  }
  worker('last', 1, 1)
  expect(await read()).toMatchObject({ done_total: String(limits.metricSources + 6), open: '1' })
})
