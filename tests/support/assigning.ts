import type { Registration } from '../../src/provisioning/registration-record.ts'
import { registrations } from '../../src/provisioning/schema.ts'
import type { Commit, Store } from '../../src/store/store.ts'
import { API, any, caller, type ProvisioningRoom } from './provisioning.ts'

export const KEY = Buffer.alloc(64, 7).toString('base64')
export const OTHER = Buffer.alloc(64, 9).toString('base64')
export const symmetricKey = {
  attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: OTHER } },
}
const initialTwin = { tags: { from: 'enrollment' }, properties: { desired: { level: 1 } } }

/** Creates or replaces an individual enrollment by symmetric key, with a first twin. */
export async function enroll(room: ProvisioningRoom, registrationId: string, more: object = {}): Promise<void> {
  const document = { registrationId, ...symmetricKey, initialTwin, ...more }
  await room.provisioning.enrollments.put(caller, await room.current(), registrationId, document, {
    ...any,
    ifMatch: { kind: (await exists(room, registrationId)) ? 'any' : 'absent' },
  })
}

const exists = async ({ provisioning, service }: ProvisioningRoom, id: string): Promise<boolean> =>
  provisioning.enrollments.get(service, id, API).then(
    () => true,
    () => false,
  )

/** A store on which `dies` decides which commits never happen: as seen by a process that is killed there. */
export const dyingStore =
  (dies: (record: Registration) => boolean) =>
  (store: Store): Store => ({
    ...store,
    commit: (change: Commit) => {
      const record = change.put?.find(({ collection }) => collection.name === registrations.name)?.value
      if (record !== undefined && dies(record as Registration)) return new Promise(() => {})
      return store.commit(change)
    },
  })
