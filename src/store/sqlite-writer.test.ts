import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../../tests/support/folders.ts'
import { limits } from '../base/limits.ts'
import { createCatalog } from './catalog.ts'
import type { Operation } from './operations.ts'
import { openForWriting } from './sqlite-file.ts'
import { createSqliteReader } from './sqlite-reader.ts'
import { createSqliteWriter } from './sqlite-writer.ts'
import { collection } from './store.ts'

const notes = collection<unknown>('notes', { name: '$.name' })

function opened() {
  const catalog = createCatalog({ collections: [notes], queues: [] })
  const db = openForWriting(join(temporaryFolder(), 'store.db'), catalog)
  onTestFinished(() => db.close())
  return { db, writer: createSqliteWriter(db), reader: createSqliteReader(db, catalog) }
}

/** Puts a document and appends to a log. */
const change = (id: string, json = '{}', value = new Uint8Array(1)): Operation => [
  'commit',
  [],
  [['c_notes', id, json]],
  [],
  [['l', 1, value]],
  [],
]

/** Deeper than SQLite's JSON functions go: the index cannot be computed. */
const unindexable = `{"deep":${'['.repeat(1001)}${']'.repeat(1001)}}`

test('an operation that SQLite refuses is refused alone; the others of its group are written', () => {
  const { writer, reader } = opened()
  const outcomes = writer.write([change('a'), change('bad', unindexable), change('b'), change('a')])
  expect(outcomes.map((outcome) => outcome[0])).toEqual(['done', 'refused', 'done', 'done'])
  expect(outcomes[1]).toEqual(['refused', 'malformed JSON'])
  expect(outcomes.flatMap((outcome) => (outcome[0] === 'done' ? [[outcome[1], ...outcome[2]]] : []))).toEqual([
    [1, 0],
    [2, 1],
    [3, 2],
  ])
  expect(reader.count(notes)).toBe(2)
  expect(reader.read('l', 0, 10).map(({ position }) => position)).toEqual([0, 1, 2])
  expect(reader.bounds('l')).toEqual({ first: 0, next: 3 })
  expect(writer.write([change('c')])[0]).toEqual(['done', 4, [3]])
})

test('when the transaction cannot be committed all fail, and nothing has run ahead of the file', () => {
  const { db, writer, reader } = opened()
  writer.write([change('a')])
  const restore = failing(db, 'COMMIT')
  expect(writer.write([change('b'), change('c'), ['lease', 'l', 'me', 1, 2]])).toEqual([
    ['failed', 'disk I/O error'],
    ['failed', 'disk I/O error'],
    ['failed', 'disk I/O error'],
  ])
  restore()
  expect(db.isTransaction).toBe(false)
  expect(reader.count(notes)).toBe(1)
  expect(writer.write([change('d')])).toEqual([['done', 2, [1]]])
  expect(reader.read('l', 0, 10)).toHaveLength(2)
})

test('when the disk is full all fail; when there is room again the next succeed', () => {
  const { db, writer, reader } = opened()
  writer.write([change('a')])
  const pages = Number(db.prepare('PRAGMA page_count').get()?.['page_count'])
  db.exec(`PRAGMA max_page_count = ${pages + 2}`)
  const large = new Uint8Array(100_000)
  const outcomes = writer.write([change('b'), change('c', '{}', large)])
  expect(outcomes.map((outcome) => outcome[0])).toEqual(['failed', 'failed'])
  expect(reader.count(notes)).toBe(1)
  db.exec('PRAGMA max_page_count = 1000000')
  expect(writer.write([change('b'), change('c', '{}', large)])).toEqual([
    ['done', 2, [1]],
    ['done', 3, [2]],
  ])
})

test('when the transaction cannot begin all fail', () => {
  const { db, writer } = opened()
  const restore = failing(db, 'BEGIN IMMEDIATE')
  expect(writer.write([change('a')])).toEqual([['failed', 'disk I/O error']])
  restore()
  expect(writer.write([change('a')])).toEqual([['done', 1, [0]]])
})

test('trimmed entries are swept out in bounded steps, also by the next writer', () => {
  const { db, writer, reader } = opened()
  const count = limits.storeSweep * 2 + 100
  for (let at = 0; at < count; at += 100) writer.write(Array.from({ length: 100 }, () => change('a')))
  const left = () => Number(db.prepare('SELECT count(*) AS count FROM entry').get()?.['count'])
  writer.write([['trim', 'l', count - 50]])
  expect(reader.bounds('l')).toEqual({ first: count - 50, next: count })
  expect(left()).toBe(count)
  expect(writer.sweep()).toBe(true)
  expect(left()).toBe(count - limits.storeSweep)
  expect(reader.read('l', 0, 1000).map(({ position }) => position)[0]).toBe(count - 50)
  const next = createSqliteWriter(db)
  while (next.sweep());
  expect(left()).toBe(50)
  expect(reader.read('l', 0, 1000)).toHaveLength(50)
  expect(next.write([change('a')])).toEqual([['done', count + 1, [count]]])
})

test('large entries make smaller steps', () => {
  const { writer, db } = opened()
  const value = new Uint8Array(limits.storeSweepBytes / 4)
  for (let at = 0; at < 10; at++) writer.write([change('a', '{}', value)])
  writer.write([['trim', 'l', 10]])
  const left = () => Number(db.prepare('SELECT count(*) AS count FROM entry').get()?.['count'])
  writer.sweep()
  expect(left()).toBe(6)
  while (writer.sweep());
  expect(left()).toBe(0)
})

test('a sweep that fails is tried again later', () => {
  const { writer, db, reader } = opened()
  writer.write([change('a'), change('a'), ['trim', 'l', 1]])
  const restore = failing(db, 'COMMIT')
  expect(writer.sweep()).toBe(false)
  restore()
  expect(db.isTransaction).toBe(false)
  while (writer.sweep());
  expect(db.prepare('SELECT count(*) AS count FROM entry').get()).toEqual({ count: 1 })
  expect(reader.read('l', 0, 9)).toHaveLength(1)
})

/** Makes one statement fail as a broken disk would, until restored. */
function failing(db: DatabaseSync, statement: string): () => void {
  const { exec } = db
  db.exec = (sql) => {
    if (sql === statement) throw Object.assign(new Error('disk I/O error'), { errcode: 10 })
    exec.call(db, sql)
  }
  return () => {
    db.exec = exec
  }
}
