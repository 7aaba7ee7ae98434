import { deviceOfScope } from '../documents/identity-ids.ts'
import { type Environment, notFound, refused, typed, usage } from './environment.ts'
import {
  type HubRegistry,
  type IdentityDocument,
  isEdge,
  openRegistry,
  parentScopesOf,
  textOf,
} from './hub-registry.ts'
import { type OneDevice, printIdentity } from './identity-output.ts'
import { print } from './output.ts'

interface ChildOptions extends OneDevice {
  readonly childList?: readonly string[]
}

/** Parents and children of devices below IoT Edge (hub-service.md 2.5). */
export async function showParent(options: OneDevice, environment: Environment): Promise<void> {
  const registry = await openRegistry(options, environment)
  const [scope] = parentScopesOf(await registry.get(options))
  if (scope === undefined) throw notFound(`Expected a parent of ${options.deviceId}, found none.`)
  const parentId = deviceOfScope(scope)
  if (parentId === undefined) throw refused(`Expected the scope of an Edge device as the parent, found "${scope}".`)
  await printIdentity(registry, await registry.get({ deviceId: parentId }), options, environment)
}

export async function setParent(
  options: OneDevice & { readonly parentDeviceId: string; readonly force?: boolean },
  environment: Environment,
): Promise<void> {
  const registry = await openRegistry(options, environment)
  const parent = await edgeDevice(registry, options.parentDeviceId)
  const children = await requireFreeOr(options.force === true, registry, [options.deviceId])
  for (const child of children) await adopt(registry, child, textOf(parent, 'deviceScope'))
}

/** All children are looked at before the first is changed. */
export async function addChildren(
  options: ChildOptions & { readonly force?: boolean },
  environment: Environment,
): Promise<void> {
  const registry = await openRegistry(options, environment)
  const parent = await edgeDevice(registry, options.deviceId)
  const children = await requireFreeOr(options.force === true, registry, options.childList ?? [])
  for (const child of children) await adopt(registry, child, textOf(parent, 'deviceScope'))
}

export async function listChildren(options: OneDevice, environment: Environment): Promise<void> {
  const registry = await openRegistry(options, environment)
  const scope = textOf(await edgeDevice(registry, options.deviceId), 'deviceScope')
  const ids = (await registry.childrenOf(scope)).map((child) => textOf(child, 'deviceId'))
  // Their names alone, as the az CLI lists them; a table of texts has its column from the selection.
  await print(environment, { query: '@', ...options }, ids, {})
}

export async function removeChildren(
  options: ChildOptions & { readonly removeAll?: boolean },
  environment: Environment,
): Promise<void> {
  const { deviceId, childList, removeAll = false } = options
  if (removeAll === (childList !== undefined))
    throw usage('Expected one of --child-list and --remove-all, found both or neither.')
  const registry = await openRegistry(options, environment)
  const scope = textOf(await edgeDevice(registry, deviceId), 'deviceScope')
  const children = childList === undefined ? await registry.childrenOf(scope) : await readAll(registry, childList)
  if (children.length === 0) throw notFound(`Expected children of ${deviceId}, found none.`)
  const stranger = children.find((child) => !parentScopesOf(child).includes(scope))
  if (stranger !== undefined)
    throw refused(
      `Expected children of ${deviceId}, found ${textOf(stranger, 'deviceId')}, which is none. Nothing was changed.`,
    )
  for (const child of children) await adopt(registry, child, undefined)
}

/** An Edge device, which may have children. */
export async function edgeDevice(registry: HubRegistry, deviceId: string): Promise<IdentityDocument> {
  const device = await registry.get({ deviceId })
  if (isEdge(device)) return device
  throw refused(
    `Expected an IoT Edge device as the parent, found ${deviceId}, which is none. ` +
      `Make it one with: muster hub device-identity update -d ${typed(deviceId)} --edge-enabled`,
  )
}

/** The devices to be made children: those that have a parent already only by force. */
export async function requireFreeOr(
  force: boolean,
  registry: HubRegistry,
  deviceIds: readonly string[],
): Promise<readonly IdentityDocument[]> {
  const devices = await readAll(registry, deviceIds)
  const taken = force ? undefined : devices.find((device) => parentScopesOf(device).length > 0)
  if (taken === undefined) return devices
  throw refused(
    `Expected a device without a parent, found ${textOf(taken, 'deviceId')} below ${parentScopesOf(taken)[0]}. ` +
      'Nothing was changed; --force replaces its parent.',
  )
}

/** Gives a device another parent, or with undefined none, unless it was changed since it was read. */
export async function adopt(registry: HubRegistry, device: IdentityDocument, scope: string | undefined): Promise<void> {
  const link = isEdge(device) ? { parentScopes: scope === undefined ? [] : [scope] } : { deviceScope: scope ?? '' }
  await registry.replace({ deviceId: textOf(device, 'deviceId') }, { ...device, ...link }, textOf(device, 'etag'))
}

async function readAll(registry: HubRegistry, deviceIds: readonly string[]): Promise<IdentityDocument[]> {
  const devices: IdentityDocument[] = []
  for (const deviceId of new Set(deviceIds)) devices.push(await registry.get({ deviceId }))
  return devices
}
