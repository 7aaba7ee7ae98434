/**
 * A large fleet against a small one, in one run: how fast devices and enrollments are imported through the command line,
 * what they take on the disk, how long a start takes, and whether get, update and register become slower.
 * `node bench/fleet.ts [devices]` (default a million; the small fleet has a thousand)
 *
 * Latencies are taken at a fixed offered rate, a share of what the small fleet's service can do, and count from the
 * moment at which a request was due: what waits behind a slow one is slow too. Both services run side by side, are warmed
 * up alike and take short turns, so that whatever else the machine does meets both; what counts is the median of the
 * turns, because one moment of a busy machine decides the p99 of the turn that it falls into.
 */
import { spawn } from 'node:child_process'
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { signSas } from '../src/crypto/sas.ts'
import { type MusterProcess, startProcess } from '../tests/support/process.ts'

const SMALL = 1_000
const OFFERED = 0.3
const ROUNDS = 9
const ROUND_MS = 2_000
/** Each device registers once, and the small fleet has only so many. */
const REGISTRATIONS = Math.floor((SMALL * 0.9) / ROUNDS)
const CAPACITY_MS = 3_000
const CONCURRENCY = 32
const launcher = join(import.meta.dirname, '..', 'bin', 'muster.js')

type Step = 'get' | 'update' | 'register'
const STEPS: readonly Step[] = ['get', 'update', 'register']

export interface FleetFigures {
  readonly devices: number
  readonly importedDevicesPerSecond: number
  readonly importedEnrollmentsPerSecond: number
  readonly dataFolderMb: number
  readonly bytesPerDeviceAndEnrollment: number
  readonly startMs: number
  readonly rssMb: { readonly started: number; readonly loaded: number }
}

export interface FleetComparison {
  readonly small: FleetFigures
  readonly large: FleetFigures
  readonly latencies: readonly {
    readonly step: Step
    readonly offeredPerSecond: number
    /** Medians over the turns. */
    readonly smallP99Ms: number
    readonly largeP99Ms: number
    /** The goal is 1.5. */
    readonly ratio: number
  }[]
}

export async function benchFleet(devices: number): Promise<FleetComparison> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-fleet-'))
  const fleets: Fleet[] = []
  try {
    for (const count of [SMALL, devices]) fleets.push(await buildFleet(join(folder, `of-${count}`), count))
    const [small, large] = fleets as [Fleet, Fleet]
    const latencies = []
    for (const step of STEPS) latencies.push(await compare(step, small, large))
    return { small: figuresOf(small), large: figuresOf(large), latencies }
  } finally {
    for (const fleet of fleets) await fleet.end()
    rmSync(folder, { recursive: true, force: true })
  }
}

// ---- building

interface Fleet {
  readonly muster: MusterProcess
  readonly agent: Agent
  readonly figures: Omit<FleetFigures, 'rssMb'> & { readonly rssMb: number }
  registered: number
  end(): Promise<void>
}

async function buildFleet(folder: string, devices: number): Promise<Fleet> {
  const data = join(folder, 'data')
  mkdirSync(folder)
  const first = await startProcess(data)
  const rate = async (words: readonly string[], file: string, document: (n: number) => object): Promise<number> => {
    await writeLines(join(folder, file), devices, document)
    const from = performance.now()
    await muster([...words, 'import', '--mode', 'create', '--file', file], folder, first.ready)
    return Math.round((devices / (performance.now() - from)) * 1000)
  }
  const importedDevicesPerSecond = await rate(['hub', 'device-identity'], 'devices.jsonl', deviceOf)
  const importedEnrollmentsPerSecond = await rate(['dps', 'enrollment'], 'enrollments.jsonl', enrollmentOf)
  await first.stop()
  const bytes = sizeOf(data)
  const again = await startProcess(data)
  const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY, ca: again.ca })
  return {
    muster: again,
    agent,
    figures: {
      devices,
      importedDevicesPerSecond,
      importedEnrollmentsPerSecond,
      dataFolderMb: Math.round(bytes / 1e6),
      bytesPerDeviceAndEnrollment: Math.round(bytes / devices),
      startMs: Math.round(again.startMs),
      rssMb: rssMb(again.pid),
    },
    registered: 0,
    end: async () => {
      agent.destroy()
      await again.stop()
    },
  }
}

const figuresOf = ({ figures, muster: { pid } }: Fleet): FleetFigures => ({
  ...figures,
  rssMb: { started: figures.rssMb, loaded: rssMb(pid) },
})

async function writeLines(file: string, count: number, document: (n: number) => object): Promise<void> {
  const stream = createWriteStream(file)
  for (let n = 0; n < count; ) {
    let lines = ''
    for (const end = Math.min(n + 1_000, count); n < end; n++) lines += `${JSON.stringify(document(n))}\n`
    if (!stream.write(lines)) await new Promise((resolve) => stream.once('drain', resolve))
  }
  stream.end()
  await finished(stream)
}

/** As serial numbers are: neither in order nor quite at random. */
const idOf = (n: number): string => `sn-${(Math.imul(n, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0')}`
const KEY = Buffer.alloc(32, 5)
const keys = { primaryKey: KEY.toString('base64'), secondaryKey: KEY.toString('base64') }

const deviceOf = (n: number): object => ({
  id: idOf(n),
  authentication: { type: 'sas', symmetricKey: keys },
  tags: { site: `site-${n % 100}`, line: n % 7 },
  properties: { desired: { interval: 60 } },
})

const enrollmentOf = (n: number): object => ({
  registrationId: `en-${idOf(n)}`,
  attestation: { type: 'symmetricKey', symmetricKey: keys },
  initialTwin: { tags: { site: `site-${n % 100}` }, properties: { desired: { interval: 60 } } },
})

function muster(words: readonly string[], cwd: string, ready: MusterProcess['ready']): Promise<void> {
  const readyFile = join(cwd, 'ready.json')
  if (!existsSync(readyFile)) throw new Error(`Expected the ready file of ${ready.pid} at ${readyFile}, found none.`)
  const child = spawn(process.execPath, [launcher, ...words, '--output', 'none', '--ready-file', readyFile], {
    cwd,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  return new Promise((resolve, reject) =>
    child.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`muster ${words[0]} ended with ${code}.`)),
    ),
  )
}

const sizeOf = (folder: string): number =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(folder, name)))
    .reduce((sum, each) => sum + (each.isFile() ? each.size : 0), 0)

const rssMb = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1000)

// ---- asking

async function compare(step: Step, small: Fleet, large: Fleet): Promise<FleetComparison['latencies'][number]> {
  // Compiled code and warm caches on both sides; registering devices are not to be spent on it.
  const warm = step === 'register' ? 'get' : step
  await closedLoop(large, warm, CAPACITY_MS)
  const capacity = await closedLoop(small, warm, CAPACITY_MS)
  const rate = Math.round((step === 'register' ? await registerCapacity(small) : capacity) * OFFERED)
  const found = { small: [] as number[], large: [] as number[] }
  const turn = async (of: 'small' | 'large'): Promise<void> => {
    found[of].push(quantile(await openLoop(of === 'small' ? small : large, step, rate), 0.99))
  }
  for (let round = 0; round < ROUNDS; round++)
    for (const of of round % 2 === 0 ? (['small', 'large'] as const) : (['large', 'small'] as const)) await turn(of)
  const [smallP99Ms, largeP99Ms] = [quantile(found.small, 0.5), quantile(found.large, 0.5)]
  return {
    step,
    offeredPerSecond: rate,
    smallP99Ms,
    largeP99Ms,
    ratio: Math.round((largeP99Ms / smallP99Ms) * 100) / 100,
  }
}

/** Requests a second that `CONCURRENCY` callers get, each waiting for its answer. */
async function closedLoop(fleet: Fleet, step: Step, ms: number): Promise<number> {
  const from = performance.now()
  let done = 0
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      for (; performance.now() - from < ms; done++) await ask(fleet, step)
    }),
  )
  return (done / (performance.now() - from)) * 1000
}

/** Of a tenth of the small fleet, at once. */
async function registerCapacity(fleet: Fleet): Promise<number> {
  const count = SMALL - REGISTRATIONS * ROUNDS
  const from = performance.now()
  await Promise.all(Array.from({ length: count }, () => ask(fleet, 'register')))
  return (count / (performance.now() - from)) * 1000
}

/** Latencies, ms, of requests that are due at a fixed rate, whatever became of those before. */
async function openLoop(fleet: Fleet, step: Step, rate: number): Promise<number[]> {
  const count = step === 'register' ? REGISTRATIONS : Math.round((rate * ROUND_MS) / 1000)
  const from = performance.now()
  const latencies: Promise<number>[] = []
  while (latencies.length < count) {
    const due = from + (latencies.length / rate) * 1000
    const wait = due - performance.now()
    if (wait > 1) await sleep(wait)
    latencies.push(ask(fleet, step).then(() => performance.now() - due))
  }
  return Promise.all(latencies)
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round(sorted[Math.floor(sorted.length * share)]! * 100) / 100
}

/** One request about a device of the fleet, any of them; a registering one is another each time. */
async function ask(fleet: Fleet, step: Step): Promise<void> {
  const { devices } = fleet.figures
  const n = Math.floor(Math.random() * devices)
  if (step === 'get') return send(fleet, 'GET', `/devices/${idOf(n)}?api-version=2021-04-12`, hubToken(fleet))
  if (step === 'update') {
    const { id, ...document } = deviceOf(n) as { id: string }
    const path = `/devices/${id}?api-version=2021-04-12`
    return send(fleet, 'PUT', path, hubToken(fleet), { deviceId: id, ...document }, { 'If-Match': '*' })
  }
  // Spread over the fleet: each once.
  const registrationId = `en-${idOf((fleet.registered++ * Math.floor(devices / SMALL)) % devices)}`
  const { idScope } = fleet.muster.ready
  const resource = `${idScope}/registrations/${registrationId}`
  const token = signSas({ resource, key: KEY, expiresAt: soon(), policy: 'registration', encode: true })
  const path = `/${resource}/register?api-version=2021-06-01`
  return send(fleet, 'PUT', path, token, { registrationId })
}

const soon = (): number => Math.floor(Date.now() / 1000) + 3600
const tokens = new WeakMap<Fleet, string>()

function hubToken(fleet: Fleet): string {
  const known = tokens.get(fleet)
  if (known !== undefined) return known
  const [, hostName = '', policy = '', key = ''] =
    /HostName=([^;]+);SharedAccessKeyName=([^;]+);SharedAccessKey=(.+)/.exec(
      fleet.muster.ready.hubs[0]!.connectionString,
    ) ?? []
  const token = signSas({
    resource: hostName,
    key: Buffer.from(key, 'base64'),
    expiresAt: soon(),
    policy,
    encode: true,
  })
  tokens.set(fleet, token)
  return token
}

function send(
  { muster: { ready }, agent }: Fleet,
  method: string,
  path: string,
  token: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<void> {
  const text = body === undefined ? '' : JSON.stringify(body)
  const options = { host: ready.address, port: ready.ports.https, agent, method, path }
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { ...options, headers: { authorization: token, 'content-length': Buffer.byteLength(text), ...headers } },
      (incoming) => {
        incoming.resume()
        incoming.once('end', () =>
          (incoming.statusCode ?? 500) < 300
            ? resolve()
            : reject(new Error(`${method} ${path} was answered with ${incoming.statusCode}.`)),
        )
      },
    )
    outgoing.once('error', reject)
    outgoing.end(text)
  })
}

if (import.meta.main)
  process.stdout.write(`${JSON.stringify(await benchFleet(Number(process.argv[2] ?? 1_000_000)), null, 2)}\n`)
