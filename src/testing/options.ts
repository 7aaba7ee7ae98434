import { isIP } from 'node:net'
import { type Log, silentLog } from '../base/log.ts'
import { type Config, defaults } from '../config.ts'
import { parseSeed, readSeed, type Seed, type SeedDocument } from '../seed/seed-document.ts'
import { momentOf } from './clock.ts'

export interface MusterOptions {
  /** What it begins with, and what `reset` goes back to: a document, or the name of a file of one. */
  readonly seed?: SeedDocument | string
  /**
   * `free` (default): any free ports of 127.0.0.1. `standard`: 443 and 8883, for clients that dial no others, on a
   * loopback address that nobody else uses.
   */
  readonly ports?: 'free' | 'standard'
  /** The address that the listeners bind, in place of the above. */
  readonly address?: string
  /** The names that clients dial, in place of the address. They must lead there. */
  readonly hostNames?: readonly string[]
  /** The service's time at the start; default now. */
  readonly now?: Date | string | number
  /** Default true: Node clients in this process trust the CA, without further ado. */
  readonly trust?: boolean
  /** Where the service tells what it does; default nowhere. */
  readonly log?: Log
  /** See the settings `assigning-ms` and `retry-after`; default: at once, 1 s. */
  readonly registration?: Partial<Config['registration']>
  /** See the settings `outbound-allow` and `outbound-ca`. */
  readonly outbound?: Partial<Config['outbound']>
}

/** The options, checked; everything that was left out is filled in, but for the address where one is to be found. */
export interface Checked {
  readonly seed: Seed | undefined
  readonly standardPorts: boolean
  readonly address: string | undefined
  readonly hostNames: readonly string[]
  /** Milliseconds since 1970; undefined: real time. */
  readonly now: number | undefined
  readonly trust: boolean
  readonly log: Log
  readonly config: Pick<Config, 'registration' | 'outbound'>
}

const NAMES = ['seed', 'ports', 'address', 'hostNames', 'now', 'trust', 'log', 'registration', 'outbound']

/** @throws TypeError, SeedError */
export async function checkOptions(options: MusterOptions): Promise<Checked> {
  const { ports = 'free', address, hostNames = [], now, trust = true, log = silentLog } = options
  const unknown = Object.keys(options).find((name) => !NAMES.includes(name))
  if (unknown !== undefined)
    throw new TypeError(`Expected options of startMuster (${NAMES.join(', ')}), found ${JSON.stringify(unknown)}.`)
  if (ports !== 'free' && ports !== 'standard')
    throw new TypeError(`Expected ports to be "free" or "standard", found ${JSON.stringify(ports)}.`)
  if (address !== undefined && isIP(address) === 0)
    throw new TypeError(`Expected address to be an IP address of this machine, found ${JSON.stringify(address)}.`)
  return {
    seed: options.seed === undefined ? undefined : await seedOf(options.seed),
    standardPorts: ports === 'standard',
    address,
    hostNames,
    now: now === undefined ? undefined : momentOf(now),
    trust,
    log,
    config: {
      registration: { ...defaults.registration, retryAfterSeconds: 1, ...options.registration },
      outbound: { ...defaults.outbound, ...options.outbound },
    },
  }
}

/** Files that a document names are looked for in the working folder, those that a file names beside it. */
export const seedOf = (seed: SeedDocument | string): Promise<Seed> =>
  typeof seed === 'string' ? readSeed(seed) : parseSeed(seed, '.')
