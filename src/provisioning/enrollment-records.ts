import type { Clock } from '../base/clock.ts'
import { asServiceError, type Code, codes, ServiceError } from '../base/errors.ts'
import { enrollmentEtag, type IfMatch, parseIfMatch, requireMatch } from '../base/etags.ts'
import { Fields, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { type Page, type PageRequest, scanPage } from '../base/pages.ts'
import type { Random } from '../base/random.ts'
import type { Caller, ProvisioningService } from '../control/control.ts'
import type { Collection, Commit, Expectation, Store, Stored } from '../store/store.ts'
import { attestationDocument } from './attestation-document.ts'
import {
  type EnrollmentContext,
  type EnrollmentGroup,
  enrollmentDocument,
  type IndividualEnrollment,
} from './enrollment-document.ts'
import { prefixOf, requireId, sameId, shown, storeId } from './ids.ts'
import { parseQuery } from './query.ts'

export interface EnrollmentNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Individual enrollments, or enrollment groups: the same operations on both (dps.md 6.2). */
export interface Enrollments {
  get(service: ProvisioningService, id: string, apiVersion: string): Promise<JsonObject>
  /** Creates without If-Match, updates with it (dps.md 6.5); answers with the symmetric keys. */
  put(
    caller: Caller,
    service: ProvisioningService,
    id: string,
    document: unknown,
    options: { readonly ifMatch: IfMatch; readonly apiVersion: string },
  ): Promise<JsonObject>
  remove(caller: Caller, service: ProvisioningService, id: string, ifMatch: IfMatch): Promise<void>
  /** @param specification the body: `{"query": "SELECT *"}` (dps.md 6.4) */
  query(
    service: ProvisioningService,
    specification: unknown,
    page: PageRequest,
    apiVersion: string,
  ): Promise<Page<JsonObject>>
  /** @param document the body: `{mode, enrollments | enrollmentGroups}`; every item succeeds or fails on its own */
  bulk(caller: Caller, service: ProvisioningService, document: unknown, apiVersion: string): Promise<BulkResult>
  /** The attestation with its secrets. */
  attestationMechanism(service: ProvisioningService, id: string): Promise<JsonObject>
}

export interface BulkResult {
  readonly isSuccessful: boolean
  /** `{registrationId | enrollmentGroupId, errorCode, errorStatus}` */
  readonly errors: readonly JsonObject[]
}

/** What distinguishes the two kinds. */
export interface EnrollmentKind<T extends IndividualEnrollment | EnrollmentGroup> {
  readonly collection: Collection<T>
  readonly list: 'enrollments' | 'enrollmentGroups'
  readonly idName: 'registrationId' | 'enrollmentGroupId'
  readonly absent: Code
  readonly taken: Code
  parse(document: unknown, context: EnrollmentContext<T>): T
  /** What else has to hold and be written when `document` is; throws what it refuses. */
  written(service: ProvisioningService, document: T, isNew: boolean): Promise<Commit>
  /** What goes with a deleted one. */
  removed(service: ProvisioningService, id: string): Commit
  /** Members that are shown but not stored here, in the order of `ids` (store ids). */
  shownWith(ids: readonly string[], apiVersion: string): Promise<readonly JsonObject[]>
}

export function createEnrollmentRecords<T extends IndividualEnrollment | EnrollmentGroup>(
  needs: EnrollmentNeeds,
  kind: EnrollmentKind<T>,
): Enrollments {
  const { store, clock, random, log } = needs
  const { collection, idName } = kind

  const find = async (service: ProvisioningService, id: string): Promise<Stored<T>> => {
    requireId(idName, id)
    return (await store.get(collection, storeId(service.idScope, id))) ?? notFound(id)
  }
  const notFound = (id: string): never => {
    throw new ServiceError(kind.absent, `There is no ${idName} ${shown(id)} in this provisioning service.`)
  }
  const show = async (found: readonly Stored<T>[], apiVersion: string): Promise<JsonObject[]> => {
    const ids = found.map(({ id }) => id)
    const more = await kind.shownWith(ids, apiVersion)
    return found.map(({ value, version }, at) => ({
      ...enrollmentDocument(value, enrollmentEtag(version), 'shown'),
      ...more[at],
    }))
  }

  const put: Enrollments['put'] = async (caller, service, id, document, { ifMatch, apiVersion }) => {
    requireId(idName, id)
    const key = storeId(service.idScope, id)
    const written = await settle(service, async () => {
      const stored = await store.get(collection, key)
      requireWritable(stored, ifMatch)
      const context = { id, service, apiVersion, stored: stored?.value, now: clock.now(), random }
      const value = kind.parse(document, context)
      const also = await kind.written(service, value, stored === undefined)
      const expected: Expectation[] = [{ in: collection, id: key, version: stored?.version ?? 0 }]
      if (stored === undefined) expected.push(service.presence)
      return {
        change: {
          ...also,
          expect: [...expected, ...(also.expect ?? [])],
          put: [{ collection, id: key, value }, ...(also.put ?? [])],
        },
        answer: ([version = 0]) => {
          log.info({ caller: caller.name, service: service.name, [idName]: id }, 'enrollment written')
          return enrollmentDocument(value, enrollmentEtag(version), 'full')
        },
      }
    })
    const [more] = await kind.shownWith([key], apiVersion)
    return { ...written, ...more }

    function requireWritable(stored: Stored<T> | undefined, wanted: IfMatch): void {
      if (stored === undefined) {
        if (wanted.kind !== 'absent') notFound(id)
      } else if (wanted.kind === 'absent')
        throw new ServiceError(
          kind.taken,
          `${idName} ${shown(id)} already exists. Send If-Match with its etag, or *, to update it.`,
        )
      else requireMatch(wanted, enrollmentEtag(stored.version))
    }
  }

  const remove: Enrollments['remove'] = async (caller, service, id, ifMatch) =>
    settle(service, async () => {
      const stored = await find(service, id)
      requireMatch(ifMatch, enrollmentEtag(stored.version))
      const also = kind.removed(service, stored.id)
      const own = { in: collection, id: stored.id }
      return {
        change: {
          ...also,
          expect: [{ ...own, version: stored.version }, ...(also.expect ?? [])],
          delete: [own, ...(also.delete ?? [])],
        },
        answer: () => {
          log.info({ caller: caller.name, service: service.name, [idName]: id }, 'enrollment deleted')
        },
      }
    })

  /** Judges and commits; judged again, If-Match included, when another writer came between. */
  async function settle<R>(
    service: ProvisioningService,
    judge: () => Promise<{ change: Commit; answer(versions: readonly number[]): R }>,
  ): Promise<R> {
    for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
      const { change, answer } = await judge()
      const result = await store.commit(change)
      if (result.ok) return answer(result.versions)
      requirePresence(service, result.conflicts)
    }
    throw new ServiceError(
      409000,
      `Other changes came between ${limits.commitAttempts} times and nothing was written. Repeat the request.`,
    )
  }

  const query: Enrollments['query'] = async (service, specification, page, apiVersion) => {
    const admits = parseQuery(specification)
    const found = await scanPage(() =>
      store.scan(collection, { prefix: prefixOf(service.idScope), limit: page.size, after: page.continuation }),
    )
    const items = (await show(found.items, apiVersion)).filter(admits)
    return { items, ...(found.next !== undefined && { continuation: found.next }) }
  }

  const bulk: Enrollments['bulk'] = async (caller, service, document, apiVersion) => {
    const { mode, items } = parseBulk(document, kind)
    const errors: JsonObject[] = []
    for (const { id, item, etag } of items) {
      try {
        if (mode === 'delete') await remove(caller, service, id, { kind: 'any' })
        else await put(caller, service, id, item, { ifMatch: ifMatchFor(mode, id, etag), apiVersion })
      } catch (thrown) {
        const { code, message, status } = asServiceError(thrown)
        if (status >= 500) throw thrown
        errors.push({ [idName]: id, errorCode: code, errorStatus: message || codes[code] })
      }
    }
    return { isSuccessful: errors.length === 0, errors }
  }

  return {
    put,
    remove,
    query,
    bulk,
    get: async (service, id, apiVersion) => {
      const [document] = await show([await find(service, id)], apiVersion)
      return document ?? notFound(id)
    },
    attestationMechanism: async (service, id) =>
      attestationDocument((await find(service, id)).value.attestation, 'full'),
  }
}

/** Throws when the service itself is going away: nothing is made in it any more. */
export function requirePresence({ name, presence }: ProvisioningService, conflicts: readonly Expectation[]): void {
  if (conflicts.some(({ in: of, id }) => of === presence.in && id === presence.id))
    throw new ServiceError(404000, `The provisioning service ${name} is being deleted; nothing can be made in it.`)
}

const BULK_MODES = ['create', 'update', 'updateIfMatchETag', 'delete'] as const
type BulkMode = (typeof BULK_MODES)[number]

interface BulkItem {
  readonly id: string
  readonly item: unknown
  readonly etag: string | undefined
}

/** At most ten items, no id twice (dps.md 6.3). What is wrong with one item alone is reported with that item. */
function parseBulk(
  document: unknown,
  { list, idName }: Pick<EnrollmentKind<IndividualEnrollment>, 'list' | 'idName'>,
): { mode: BulkMode; items: BulkItem[] } {
  const fields = new Fields(document, 'bulkOperation')
  const mode = fields.required('mode', fields.oneOf('mode', BULK_MODES))
  const given = fields.required(list, fields.array(list))
  if (given.length === 0) fields.fail(list, `1 to ${limits.enrollmentBulk} items`, 'none')
  if (given.length > limits.enrollmentBulk)
    throw new ServiceError(
      400205,
      `bulkOperation.${list} must be 1 to ${limits.enrollmentBulk} items, found ${given.length}.`,
    )
  const items = given.map((item, at) => {
    const member = new Fields(item, `bulkOperation.${list}[${at}]`)
    return { id: member.required(idName, member.string(idName)), item, etag: member.string('etag') }
  })
  const twice = items.find(({ id }, at) => items.findIndex((other) => sameId(other.id, id)) !== at)
  if (twice !== undefined)
    throw new ServiceError(
      400206,
      `bulkOperation.${list} must name every ${idName} once, found ${shown(twice.id)} twice.`,
    )
  return { mode, items }
}

function ifMatchFor(mode: Exclude<BulkMode, 'delete'>, id: string, etag: string | undefined): IfMatch {
  if (mode === 'create') return { kind: 'absent' }
  if (mode === 'update') return { kind: 'any' }
  const ifMatch = parseIfMatch(etag)
  if (ifMatch.kind === 'absent')
    throw new ServiceError(400004, `The item ${shown(id)} must carry its etag in mode updateIfMatchETag, found none.`)
  return ifMatch
}
