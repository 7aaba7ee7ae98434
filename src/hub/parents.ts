import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { deviceOfScope, edgeScopeOf } from '../documents/identity-ids.ts'
import type { Expectation, Store, Stored } from '../store/store.ts'
import type { DeviceInput } from './devices.ts'
import { type DeviceRecord, devices, keyOf } from './records.ts'

export interface Parents {
  readonly parentScopes: readonly string[] | undefined
  /** The ancestors as they were found: a commit under these cannot close a circle or name a parent that is gone. */
  readonly expect: readonly Expectation[]
}

const NO_PARENTS: Parents = { parentScopes: undefined, expect: [] }

/**
 * Whose child a device is to be (hub-service.md 2.5). A leaf names its parent's scope as `deviceScope`, an empty one
 * for none; an Edge device names it in `parentScopes`, empty for none, its own `deviceScope` is the hub's to give.
 * @param current the parent it has, of a device that is updated
 */
export async function findParents(
  store: Pick<Store, 'get'>,
  hub: string,
  deviceId: string,
  iotEdge: boolean,
  input: Pick<DeviceInput, 'deviceScope' | 'parentScopes'>,
  current?: readonly string[],
): Promise<Parents> {
  // The az CLI's update of an Edge device leaves its parentScopes out and does not mean that it has no parent.
  const unchanged = iotEdge ? current : undefined
  const wanted =
    iotEdge || input.deviceScope === undefined ? (input.parentScopes ?? unchanged ?? []) : [input.deviceScope]
  const parentScopes = wanted.filter((scope) => scope !== '')
  if (parentScopes.length === 0) return NO_PARENTS
  if (parentScopes.length > 1)
    throw new ServiceError(400028, `A device has one parent at most, found ${parentScopes.length} parentScopes.`)
  // A child whose parent was deleted must still be writable with the document that a client read.
  if (parentScopes[0] === current?.[0]) return { parentScopes, expect: [] }
  return { parentScopes, expect: await climb(store, hub, deviceId, iotEdge, parentScopes[0]!) }
}

/**
 * Follows the parents up to the top, or to one that was deleted: each must be an Edge device of this hub, at most five,
 * never the device itself.
 */
async function climb(
  store: Pick<Store, 'get'>,
  hub: string,
  deviceId: string,
  iotEdge: boolean,
  scope: string,
): Promise<readonly Expectation[]> {
  // A leaf below the lowest layer is no layer of its own.
  const most = iotEdge ? limits.edgeLayers - 1 : limits.edgeLayers
  const expect: Expectation[] = []
  for (let next: string | undefined = scope; next !== undefined; ) {
    const parentId = deviceOfScope(next)
    const id = parentId === undefined ? undefined : keyOf(hub, { deviceId: parentId })
    const found = id === undefined ? undefined : await store.get(devices, id)
    const parent: Stored<DeviceRecord> | undefined =
      found && edgeScopeOf(found.value.deviceId, found.value.generationId) === next ? found : undefined
    // The parent lost its own: that scope never comes back, so it ends the climb and closes no circle.
    if (parent === undefined && next !== scope) break
    if (id === undefined || !parent?.value.iotEdge)
      throw new ServiceError(400028, `The scope ${JSON.stringify(next)} is not that of an Edge device in this hub.`)
    if (parentId === deviceId)
      throw new ServiceError(400028, `The scope ${JSON.stringify(scope)} would make ${deviceId} an ancestor of itself.`)
    expect.push({ in: devices, id, version: parent.version })
    if (expect.length > most)
      throw new ServiceError(400028, `Edge devices nest ${limits.edgeLayers} layers deep at most.`)
    next = parent.value.parentScopes?.[0]
  }
  return expect
}
