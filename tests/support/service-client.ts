import type { Running } from './hub.ts'
import { type Answer, type Rest, restOf } from './rest.ts'

const VERSION = 'api-version=2021-10-01'

/** The provisioning service's REST API where only success will do: what a test arranges before it looks. */
export interface Enrolling {
  readonly rest: Rest
  /** Creates or replaces an individual enrollment; answers with the document, keys included. */
  enroll(registrationId: string, document: object): Promise<Record<string, unknown>>
  enrollGroup(enrollmentGroupId: string, document: object): Promise<Record<string, unknown>>
}

export function enrolling(muster: Running, connectionString = muster.addresses.dps.connectionString): Enrolling {
  const rest = restOf(muster, connectionString)
  const put = async (path: string, body: object): Promise<Record<string, unknown>> =>
    succeeded(await rest('PUT', `${path}?${VERSION}`, { body, headers: await ifThere(path) }))
  const ifThere = async (path: string): Promise<Record<string, string>> =>
    (await rest('GET', `${path}?${VERSION}`)).status === 200 ? { 'If-Match': '*' } : {}
  return {
    rest,
    enroll: (registrationId, document) =>
      put(`/enrollments/${encodeURIComponent(registrationId)}`, { registrationId, ...document }),
    enrollGroup: (enrollmentGroupId, document) =>
      put(`/enrollmentGroups/${encodeURIComponent(enrollmentGroupId)}`, { enrollmentGroupId, ...document }),
  }
}

/** The JSON object of a successful answer. */
export function succeeded(answer: Answer): Record<string, unknown> {
  if (answer.status >= 300) throw new Error(`Expected success, found ${answer.status}: ${answer.text}`)
  return answer.body as Record<string, unknown>
}
