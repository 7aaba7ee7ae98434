/**
 * Copies what the write-ahead log holds into the store's file, beside the thread that writes the log. Started by
 * `createCheckpointer` with the file as worker data; the parent sends a message for each round, and `close`.
 */
import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { setUpCheckpoints } from './sqlite-file.ts'

const parent = parentPort!
const db = new DatabaseSync(workerData as string)
setUpCheckpoints(db)

parent.on('message', (message: 'checkpoint' | 'close') => {
  if (message === 'close') {
    db.close()
    process.exit() // only this thread
  }
  try {
    db.exec('PRAGMA wal_checkpoint(PASSIVE)')
  } catch {
    // A full disk: the log keeps everything, and the writer is told the same with its next commit.
  }
  parent.postMessage('done')
})
