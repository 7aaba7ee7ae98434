import { type Logger, pino } from 'pino'

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

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** A log that writes JSON lines to `destination` (default: standard error) and never a secret. */
export function createLog(level: LogLevel, destination?: { write(line: string): void }): Log {
  const options = { level, redact, serializers, base: {}, timestamp: () => `,"time":"${new Date().toISOString()}"` }
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
