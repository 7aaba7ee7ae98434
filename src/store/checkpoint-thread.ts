/**
 * Copies what the write-ahead log holds into the store's file, beside the thread that writes the log. Started by
 * `createCheckpointer` with the file as worker data; the parent sends a message for each round, and `close`.
 */
import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import type { Checkpointed } from './checkpointer.ts'
import { setUpCheckpoints } from './sqlite-file.ts'

const parent = parentPort!
const db = new DatabaseSync(workerData as string)
setUpCheckpoints(db)

parent.on('message', (message: 'checkpoint' | 'close') => {
  if (message === 'close') {
    db.close()
    process.exit() // only this thread
  }
  parent.postMessage(checkpoint())
})

function checkpoint(): Checkpointed {
  try {
    db.exec('PRAGMA wal_checkpoint(PASSIVE)')
    return 'copied'
  } catch {
    return 'failed' // a full disk, as a rule: the log keeps everything
  }
}
