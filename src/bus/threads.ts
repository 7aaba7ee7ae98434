import { BroadcastChannel } from 'node:worker_threads'
import type { Bus } from './bus.ts'
import { createTopics, hintText } from './topics.ts'

/**
 * The bus between the threads of one process: it reaches every bus of the same `name`, this one included. It does not
 * keep the process alive.
 */
export function createThreadBus(name: string): Bus {
  const topics = createTopics()
  const channel = new BroadcastChannel(`muster:${name}`)
  let closed = false
  channel.onmessage = (event) => {
    const [topic, text] = (event as { data: readonly [topic: string, text: string] }).data
    topics.deliver(topic, text)
  }
  channel.unref()
  return {
    publish(topic, hint) {
      const text = hintText(hint)
      if (text === undefined || closed) return
      channel.postMessage([topic, text])
      setImmediate(topics.deliver, topic, text) // a channel does not hear itself
    },
    subscribe: topics.subscribe,
    async close() {
      if (closed) return
      closed = true
      topics.clear()
      channel.close()
    },
  }
}
