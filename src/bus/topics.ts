import { limits } from '../base/limits.ts'

type Heard = (hint: unknown) => void

/** Who listens to what in this thread, and how hints travel: as JSON text, so that no listener shares an object. */
export interface Topics {
  subscribe(topic: string, heard: Heard): () => void
  /** Hands a hint to every listener. One that throws does not keep the others from hearing. */
  deliver(topic: string, text: string): void
  /** Nobody hears anything any more. */
  clear(): void
}

export function createTopics(): Topics {
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
      const listeners = topics.get(topic)
      for (const entry of [...(listeners ?? [])])
        try {
          if (listeners?.has(entry)) entry.heard(JSON.parse(text))
        } catch {
          // A hint may be lost: what it hinted at is in the store.
        }
    },
    clear: () => topics.clear(),
  }
}

/** A hint as text; undefined when it is lost, because it is no JSON value or too long. */
export function hintText(hint: unknown): string | undefined {
  try {
    const text = JSON.stringify(hint) as string | undefined
    return text !== undefined && text.length <= limits.busHintLength ? text : undefined
  } catch {
    return undefined
  }
}
