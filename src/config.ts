import { isAbsolute, resolve } from 'node:path'
import { limits } from './base/limits.ts'
import type { LogLevel } from './base/log.ts'

/** Everything that can be set, in one type. Sources, weakest first: defaults, file, environment, flags. */
export interface Config {
  /** Folder of databases, keys and certificates; made with mode 0700 when missing. */
  readonly dataFolder: string
  /** Address that every listener binds. Default: loopback. */
  readonly address: string
  /** 0: any free port. */
  readonly ports: { readonly https: number; readonly mqtts: number; readonly management: number }
  /** Names and addresses in the server certificates; the first is the host name that devices are told. */
  readonly hostNames: readonly string[]
  /** Certificate and key of the operator's own, PEM files, in place of the private CA's. */
  readonly ownCertificate: { readonly certificateFile: string; readonly keyFile: string } | undefined
  /** Threads that terminate TLS and run the services; 0: as many as cores. */
  readonly threads: number
  readonly logLevel: LogLevel
  readonly registration: {
    /** How long a registration stays `assigning` at the least, ms. */
    readonly assigningMs: number
    /** Seconds named by `retry-after` while assigning; 3 suits every client (dps.md 2.5). */
    readonly retryAfterSeconds: number
  }
  /** Registrations that wait in one thread; above it devices are told to register later. */
  readonly assignmentBacklog: number
  /** For the allocation policy geoLatency: linked hubs from nearest to farthest. Empty: all are alike. */
  readonly latencyOrder: readonly string[]
  /** Calls that the service makes by itself: webhooks of custom allocation, linked hubs that are not ours. */
  readonly outbound: {
    /** Hosts that may be called, `host`, `host:port` or `*.domain`; empty: any. */
    readonly allow: readonly string[]
    /** PEM file of authorities that are trusted besides the public ones. */
    readonly caFile: string | undefined
  }
  /** Applied once, when the data folder has not seen a seed yet. */
  readonly seedFile: string | undefined
  /** Group commit: how long a change waits for company, ms. */
  readonly commitWindowMs: number
}

export const defaults: Config = {
  dataFolder: 'muster-data',
  address: '127.0.0.1',
  ports: { https: 443, mqtts: 8883, management: 0 },
  hostNames: [],
  ownCertificate: undefined,
  threads: 0,
  logLevel: 'info',
  registration: { assigningMs: 0, retryAfterSeconds: 3 },
  assignmentBacklog: limits.assignmentBacklog,
  latencyOrder: [],
  outbound: { allow: [], caFile: undefined },
  seedFile: undefined,
  commitWindowMs: 5,
}

/** One setting: its name in the file, its environment variable and flag follow from it. */
interface Setting {
  readonly name: string
  readonly help: string
  readonly apply: (config: Config, value: string) => Config
}

const wholeNumber = (name: string, value: string, least: number, most: number): number => {
  const number = Number(value)
  if (!/^\d+$/.test(value) || number < least || number > most)
    throw new ConfigError(`${name} must be a whole number from ${least} to ${most}, found "${value}".`)
  return number
}

const port = (name: string, value: string): number => wholeNumber(name, value, 0, 65_535)

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent']

function logLevel(value: string): LogLevel {
  const found = LEVELS.find((level) => level === value)
  if (found === undefined) throw new ConfigError(`log-level must be one of ${LEVELS.join(', ')}, found "${value}".`)
  return found
}

const list = (value: string): string[] =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')

export const settings: readonly Setting[] = [
  { name: 'data', help: 'data folder', apply: (c, v) => ({ ...c, dataFolder: v }) },
  { name: 'address', help: 'address that the listeners bind', apply: (c, v) => ({ ...c, address: v }) },
  {
    name: 'host',
    help: 'host name or address for the certificates, repeatable or separated by commas; devices are told the first',
    apply: (c, v) => ({ ...c, hostNames: [...c.hostNames, ...list(v)] }),
  },
  {
    name: 'https-port',
    help: 'HTTPS port (SDKs expect 443; 0: any)',
    apply: (c, v) => ({ ...c, ports: { ...c.ports, https: port('https-port', v) } }),
  },
  {
    name: 'mqtts-port',
    help: 'MQTT over TLS port (SDKs expect 8883; 0: any)',
    apply: (c, v) => ({ ...c, ports: { ...c.ports, mqtts: port('mqtts-port', v) } }),
  },
  {
    name: 'management-port',
    help: 'management API port, plain HTTP on loopback (0: any)',
    apply: (c, v) => ({ ...c, ports: { ...c.ports, management: port('management-port', v) } }),
  },
  {
    name: 'certificate',
    help: 'own server certificate chain, PEM file',
    apply: (c, v) => ({ ...c, ownCertificate: { keyFile: '', ...c.ownCertificate, certificateFile: v } }),
  },
  {
    name: 'certificate-key',
    help: 'key of the own server certificate, PEM file',
    apply: (c, v) => ({ ...c, ownCertificate: { certificateFile: '', ...c.ownCertificate, keyFile: v } }),
  },
  {
    name: 'threads',
    help: 'threads that serve (0: as many as cores)',
    apply: (c, v) => ({ ...c, threads: wholeNumber('threads', v, 0, 64) }),
  },
  { name: 'log-level', help: LEVELS.join(', '), apply: (c, v) => ({ ...c, logLevel: logLevel(v) }) },
  {
    name: 'assigning-ms',
    help: 'how long a registration stays assigning at the least',
    apply: (c, v) => ({
      ...c,
      registration: { ...c.registration, assigningMs: wholeNumber('assigning-ms', v, 0, 600_000) },
    }),
  },
  {
    name: 'retry-after',
    help: 'seconds that a device is told to wait while assigning',
    apply: (c, v) => ({
      ...c,
      registration: { ...c.registration, retryAfterSeconds: wholeNumber('retry-after', v, 1, 300) },
    }),
  },
  {
    name: 'assignment-backlog',
    help: 'registrations that wait in one thread before devices are told to register later (429)',
    apply: (c, v) => ({ ...c, assignmentBacklog: wholeNumber('assignment-backlog', v, 1, 1_000_000) }),
  },
  {
    name: 'latency-order',
    help: 'host names of linked hubs from nearest to farthest, for geoLatency, separated by commas (default: all alike)',
    apply: (c, v) => ({ ...c, latencyOrder: [...c.latencyOrder, ...list(v)] }),
  },
  {
    name: 'outbound-allow',
    help: 'hosts that webhooks and linked hubs may be on, separated by commas: host, host:port or *.domain (default: any)',
    apply: (c, v) => ({ ...c, outbound: { ...c.outbound, allow: [...c.outbound.allow, ...list(v)] } }),
  },
  {
    name: 'outbound-ca',
    help: 'PEM file of CAs to trust for webhooks and linked hubs, besides the public ones',
    apply: (c, v) => ({ ...c, outbound: { ...c.outbound, caFile: v } }),
  },
  {
    name: 'seed',
    help: 'JSON file of hubs, CA certificates, enrollments and devices to begin with; applied to a data folder once',
    apply: (c, v) => ({ ...c, seedFile: v }),
  },
  {
    name: 'commit-window-ms',
    help: 'how long a change waits for others to share its disk write',
    apply: (c, v) => ({ ...c, commitWindowMs: wholeNumber('commit-window-ms', v, 0, 1_000) }),
  },
]

/** A complaint about the configuration; its message is for the operator. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

export type Values = Readonly<Record<string, string | readonly string[] | undefined>>

/**
 * Builds the configuration: file < environment < flags.
 * @param file parsed JSON of the configuration file: an object of setting names, values texts, numbers or lists
 * @param environment variables `MUSTER_<SETTING>` (`MUSTER_HTTPS_PORT`)
 * @param flags values of `--<setting>`
 */
export function loadConfig(file: unknown, environment: Values, flags: Values, cwd: string): Config {
  const fromFile = valuesOfFile(file)
  const merged = settings.reduce((config, setting) => {
    const variable = environment[`MUSTER_${setting.name.toUpperCase().replaceAll('-', '_')}`]
    const value = flags[setting.name] ?? variable ?? fromFile[setting.name]
    if (value === undefined) return config
    return [value].flat().reduce((each, text) => setting.apply(each, requireText(setting.name, text as string)), config)
  }, defaults)
  return check({ ...merged, dataFolder: absolute(cwd, merged.dataFolder) }, cwd)
}

/**
 * A script's variable that was never set: taken for a value, it would bind every address, or let every host be called.
 */
function requireText(name: string, text: string): string {
  if (/[^\s,]/.test(text)) return text
  throw new ConfigError(`${name} is set to nothing ("${text}"). Give it a value, or leave it out.`)
}

const absolute = (cwd: string, path: string): string => (isAbsolute(path) ? path : resolve(cwd, path))

function valuesOfFile(file: unknown): Record<string, string | string[]> {
  if (file === undefined) return {}
  if (typeof file !== 'object' || file === null || Array.isArray(file))
    throw new ConfigError('The configuration file must hold one JSON object, for example {"https-port": 8443}.')
  return Object.fromEntries(
    Object.entries(file).map(([name, value]) => {
      if (!settings.some((setting) => setting.name === name))
        throw new ConfigError(
          `The configuration file sets "${name}", which is not a setting. Known: ${settings.map((s) => s.name).join(', ')}.`,
        )
      const fits = typeof value === 'string' || typeof value === 'number' || Array.isArray(value)
      if (!fits) throw new ConfigError(`The configuration file's "${name}" must be a text, a number or a list.`)
      return [name, Array.isArray(value) ? value.map(String) : String(value)]
    }),
  )
}

function check(config: Config, cwd: string): Config {
  const own = config.ownCertificate
  if (own !== undefined && (own.certificateFile === '' || own.keyFile === ''))
    throw new ConfigError('certificate and certificate-key go together: give both PEM files or neither.')
  const hostNames = config.hostNames.length === 0 ? [config.address] : [...new Set(config.hostNames)]
  for (const name of hostNames)
    if (!/^[A-Za-z0-9._:-]{1,253}$/.test(name))
      throw new ConfigError(`host must be a host name or an address, found "${name}".`)
  for (const pattern of config.outbound.allow)
    if (!/^((\*\.)?[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/.test(pattern))
      throw new ConfigError(`outbound-allow must name hosts: host, host:port or *.domain, found "${pattern}".`)
  for (const hub of config.latencyOrder)
    if (!/^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/.test(hub))
      throw new ConfigError(`latency-order must name hubs by their host names, found "${hub}".`)
  const { caFile } = config.outbound
  return {
    ...config,
    outbound: { ...config.outbound, caFile: caFile && absolute(cwd, caFile) },
    seedFile: config.seedFile && absolute(cwd, config.seedFile),
    hostNames,
    ownCertificate: own && { certificateFile: absolute(cwd, own.certificateFile), keyFile: absolute(cwd, own.keyFile) },
  }
}
