import type { JsonObject } from '../base/json.ts'
import { compact } from '../base/json.ts'
import { type IndividualEnrollment, parseIndividualEnrollment } from './enrollment-document.ts'
import { createEnrollmentRecords, type EnrollmentKind, type EnrollmentNeeds } from './enrollment-records.ts'
import { createEnrollmentExport } from './export.ts'
import { createEnrollmentImport, type ImportableEnrollments } from './import.ts'
import { serviceState } from './registration-record.ts'
import { assignments, enrollments, registrations, traces } from './schema.ts'

/**
 * Individual enrollments (dps.md 6.2, 6.3). Deleting one takes its registration record along, which is a part of it
 * (`registrationState`); the device in the hub stays (8.5).
 */
export function createEnrollments(
  needs: EnrollmentNeeds & { readonly hubName: (hub: string) => string },
): ImportableEnrollments {
  const kind: EnrollmentKind<IndividualEnrollment> = {
    collection: enrollments,
    list: 'enrollments',
    idName: 'registrationId',
    absent: 404201,
    taken: 409201,
    parse: parseIndividualEnrollment,
    written: async () => ({}),
    removed: (_service, id) => ({
      delete: [
        { in: registrations, id },
        { in: traces, id },
        { in: assignments, id },
      ],
    }),
    shownWith: async (ids, apiVersion) => {
      const found = await needs.store.getMany(registrations, ids)
      return found.map((record): JsonObject => {
        if (record === undefined) return {}
        return {
          registrationState: compact({
            ...serviceState(record.value, record.version, { apiVersion, hubName: needs.hubName }),
          }) as JsonObject,
        }
      })
    },
  }
  return {
    ...createEnrollmentRecords(needs, kind),
    importRules: createEnrollmentImport(needs, kind),
    exportPage: createEnrollmentExport(needs.store, enrollments),
  }
}
