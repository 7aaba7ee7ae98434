import { Worker } from 'node:worker_threads'
import { limits } from '../base/limits.ts'

/** Keeps the write-ahead log short without holding up a commit. */
export interface Checkpointer {
  /** After a transaction with about so many rows. */
  wrote(rows: number): void
  close(): Promise<void>
}

/** What became of one round; failed: the log keeps everything, and grows. */
export type Checkpointed = 'copied' | 'failed'

/**
 * A checkpoint copies pages to wherever they belong and waits for the disk: over a large fleet these are thousands of
 * places, and a commit that did it itself would keep all others waiting (bench/fleet.ts). A thread of its own does it while
 * commits go on; where it cannot keep up, or there is none, the writer's own checkpoint (`openForWriting`) bounds the log.
 */
export function createCheckpointer(file: string, told: (result: Checkpointed) => void): Checkpointer {
  let worker: Worker | undefined
  let isBusy = false
  let rows = 0

  const done = (result: Checkpointed): void => {
    isBusy = false
    told(result)
  }

  function start(): Worker {
    // The same extension as this file: .ts from the sources, .js from the build.
    const url = new URL(`./checkpoint-thread${import.meta.url.slice(-3)}`, import.meta.url)
    const started = new Worker(url, { name: 'checkpoints', workerData: file })
    started.on('message', done)
    started.on('error', () => done('failed'))
    // The next round makes another one.
    started.on('exit', () => {
      worker = undefined
      if (isBusy) done('failed')
    })
    started.unref()
    return started
  }

  return {
    wrote(more) {
      rows += more
      if (rows < limits.storeCheckpointRows || isBusy) return
      rows = 0
      isBusy = true
      try {
        // Made when it is needed: a start need not wait for it, and many installations never write so much.
        worker ??= start()
        worker.postMessage('checkpoint')
      } catch {
        done('failed') // a machine that gives no more threads: no reason for the writer to end
      }
    },
    close: () =>
      new Promise((resolve) => {
        if (worker === undefined) return resolve()
        worker.once('exit', () => resolve())
        worker.postMessage('close')
      }),
  }
}
