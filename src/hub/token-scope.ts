import type { IotHub } from '../control/control.ts'
import { isNamed } from '../control/hosts.ts'
import { segmentsOf } from '../crypto/sas.ts'
import type { IdentityKey } from './records.ts'

/**
 * What the resource of a device's token names: `{host}/devices/{d}[/modules/{m}]`, in one of the readings of
 * crypto/sas.ts (every SDK encodes it differently, hub-device.md 1.1). The Edge daemons write it in lower case as a
 * whole (edge.md 4.2), so nothing here regards case: what proves an identity is its key, and that is its own.
 */
export function namedIdentity(
  hub: IotHub,
  resource: string,
): { readonly deviceId: string; readonly moduleId: string | undefined } | undefined {
  const [host = '', devices, deviceId, modules, moduleId, ...rest] = scopeOf(resource)
  if (!isNamed(hub.hostNames, host) || devices?.toLowerCase() !== 'devices' || !deviceId || rest.length > 0)
    return undefined
  if (modules === undefined) return { deviceId, moduleId: undefined }
  return modules.toLowerCase() === 'modules' && moduleId ? { deviceId, moduleId } : undefined
}

/**
 * Whether a token for `resource` lets its holder be `wanted`. An identity's own key only for exactly that identity; a
 * policy's key also for the hub or its devices as a whole.
 */
export function reaches(
  resource: string,
  wanted: IdentityKey & { readonly hub: IotHub },
  signer: 'identity' | 'policy',
): boolean {
  const named = namedIdentity(wanted.hub, resource)
  if (named !== undefined) {
    const sameDevice = named.deviceId.toLowerCase() === wanted.deviceId.toLowerCase()
    const sameModule = named.moduleId?.toLowerCase() === wanted.moduleId?.toLowerCase()
    return sameDevice && (sameModule || (signer === 'policy' && named.moduleId === undefined))
  }
  if (signer === 'identity') return false
  const [host = '', devices, ...rest] = scopeOf(resource)
  return isNamed(wanted.hub.hostNames, host) && (devices ?? 'devices').toLowerCase() === 'devices' && rest.length === 0
}

/** Tokens made by the VS Code extension end in a segment `api-version=…`, which means nothing (hub-device.md 1.1). */
function scopeOf(resource: string): string[] {
  const segments = segmentsOf(resource)
  // Where no name stands: a device may be called so, and without its name its token would be one for all devices.
  return segments.length % 2 === 0 && segments.at(-1)?.startsWith('api-version=') ? segments.slice(0, -1) : segments
}
