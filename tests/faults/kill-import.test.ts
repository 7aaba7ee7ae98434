import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'

// `kill -9` of the service and of the command at random moments of an import. Run again until it is through, it must end
// as an import that nobody disturbed: the same identities, each made once, and the same report.
// MUSTER_KILL_ROUNDS and MUSTER_TEST_SEED repeat a run.
const KILLS = Number(process.env['MUSTER_KILL_ROUNDS'] ?? 20)
const SEED = Number(process.env['MUSTER_TEST_SEED'] ?? Date.now() % 1_000_000)
const LINES = 20_000
const launcher = join(import.meta.dirname, '..', '..', 'bin', 'muster.js')
const folder = mkdtempSync(join(tmpdir(), 'muster-kill-import-'))
const random = seededRandom(SEED)
const pick = (most: number): number => Math.floor(random.fraction() * most)
const KEY = Buffer.alloc(32, 6).toString('base64')
const sas = { type: 'sas', symmetricKey: { primaryKey: KEY, secondaryKey: KEY } }

const running = new Set<MusterProcess>()
afterAll(async () => {
  for (const each of running) await each.kill()
  rmSync(folder, { recursive: true, force: true })
})

test(`${KILLS} kills during imports (seed ${SEED})`, async () => {
  let kills = 0
  for (let file = 0; kills < KILLS; file++) {
    writeFileSync(join(folder, `devices-${file}.txt`), linesOf(file).join('\n'))
    const expected = await importWhole(file)
    const disturbed = await importDisturbed(file, expected.ms)
    kills += disturbed.kills
    expect(disturbed.result.report).toEqual(expected.report)
    expect(disturbed.result.rows).toEqual(expected.rows)
    expect(expected.report.length).toBeGreaterThan(LINES / 100)
    console.info(
      `file ${file}: ${disturbed.kills} kills, ${expected.rows.length} rows, ${expected.report.length} failures`,
    )
  }
}, 3_600_000)

/** Devices, Edge devices, modules and children before and after what they belong to, and what is refused. */
function linesOf(file: number): string[] {
  return Array.from({ length: LINES }, (_, n): string => {
    const id = `f${file}-${n}`
    const kind = pick(40)
    const near = `f${file}-${Math.max(0, Math.min(LINES - 1, n + pick(2_000) - 1_000))}`
    if (kind === 0) return ''
    if (kind === 1) return '{"id":'
    if (kind === 2) return JSON.stringify({ id: near, authentication: sas })
    if (kind === 3) return JSON.stringify({ id: near, moduleId: `m${n}`, authentication: sas })
    if (kind === 4) return JSON.stringify({ id, authentication: sas, deviceScope: `ms-azure-iot-edge://${near}-1` })
    return JSON.stringify({ id, authentication: sas, capabilities: { iotEdge: kind < 12 }, tags: { n } })
  })
}

interface Result {
  readonly report: readonly string[]
  readonly rows: readonly string[]
}

async function importWhole(file: number): Promise<Result & { readonly ms: number }> {
  const place = placeOf(file, 'whole')
  const muster = await start(place)
  const from = performance.now()
  await ended(command(place, file))
  const ms = performance.now() - from
  await stop(muster)
  return { ...resultOf(place), ms }
}

/** @param ms how long it takes undisturbed: a run is killed at any moment of that, and sometimes gets through */
async function importDisturbed(file: number, ms: number): Promise<{ readonly kills: number; readonly result: Result }> {
  const place = placeOf(file, 'disturbed')
  const made = new Map<string, string>()
  let muster = await start(place)
  for (let kills = 0; ; kills++) {
    const child = command(place, file)
    const through = ended(child)
    const moment = new Promise<'kill'>((resolve) => setTimeout(() => resolve('kill'), pick(ms)))
    if ((await Promise.race([through, moment])) !== 'kill') {
      await stop(muster)
      requireSame(made, place)
      return { kills, result: resultOf(place) }
    }
    const isServer = pick(2) === 0
    if (isServer) {
      running.delete(muster)
      await muster.kill()
    } else child.kill('SIGKILL')
    await through
    requireSame(made, place)
    if (wasOver(place)) {
      if (!isServer) await stop(muster)
      return { kills: kills + 1, result: resultOf(place) }
    }
    if (isServer) muster = await start(place)
  }
}

/** Killed after its last request, when the import was forgotten: run again it would be another one. */
function wasOver(place: string): boolean {
  const rows = rowsOf(place)
  return rows.length > 0 && rows.every(({ id }) => !id.startsWith('c_imports '))
}

const placeOf = (file: number, name: string): string => {
  const place = join(folder, `${file}-${name}`)
  mkdirSync(place)
  return place
}

async function start(place: string): Promise<MusterProcess> {
  const muster = await startProcess(join(place, 'data'))
  running.add(muster)
  return muster
}

async function stop(muster: MusterProcess): Promise<void> {
  running.delete(muster)
  expect(await muster.stop()).toBe(0)
}

/** The ready file tells the port of the service that runs now. */
const command = (place: string, file: number): ChildProcess =>
  spawn(
    process.execPath,
    [
      ...[
        launcher,
        'hub',
        'device-identity',
        'import',
        '--file',
        join(folder, `devices-${file}.txt`),
        '--mode',
        'create',
      ],
      ...['--report', 'report.jsonl', '--output', 'none', '--ready-file', join(place, 'ready.json')],
    ],
    { cwd: place, stdio: 'ignore' },
  )

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', (code) => resolve(code)))

/** Identities that were made once are never made again. */
function requireSame(made: Map<string, string>, place: string): void {
  for (const { id, generationId } of rowsOf(place)) {
    if (generationId === undefined) continue
    expect(made.get(id) ?? generationId).toBe(generationId)
    made.set(id, generationId)
  }
}

interface Row {
  readonly id: string
  readonly generationId: string | undefined
  readonly value: Record<string, unknown>
}

function rowsOf(place: string): readonly Row[] {
  const db = new DatabaseSync(join(place, 'data', 'documents.db'))
  try {
    return ['c_hubDevices', 'c_hubModules', 'c_hubModuleLists', 'c_hubTwins', 'c_imports'].flatMap((table) =>
      db
        .prepare(`SELECT id, value FROM "${table}" ORDER BY id`)
        .all()
        .map(({ id, value }) => {
          const document = JSON.parse(String(value)) as Record<string, unknown>
          return { id: `${table} ${id}`, generationId: document['generationId'] as string | undefined, value: document }
        }),
    )
  } finally {
    db.close()
  }
}

/** Without what is another each time: generations, scopes made of them, times. */
const resultOf = (place: string): Result => ({
  report: readFileSync(join(place, 'report.jsonl'), 'utf8').split('\n').filter(Boolean),
  rows: rowsOf(place).map(({ id, value }) =>
    `${id} ${JSON.stringify(value)}`
      .replaceAll(/"generationId":"\d+"/g, '"generationId":"…"')
      .replaceAll(/-\d{18}"/g, '-…"')
      .replaceAll(/"updatedTime":\d+/g, '"updatedTime":…'),
  ),
})
