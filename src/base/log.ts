import { type Logger, pino } from 'pino'
import { limits } from './limits.ts'

export type Log = Logger

/** Members that hold secrets wherever they turn up; the value is replaced before it is written. */
const SECRET_MEMBERS = [
  'authorization',
  'password',
  'token',
  'sig',
  'primaryKey',
  'secondaryKey',
  'sharedAccessKey',
  'connectionString',
  'authenticationKey',
  'privateKey',
  'key',
]

const redact = {
  paths: SECRET_MEMBERS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
  censor: '[redacted]',
}

/** Errors in full: message, code, stack, cause. */
const serializers = { cause: pino.stdSerializers.errWithCause, error: pino.stdSerializers.errWithCause }

/** Names and paths are the sender's: a stranger who repeats a few bytes must not write thousands each time. */
const formatters = {
  log: (line: Record<string, unknown>): Record<string, unknown> => {
    const long = Object.entries(line).filter(
      ([, value]) => typeof value === 'string' && value.length > limits.logTextLength,
    )
    if (long.length === 0) return line
    return { ...line, ...Object.fromEntries(long.map(([name, value]) => [name, shortened(value as string)])) }
  },
}

const shortened = (text: string): string => `${text.slice(0, limits.logTextLength)}… (${text.length} characters)`

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** A log that writes JSON lines to `destination` (default: standard error) and never a secret. */
export function createLog(level: LogLevel, destination?: { write(line: string): void }): Log {
  const options = {
    level,
    redact,
    serializers,
    formatters,
    base: {},
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
  }
  return destination === undefined ? pino(options, pino.destination({ fd: 2, sync: true })) : pino(options, destination)
}

/** For tests and library use: says nothing. */
export const silentLog: Log = pino({ level: 'silent' })

/** Free text that may quote a token or key (an error of a client, a header) with those parts taken out. */
export const redactText = (text: string): string =>
  text
    .replace(/(sig=)[^&\s"']+/gi, '$1[redacted]')
    .replace(/(SharedAccessKey=)[^;\s"']+/gi, '$1[redacted]')
    .replace(/(Bearer\s+)\S+/gi, '$1[redacted]')
