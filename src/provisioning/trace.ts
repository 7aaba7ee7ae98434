import { limits } from '../base/limits.ts'
import { redactText } from '../base/log.ts'
import type { PresentedCertificate, Step } from './attestation/verdict.ts'
import type { Claim } from './claims.ts'
import type { Credential, Registration } from './registration-record.ts'

/**
 * How a decision about a device came about (dps.md 8.1 to 8.3): what it showed and every step to the outcome, in order.
 * It never holds a key, a token or a blob; texts of the device's making are bounded and printable.
 */
export interface Trace {
  readonly trackingId?: string
  readonly transport?: Claim['transport']
  readonly source?: string
  /** What the device showed: certificates, a token, or nothing. */
  readonly credential: Claim['kind']
  readonly steps: readonly Step[]
  readonly certificates?: readonly PresentedCertificate[]
}

export interface Looked {
  readonly steps: readonly Step[]
  readonly certificates?: readonly PresentedCertificate[] | undefined
}

/** The trace of a claim, within its bounds. */
export function traceOf({ kind, trackingId, transport, source }: Claim, looked: Looked): Trace {
  return bounded({
    ...(trackingId !== undefined && { trackingId }),
    ...(transport !== undefined && { transport }),
    ...(source !== undefined && { source }),
    credential: kind,
    steps: looked.steps.map((step) => printable(step)),
    ...(looked.certificates !== undefined && { certificates: looked.certificates }),
  })
}

/** The trace of one operation; carried in memory from its opening until it is written with the outcome. */
export interface OperationTrace extends Trace {
  readonly operationId: string
}

/** The trace that goes on, if it is of this operation: after a crash, or on another node, its beginning is not known. */
export function traceFor(
  { operationId, credential }: Pick<Registration, 'operationId' | 'credential'>,
  carried: OperationTrace | undefined,
): OperationTrace {
  if (carried?.operationId === operationId) return carried
  return { operationId, credential: shownFor(credential), steps: [{ reason: 'attested-elsewhere' }] }
}

/** What the device must have shown. */
export const shownFor = ({ kind }: Credential): Trace['credential'] => (kind === 'x509' ? 'x509' : 'sas')

/** The trace with more steps. */
export const traced = <T extends Trace>(trace: T, steps: readonly Step[]): T =>
  bounded({ ...trace, steps: [...trace.steps, ...steps.map((step) => printable(step))] })

/** A reader needs the beginning and what decided: what is too much is left out between the two. */
function bounded<T extends Trace>(trace: T): T {
  const whole =
    trace.steps.length <= limits.attemptSteps ? trace : { ...trace, steps: shortened(trace.steps, limits.attemptSteps) }
  if (Buffer.byteLength(JSON.stringify(whole)) <= limits.attemptBytes) return whole
  const { certificates, steps } = trace
  return {
    ...trace,
    steps: shortened(steps, KEPT_STEPS).map((step) => printable(step, KEPT_TEXT)),
    ...(certificates !== undefined && { certificates: certificates.slice(0, KEPT_CERTIFICATES).map(brief) }),
  }
}

/** What is kept of a trace that is too large: this fits into `limits.attemptBytes` whatever it says. */
const KEPT_STEPS = 6
const KEPT_TEXT = 40
const KEPT_CERTIFICATES = 3

function shortened(steps: readonly Step[], most: number): readonly Step[] {
  if (steps.length <= most) return steps
  const left = steps.length - most + 1
  return [steps[0]!, { reason: 'steps-left-out', detail: { count: left } }, ...steps.slice(2 - most)]
}

function printable(step: Step, length: number = limits.attemptTextLength): Step {
  if (step.detail === undefined) return step
  const detail: Record<string, string | number | boolean> = {}
  for (const [name, value] of Object.entries(step.detail))
    detail[name] = typeof value === 'string' ? printableText(value, length) : value
  return { reason: step.reason, detail }
}

const brief = (certificate: PresentedCertificate): PresentedCertificate => ({
  ...certificate,
  subjectName: printableText(certificate.subjectName, KEPT_TEXT),
  issuerName: printableText(certificate.issuerName, KEPT_TEXT),
})

/** Control characters would let a stranger write to the terminal of whoever reads the trace. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu

/** ASCII without `=`, behind which `redactText` would look for signatures and keys. */
const PLAIN = /^[ -<>-~]*$/

/** A text of the device's making as a trace shows it. */
export function printableText(text: string, length: number = limits.attemptTextLength): string {
  // Nearly every text is plain, and this is on the way of every registration.
  if (text.length <= length && PLAIN.test(text) && !text.includes('earer ')) return text
  const cut = text.length > length ? `${text.slice(0, length)}…` : text
  return redactText(cut).replace(UNPRINTABLE, '·')
}
