import { BroadcastChannel } from 'node:worker_threads'
import type { Bus } from './bus.ts'
import { createTopics } from './topics.ts'

/**
 * The bus between the threads of one process: every thread that made one with the same `name`, this one included.
 * It does not keep the process alive.
 */
export function createThreadBus(name: string): Bus {
  const topics = createTopics()
  const channel = new BroadcastChannel(`muster:${name}`)
  let closed = false
  const deliver = (topic: string, text: string) => {
    if (!closed) topics.deliver(topic, text)
  }
  channel.onmessage = (event) => {
    const [topic, text] = (event as { data: [string, string] }).data
    deliver(topic, text)
  }
  channel.unref()
  return {
    publish(topic, hint) {
      if (closed) return
      const text = JSON.stringify(hint)
      channel.postMessage([topic, text])
      setImmediate(deliver, topic, text) // a channel does not hear itself
    },
    subscribe: topics.subscribe,
    async close() {
      if (closed) return
      closed = true
      channel.close()
    },
  }
}
