import { redactText } from '../base/log.ts'
import type { Environment } from './environment.ts'
import { withoutKeys } from './output.ts'
import type { Answer, Call } from './rest.ts'

/**
 * `--verbose`: a line for each request. `--debug`: headers and documents as well, without the credential and without
 * the keys in them: what a user sends to others to ask for help must not open his service.
 */
export function traceExchange(
  { stderr, verbosity }: Environment,
  address: string,
  call: Call,
  answer: Answer,
  milliseconds: number,
): void {
  const level = verbosity?.level
  if (level !== 'verbose' && level !== 'debug') return
  const lines = [`${call.method} ${address}${call.path} ${answer.status}, ${milliseconds} ms`]
  if (level === 'debug')
    lines.push(
      ...headerLines('> ', call.headers ?? {}),
      ...bodyLines('> ', call.body),
      ...headerLines('< ', answer.headers),
      ...bodyLines('< ', answer.body),
    )
  stderr.write(lines.map((line) => `muster: ${redactText(line)}\n`).join(''))
}

const headerLines = (mark: string, headers: Answer['headers']): string[] =>
  Object.entries(headers).map(([name, value]) => `${mark}${name}: ${[value].flat().join(', ')}`)

const bodyLines = (mark: string, body: unknown): string[] =>
  body === undefined ? [] : [`${mark}${JSON.stringify(withoutKeys(body))}`]
