import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import type { Family } from '../base/metrics.ts'
import type { Operation, Outcome } from './operations.ts'
import type { Schema } from './store.ts'

/** A thread that owns the file of a store. */
export interface SqliteWriterThread {
  /** A port for one handle (`connectSqliteStore`), to be handed to any thread. */
  connect(): MessagePort
  /** What the writer counted; never answered by a thread that has ended. */
  metrics(): Promise<readonly Family[]>
  /** Writes what has arrived, closes the file and ends the thread. Close the handles first. */
  close(): Promise<void>
  /** Resolves when the thread ends without having been closed. */
  readonly failed: Promise<Error>
}

/** Takes operations to a writer and brings back their outcomes. */
export interface WriterConnection {
  send(operation: Operation): Promise<Outcome>
  /** Resolves when everything sent has its outcome. */
  close(): Promise<void>
}

/** Rejects when the file cannot be opened. `windowMs`: how long a commit may wait for others to share its transaction. */
export async function startSqliteWriter(options: {
  file: string
  schema: Schema
  windowMs: number
}): Promise<SqliteWriterThread> {
  // The same extension as this file: .ts from the sources, .js from the build.
  const url = new URL(`./writer-thread${import.meta.url.slice(-3)}`, import.meta.url)
  const worker = new Worker(url, { name: 'store', workerData: options })
  await new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve())
    worker.once('error', reject)
    worker.once('exit', (code) =>
      reject(new Error(`The thread that writes ${options.file} ended with exit code ${code}.`)),
    )
  })
  let closing = false
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const failed = new Promise<Error>((resolve) => {
    worker.once('error', (error) => resolve(asError(error)))
    worker.once('exit', (code) => {
      if (!closing) resolve(new Error(`The thread that writes ${options.file} ended with exit code ${code}.`))
    })
  })
  return {
    connect() {
      const { port1, port2 } = new MessageChannel()
      worker.postMessage(port2, [port2])
      return port1
    },
    metrics() {
      const answer = new Promise<readonly Family[]>((resolve) => worker.once('message', resolve))
      worker.postMessage('metrics')
      return answer
    },
    async close() {
      closing = true
      worker.postMessage('close')
      await ended
    },
    failed,
  }
}

/**
 * The handle's end of a port. What is sent in one turn of the event loop travels in one message, and the port keeps the
 * process alive only while an outcome is awaited.
 */
export function connectToWriter(port: MessagePort): WriterConnection {
  let outgoing: Operation[] = []
  const awaited: ((outcome: Outcome) => void)[] = []
  let lost = false
  let drained: (() => void) | undefined

  const settle = (outcomes: readonly Outcome[]) => {
    for (const [at, resolve] of awaited.splice(0, outcomes.length).entries()) resolve(outcomes[at]!)
    if (awaited.length > 0) return
    port.unref()
    drained?.()
  }
  const post = () => {
    const operations = outgoing
    outgoing = []
    if (lost) return
    const [message, transfer] = joinBytes(operations)
    port.postMessage(message, transfer)
  }
  port.on('message', settle)
  port.on('close', () => {
    lost = true
    settle(awaited.map(() => WRITER_GONE))
  })
  port.unref()

  return {
    send(operation) {
      if (lost) return Promise.resolve(WRITER_GONE)
      if (awaited.length === 0) port.ref()
      if (outgoing.length === 0) setImmediate(post)
      outgoing.push(operation)
      return new Promise((resolve) => awaited.push(resolve))
    },
    async close() {
      if (awaited.length > 0) await new Promise<void>((resolve) => (drained = resolve))
      port.close()
    },
  }
}

const WRITER_GONE: Outcome = ['failed', 'the thread that writes the store has ended']

/**
 * Puts all entries to append into one buffer that is handed over, not copied again: a view of a socket's buffer, sent as
 * it is, would take the whole of that buffer along.
 */
function joinBytes(operations: readonly Operation[]): [readonly Operation[], ArrayBuffer[]] {
  let length = 0
  for (const operation of operations)
    if (operation[0] === 'commit') for (const [, , value] of operation[4]) length += value.byteLength
  if (length === 0) return [operations, []]
  const joined = new Uint8Array(length)
  let at = 0
  const move = (value: Uint8Array): Uint8Array => {
    joined.set(value, at)
    at += value.byteLength
    return joined.subarray(at - value.byteLength, at)
  }
  const moved = operations.map((operation): Operation => {
    if (operation[0] !== 'commit' || operation[4].length === 0) return operation
    const [kind, expect, put, remove, append, enqueue] = operation
    return [kind, expect, put, remove, append.map(([log, time, value]) => [log, time, move(value)]), enqueue]
  })
  return [moved, [joined.buffer]]
}

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))
