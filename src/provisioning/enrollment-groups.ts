import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Control, ProvisioningService } from '../control/control.ts'
import type { Commit } from '../store/store.ts'
import { filled } from './attestation-document.ts'
import { type EnrollmentGroup, parseEnrollmentGroup } from './enrollment-document.ts'
import { createEnrollmentRecords, type EnrollmentKind, type EnrollmentNeeds } from './enrollment-records.ts'
import { createEnrollmentExport } from './export.ts'
import { prefixOf, shown } from './ids.ts'
import { createEnrollmentImport, type ImportableEnrollments } from './import.ts'
import { enrollmentGroups, groupEpochs } from './schema.ts'

/**
 * Enrollment groups (dps.md 6.2, 6.3). Every change writes the service's group epoch, so that each node's picture of
 * the groups is renewed at the next registration. Deleting a group leaves the records of its devices (8.5).
 */
export function createEnrollmentGroups(
  needs: EnrollmentNeeds & { readonly control: Pick<Control, 'certificates'> },
): ImportableEnrollments {
  const { store, clock, control } = needs
  const epochPut = ({ idScope }: ProvisioningService): Commit => ({
    put: [{ collection: groupEpochs, id: idScope.toLowerCase(), value: { changedAt: clock.now() } }],
  })
  const kind: EnrollmentKind<EnrollmentGroup> = {
    collection: enrollmentGroups,
    list: 'enrollmentGroups',
    idName: 'enrollmentGroupId',
    absent: 404204,
    taken: 409202,
    parse: parseEnrollmentGroup,
    removed: epochPut,
    countsStored: true,
    shownWith: async (ids) => ids.map(() => ({})),
    written: async (service, document, isNew) => {
      await requireReferences(control, service, document)
      if (!isNew) return epochPut(service)
      // Read before counting and expected by the commit: two new groups cannot both be the last that fits.
      const id = service.idScope.toLowerCase()
      const epoch = await store.get(groupEpochs, id)
      const count = await store.count(enrollmentGroups, { prefix: prefixOf(service.idScope) })
      if (count >= limits.enrollmentGroups)
        throw new ServiceError(
          403000,
          `A provisioning service may have ${limits.enrollmentGroups} enrollment groups, and this one has ${count}. Delete one that is not needed.`,
        )
      return { ...epochPut(service), expect: [{ in: groupEpochs, id, version: epoch?.version ?? 0 }] }
    },
  }
  return {
    ...createEnrollmentRecords(needs, kind),
    importRules: createEnrollmentImport(needs, kind),
    exportPage: createEnrollmentExport(needs.store, enrollmentGroups),
  }
}

/** The named CA certificates must exist; that they are verified is asked at registration only (dps.md 6.6). */
async function requireReferences(
  { certificates }: Pick<Control, 'certificates'>,
  { name }: ProvisioningService,
  { attestation }: EnrollmentGroup,
): Promise<void> {
  if (attestation.type !== 'x509') return
  for (const reference of filled(attestation.x509.caReferences))
    if ((await certificates.get({ kind: 'dps', name }, reference)) === undefined)
      throw new ServiceError(
        400004,
        `enrollmentGroup.attestation.x509.caReferences must name CA certificates of this provisioning service, found ${shown(reference)}, which does not exist. Upload it first.`,
      )
}
