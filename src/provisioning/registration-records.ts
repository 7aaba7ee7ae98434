import { ServiceError } from '../base/errors.ts'
import { type IfMatch, registrationEtag, requireMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { type Page, type PageRequest, scanPage } from '../base/pages.ts'
import type { Caller, ProvisioningService } from '../control/control.ts'
import type { Store, Stored } from '../store/store.ts'
import { requireId, shown, storeId } from './ids.ts'
import { parseQuery } from './query.ts'
import { type DeviceRegistrationResult, type Registration, serviceState } from './registration-record.ts'
import { assignments, enrollmentGroups, enrollments, registrations, traces } from './schema.ts'

/** The service API's view of registrations (dps.md 6.2): records of individual and of group devices alike. */
export interface RegistrationRecords {
  get(service: ProvisioningService, registrationId: string, apiVersion: string): Promise<DeviceRegistrationResult>
  /** The device in the hub stays; its next registration is a first one again (dps.md 8.4). */
  remove(caller: Caller, service: ProvisioningService, registrationId: string, ifMatch: IfMatch): Promise<void>
  /**
   * Records of the devices that registered through a group, also through one that was deleted; or of one device.
   *
   * @param specification the body: nothing (the az CLI) or `{"query": "*"}` (Node)
   */
  queryGroup(
    service: ProvisioningService,
    id: string,
    specification: unknown,
    page: PageRequest,
    apiVersion: string,
  ): Promise<Page<DeviceRegistrationResult>>
}

export function createRegistrationRecords(needs: {
  readonly store: Store
  readonly log: Log
  readonly hubName: (hub: string) => string
}): RegistrationRecords {
  const { store, log, hubName } = needs

  async function find({ idScope }: ProvisioningService, registrationId: string): Promise<Stored<Registration>> {
    requireId('registrationId', registrationId)
    const found = await store.get(registrations, storeId(idScope, registrationId))
    if (found !== undefined) return found
    throw new ServiceError(404201, `There is no registration of ${shown(registrationId)} in this provisioning service.`)
  }

  const show =
    (apiVersion: string) =>
    ({ value, version }: Stored<Registration>): DeviceRegistrationResult =>
      serviceState(value, version, { apiVersion, hubName })

  return {
    get: async (service, registrationId, apiVersion) => show(apiVersion)(await find(service, registrationId)),

    async remove(caller, service, registrationId, ifMatch) {
      for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
        const { id, version } = await find(service, registrationId)
        requireMatch(ifMatch, registrationEtag(version))
        const change = {
          expect: [{ in: registrations, id, version }],
          delete: [
            { in: registrations, id },
            { in: traces, id },
            { in: assignments, id },
          ],
        }
        if (!(await store.commit(change)).ok) continue
        log.info({ caller: caller.name, service: service.name, registrationId }, 'registration deleted')
        return
      }
      throw new ServiceError(409203, 'The registration changes too fast to be deleted. Repeat the request.')
    },

    async queryGroup(service, id, specification, page, apiVersion) {
      requireId('enrollmentGroupId', id)
      const admits = specification === undefined ? () => true : parseQuery(specification)
      const shownOf = (found: readonly Stored<Registration>[]) => found.map(show(apiVersion)).filter(admits)
      const key = storeId(service.idScope, id)
      const found = await scanPage(() =>
        store.scan(registrations, { index: 'group', equals: key, limit: page.size, after: page.continuation }),
      )
      if (found.items.length > 0 || page.continuation !== undefined) {
        return { items: shownOf(found.items), ...(found.next !== undefined && { continuation: found.next }) }
      }
      const [group, individual, own] = await Promise.all([
        store.get(enrollmentGroups, key),
        store.get(enrollments, key),
        store.get(registrations, key),
      ])
      if (group !== undefined) return { items: [] }
      if (individual === undefined)
        throw new ServiceError(404204, `There is no enrollment group ${shown(id)} in this provisioning service.`)
      return { items: own === undefined ? [] : shownOf([own]) }
    },
  }
}
