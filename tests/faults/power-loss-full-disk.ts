/**
 * The program whose disk gets full: commits until one is refused, says so, waits to be told that there is room again,
 * and commits once more. `node power-loss-full-disk.ts <file> <in-thread|writer-thread>`; each line it prints is
 * checked by power-loss-full-disk.test.ts.
 */
import { once } from 'node:events'
import { ServiceError } from '../../src/base/errors.ts'
import { connectSqliteStore, openSqliteStore, startSqliteWriter } from '../../src/store/sqlite.ts'
import { collection, type Store } from '../../src/store/store.ts'

const [file = '', kind = ''] = process.argv.slice(2)
const documents = collection<string>('documents')
const schema = { collections: [documents], queues: [] }
process.on('SIGXFSZ', () => undefined) // the system's way to say that a file may not grow; writes then fail as well

async function open(): Promise<{ store: Store; close(): Promise<void> }> {
  if (kind === 'in-thread') {
    const store = await openSqliteStore({ file, schema, windowMs: 0 })
    return { store, close: () => store.close() }
  }
  const writer = await startSqliteWriter({ file, schema, windowMs: 2 })
  const store = await connectSqliteStore({ file, schema, port: writer.connect() })
  return { store, close: () => store.close().then(writer.close) }
}

const { store, close } = await open()
const put = (id: string) => store.commit({ put: [{ collection: documents, id, value: 'x'.repeat(20_000) }] })

let made = 0
let refused: readonly unknown[] = []
while (refused.length === 0) {
  const results = await Promise.allSettled([put(`n${made}`), put(`n${made + 1}`)])
  made += results.filter((each) => each.status === 'fulfilled').length
  refused = results.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
}
console.log(`refused ${refused.map((error) => (error instanceof ServiceError ? error.code : String(error))).join(' ')}`)
console.log(
  `kept ${(await store.count(documents)) === made && (await store.get(documents, `n${made - 1}`)) !== undefined}`,
)
await once(process.stdin, 'data')
console.log(`room again ${(await put('later')).ok}`)
await close()
process.exit()
