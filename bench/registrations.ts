/**
 * Server CPU per registration against server CPU per bare mutual-TLS request of the same Node, certificates and load
 * client, in one run; registrations per second as seen; start to ready. `node bench/registrations.ts [devices]`
 *
 * Servers run on the first processor, the load client on the second (taskset, where the machine has it): a client that
 * shares a processor with what it measures charges its own switches to it.
 *
 * CPU is user and system time of the server's process, from /proc, so Linux only. The load client is compiled from
 * load-client.c and needs a C compiler and OpenSSL's headers (Debian: gcc, libssl-dev).
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathOf, type Rest } from '../src/cli/rest.ts'
import { dpsRest, managementRest } from '../src/cli/services.ts'
import { createAuthority, type Issued, issueDeviceCertificate } from '../src/crypto/issuing.ts'
import { decodeKey, deriveDeviceKey } from '../src/crypto/keys.ts'
import { signSas } from '../src/crypto/sas.ts'

const ROUNDS = 3
const CONCURRENCY = 64
/** Every thread of the server compiles its own code. */
const WARM_UP = 8_000
const root = join(import.meta.dirname, '..')
const [SERVER_CPU, CLIENT_CPU] = ['0', '1']
const TASKSET = '/usr/bin/taskset'

const pinned = (cpu: string, program: string, ...words: string[]): [string, ...string[]] =>
  existsSync(TASKSET) ? [TASKSET, '-c', cpu, program, ...words] : [program, ...words]

export interface RegistrationFigures {
  readonly startToReadyMs: { readonly first: number; readonly again: number }
  readonly x509: Comparison
  readonly symmetricKey: Comparison
}

/** Medians over the rounds. */
export interface Comparison {
  readonly registrations: number
  readonly cpuMsPerRegistration: number
  readonly cpuMsPerBareRequest: number
  /** CPU of a bare request / CPU of a registration; the goal is 0.6. */
  readonly share: number
  readonly registrationsPerSecond: number
  readonly pollsPerRegistration: number
}

export async function benchRegistrations(devices: number): Promise<RegistrationFigures> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-bench-'))
  const endings: (() => Promise<void>)[] = []
  try {
    const client = compileClient(folder)
    const first = await startMuster(folder)
    await first.stop()
    const muster = await startMuster(folder)
    endings.push(muster.stop)
    const bare = await startBareServer(join(folder, 'data'))
    endings.push(bare.stop)
    const identities = await prepareIdentities(folder, muster.readyFile, devices)
    const compared = { client, muster, bare, folder, devices }
    return {
      startToReadyMs: { first: first.readyMs, again: muster.readyMs },
      x509: await compare(compared, identities.x509),
      symmetricKey: await compare(compared, identities.symmetricKey),
    }
  } finally {
    for (const end of endings.reverse()) await end()
    rmSync(folder, { recursive: true, force: true })
  }
}

// ---- the servers

interface Server {
  readonly pid: number
  readonly port: number
  stop(): Promise<void>
}

interface Muster extends Server {
  readonly readyMs: number
  readonly readyFile: string
  readonly caFile: string
  readonly idScope: string
}

const START_MS = 30_000

async function startMuster(folder: string): Promise<Muster> {
  const readyFile = join(folder, 'ready.json')
  rmSync(readyFile, { force: true })
  const flags = ['--data', join(folder, 'data'), '--https-port', '0', '--mqtts-port', '0', '--ready-file', readyFile]
  const from = performance.now()
  const [program, ...words] = pinned(SERVER_CPU, process.execPath, join(root, 'bin', 'muster.js'), 'up', ...flags)
  const child = spawn(program, [...words, '--log-level', 'warn', '--threads', '1'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  while (!existsSync(readyFile)) {
    if (child.exitCode !== null || performance.now() - from > START_MS)
      throw new Error(`Expected "muster up" to be ready within ${START_MS / 1000} s, found it is not.`)
    await sleep(2)
  }
  const readyMs = performance.now() - from
  const { ports, caFile, idScope } = JSON.parse(readFileSync(readyFile, 'utf8')) as {
    ports: { https: number }
    caFile: string
    idScope: string
  }
  return { ...serverOf(child, ports.https), readyMs, readyFile, caFile, idScope }
}

async function startBareServer(dataFolder: string): Promise<Server> {
  const [program, ...words] = pinned(
    SERVER_CPU,
    process.execPath,
    join(import.meta.dirname, 'bare-server.ts'),
    dataFolder,
  )
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return serverOf(child, Number(line.toString()))
}

function serverOf(child: ChildProcess, port: number): Server {
  return {
    pid: child.pid ?? 0,
    port,
    stop: async () => {
      if (child.exitCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await gone
    },
  }
}

/** User and system time of a process so far, ms (proc(5): fields 14 and 15, in ticks of 10 ms). */
function cpuMs({ pid }: Server): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

// ---- the devices

interface Identities {
  /** For the warm-up, then one file a round: every registration that counts is a first one. */
  readonly files: readonly string[]
}

async function prepareIdentities(
  folder: string,
  readyFile: string,
  devices: number,
): Promise<{ x509: Identities; symmetricKey: Identities }> {
  const environment = { stdout: process.stdout, stderr: process.stderr, env: {}, cwd: root }
  const management = await managementRest({ readyFile }, environment)
  const dps = await dpsRest({ readyFile }, environment)
  const { idScope } = JSON.parse(readFileSync(readyFile, 'utf8')) as { idScope: string }
  const intermediate = await trustedIntermediate(management)
  await enroll(dps, 'bench-x509', { type: 'x509', x509: { caReferences: { primary: 'bench-root' } } })
  const groupKey = Buffer.alloc(64, 1)
  const keys = { primaryKey: groupKey.toString('base64'), secondaryKey: Buffer.alloc(64, 2).toString('base64') }
  await enroll(dps, 'bench-keys', { type: 'symmetricKey', symmetricKey: keys })
  const counts = [WARM_UP, ...Array.from({ length: ROUNDS }, () => devices)]
  const x509 = await Promise.all(counts.map((count, round) => x509Devices(folder, intermediate, `x${round}`, count)))
  const sas = counts.map((count, round) => sasDevices(folder, groupKey, idScope, `k${round}`, count))
  return { x509: { files: x509 }, symmetricKey: { files: sas } }
}

/** A root that the service has verified, and an intermediate below it: the chain of a usual fleet. */
async function trustedIntermediate(management: Rest): Promise<Issued> {
  const common = { days: 2, keyType: 'ec', now: Date.now() } as const
  const authority = await createAuthority({ ...common, commonName: 'Bench root' })
  const { body } = await management({ method: 'GET', path: '/provisioningServices' })
  const [service] = (body as { value: { name: string }[] }).value
  const certificate = base64(authority.certificate)
  const path = pathOf('provisioningServices', service?.name ?? '', 'certificates', 'bench-root')
  await management({ method: 'PUT', path, body: { properties: { certificate, isVerified: true } } })
  return createAuthority({ ...common, commonName: 'Bench intermediate', issuer: authority })
}

async function enroll(dps: Rest, enrollmentGroupId: string, attestation: object): Promise<void> {
  const path = `${pathOf('enrollmentGroups', enrollmentGroupId)}?api-version=2021-10-01`
  await dps({ method: 'PUT', path, body: { enrollmentGroupId, attestation } })
}

async function x509Devices(folder: string, authority: Issued, prefix: string, count: number): Promise<string> {
  const lines: string[] = []
  for (let number = 0; number < count; number++) {
    const commonName = `${prefix}-${number}`
    const { chain, key } = await issueDeviceCertificate({
      authority,
      commonName,
      keyType: 'ec',
      days: 1,
      now: Date.now(),
    })
    // A device sends its own certificate and the intermediate, as a rule; the root is the service's to have.
    const [leaf = '', intermediate = ''] = chain.split(/(?<=-----END CERTIFICATE-----\n)/)
    lines.push([commonName, 'x509', `${base64(leaf)},${base64(intermediate)}`, base64(key)].join('\t'))
  }
  return identitiesFile(folder, prefix, lines)
}

const base64 = (pem: string): string => pem.replace(/-----[^-]+-----|\s/g, '')

function sasDevices(folder: string, groupKey: Buffer, idScope: string, prefix: string, count: number): string {
  const expiresAt = Math.floor(Date.now() / 1000) + 3600
  const lines = Array.from({ length: count }, (_, number) => {
    const id = `${prefix}-${number}`
    const key = decodeKey(deriveDeviceKey(groupKey, id).toString('base64'))
    if (key === undefined) throw new Error('A derived key must be a key.')
    const resource = `${idScope}/registrations/${id}`
    return [id, 'sas', signSas({ resource, key, expiresAt, policy: 'registration', encode: true })].join('\t')
  })
  return identitiesFile(folder, prefix, lines)
}

function identitiesFile(folder: string, prefix: string, lines: readonly string[]): string {
  const file = join(folder, `${prefix}.tsv`)
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}

// ---- the measurement

interface Compared {
  readonly client: string
  readonly muster: Muster
  readonly bare: Server
  readonly folder: string
  readonly devices: number
}

interface Load {
  readonly done: number
  readonly failed: number
  readonly seconds: number
  readonly polls: number
  readonly firstFailure: string | null
}

async function compare(compared: Compared, { files }: Identities): Promise<Comparison> {
  const { muster, bare, devices } = compared
  const [warmUp = '', ...rounds] = files
  await load(compared, 'bare', warmUp, WARM_UP)
  await load(compared, 'register', warmUp, WARM_UP)
  const seen: { bareMs: number; registerMs: number; perSecond: number; polls: number }[] = []
  for (const file of rounds) {
    const bareMs = await cpuPerConnection(bare, devices, () => load(compared, 'bare', file, devices))
    const registered = await cpuPerConnection(muster, devices, () => load(compared, 'register', file, devices))
    const { seconds, polls } = registered.load
    seen.push({ bareMs: bareMs.ms, registerMs: registered.ms, perSecond: devices / seconds, polls: polls / devices })
  }
  const cpuMsPerRegistration = median(seen.map(({ registerMs }) => registerMs))
  const cpuMsPerBareRequest = median(seen.map(({ bareMs }) => bareMs))
  return {
    registrations: devices * rounds.length,
    cpuMsPerRegistration,
    cpuMsPerBareRequest,
    share: cpuMsPerBareRequest / cpuMsPerRegistration,
    registrationsPerSecond: median(seen.map(({ perSecond }) => perSecond)),
    pollsPerRegistration: median(seen.map(({ polls }) => polls)),
  }
}

async function cpuPerConnection(server: Server, connections: number, run: () => Promise<Load>) {
  const before = cpuMs(server)
  const seen = await run()
  return { ms: (cpuMs(server) - before) / connections, load: seen }
}

async function load(
  { client, muster, bare }: Compared,
  mode: 'bare' | 'register',
  identities: string,
  total: number,
): Promise<Load> {
  const port = mode === 'bare' ? bare.port : muster.port
  const words = [
    ...['--mode', mode, '--port', String(port), '--name', '127.0.0.1', '--ca', muster.caFile],
    ...['--identities', identities, '--total', String(total), '--concurrency', String(CONCURRENCY)],
    ...['--scope', muster.idScope, '--poll-ms', '50'],
  ]
  const [program, ...arguments_] = pinned(CLIENT_CPU, client, ...words)
  const child = spawn(program, arguments_, { stdio: ['ignore', 'pipe', 'inherit'] })
  const seen = JSON.parse(await text(child.stdout)) as Load
  if (seen.failed > 0) throw new Error(`Expected no ${mode} to fail, found ${seen.failed}: ${seen.firstFailure}`)
  return seen
}

function compileClient(folder: string): string {
  const client = join(folder, 'load-client')
  const source = join(import.meta.dirname, 'load-client.c')
  execFileSync('cc', ['-O2', '-o', client, source, '-lssl', '-lcrypto', '-lpthread'], { stdio: 'inherit' })
  return client
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0

// ---- on its own

if (import.meta.main) {
  const figures = await benchRegistrations(Number(process.argv[2] ?? 500))
  process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`)
}
