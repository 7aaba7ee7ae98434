import type { Random } from '../base/random.ts'
import { activationBlob, readTpmPublic } from '../crypto/tpm.ts'
import type { DeviceRegistrationResult, Registration } from './registration-record.ts'

/**
 * What an assigned TPM device needs in order to sign towards its hub, added to what it is told: wrapped anew for every
 * answer from what the record remembers, so that a poll after a crash is answered as well (dps.md 4.1).
 */
export function withHubKey(
  state: DeviceRegistrationResult,
  { credential }: Registration,
  random: Random,
): DeviceRegistrationResult {
  if (state.status !== 'assigned' || credential.kind !== 'tpm') return state
  const activation = {
    endorsementKey: readTpmPublic(credential.endorsementKey),
    storageRootKey: readTpmPublic(credential.storageRootKey),
    key: Buffer.from(credential.hubKey, 'base64'),
    uri: `${state.assignedHub}/${state.deviceId}`,
  }
  return { ...state, tpm: { authenticationKey: activationBlob(activation, random).toString('base64') } }
}
