import { enrollmentEtag } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { ProvisioningService } from '../control/control.ts'
import type { Collection, Store, Stored } from '../store/store.ts'
import type { EnrollmentGroup, IndividualEnrollment } from './enrollment-document.ts'
import { prefixOf } from './ids.ts'

/** Enrollments as the import takes them, certificates included. Without `keys` an import makes new ones. */
export type EnrollmentExport = (
  service: ProvisioningService,
  page: { readonly after: string | undefined; readonly keys: boolean },
) => Promise<{ readonly lines: readonly object[]; readonly next?: string }>

export function createEnrollmentExport<T extends IndividualEnrollment | EnrollmentGroup>(
  store: Store,
  collection: Collection<T>,
): EnrollmentExport {
  return async ({ idScope }, { after, keys }) => {
    const { items, next } = await store.scan(collection, { prefix: prefixOf(idScope), limit: limits.exportPage, after })
    return { lines: items.map((each) => lineOf(each, keys)), ...(next !== undefined && { next }) }
  }
}

/** Keys stand in attestations, and in the query of a webhook: one that has a query stays out with them. */
function lineOf({ value, version }: Stored<IndividualEnrollment | EnrollmentGroup>, keys: boolean): object {
  const { customAllocationDefinition, attestation, ...rest } = value
  const hasQuery = customAllocationDefinition?.webhookUrl.includes('?') === true
  return {
    ...rest,
    attestation: keys || attestation.type !== 'symmetricKey' ? attestation : { type: attestation.type },
    ...(customAllocationDefinition !== undefined && (keys || !hasQuery) && { customAllocationDefinition }),
    etag: enrollmentEtag(version),
  }
}
