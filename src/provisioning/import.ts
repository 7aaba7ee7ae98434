import { ServiceError, unknownVariant } from '../base/errors.ts'
import { enrollmentEtag, type IfMatch, parseIfMatch, requireMatch } from '../base/etags.ts'
import type { Fields } from '../base/json.ts'
import type { LineRules, ProvisioningService } from '../control/control.ts'
import type { Draft } from '../store/draft.ts'
import type { Commit } from '../store/store.ts'
import type { EnrollmentGroup, IndividualEnrollment } from './enrollment-document.ts'
import {
  type EnrollmentKind,
  type EnrollmentNeeds,
  type Enrollments,
  notEnrolled,
  takenId,
} from './enrollment-records.ts'
import type { EnrollmentExport } from './export.ts'
import { requireId, storeId } from './ids.ts'

/** Documents of a file name no version: they mean what the newest one that is spoken means by them. */
const API_VERSION = '2021-10-01'

const MODES = ['create', 'createOrUpdate', 'update', 'updateIfMatchETag', 'delete'] as const
type Mode = (typeof MODES)[number]

/** One line: an enrollment document, with an `importMode` of its own or without. */
export interface EnrollmentLine {
  readonly id: string
  readonly mode: Mode
  readonly ifMatch: IfMatch
  readonly document: unknown
}

/** For `control.imports`. @param mode for lines that name no `importMode` of their own */
export type EnrollmentImport = (service: ProvisioningService, mode: string) => LineRules<EnrollmentLine>

export type ImportableEnrollments = Enrollments & {
  readonly importRules: EnrollmentImport
  readonly exportPage: EnrollmentExport
}

/**
 * The import of enrollments, or of enrollment groups (dps.md 6.3): documents as the service API takes them. What was
 * taken from another service may show a certificate of a device by its `info` alone: the thumbprint is what counts.
 */
export function createEnrollmentImport<T extends IndividualEnrollment | EnrollmentGroup>(
  { clock, random }: EnrollmentNeeds,
  kind: EnrollmentKind<T>,
): EnrollmentImport {
  const { collection, idName } = kind

  async function judge(service: ProvisioningService, line: EnrollmentLine, draft: Draft): Promise<void> {
    const { id, mode } = line
    const key = storeId(service.idScope, id)
    const stored = await (mode.startsWith('create') ? draft.getNew(collection, key) : draft.get(collection, key))
    if (mode === 'create' && stored !== undefined) throw takenId(kind, id)
    if (!mode.startsWith('create') && stored === undefined) throw notEnrolled(kind, id)
    if (stored !== undefined) requireMatch(line.ifMatch, enrollmentEtag(stored.version))
    if (mode === 'delete') {
      draft.delete([{ in: collection, id: key }])
      stage(draft, kind.removed(service, key))
      return
    }
    const context = { id, service, apiVersion: API_VERSION, stored: stored?.value, now: clock.now(), random }
    const value = kind.parse(line.document, { ...context, byThumbprint: true })
    stage(draft, await kind.written(service, value, stored === undefined))
    draft.put([{ collection, id: key, value }])
  }

  return (service, given) => {
    const mode = MODES.find((each) => each.toLowerCase() === given.toLowerCase())
    if (mode === undefined)
      throw new ServiceError(
        400004,
        `mode must be one of ${MODES.join(', ')}, found ${JSON.stringify(given.slice(0, 40))}.`,
      )
    return {
      label: (fields) => {
        const id = fields.get(idName)
        return typeof id === 'string' ? id : ''
      },
      read: (fields, document) => readLine(fields, document, idName, mode),
      judge: async (line, draft) => {
        await judge(service, line, draft)
        return {}
      },
      ...(kind.countsStored === true && { linesPerCommit: 1 }),
    }
  }
}

function readLine(
  fields: Fields,
  document: unknown,
  idName: 'registrationId' | 'enrollmentGroupId',
  mode: Mode,
): EnrollmentLine {
  const id = fields.required(idName, fields.string(idName))
  requireId(idName, id)
  const own = fields.oneOf('importMode', MODES) ?? mode
  return { id, mode: own, ifMatch: matchOf(fields, own), document }
}

function matchOf(fields: Fields, mode: Mode): IfMatch {
  switch (mode) {
    case 'create':
    case 'createOrUpdate':
    case 'update':
    case 'delete':
      return { kind: 'any' }
    case 'updateIfMatchETag': {
      const ifMatch = parseIfMatch(fields.string('etag'))
      return ifMatch.kind === 'absent' ? fields.fail('etag', `an etag or * for importMode ${mode}`, 'none') : ifMatch
    }
    default:
      return unknownVariant('importMode', mode)
  }
}

/** What else goes with an enrollment. */
function stage(draft: Draft, { expect = [], put = [], delete: keys = [] }: Commit): void {
  draft.expect(expect)
  draft.put(put)
  draft.delete(keys)
}
