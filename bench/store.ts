/**
 * Commits per second and CPU per commit of the SQLite store, beside what bare `node:sqlite` takes for the same rows in
 * transactions of the same size, in one run. `node bench/store.ts [seconds per line]`
 *
 * A commit here: one expectation (must not exist), one document of about 600 bytes with a secondary index. CPU is user
 * and system time of the whole process, callers included.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { connectSqliteStore, openSqliteStore, startSqliteWriter } from '../src/store/sqlite.ts'
import { collection, type Schema, type Store } from '../src/store/store.ts'

export interface StoreFigure {
  readonly what: string
  readonly callers: number
  readonly commitsPerSecond: number
  readonly cpuMicrosecondsPerCommit: number
  /** CPU of bare SQLite / CPU of this: 1 means that nothing is lost. */
  readonly ratioToSqlite: number
}

interface Device {
  readonly deviceId: string
  readonly group: string
  readonly note: string
}

const devices = collection<Device>('devices', { group: '$.group' })
const schema: Schema = { collections: [devices], queues: [] }
const PADDING = 'x'.repeat(520)
const CALLERS = [1, 8, 64] as const

export async function benchStore(seconds: number): Promise<readonly StoreFigure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-bench-'))
  try {
    const bare = new Map(
      CALLERS.map((callers) => [callers, bareSqlite(join(folder, `bare-${callers}.db`), callers, seconds)]),
    )
    const figures: StoreFigure[] = []
    for (const kind of ['in this thread', 'writer thread'] as const)
      for (const callers of CALLERS) {
        const { store, close } = await openKind(kind, join(folder, `${kind}-${callers}.db`))
        const { rate, cpu } = await commits(store, callers, seconds)
        await close()
        figures.push(figure(kind, callers, rate, cpu, bare.get(callers)!.cpu))
      }
    return [
      ...CALLERS.map((callers) =>
        figure('bare node:sqlite', callers, bare.get(callers)!.rate, bare.get(callers)!.cpu, bare.get(callers)!.cpu),
      ),
      ...figures,
    ]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const figure = (what: string, callers: number, rate: number, cpu: number, bareCpu: number): StoreFigure => ({
  what,
  callers,
  commitsPerSecond: Math.round(rate),
  cpuMicrosecondsPerCommit: Math.round(cpu * 10) / 10,
  ratioToSqlite: Math.round((bareCpu / cpu) * 100) / 100,
})

async function openKind(kind: string, file: string): Promise<{ store: Store; close(): Promise<void> }> {
  if (kind === 'in this thread') {
    const store = await openSqliteStore({ file, schema, windowMs: 0 })
    return { store, close: () => store.close() }
  }
  const writer = await startSqliteWriter({ file, schema, windowMs: 2 })
  const store = await connectSqliteStore({ file, schema, port: writer.connect() })
  return { store, close: () => store.close().then(writer.close) }
}

/** `callers` loops, each waiting for its commit before it makes the next. */
async function commits(store: Store, callers: number, seconds: number): Promise<{ rate: number; cpu: number }> {
  let made = 0
  const run = async (until: number) => {
    while (performance.now() < until) {
      const id = idOf(made++)
      await store.commit({
        expect: [{ in: devices, id, version: 0 }],
        put: [{ collection: devices, id, value: deviceOf(id) }],
      })
    }
  }
  const load = (length: number) => {
    const until = performance.now() + length * 1000
    return Promise.all(Array.from({ length: callers }, () => run(until)))
  }
  await load(0.3) // compiled code and a file that exists
  return measured(async () => {
    const before = made
    await load(seconds)
    return made - before
  })
}

/** The least that can be done with the same file: the same table and index, one prepared statement, no checks. */
function bareSqlite(file: string, rows: number, seconds: number): { rate: number; cpu: number } {
  const db = new DatabaseSync(file)
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
    CREATE TABLE device (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER, value TEXT NOT NULL);
    CREATE INDEX device_group ON device (json_extract(value, '$.group'), id)`)
  const insert = db.prepare('INSERT INTO device (id, version, value) VALUES (?, ?, ?)')
  let made = 0
  const load = (length: number) => {
    for (const until = performance.now() + length * 1000; performance.now() < until; ) {
      db.exec('BEGIN IMMEDIATE')
      for (let row = 0; row < rows; row++) {
        const id = idOf(made++)
        insert.run(id, made, JSON.stringify(deviceOf(id)))
      }
      db.exec('COMMIT')
    }
  }
  load(0.3)
  const start = [performance.now(), process.cpuUsage(), made] as const
  load(seconds)
  const figures = sum(made - start[2], performance.now() - start[0], process.cpuUsage(start[1]))
  db.close()
  return figures
}

async function measured(work: () => Promise<number>): Promise<{ rate: number; cpu: number }> {
  const start = performance.now()
  const used = process.cpuUsage()
  const made = await work()
  return sum(made, performance.now() - start, process.cpuUsage(used))
}

const sum = (made: number, ms: number, { user, system }: NodeJS.CpuUsage) => ({
  rate: (made / ms) * 1000,
  cpu: (user + system) / made,
})

/** Spread over the key space as device ids are, and the same in every run. */
const idOf = (n: number): string => (Math.imul(n, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0')

const deviceOf = (id: string): Device => ({ deviceId: id, group: `group-${id.slice(0, 2)}`, note: PADDING })

if (import.meta.main) console.table(await benchStore(Number(process.argv[2] ?? 3)))
