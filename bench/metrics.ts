/**
 * What counting costs: processor time of registrations and their polls with metrics against the same service with metrics that
 * count nothing, turn by turn in one run. Without TLS, which is most of a registration, so the share shown is the worst.
 * `node bench/metrics.ts [turns]`
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createMetrics, type Metrics } from '../src/base/metrics.ts'
import { type InProcess, startInProcess } from '../tests/strangers/in-process.ts'
import { symmetricKeys } from '../tests/support/enrollments.ts'
import { derivedKey, sas, serviceToken } from '../tests/support/raw-client.ts'

const REGISTRATIONS = 40
const MOST_POLLS = 1_000
const GROUP_KEY = Buffer.alloc(64, 1).toString('base64')

const nothing: Metrics = {
  counter: () => ({ add: () => {}, of: () => () => {} }),
  histogram: () => ({ observe: () => {}, of: () => () => {} }),
  gauge: () => {},
  collect: () => [],
}

export interface MetricsFigures {
  /** Lower quartiles, microseconds of processor time, this run's client included: others on the machine only ever add. */
  readonly counted: number
  readonly notCounted: number
  /** counted / notCounted - 1. */
  readonly more: number
  /** One addition to a counter with four labels, nanoseconds. */
  readonly addNs: number
}

export async function benchMetrics(turns: number): Promise<MetricsFigures> {
  const [counting, silent] = [await startInProcess(createMetrics()), await startInProcess(nothing)]
  const figures: { counted: number; notCounted: number }[] = []
  try {
    for (const each of [counting, silent]) await enroll(each)
    for (let turn = -3; turn < turns; turn++) {
      const first = turn % 2 === 0
      const a = await cpuOf(first ? counting : silent, turn)
      const b = await cpuOf(first ? silent : counting, turn)
      // The first turns compile.
      if (turn >= 0) figures.push(first ? { counted: a, notCounted: b } : { counted: b, notCounted: a })
    }
  } finally {
    await counting.stop()
    await silent.stop()
  }
  const counted = quartile(figures.map((each) => each.counted))
  const notCounted = quartile(figures.map((each) => each.notCounted))
  return { counted, notCounted, more: counted / notCounted - 1, addNs: costOfAdd() }
}

const quartile = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 2]!

async function enroll({ http, addresses }: InProcess): Promise<void> {
  await http.app.inject({
    method: 'PUT',
    url: '/enrollmentGroups/bench?api-version=2021-10-01',
    headers: { host: addresses.dps.hostName, authorization: serviceToken(addresses.dps.connectionString) },
    payload: JSON.stringify({ enrollmentGroupId: 'bench', ...symmetricKeys(GROUP_KEY, GROUP_KEY) }),
  })
}

async function cpuOf({ http, addresses }: InProcess, turn: number): Promise<number> {
  const began = process.cpuUsage()
  await Promise.all(
    Array.from({ length: REGISTRATIONS }, async (_, n) => {
      const path = `${addresses.idScope}/registrations/bench-${turn}-${n}`
      const key = derivedKey(GROUP_KEY, `bench-${turn}-${n}`)
      const headers = { host: addresses.dps.hostName, authorization: sas(path, key, 'registration') }
      const url = (rest: string) => `/${path}/${rest}?api-version=2021-06-01`
      const opened = await http.app.inject({ method: 'PUT', url: url('register'), headers, payload: '{}' })
      const { operationId } = opened.json() as { operationId: string }
      for (let polls = 0; polls < MOST_POLLS; polls++) {
        await nextTurn() // an injected request takes none, and the store would wait for ever
        const polled = await http.app.inject({ method: 'GET', url: url(`operations/${operationId}`), headers })
        if (polled.statusCode === 200) return
        if (polled.statusCode !== 202) throw new Error(polled.payload)
      }
      throw new Error(`bench-${turn}-${n} is not assigned after ${MOST_POLLS} polls.`)
    }),
  )
  const { user, system } = process.cpuUsage(began)
  return (user + system) / REGISTRATIONS
}

function costOfAdd(): number {
  const counter = createMetrics().counter('bench_total', '', ['a', 'b', 'c', 'd'])
  const rounds = 2_000_000
  const began = process.cpuUsage()
  for (let n = 0; n < rounds; n++) counter.add(1, 'register', 'HTTPS', 'sas', 'ok')
  const { user, system } = process.cpuUsage(began)
  return Math.round(((user + system) * 1_000) / rounds)
}

if (import.meta.main)
  process.stdout.write(`${JSON.stringify(await benchMetrics(Number(process.argv[2] ?? 15)), null, 2)}\n`)
