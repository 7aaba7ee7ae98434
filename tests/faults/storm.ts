import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathOf, type Rest } from '../../src/cli/rest.ts'
import { dpsRest, managementRest } from '../../src/cli/services.ts'
import { createAuthority } from '../../src/crypto/issuing.ts'
import type { MusterProcess } from '../support/process.ts'

/** What the devices of one or more fleets went through: the JSON that storm-devices.c prints. */
export interface Storm {
  readonly done: number
  readonly failedForGood: number
  /** Of the slowest fleet. */
  readonly seconds: number
  readonly p50s: number
  readonly p99s: number
  readonly mosts: number
  /** From asking to the answer, of the 99th of 100 polls on a connection that was open. */
  readonly pollP99s: number
  readonly registers: number
  readonly polls: number
  readonly connections: number
  readonly throttledRegisters: number
  readonly throttledPolls: number
  /** Seconds of a 429's Retry-After -> how often. */
  readonly retryAfter: Readonly<Record<string, number>>
  /** Why clients gave up and were started again by their applications -> how often. */
  readonly restarts: Readonly<Record<string, number>>
  readonly byClient: Readonly<Record<string, number>>
  readonly lastReason: string
}

export interface Coming {
  readonly count: number
  readonly prefix?: string
  /** Source addresses that they are spread over; 0: one for all, as behind a NAT. */
  readonly sources: number
  /** So many at a time; absent: all. */
  readonly atOnce?: number
  /** They begin within, ms. */
  readonly withinMs?: number
  readonly calmPollMs?: number
}

export interface Fleet {
  come(coming: Coming): Promise<Storm>
  /** Status -> how many registrations of the two groups have it. */
  states(): Promise<Record<string, number>>
}

/** Each has its own file descriptors. */
const PROCESSES = 2
const GROUPS = { certificates: 'storm-certificates', keys: 'storm-keys' } as const
export const GROUP_KEY = Buffer.alloc(64, 5).toString('base64')

/** Enrolls a group of certificates and a group of keys, and compiles the devices. */
export async function prepareFleet(folder: string, muster: MusterProcess): Promise<Fleet> {
  const { ready, ca } = muster
  const files = { ca: join(folder, 'ca.pem'), issuer: join(folder, 'issuer.pem'), key: join(folder, 'issuer-key.pem') }
  const environment = { stdout: process.stdout, stderr: process.stderr, env: {}, cwd: folder }
  const readyFile = join(folder, 'fleet-ready.json')
  writeFileSync(readyFile, JSON.stringify(ready), { mode: 0o600 })
  writeFileSync(files.ca, ca)
  const common = { days: 2, keyType: 'ec', now: Date.now() } as const
  const root = await createAuthority({ ...common, commonName: 'Storm root' })
  const issuer = await createAuthority({ ...common, commonName: 'Storm intermediate', issuer: root })
  writeFileSync(files.issuer, issuer.certificate)
  writeFileSync(files.key, issuer.key, { mode: 0o600 })

  const management = await managementRest({ readyFile }, environment)
  const { body } = await management({ method: 'GET', path: '/provisioningServices' })
  const [service] = (body as { value: { name: string }[] }).value
  const path = pathOf('provisioningServices', service?.name ?? '', 'certificates', 'storm-root')
  const certificate = Buffer.from(root.certificate).toString('base64')
  await management({ method: 'PUT', path, body: { properties: { certificate, isVerified: true } } })
  const dps = await dpsRest({ readyFile }, environment)
  const enroll = (enrollmentGroupId: string, attestation: object) =>
    dps({
      method: 'PUT',
      path: `${pathOf('enrollmentGroups', enrollmentGroupId)}?api-version=2021-10-01`,
      body: { enrollmentGroupId, attestation },
    })
  await enroll(GROUPS.certificates, { type: 'x509', x509: { caReferences: { primary: 'storm-root' } } })
  const keys = { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY }
  await enroll(GROUPS.keys, { type: 'symmetricKey', symmetricKey: keys })

  const program = compile(folder)
  const words = [
    ...['--address', ready.address, '--name', ready.address, '--ca', files.ca, '--scope', ready.idScope],
    ...['--https-port', String(ready.ports.https), '--mqtts-port', String(ready.ports.mqtts)],
    ...['--issuer', files.issuer, '--issuer-key', files.key, '--group-key', GROUP_KEY],
  ]
  return { come: (coming) => come(program, words, coming), states: () => statesOf(dps) }
}

async function statesOf(dps: Rest): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const group of Object.values(GROUPS)) {
    let continuation: string | undefined
    do {
      const { headers, body } = await dps({
        method: 'POST',
        path: `${pathOf('registrations', group, 'query')}?api-version=2021-10-01`,
        headers: { 'x-ms-max-item-count': '1000', ...(continuation && { 'x-ms-continuation': continuation }) },
        body: { query: '*' },
      })
      for (const { status } of body as { status: string }[]) counts[status] = (counts[status] ?? 0) + 1
      continuation = headers['x-ms-continuation'] as string | undefined
    } while (continuation !== undefined)
  }
  return counts
}

function compile(folder: string): string {
  const program = join(folder, 'storm-devices')
  const source = join(import.meta.dirname, 'storm-devices.c')
  execFileSync('cc', ['-O2', '-o', program, source, '-lssl', '-lcrypto', '-lm'], { stdio: 'inherit' })
  return program
}

async function come(program: string, words: readonly string[], coming: Coming): Promise<Storm> {
  const { count, prefix = 'storm', sources, atOnce, withinMs = 1_000, calmPollMs = 0 } = coming
  const each = Math.ceil(count / PROCESSES)
  const fleets = Array.from({ length: PROCESSES }, (_, at) => {
    const own = [
      ...['--first', String(at * each), '--count', String(Math.min(each, count - at * each)), '--prefix', prefix],
      ...['--sources', String(sources), '--within-ms', String(withinMs), '--calm-poll-ms', String(calmPollMs)],
      ...(atOnce === undefined ? [] : ['--at-once', String(Math.ceil(atOnce / PROCESSES))]),
    ]
    return spawn(program, [...words, ...own], { stdio: ['pipe', 'pipe', 'inherit'] })
  })
  const lines = fleets.map((fleet) => createInterface(fleet.stdout)[Symbol.asyncIterator]())
  // Their keys are made before the first of them moves.
  for (const line of lines) await line.next()
  for (const fleet of fleets) fleet.stdin.end('\n')
  const storms = await Promise.all(fleets.map((fleet, at) => stormOf(fleet, lines[at]!)))
  return storms.reduce(together)
}

async function stormOf(fleet: ChildProcess, lines: AsyncIterator<string>): Promise<Storm> {
  const ended = once(fleet, 'exit')
  const { value, done } = await lines.next()
  const [code] = await ended
  if (done === true) throw new Error(`Expected the devices to tell how it was, found that they ended with ${code}.`)
  return JSON.parse(value) as Storm
}

function together(one: Storm, other: Storm): Storm {
  const sums = (a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>) =>
    Object.fromEntries(
      [...new Set([...Object.keys(a), ...Object.keys(b)])].map((key) => [key, (a[key] ?? 0) + (b[key] ?? 0)]),
    )
  const most = ['seconds', 'p50s', 'p99s', 'mosts', 'pollP99s']
  const merged = Object.keys(one).map((key) => {
    const [a, b] = [one, other].map((storm) => storm[key as keyof Storm])
    if (typeof a === 'number' && typeof b === 'number') return [key, most.includes(key) ? Math.max(a, b) : a + b]
    if (typeof a === 'object' && typeof b === 'object') return [key, sums(a, b)]
    return [key, a === '' ? b : a]
  })
  return Object.fromEntries(merged) as Storm
}
