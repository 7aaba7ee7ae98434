/**
 * The thread that owns a store's file. Started by `startSqliteWriter` with the options as worker data; the parent sends
 * it one port per handle, `metrics` to be told what was counted, and `close`. A handle sends lists of operations and gets lists of outcomes, in their order.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { createMetrics } from '../base/metrics.ts'
import { createCatalog } from './catalog.ts'
import { createCheckpointer } from './checkpointer.ts'
import { createGroup } from './group.ts'
import type { Operation, Outcome } from './operations.ts'
import { openForWriting } from './sqlite-file.ts'
import { createSqliteWriter } from './sqlite-writer.ts'
import type { Schema } from './store.ts'
import { countCheckpoints, countedWriter } from './store-metrics.ts'

const { file, schema, windowMs } = workerData as { file: string; schema: Schema; windowMs: number }
const parent = parentPort!
const db = openForWriting(file, createCatalog(schema), { logPages: limits.storeLogPagesAtMost })
const metrics = createMetrics()
const checkpointer = createCheckpointer(file, countCheckpoints(metrics, file))

/** Outcomes of the transaction just ended, by the port they go to: one message each. */
const answers = new Map<MessagePort, Outcome[]>()

const group = createGroup({
  writer: countedWriter(createSqliteWriter(db), metrics, systemClock, file),
  clock: systemClock,
  windowMs,
  wrote(rows) {
    checkpointer.wrote(rows)
    for (const [port, outcomes] of answers) port.postMessage(outcomes)
    answers.clear()
  },
})

function serve(port: MessagePort): void {
  const answer = (outcome: Outcome) => {
    const outcomes = answers.get(port)
    if (outcomes === undefined) answers.set(port, [outcome])
    else outcomes.push(outcome)
  }
  port.on('message', (operations: readonly Operation[]) => {
    for (const operation of operations) group.add(operation, answer)
  })
}

parent.on('message', (message: MessagePort | 'metrics' | 'close') => {
  if (message === 'metrics') return parent.postMessage(metrics.collect())
  if (message !== 'close') return serve(message)
  group.end()
  void checkpointer.close().then(() => {
    emptyLog()
    db.close()
    process.exit() // only this thread; ports close, and what arrives too late is answered there
  })
})
/** The last connection that closes does it by itself; a reader's that did not close in time would leave a long log. */
function emptyLog(): void {
  try {
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  } catch {
    // A full disk: the next start reads the log as it is.
  }
}

parent.postMessage('ready')
