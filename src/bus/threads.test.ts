import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { busContract } from './bus.contract.ts'
import { createThreadBus } from './threads.ts'

busContract('between threads', async () => {
  const name = randomUUID()
  return [createThreadBus(name), createThreadBus(name)]
})

test('a hint reaches another thread and its answer comes back; a bus of another name hears neither', async () => {
  const name = randomUUID()
  const bus = createThreadBus(name)
  const stranger = createThreadBus(randomUUID())
  onTestFinished(() => bus.close())
  onTestFinished(() => stranger.close())
  const strange: unknown[] = []
  for (const topic of ['question', 'answer']) stranger.subscribe(topic, (hint) => strange.push(hint))
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.module).then(({ createThreadBus }) => {
      const bus = createThreadBus(workerData.name)
      bus.subscribe('question', (hint) => bus.publish('answer', hint + 1))
      parentPort.postMessage('listening')
      parentPort.once('message', () => bus.close())
    })`
  const module = new URL('./threads.ts', import.meta.url).href
  const thread = new Worker(code, { eval: true, workerData: { module, name } })
  const exited = once(thread, 'exit')
  await once(thread, 'message')
  const answer = new Promise((resolve) => bus.subscribe('answer', resolve))
  bus.publish('question', 41)
  expect(await answer).toBe(42)
  thread.postMessage('end')
  expect((await exited)[0]).toBe(0)
  expect(strange).toEqual([])
})
