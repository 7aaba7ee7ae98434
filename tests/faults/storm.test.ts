import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { limits } from '../../src/base/limits.ts'
import { residentMiB } from '../strangers/crowd.ts'
import { type MusterProcess, startProcess } from '../support/process.ts'
import { ask, derivedKey, sas } from '../support/raw-client.ts'
import { type Fleet, GROUP_KEY, prepareFleet, type Storm } from './storm.ts'

// A fleet comes back at once, with the timing of real clients (storm-devices.c), first from many addresses, then from
// one, as behind a NAT; and against a ceiling so low that most are sent away first. None fails for good, polls of what
// was admitted are never throttled, memory is bounded, and a bystander is served all the time.

const DEVICES = Number(process.env['MUSTER_STORM_DEVICES'] ?? 20_000)
const SOURCES = 100
/** What a process of two threads may take while all of them are connected; and how much more a second storm may take. */
const RESIDENT_MIB = 1_536
const RESIDENT_AGAIN = 1.25

let folder: string
let muster: MusterProcess | undefined

afterEach(async () => {
  await muster?.stop()
  muster = undefined
  rmSync(folder, { recursive: true, force: true })
})

async function start(flags: readonly string[] = []): Promise<{ muster: MusterProcess; fleet: Fleet }> {
  folder = mkdtempSync(join(tmpdir(), 'muster-storm-'))
  muster = await startProcess(join(folder, 'data'), ['--threads', '2', ...flags])
  return { muster, fleet: await prepareFleet(folder, muster) }
}

test(`${DEVICES} registered devices come back at once, from ${SOURCES} addresses and from one`, async () => {
  const { muster, fleet } = await start()
  const calm = await fleet.come({ count: DEVICES, sources: SOURCES, atOnce: 64, calmPollMs: 50 })
  expect(calm).toMatchObject({ done: DEVICES, failedForGood: 0 })
  tell('registered', calm)
  const peaks: number[] = []
  for (const [name, sources] of [
    ['from many addresses', SOURCES],
    ['from one address', 0],
  ] as const) {
    const watch = watchOver(muster, `bystander-${sources}`)
    const storm = await fleet.come({ count: DEVICES, sources })
    const { peakMiB, slowestMs, registered } = await watch.end()
    peaks.push(peakMiB)
    tell(
      name,
      storm,
      `${peakMiB.toFixed(0)} MiB, ${registered} bystanders, the slowest after ${slowestMs.toFixed(0)} ms`,
    )
    expect(storm, storm.lastReason).toMatchObject({ done: DEVICES, failedForGood: 0, throttledPolls: 0 })
    // Who was let in is not turned away afterwards: one register for each time that a client was started.
    expect(storm.registers).toBeLessThanOrEqual(DEVICES + sum(storm.restarts) + storm.throttledRegisters)
    expect(registered).toBeGreaterThan(0)
    await nothingAssigning(fleet, DEVICES)
  }
  expect(Math.max(...peaks)).toBeLessThan(RESIDENT_MIB)
  // What the first storm took is used again: nothing of it is kept.
  expect(peaks[1]! / peaks[0]!).toBeLessThan(RESIDENT_AGAIN)
})

test('at the ceiling devices are sent away with a Retry-After that spreads, and all are assigned in the end', async () => {
  const count = Math.min(1_000, DEVICES)
  // Every assignment takes a second, and 25 of them may wait in each of two threads: the pace is fifty a second.
  const { fleet } = await start(['--assigning-ms', '1000', '--assignment-backlog', '25'])
  const storm = await fleet.come({ count, sources: SOURCES, withinMs: 500 })
  tell('at the ceiling', storm)
  expect(storm, storm.lastReason).toMatchObject({ done: count, failedForGood: 0, throttledPolls: 0 })
  expect(storm.throttledRegisters).toBeGreaterThan(count / 4)
  // Twice or three times, not again and again.
  expect(storm.throttledRegisters).toBeLessThan(4 * count)
  const seconds = Object.keys(storm.retryAfter).map(Number)
  const told = sum(storm.retryAfter)
  expect(told).toBe(storm.throttledRegisters)
  expect(Math.min(...seconds)).toBeGreaterThanOrEqual(3)
  expect(Math.max(...seconds)).toBeLessThanOrEqual(3 + limits.throttleSpreadSeconds)
  // Spread even where few are away at a time: over six seconds, and no second is told to more than three in ten.
  expect(seconds.length).toBeGreaterThanOrEqual(6)
  expect(Math.max(...Object.values(storm.retryAfter)) / told).toBeLessThan(0.3)
  await nothingAssigning(fleet, count)
})

/** Bystanders may have come last. */
async function nothingAssigning(fleet: Fleet, least: number): Promise<void> {
  await expect
    .poll(async () => Object.keys(await fleet.states()), { timeout: 60_000, interval: 1_000 })
    .toEqual(['assigned'])
  expect((await fleet.states())['assigned']).toBeGreaterThanOrEqual(least)
}

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, each) => total + each, 0)

function tell(name: string, storm: Storm, more = ''): void {
  const { done, seconds, p50s, p99s, pollP99s, registers, polls, connections, throttledRegisters } = storm
  console.info(
    `${name}: ${done} in ${seconds.toFixed(0)} s, half after ${p50s.toFixed(1)} s, 99 of 100 after ${p99s.toFixed(1)} s; ` +
      `${registers} registers (${throttledRegisters} sent away), ${polls} polls (99 of 100 within ${pollP99s.toFixed(1)} s), ` +
      `${connections} connections; ${more}\nclients started again: ${JSON.stringify(storm.restarts)}, Retry-After: ${JSON.stringify(storm.retryAfter)}`,
  )
}

/** Bystanders while a fleet comes back: new devices from an address of their own, one after another. */
function watchOver(muster: MusterProcess, name: string) {
  const { ready, ca, pid } = muster
  const target = { host: ready.address, port: ready.ports.https, ca }
  let peakMiB = 0
  let slowestMs = 0
  let registered = 0
  let ended = false
  const sampling = setInterval(() => {
    peakMiB = Math.max(peakMiB, residentMiB(pid))
  }, 250)

  async function register(id: string): Promise<void> {
    const path = `/${ready.idScope}/registrations/${id}`
    const headers = { authorization: sas(path.slice(1), derivedKey(GROUP_KEY, id), 'registration') }
    const from = performance.now()
    const answer = await ask(target, {
      method: 'PUT',
      path: `${path}/register?api-version=2021-06-01`,
      headers,
      body: { registrationId: id },
      localAddress: '127.2.0.1',
    })
    expect(answer.status, JSON.stringify(answer.body)).toBe(202)
    slowestMs = Math.max(slowestMs, performance.now() - from)
    registered += 1
  }

  const running = (async () => {
    for (let at = 0; !ended; at++) await register(`${name}-${at}`)
  })()
  return {
    async end() {
      ended = true
      await running.finally(() => clearInterval(sampling))
      return { peakMiB, slowestMs, registered }
    },
  }
}
