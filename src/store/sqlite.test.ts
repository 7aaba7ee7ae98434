import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { connectSqliteStore, openSqliteStore, startSqliteWriter } from './sqlite.ts'
import { storeContract } from './store.contract.ts'

const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'muster-store-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

storeContract('SQLite, writer in this thread', async (schema) => {
  const store = await openSqliteStore({ file: join(folder(), 'store.db'), schema, windowMs: 0 })
  onTestFinished(() => store.close())
  return store
})

storeContract('SQLite, writer thread', async (schema) => {
  const file = join(folder(), 'store.db')
  const writer = await startSqliteWriter({ file, schema, windowMs: 2 })
  const store = await connectSqliteStore({ file, schema, port: writer.connect() })
  onTestFinished(() => store.close().then(writer.close))
  return store
})
