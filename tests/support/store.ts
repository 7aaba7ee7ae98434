import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Schema, Store } from '../../src/store/store.ts'

const made: { store: Store; folder: string }[] = []

afterAll(async () => {
  for (const { store, folder } of made.splice(0)) {
    await store.close()
    rmSync(folder, { recursive: true })
  }
})

/** A store of its own, closed and removed when the test file ends. */
export async function temporaryStore(schema: Schema): Promise<Store> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-store-'))
  const store = await openSqliteStore({ file: join(folder, 'store.db'), schema, windowMs: 0 })
  made.push({ store, folder })
  return store
}
