import type { Clock } from '../base/clock.ts'
import { asServiceError, ServiceError } from '../base/errors.ts'
import { enrollmentEtag } from '../base/etags.ts'
import { Fields, isObject, type Json, type JsonObject, parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { type Log, redactText } from '../base/log.ts'
import { findByHost } from '../control/hosts.ts'
import type { Stored } from '../store/store.ts'
import {
  type CustomAllocationDefinition,
  type EnrollmentGroup,
  enrollmentDocument,
  type IndividualEnrollment,
  isWithin,
  parseInitialTwin,
} from './enrollment-document.ts'
import type { Assigning, Decision, Failure } from './registration-record.ts'

/**
 * The port to a webhook: POSTs JSON once and answers with whatever came back. Rejects with a ServiceError: 5xx where
 * the call is worth another try, 400207 where it failed for good. Never names the query of the URL.
 */
export type PostWebhook = (url: URL, body: string) => Promise<WebhookAnswer>

export interface WebhookAnswer {
  readonly status: number
  readonly body: Uint8Array
}

export interface Question {
  readonly record: Assigning
  readonly enrollment: Stored<IndividualEnrollment | EnrollmentGroup>
  /** Host names to choose from. */
  readonly hubs: readonly string[]
}

/** What the webhook decides, or why the registration fails. Throws where the call is worth another try. */
export type AskWebhook = (question: Question) => Promise<Decision | { readonly failure: Failure }>

export interface WebhookNeeds {
  readonly postWebhook: PostWebhook
  readonly clock: Clock
  readonly log: Log
}

/**
 * Custom allocation (dps.md 5.5). Every call is logged with its outcome, at debug with both bodies, because a webhook
 * that fails is the user's to mend (users-and-lessons.md 1, #10).
 */
export const createAskWebhook =
  ({ postWebhook, clock, log }: WebhookNeeds): AskWebhook =>
  async ({ record, enrollment, hubs }) => {
    const definition = enrollment.value.customAllocationDefinition
    if (definition === undefined) return failure('The enrollment has no customAllocationDefinition any more.')
    const { registrationId, operationId } = record
    const url = new URL(definition.webhookUrl)
    const request = webhookRequest(record, enrollment, hubs)
    const startedAt = clock.now()
    const line = { registrationId, operationId, webhook: `${url.origin}${url.pathname}` }
    log.debug({ ...line, request: forLog(request) }, 'webhook is asked')
    let answer: WebhookAnswer | undefined
    try {
      answer = await postWebhook(url, JSON.stringify(request))
      const decision = readDecision(answer, hubs)
      const { initialTwin } = decision
      const told = { ...line, status: answer.status, ms: clock.now() - startedAt, hub: decision.hub }
      log.info({ ...told, hasInitialTwin: initialTwin !== undefined }, 'webhook chose the hub')
      log.debug({ ...line, answer: excerpt(answer, url) }, 'webhook answered')
      return decision
    } catch (thrown) {
      const { code, message, status } = asServiceError(thrown)
      const told = { ...line, status: answer?.status, ms: clock.now() - startedAt, code, reason: message }
      log.warn({ ...told, ...(answer !== undefined && { answer: excerpt(answer, url) }) }, 'custom allocation failed')
      if (status >= 500) throw thrown
      return { failure: { code, message } }
    }
  }

const failure = (message: string) => ({ failure: { code: 400207, message } as const })

/** The body of the call. Secrets of the attestation are not in it; members that are not known are absent. */
export function webhookRequest(
  { registrationId, credential, assignment, requestPayload, admittedBy }: Assigning,
  { value, version }: Stored<IndividualEnrollment | EnrollmentGroup>,
  hubs: readonly string[],
): JsonObject {
  const kind = admittedBy.kind === 'group' ? 'enrollmentGroup' : 'individualEnrollment'
  return {
    [kind]: enrollmentDocument(value, enrollmentEtag(version), 'shown'),
    deviceRuntimeContext: {
      registrationId,
      ...(assignment !== undefined && {
        currentIotHubHostName: assignment.hub,
        currentDeviceId: assignment.deviceId,
      }),
      [credential.kind]: {},
      ...(requestPayload !== undefined && { payload: requestPayload }),
    },
    linkedHubs: [...hubs],
  }
}

function readDecision({ status, body }: WebhookAnswer, hubs: readonly string[]): Decision {
  if (status < 200 || status > 299)
    throw new ServiceError(400207, `Custom allocation failed with status code: ${status}`)
  const parsed = parseAnswer(body)
  const answer = new Fields(parsed, 'answer', 400207)
  const named = answer.string('iotHubHostName')
  if (named === undefined || named === '')
    throw new ServiceError(400208, 'Custom allocation failed: the answer of the webhook names no iotHubHostName.')
  // It may write one of our names as devices dial it, with the port.
  const hub = findByHost(hubs, (each) => [each], named)
  if (hub === undefined)
    throw new ServiceError(
      400208,
      `Custom allocation failed: iotHubHostName must be one of ${hubs.join(', ')}, found ${JSON.stringify(named.slice(0, limits.hostNameLength))}.`,
    )
  const initialTwin = readTwin(answer)
  const payload = answer.get('payload') as Json | undefined
  if (payload !== undefined && !isWithin(payload, limits.payloadDepth))
    answer.fail('payload', `nested ${limits.payloadDepth} levels deep at most`, 'more')
  return { hub, ...(initialTwin !== undefined && { initialTwin }), ...(payload !== undefined && { payload }) }
}

function parseAnswer(body: Uint8Array): unknown {
  try {
    return parseJson(body, 400207) ?? {}
  } catch {
    throw new ServiceError(400207, 'Custom allocation failed: the answer of the webhook is not JSON.')
  }
}

function readTwin(answer: Fields): Decision['initialTwin'] {
  try {
    return parseInitialTwin(answer)
  } catch (thrown) {
    throw new ServiceError(400207, `Custom allocation failed: ${asServiceError(thrown).message}`)
  }
}

/** The request as the log shows it: the URL of the webhook without its query, which may hold a key. */
function forLog(request: JsonObject): JsonObject {
  const shown = Object.entries(request).map(([name, member]): [string, Json] => {
    if (!isObject(member) || !isObject(member['customAllocationDefinition'])) return [name, member]
    const { apiVersion } = member['customAllocationDefinition'] as unknown as CustomAllocationDefinition
    return [name, { ...(member as JsonObject), customAllocationDefinition: { apiVersion } }]
  })
  return Object.fromEntries(shown)
}

/** The beginning of an answer; a server that repeats the URL repeats its key. */
function excerpt({ body }: WebhookAnswer, { search, searchParams }: URL): string {
  const text = Buffer.from(body).toString('utf8')
  const secrets = [search.slice(1), ...searchParams.values()].filter((secret) => secret.length > 3)
  const cleaned = secrets.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), text)
  return redactText(cleaned).slice(0, limits.answerExcerpt)
}
