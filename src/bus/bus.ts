/**
 * The bus port: hints between nodes. It may lose, repeat and reorder; whatever must happen is also in the store, so a
 * bus that drops everything only makes things later, never wrong. Every adapter runs `bus.contract.ts`.
 */
export interface Bus {
  /** To every node, this one included. Never throws; `hint` is a small JSON value. */
  publish(topic: string, hint: unknown): void
  subscribe(topic: string, heard: (hint: unknown) => void): () => void
  close(): Promise<void>
}
