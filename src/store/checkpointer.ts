import { Worker } from 'node:worker_threads'
import { limits } from '../base/limits.ts'

/** Keeps the write-ahead log short without holding up a commit. */
export interface Checkpointer {
  /** After a transaction with about so many rows. */
  wrote(rows: number): void
  close(): Promise<void>
}

/**
 * A checkpoint copies pages to wherever they belong and waits for the disk: over a large fleet these are thousands of
 * places, and a commit that did it itself would keep all others waiting (bench/fleet.ts). A thread of its own does it while
 * commits go on; where it cannot keep up, or has ended, the writer's own checkpoint (`openForWriting`) bounds the log.
 */
export function createCheckpointer(file: string): Checkpointer {
  let thread: Thread | undefined
  let rows = 0
  return {
    wrote(more) {
      rows += more
      if (rows < limits.storeCheckpointRows || thread?.isBusy() === true) return
      rows = 0
      // Made when it is needed: a start need not wait for it, and many installations never write so much.
      thread ??= startThread(file)
      thread.checkpoint()
    },
    close: async () => thread?.close(),
  }
}

interface Thread {
  isBusy(): boolean
  checkpoint(): void
  close(): Promise<void>
}

function startThread(file: string): Thread {
  // The same extension as this file: .ts from the sources, .js from the build.
  const url = new URL(`./checkpoint-thread${import.meta.url.slice(-3)}`, import.meta.url)
  const worker = new Worker(url, { name: 'checkpoints', workerData: file })
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  let busy = false
  worker.on('message', () => {
    busy = false
  })
  worker.on('error', () => {}) // it ends, busy for ever: the writer does it alone
  worker.unref()
  return {
    isBusy: () => busy,
    checkpoint() {
      busy = true
      worker.postMessage('checkpoint')
    },
    async close() {
      worker.postMessage('close')
      await ended
    },
  }
}
