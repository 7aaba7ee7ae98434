import type { Bus } from './bus.ts'
import { createTopics } from './topics.ts'

/** A bus for a service in one thread. Hints are heard in a later turn, as from any other bus, and as copies. */
export function createInProcessBus(): Bus {
  const topics = createTopics()
  let closed = false
  return {
    publish(topic, hint) {
      const text = JSON.stringify(hint)
      setImmediate(() => {
        if (!closed) topics.deliver(topic, text)
      })
    },
    subscribe: topics.subscribe,
    async close() {
      closed = true
    },
  }
}
