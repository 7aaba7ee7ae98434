import { limits } from '../base/limits.ts'
import { decodeKey, deriveDeviceKey } from '../crypto/keys.ts'
import { usage } from './environment.ts'

/**
 * The key of one device as base64.
 * @throws CommandError (usage) for a group key that is none, or an ID of no or too many characters
 */
export function deviceKey(groupKey: string, registrationId: string): string {
  if (registrationId === '' || registrationId.length > limits.idLength)
    throw usage(`Expected --registration-id of 1 to ${limits.idLength} characters, found ${registrationId.length}.`)
  const key = decodeKey(groupKey.trim())
  if (key === undefined)
    throw usage('Expected the group key as base64 of 16 to 64 bytes, found something else. Copy it again, whole.')
  return deriveDeviceKey(key, registrationId).toString('base64')
}
