import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Random, seededRandom } from '../../src/base/random.ts'
import { temporaryFolder } from '../support/folders.ts'
import { acknowledged, verify } from './power-loss-check.ts'
import { createDisk, type DiskCall, LOSSES, type Loss, readRecord } from './power-loss-disk.ts'

const load = new URL('power-loss-load.ts', import.meta.url).pathname
const recorderSource = new URL('power-loss-recorder.c', import.meta.url).pathname
const SEED = Number(process.env['MUSTER_TEST_SEED'] ?? 2026)
const CUTS = Number(process.env['MUSTER_POWER_CUTS'] ?? 400)

const compiler = (() => {
  try {
    return execFileSync('sh', ['-c', 'command -v gcc || command -v cc']).toString().trim()
  } catch {
    return undefined
  }
})()
const canRecord = process.platform === 'linux' && compiler !== undefined
if (!canRecord)
  console.warn('power loss: skipped, it needs Linux and a C compiler (Debian: apt-get install gcc libc6-dev).')

for (const kind of ['writer-thread', 'in-thread'] as const)
  test.runIf(canRecord)(`${kind}: whatever was acknowledged survives a loss of power at any moment`, async () => {
    const folder = temporaryFolder()
    const calls = recordLoad(folder, kind, 800)
    const random = seededRandom(SEED)
    const cuts = chooseCuts(calls, CUTS / 2, random)
    const disk = createDisk()
    let lines = ''
    const acks = acksFile(calls)
    for (const [at, call] of calls.entries()) {
      if (cuts.has(at)) {
        const loss = LOSSES[Math.floor(random.fraction() * LOSSES.length)]!
        await survives(
          join(folder, 'found'),
          disk.lose(loss, random),
          lines,
          `seed ${SEED}, cut ${at}, ${loss} of the rest`,
        )
      }
      disk.apply(call)
      if (call.file === acks && call.kind === 'write') lines += call.bytes.toString()
    }
    await survives(join(folder, 'found'), disk.lose('nothing', random), lines, `seed ${SEED}, at the end`)
    expect(Math.min(...acknowledged(lines))).toBe(800)
  })

test.runIf(canRecord)('the test would notice a store that does not sync', async () => {
  const folder = temporaryFolder()
  const calls = recordLoad(folder, 'in-thread', 200)
  const disk = createDisk()
  const acks = acksFile(calls)
  const opened = calls.findIndex((call) => call.file === acks && call.kind === 'write')
  let lines = ''
  for (const [at, call] of calls.entries()) {
    if (call.file === acks && call.kind === 'write') lines += call.bytes.toString()
    if (at < opened || !call.kind.startsWith('sync')) disk.apply(call)
  }
  for (const loss of ['nothing', 'some writes', 'some sectors'] satisfies Loss[])
    await expect(found(join(folder, loss), disk.lose(loss, seededRandom(SEED)), lines)).rejects.toThrow()
})

test('whatever was acknowledged survives kill -9, twenty times over', async () => {
  const folder = temporaryFolder()
  const random = seededRandom(SEED)
  for (let round = 0; round < 20; round++) {
    const kind = round % 2 === 0 ? 'writer-thread' : 'in-thread'
    await killedAfter(folder, kind, Math.floor(random.fraction() ** 2 * 2_000))
    const acks = acknowledged(readFileSync(join(folder, 'acks'), 'utf8'))
    await verify(folder, acks)
  }
})

/** Runs the load to its end under the recorder. */
function recordLoad(folder: string, kind: string, commits: number): readonly DiskCall[] {
  const library = join(folder, 'recorder.so')
  execFileSync(compiler!, [
    '-O2',
    '-shared',
    '-fPIC',
    '-Wall',
    '-Werror',
    '-o',
    library,
    recorderSource,
    '-ldl',
    '-lpthread',
  ])
  const recorded = join(folder, 'recorded')
  const record = join(folder, 'record')
  mkdirSync(recorded)
  execFileSync(process.execPath, [load, recorded, kind, String(commits)], {
    env: { ...process.env, LD_PRELOAD: library, RECORD_FOLDER: recorded, RECORD_FILE: record },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return readRecord(record)
}

const acksFile = (calls: readonly DiskCall[]): number =>
  calls.find((call) => call.kind === 'create' && call.bytes.toString() === 'acks')!.file

/**
 * Moments to lose power at: a quarter while the store is made, a quarter around what happens rarely (checkpoints,
 * truncation, names), the rest anywhere.
 */
function chooseCuts(calls: readonly DiskCall[], count: number, random: Random): ReadonlySet<number> {
  const acks = acksFile(calls)
  const opened = calls.findIndex((call) => call.file === acks && call.kind === 'write')
  const database = calls.find((call) => call.kind === 'create' && call.bytes.toString() === 'store.db')!.file
  const rare = [...calls.keys()].filter(
    (at) => at > opened && (calls[at]!.file === database || !['write', 'sync'].includes(calls[at]!.kind)),
  )
  const below = (end: number) => Math.floor(random.fraction() * end)
  const cuts = new Set<number>()
  while (cuts.size < count) {
    const kind = random.fraction()
    if (kind < 0.25) cuts.add(below(opened))
    else if (kind < 0.5) cuts.add(rare[below(rare.length)]! + below(2))
    else cuts.add(below(calls.length))
  }
  return cuts
}

/** Puts the files that a loss left into a folder and checks them; names the moment when something is missing. */
async function survives(folder: string, files: Map<string, Buffer>, lines: string, moment: string): Promise<void> {
  try {
    await found(folder, files, lines)
  } catch (error) {
    throw new Error(`Power lost at ${moment}: ${error instanceof Error ? error.message : error}`, { cause: error })
  }
}

async function found(folder: string, files: Map<string, Buffer>, lines: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  for (const [name, bytes] of files) if (name.startsWith('store.db')) writeFileSync(join(folder, name), bytes)
  // Memory shared between processes, not state: after a loss of power it may hold anything.
  writeFileSync(join(folder, 'store.db-shm'), Buffer.alloc(32 * 1024, 'anything'))
  await verify(folder, acknowledged(lines))
}

/** Starts the load and kills it when it has acknowledged so many commits. */
async function killedAfter(folder: string, kind: string, acks: number): Promise<void> {
  const child = spawn(process.execPath, [load, folder, kind, '100000'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  let seen = 0
  child.stdout.on('data', (bytes: Buffer) => {
    seen += bytes.filter((byte) => byte === 10).length
    if (seen >= acks) child.kill('SIGKILL')
  })
  const [, signal] = await ended
  expect(signal).toBe('SIGKILL')
}
