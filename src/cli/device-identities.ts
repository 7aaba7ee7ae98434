import { compact } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { adopt, edgeDevice, requireFreeOr } from './device-families.ts'
import { type Environment, usage } from './environment.ts'
import { changedIdentity } from './generic-update.ts'
import { checkedId, type HubRegistry, type IdentityDocument, isEdge, openRegistry, textOf } from './hub-registry.ts'
import {
  type CredentialOptions,
  changedAuthentication,
  type NewCredentialOptions,
  newAuthentication,
} from './identity-authentication.ts'
import { deviceColumns, type OneDevice, printIdentity, tellOfKeys } from './identity-output.ts'
import { type Answering, print } from './output.ts'
import type { HubOptions } from './services.ts'

interface StateOptions {
  readonly edgeEnabled?: boolean
  readonly status?: string
  readonly statusReason?: string
}

interface CreateOptions extends OneDevice, StateOptions, NewCredentialOptions {
  readonly deviceScope?: string
  readonly setParent?: string
  readonly addChildren?: readonly string[]
  readonly force?: boolean
}

interface UpdateOptions extends OneDevice, StateOptions, CredentialOptions {
  readonly set?: readonly string[]
  readonly etag?: string
}

export async function listDevices(
  options: HubOptions & Answering & { readonly top?: number; readonly edgeEnabled?: boolean },
  environment: Environment,
): Promise<void> {
  const { top = limits.deviceList, edgeEnabled } = options
  const registry = await openRegistry(options, environment)
  const admits = edgeEnabled === undefined ? undefined : (device: IdentityDocument) => isEdge(device) === edgeEnabled
  await print(environment, options, await registry.devices(top, admits), deviceColumns)
}

export async function showDevice(options: OneDevice, environment: Environment): Promise<void> {
  const registry = await openRegistry(options, environment)
  await printIdentity(registry, await registry.get(options), options, environment)
}

/** The device; then its children get it as their parent. What can be refused is refused before anything is made. */
export async function createDevice(options: CreateOptions, environment: Environment): Promise<void> {
  const deviceId = checkedId('--device-id', options.deviceId)
  const { addChildren = [], force = false, edgeEnabled: iotEdge = false } = options
  if (addChildren.length > 0 && !iotEdge)
    throw usage('Expected --edge-enabled with --add-children, found none: only IoT Edge devices have children.')
  const registry = await openRegistry(options, environment)
  const scope = options.setParent === undefined ? options.deviceScope : await scopeOfParent(registry, options.setParent)
  const children = await requireFreeOr(force, registry, addChildren)
  const document = compact({
    deviceId,
    status: options.status,
    statusReason: options.statusReason,
    authentication: await newAuthentication(deviceId, options, environment),
    capabilities: { iotEdge },
    // An Edge device names its parent there, a leaf here (hub-service.md 2.5).
    ...(scope !== undefined && (iotEdge ? { parentScopes: [scope] } : { deviceScope: scope })),
  })
  const device = await registry.create({ deviceId }, document)
  for (const child of children) await adopt(registry, child, textOf(device, 'deviceScope'))
  tellOfKeys(options, { deviceId }, environment)
  await print(environment, options, device, deviceColumns)
}

const scopeOfParent = async (registry: HubRegistry, parentId: string): Promise<string> =>
  textOf(await edgeDevice(registry, parentId), 'deviceScope')

/** Members of a device that an update may change (hub-service.md 2.4). */
const SETTABLE = ['status', 'statusReason', 'authentication', 'capabilities', 'deviceScope', 'parentScopes']

/** Reads, changes and writes back what was read: another change in between is a 412 and not lost. */
export async function updateDevice(options: UpdateOptions, environment: Environment): Promise<void> {
  const { status, statusReason, edgeEnabled } = options
  const registry = await openRegistry(options, environment)
  const device = await registry.get(options)
  const changed = {
    ...device,
    ...compact({ status, statusReason, authentication: changedAuthentication(device, options) }),
    ...(edgeEnabled !== undefined && { capabilities: { iotEdge: edgeEnabled } }),
  }
  const document = changedIdentity(changed, options.set ?? [], SETTABLE)
  const written = await registry.replace(options, document, options.etag ?? textOf(device, 'etag'))
  await print(environment, options, written, deviceColumns)
}

export async function deleteDevice(
  options: OneDevice & { readonly etag?: string },
  environment: Environment,
): Promise<void> {
  const registry = await openRegistry(options, environment)
  await registry.remove(options, options.etag ?? '*')
}
