import { isObject } from '../base/json.ts'
import { type Environment, refused, usage } from './environment.ts'
import { onlyName } from './management.ts'
import { type Answering, type Format, print } from './output.ts'
import { pathOf } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

interface ExplainOptions extends ManagementOptions, Omit<Answering, 'output'> {
  readonly output: Format | 'text'
  readonly dpsName?: string
  readonly registrationId?: string
  readonly trackingId?: string
}

/** Why a device was refused, or how it came to its hub: one screen, or with `--output json` everything there is. */
export async function explainRegistration(options: ExplainOptions, environment: Environment): Promise<void> {
  const { registrationId, trackingId, query } = options
  // A selection has no place on the screen for people.
  const output = options.output === 'text' && query !== undefined ? 'json' : options.output
  if ((registrationId === undefined) === (trackingId === undefined))
    throw usage('Expected either --registration-id or --tracking-id, found both or neither.')
  const rest = await managementRest(options, environment)
  const name = await onlyName(rest, 'dps', options.dpsName)
  const parameters = new URLSearchParams(
    registrationId === undefined ? { trackingId: trackingId! } : { registrationId },
  )
  const path = `${pathOf('muster', 'provisioningServices', name, 'attempts')}?${parameters}`
  const { body } = await rest({ method: 'GET', path })
  const attempts = isObject(body) ? membersOf(body, 'value') : []
  const isTable = output === 'table' && query === undefined
  if (output !== 'text') return print(environment, { ...options, output }, isTable ? attempts : body, columns)
  const [latest, ...earlier] = attempts
  if (latest === undefined) throw refused(nothingKnown(registrationId ?? trackingId!))
  environment.stdout.write(`${[...screen(latest), ...listed(earlier)].join('\n')}\n`)
}

const nothingKnown = (id: string): string =>
  `no attempt of ${JSON.stringify(id)} is known. Refusals are remembered until the server restarts or many others have followed; a device that never got through TLS leaves none, look at its own log.`

const columns = {
  Time: 'time',
  'Registration ID': 'registrationId',
  Outcome: 'outcome',
  Reason: 'reason',
  Code: 'errorCode',
  'Tracking ID': 'trackingId',
}

/** A JSON object as the service sent it. */
type Members = Readonly<Record<string, unknown>>

const membersOf = (of: Members, name: string): Members[] => [of[name]].flat().filter(isObject)

/** A trace is the server's own answer, but texts of strangers are in it: nothing of it may steer a terminal. */
const text = (of: Members, name: string): string | undefined => {
  const value = of[name]
  return value === undefined || value === null ? undefined : String(value).replace(/[\p{Cc}\p{Cf}]/gu, '·')
}

function screen(attempt: Members): string[] {
  const say = (name: string): string | undefined => text(attempt, name)
  const [code, message] = [say('errorCode'), say('errorMessage')]
  const answer = code === undefined ? '' : ` (${code} ${message ?? ''})`
  const [enrollment] = membersOf(attempt, 'enrollment')
  return [
    ...wrapped('', `${say('registrationId') ?? '?'}: ${say('outcome') ?? '?'}${answer}`, 0),
    '',
    ...wrapped('Cause'.padEnd(LABEL), say('cause') ?? ''),
    ...wrapped('Remedy'.padEnd(LABEL), say('remedy') ?? ''),
    '',
    ...line('Reason', say('reason')),
    ...line('When', say('time')),
    ...line('Tracking ID', say('trackingId')),
    ...line('Request', [say('operation'), via(say('transport')), from(say('source'))].filter(Boolean).join(' ')),
    ...line('ID scope', say('idScope')),
    ...line('Enrollment', enrollment && `${text(enrollment, 'kind')} ${text(enrollment, 'id')}`),
    ...line('Hub', say('assignedHub')),
    ...line('Device ID', say('deviceId')),
    ...line('Substatus', say('substatus')),
    ...certificates(attempt),
    ...steps(attempt),
  ]
}

const via = (transport: string | undefined): string => (transport === undefined ? '' : `over ${transport}`)
const from = (source: string | undefined): string => (source === undefined ? '' : `from ${source}`)

const line = (name: string, value: string | undefined): string[] =>
  value === undefined || value === '' ? [] : [`  ${name.padEnd(LABEL)}${value}`]

const LABEL = 13
const WIDTH = 100

/** Words over several lines, which begin below the end of `head`. */
function wrapped(head: string, words: string | readonly string[], indent = 2): string[] {
  const lines: string[] = []
  const room = WIDTH - indent - head.length
  let current = ''
  for (const word of typeof words === 'string' ? words.split(' ') : words) {
    if (current !== '' && current.length + 1 + word.length > room) {
      lines.push(current)
      current = ''
    }
    current = current === '' ? word : `${current} ${word}`
  }
  lines.push(current)
  const beginning = (at: number): string => ' '.repeat(indent) + (at === 0 ? head : ' '.repeat(head.length))
  return lines.map((each, at) => `${beginning(at)}${each}`.trimEnd())
}

function certificates(attempt: Members): string[] {
  const found = membersOf(attempt, 'certificates')
  if (found.length === 0) return []
  const shown = found.flatMap((certificate, at) => [
    `    ${at + 1}. ${text(certificate, 'subjectName')}: ${text(certificate, 'verdict')}`,
    `       issued by ${text(certificate, 'issuerName')}, valid ${text(certificate, 'notBeforeUtc')} to ${text(certificate, 'notAfterUtc')}`,
    `       SHA-1   ${text(certificate, 'sha1Thumbprint')}`,
    `       SHA-256 ${text(certificate, 'sha256Thumbprint')}`,
  ])
  return ['', '  Certificates presented, leaf first', ...shown]
}

function steps(attempt: Members): string[] {
  const found = membersOf(attempt, 'steps')
  const shown = found.flatMap((step, at) => {
    const [detail = {}] = membersOf(step, 'detail')
    const facts = Object.keys(detail).map((name) => `${name}: ${text(detail, name)}`)
    // The step that decided is for comparing, so each of its facts has a line.
    const lines = at === found.length - 1 ? facts.map((fact) => wrapped('', fact, 6)) : [inOneGo(facts)]
    return [`    ${text(step, 'reason')}`, ...lines.flat()]
  })
  return shown.length === 0 ? [] : ['', '  Steps', ...shown]
}

/** A name stays on the line of its value; only sentences are broken. */
const inOneGo = (facts: readonly string[]): string[] => {
  const units = facts.map((fact, at) => (at === facts.length - 1 ? fact : `${fact};`))
  const parts = units.flatMap((unit) => (unit.length > WIDTH - 20 ? unit.split(' ') : [unit]))
  return parts.length === 0 ? [] : wrapped('', parts, 6)
}

function listed(earlier: readonly Members[]): string[] {
  if (earlier.length === 0) return []
  const shown = earlier.map((each) =>
    ['time', 'outcome', 'reason', 'trackingId'].flatMap((name) => text(each, name) ?? []).join('  '),
  )
  return ['', '  Earlier attempts', ...shown.map((each) => `    ${each}`)]
}
