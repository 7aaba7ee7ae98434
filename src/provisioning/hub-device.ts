import { decodeKey, deriveDeviceKey } from '../crypto/keys.ts'
import type { Attestation } from './attestation-document.ts'
import type { EnrollmentCommon } from './enrollment-document.ts'
import type { Belongings, HubAuthentication, HubDevice } from './linked-hub.ts'
import type { Credential } from './registration-record.ts'

/**
 * What a linked hub is asked to hold for a device (dps.md 8.4); undefined when the enrollment no longer has the kind of
 * attestation (TPM: the endorsement key) by which the device was admitted.
 *
 * @param own what the device takes along from another hub; otherwise it begins as the enrollment says
 */
export function hubDevice(
  deviceId: string,
  credential: Credential,
  enrollment: EnrollmentCommon,
  own: Belongings | undefined,
): HubDevice | undefined {
  const authentication = authenticationOf(credential, enrollment.attestation)
  if (authentication === undefined) return undefined
  const { initialTwin, capabilities } = enrollment
  const initial = { tags: initialTwin?.tags ?? {}, desired: initialTwin?.properties.desired ?? {} }
  return {
    deviceId,
    authentication,
    iotEdge: capabilities.iotEdge || own?.iotEdge === true,
    ...(own?.status === 'disabled' && { status: 'disabled' }),
    twin: own?.twin ?? initial,
  }
}

function authenticationOf(credential: Credential, attestation: Attestation): HubAuthentication | undefined {
  if (credential.kind !== attestation.type) return undefined
  if (attestation.type === 'tpm') {
    if (credential.kind !== 'tpm' || credential.endorsementKey !== attestation.tpm.endorsementKey) return undefined
    // The device has one key; a second one would be known to nobody.
    return { type: 'sas', symmetricKey: { primaryKey: credential.hubKey, secondaryKey: credential.hubKey } }
  }
  if (attestation.type === 'symmetricKey')
    return { type: 'sas', symmetricKey: keysOf(attestation.symmetricKey, credential) }
  if (credential.kind !== 'x509') return undefined
  const { thumbprint } = credential
  return { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint: null } }
}

/** Groups: both keys of the device, so that it may use either towards the hub (dps.md 8.4). */
function keysOf(
  keys: { readonly primaryKey: string; readonly secondaryKey: string },
  credential: Credential,
): { primaryKey: string; secondaryKey: string } {
  const id = credential.kind === 'symmetricKey' ? credential.derivedFrom : undefined
  if (id === undefined) return { primaryKey: keys.primaryKey, secondaryKey: keys.secondaryKey }
  const derived = (key: string): string => deriveDeviceKey(decodeKey(key) ?? Buffer.alloc(0), id).toString('base64')
  return { primaryKey: derived(keys.primaryKey), secondaryKey: derived(keys.secondaryKey) }
}
