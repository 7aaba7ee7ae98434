type Heard = (hint: unknown) => void

/** Who listens to what in this thread. A listener that throws does not keep the others from hearing. */
export function createTopics(): {
  subscribe(topic: string, heard: Heard): () => void
  deliver(topic: string, text: string): void
} {
  const topics = new Map<string, Set<{ readonly heard: Heard }>>()
  return {
    subscribe(topic, heard) {
      const entry = { heard } // one function may be subscribed twice
      const listeners = topics.get(topic) ?? new Set()
      topics.set(topic, listeners.add(entry))
      return () => {
        listeners.delete(entry)
        if (listeners.size === 0 && topics.get(topic) === listeners) topics.delete(topic)
      }
    },
    deliver(topic, text) {
      for (const { heard } of [...(topics.get(topic) ?? [])])
        try {
          heard(JSON.parse(text))
        } catch {
          // A hint may be lost: what it hinted at is in the store.
        }
    },
  }
}
