import type { MessagePort } from 'node:worker_threads'
import { type Clock, systemClock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { createMetrics, type Metrics } from '../base/metrics.ts'
import { type Catalog, createCatalog } from './catalog.ts'
import { createGroup } from './group.ts'
import {
  commitResult,
  createEncoder,
  type Operation,
  type Outcome,
  soundId,
  weightOf,
  wholeNumber,
} from './operations.ts'
import { openForReading, openForWriting } from './sqlite-file.ts'
import { createSqliteReader, type SqliteReader } from './sqlite-reader.ts'
import { createSqliteWriter } from './sqlite-writer.ts'
import type { Schema, Store } from './store.ts'
import { countCheckpoints, countedWriter } from './store-metrics.ts'
import { connectToWriter, type WriterConnection } from './writer-port.ts'

export { IN_MEMORY } from './sqlite-file.ts'
export { type SqliteWriterThread, startSqliteWriter } from './writer-port.ts'

/** A store whose writer runs in this thread: for one-thread services and tests. Not `durable`: for tests only. */
export async function openSqliteStore(options: {
  file: string
  schema: Schema
  windowMs: number
  clock?: Clock
  durable?: boolean
  metrics?: Metrics
}): Promise<Store> {
  const { file, schema, windowMs, clock = systemClock, durable = true, metrics = createMetrics() } = options
  const catalog = createCatalog(schema)
  const db = openForWriting(file, catalog, { durable })
  countCheckpoints(metrics, file) // none: there is no thread beside this writer
  const group = createGroup({ writer: countedWriter(createSqliteWriter(db), metrics, clock, file), clock, windowMs })
  const connection: WriterConnection = {
    send: (operation) => new Promise((resolve) => group.add(operation, resolve)),
    close: async () => {
      group.end()
    },
  }
  return createStore({ catalog, reader: createSqliteReader(db, catalog), connection, closed: () => db.close() })
}

/**
 * A store whose writer runs in a thread of its own (`startSqliteWriter`, whose `connect` gives the port). Reads go
 * through a connection of this handle and see every commit that was answered anywhere.
 */
export async function connectSqliteStore(options: { file: string; schema: Schema; port: MessagePort }): Promise<Store> {
  const { file, schema, port } = options
  const catalog = createCatalog(schema)
  const db = openForReading(file, catalog)
  return createStore({
    catalog,
    reader: createSqliteReader(db, catalog),
    connection: connectToWriter(port),
    closed: () => db.close(),
  })
}

/** The port over a reader in this thread and a writer anywhere. */
function createStore(parts: {
  catalog: Catalog
  reader: SqliteReader
  connection: WriterConnection
  closed: () => void
}): Store {
  const { reader, connection } = parts
  const encode = createEncoder(parts.catalog)
  let waiting = 0
  let ended: Promise<void> | undefined

  const requireOpen = () => {
    if (ended !== undefined) throw new Error('The store is closed.')
  }
  const read = async <T>(from: () => T): Promise<T> => {
    requireOpen()
    try {
      return from()
    } catch (error) {
      throw 'errcode' in (error as object) ? unavailable(error, 'cannot be read') : error
    }
  }
  const send = async (operation: Operation): Promise<Outcome> => {
    requireOpen()
    if (waiting >= limits.storeWaiting)
      throw new ServiceError(503005, 'The store has more changes waiting than it takes. Try again.', { retryAfter: 1 })
    const weight = weightOf(operation)
    waiting += weight
    try {
      return settled(await connection.send(operation))
    } finally {
      waiting -= weight
    }
  }

  return {
    commit: async (change) => commitResult(change, await send(encode(change))),
    get: (from, id) => read(() => reader.get(from, id)),
    getMany: (from, ids) => read(() => reader.getMany(from, ids)),
    scan: (from, scan) => read(() => reader.scan(from, scan)),
    count: (from, range) => read(() => reader.count(from, range)),
    due: (from, now, limit) => read(() => reader.due(from, now, limit)),
    read: (log, from, limit) => read(() => reader.read(log, from, limit)),
    bounds: (log) => read(() => reader.bounds(log)),
    seek: (log, time) => read(() => reader.seek(log, time)),
    leaseOf: (name) => read(() => reader.leaseOf(name)),
    trim: async (log, position) => void (await send(['trim', soundId(log), wholeNumber('position', position)])),
    async lease(name, holder, now, ttlMs) {
      const until = wholeNumber('now', now) + wholeNumber('ttlMs', ttlMs)
      const outcome = await send(['lease', soundId(name), soundId(holder), now, until])
      return outcome[0] === 'lease' ? outcome[1] : undefined
    },
    release: async (name, holder) => void (await send(['release', soundId(name), soundId(holder)])),
    close() {
      ended ??= connection.close().then(parts.closed)
      return ended
    },
  }
}

/** Outcomes that are no answers are thrown. */
function settled(outcome: Outcome): Outcome {
  if (outcome[0] === 'refused') throw new RangeError(`The store cannot hold this: ${outcome[1]}.`)
  if (outcome[0] === 'failed')
    throw unavailable(new Error(outcome[1]), 'does not answer, so it is not certain whether the change was made')
  return outcome
}

const unavailable = (cause: unknown, how: string): ServiceError =>
  new ServiceError(503001, `The data store ${how}. Try again later.`, { cause, retryAfter: limits.storeRetrySeconds })
