import type { Bus } from './bus.ts'
import { createTopics, hintText } from './topics.ts'

/** A bus for nodes that live in one thread. Hints are heard in a later turn and as copies, as from any other bus. */
export function createInProcessBus(): Bus {
  const topics = createTopics()
  return {
    publish(topic, hint) {
      const text = hintText(hint)
      if (text !== undefined) setImmediate(topics.deliver, topic, text)
    },
    subscribe: topics.subscribe,
    async close() {
      topics.clear()
    },
  }
}
