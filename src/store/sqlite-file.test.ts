import { chmodSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../../tests/support/folders.ts'
import { createCatalog } from './catalog.ts'
import { type Migration, migrate, migrations } from './migrations/index.ts'
import { pageSql, whereOf } from './ranges.ts'
import { openSqliteStore } from './sqlite.ts'
import { openForReading, openForWriting } from './sqlite-file.ts'
import { type Collection, collection, queue, type Range, type Schema } from './store.ts'

interface Device {
  readonly group: string
  readonly rank: number
}

const devices = (indexes: Record<string, string>): Collection<Device> => collection<Device>('devices', indexes)
const schemaOf = (of: Collection<Device>): Schema => ({ collections: [of], queues: [queue('work')] })
const file = () => join(temporaryFolder(), 'store.db')

function writing(path: string, of = devices({ group: '$.group' })): DatabaseSync {
  const db = openForWriting(path, createCatalog(schemaOf(of)))
  onTestFinished(() => {
    if (db.isOpen) db.close()
  })
  return db
}

test('the files are for their owner only, also where they were not', async () => {
  const path = file()
  writeFileSync(path, '')
  chmodSync(path, 0o666)
  const store = await openSqliteStore({ file: path, schema: { collections: [], queues: [] }, windowMs: 0 })
  await store.commit({ append: [{ log: 'l', time: 1, value: Buffer.from('x') }] })
  for (const name of [path, `${path}-wal`, `${path}-shm`]) expect(statSync(name).mode & 0o777).toBe(0o600)
  await store.close()
})

test('what is answered is on the disk: write-ahead log, synced at every commit', () => {
  const db = writing(file())
  expect(db.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' })
  expect(db.prepare('PRAGMA synchronous').get()).toEqual({ synchronous: 2 })
})

test('an index is made when declared, made anew when its path changes, dropped when no longer declared', async () => {
  const path = file()
  const names = async (of: Collection<Device>, index?: string) => {
    const store = await openSqliteStore({ file: path, schema: schemaOf(of), windowMs: 0 })
    try {
      const put = [{ collection: of, id: 'a', value: { group: 'g', rank: 2 } }]
      if (index === undefined) await store.commit({ put })
      else return (await store.scan(of, { index, limit: 10 })).items.map(({ value }) => value.rank)
    } finally {
      await store.close()
    }
    return []
  }
  const indexes = () => {
    const db = new DatabaseSync(path, { readOnly: true })
    const rows = db
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'c_devices' AND sql IS NOT NULL")
      .all()
    db.close()
    return rows.map((row) => row['name'])
  }
  await names(devices({}))
  expect(indexes()).toEqual([])
  expect(await names(devices({ by: '$.group' }), 'by')).toEqual([2])
  expect(indexes()).toEqual(['c_devices.by'])
  expect(await names(devices({ by: '$.nothing' }), 'by')).toEqual([])
  expect(await names(devices({ by: '$.rank', other: '$.group' }), 'by')).toEqual([2])
  expect(indexes()).toEqual(['c_devices.by', 'c_devices.other'])
  expect(await names(devices({ other: '$.group' }), 'other')).toEqual([2])
  expect(indexes()).toEqual(['c_devices.other'])
})

test('every scan and count enters by an index and needs no sorting', () => {
  const of = devices({ group: '$.group', rank: '$.rank' })
  const db = writing(file(), of)
  const table = createCatalog(schemaOf(of)).find(of)
  const ranges: Range[] = [
    {},
    { prefix: 'a' },
    { from: 'a', to: 'b' },
    { index: 'group' },
    { index: 'group', equals: 'g' },
    { index: 'group', from: 'a' },
    { index: 'rank', from: 1, to: 2 },
    { index: 'rank', to: 2 },
  ]
  for (const range of ranges)
    for (const after of [undefined, { index: range.index, value: range.index && 'g', id: 'x' }]) {
      const { sql, values } = pageSql(table.name, whereOf(table, range), after, 10)
      const plan = db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values)
      const steps = plan.map((row) => String(row['detail']))
      const entered = steps.filter((step) => /USING (COVERING )?INDEX/.test(step))
      // What is left at the cursor's value, and what lies beyond, are two lists; only putting them together may sort.
      const lists = after !== undefined && range.index !== undefined && range.equals === undefined ? 2 : 1
      expect(entered.length, `${sql}\n${steps.join('\n')}`).toBe(lists)
      expect((lists === 2 ? steps.slice(0, -1) : steps).join('\n')).not.toMatch(/TEMP B-TREE/)
    }
})

test('a file of a newer layout is refused, and left as it was', () => {
  const path = file()
  const db = writing(path)
  db.exec("INSERT INTO layout VALUES (99, 'from the future')")
  db.close()
  const expected = /layout 99, this version of Muster expects layout 1.*newer version/
  expect(() => writing(path)).toThrow(expected)
  expect(() => openForReading(path, createCatalog(schemaOf(devices({}))))).toThrow(expected)
})

test('a database of another program is refused, and left as it was', () => {
  const path = file()
  const other = new DatabaseSync(path)
  other.exec('CREATE TABLE theirs (a)')
  other.close()
  expect(() => writing(path)).toThrow(/another program/)
  const again = new DatabaseSync(path)
  expect(
    again
      .prepare('SELECT name FROM sqlite_schema')
      .all()
      .map((row) => row['name']),
  ).toEqual(['theirs'])
  again.close()
})

test('what is no database is refused', () => {
  const path = file()
  writeFileSync(path, 'not a database, but long enough to look like one'.repeat(100))
  expect(() => writing(path)).toThrow()
})

test('a reader that knows more collections than the writer made is refused', () => {
  const path = file()
  writing(path)
  const more = createCatalog({ collections: [collection('others')], queues: [] })
  expect(() => openForReading(path, more)).toThrow(/has no others/)
})

test('layout steps are applied once, in order, and one that fails leaves nothing of itself', () => {
  const path = file()
  const db = writing(path)
  const steps: Migration[] = [
    ...migrations,
    { number: 2, name: 'second', sql: 'CREATE TABLE second (a); INSERT INTO second VALUES (1);' },
  ]
  migrate(db, path, steps)
  migrate(db, path, steps)
  expect(db.prepare('SELECT count(*) AS count FROM second').get()).toEqual({ count: 1 })
  const broken = [...steps, { number: 3, name: 'third', sql: 'CREATE TABLE third (a); SELECT nonsense;' }]
  expect(() => migrate(db, path, broken)).toThrow(/nonsense/)
  expect(db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'third'").get()).toBeUndefined()
  expect(db.prepare('SELECT max(number) AS number FROM layout').get()).toEqual({ number: 2 })
})

test('a file of an older layout is copied beside before it is changed', () => {
  const path = file()
  const db = writing(path)
  db.exec("INSERT INTO c_devices (id, version, value) VALUES ('a', 1, '{}')")
  const steps: Migration[] = [...migrations, { number: 2, name: 'second', sql: 'DELETE FROM c_devices' }]
  migrate(db, path, steps)
  const kept = new DatabaseSync(`${path}.layout-1`, { readOnly: true })
  onTestFinished(() => kept.close())
  expect(kept.prepare('SELECT max(number) AS number FROM layout').get()).toEqual({ number: 1 })
  expect(kept.prepare('SELECT id FROM c_devices').all()).toEqual([{ id: 'a' }])
  expect(statSync(`${path}.layout-1`).mode & 0o777).toBe(0o600)
})

test('a schema that cannot be kept is refused', () => {
  const refused = (schema: Schema) => expect(() => createCatalog(schema)).toThrow()
  refused({ collections: [collection('a"b')], queues: [] })
  refused({ collections: [collection('a', { 'x y': '$.a' })], queues: [] })
  refused({ collections: [collection('a', { x: "$.a') --" })], queues: [] })
  refused({ collections: [collection('a', { x: 'a.b' })], queues: [] })
  refused({ collections: [collection('a'), collection('A')], queues: [] })
  refused({ collections: [], queues: [queue('')] })
  expect(createCatalog({ collections: [collection('same')], queues: [queue('same')] }).tables).toHaveLength(2)
})
