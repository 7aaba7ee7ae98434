import { statSync } from 'node:fs'
import { basename } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Checkpointed } from './checkpointer.ts'
import type { SqliteWriter } from './sqlite-writer.ts'

/** The writer with its transactions counted and timed, under the name of its file. */
export function countedWriter(writer: SqliteWriter, metrics: Metrics, clock: Clock, file: string): SqliteWriter {
  const store = basename(file, '.db')
  const transactions = metrics.counter(
    'muster_store_transactions_total',
    'Transactions; failed: nothing could be written, which is what a full disk looks like.',
    ['store', 'result'],
  )
  const operations = metrics.counter('muster_store_operations_total', 'Changes; so many share a transaction.', [
    'store',
  ])
  const seconds = metrics.histogram('muster_store_transaction_seconds', 'From begin to durable.', ['store'])
  metrics.gauge(
    'muster_store_file_bytes',
    'Size of the files of a store.',
    () => [
      [sizeOf(file), store, 'database'],
      [sizeOf(`${file}-wal`), store, 'wal'],
    ],
    ['store', 'file'],
  )
  return {
    ...writer,
    write(group) {
      const began = clock.now()
      const outcomes = writer.write(group)
      const isFailed = outcomes.length > 0 && outcomes.every(([kind]) => kind === 'failed')
      transactions.add(1, store, isFailed ? 'failed' : 'committed')
      operations.add(group.length, store)
      seconds.observe(Math.max(0, clock.now() - began) / 1000, store)
      return outcomes
    },
  }
}

/** Counts the rounds of the thread beside the writer, which has no log of its own. */
export function countCheckpoints(metrics: Metrics, file: string): (result: Checkpointed) => void {
  const rounds = metrics.counter(
    'muster_store_checkpoints_total',
    'Rounds that copy the write-ahead log into the file; failed: the log keeps everything, and grows.',
    ['store', 'result'],
  )
  return (result) => rounds.add(1, basename(file, '.db'), result)
}

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0
