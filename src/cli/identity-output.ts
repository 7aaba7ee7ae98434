import { type Environment, notice, typed } from './environment.ts'
import type { HubRegistry, IdentityDocument, IdentityName } from './hub-registry.ts'
import type { AuthMethod } from './identity-authentication.ts'
import { type Answering, asksForKeys, type Columns, print } from './output.ts'
import type { HubOptions } from './services.ts'

/** The options of a command about one device. */
export interface OneDevice extends HubOptions, Answering {
  readonly deviceId: string
}

/** The options of a command about one module. */
export interface OneModule extends OneDevice {
  readonly moduleId: string
}

export const deviceColumns: Columns = {
  'Device ID': 'deviceId',
  Status: 'status',
  Authentication: 'authentication.type',
  Edge: 'capabilities.iotEdge',
  Connection: 'connectionState',
  'Last activity': 'lastActivityTime',
}

export const moduleColumns: Columns = {
  'Module ID': 'moduleId',
  'Device ID': 'deviceId',
  'Managed by': 'managedBy',
  Authentication: 'authentication.type',
  Connection: 'connectionState',
  'Last activity': 'lastActivityTime',
}

/** As the az CLI shows an identity: with the hub that it is in. */
export const printIdentity = (
  { hostName }: HubRegistry,
  identity: IdentityDocument,
  options: Answering,
  environment: Environment,
): Promise<void> =>
  print(
    environment,
    options,
    { ...identity, hub: hostName },
    identity['moduleId'] === undefined ? deviceColumns : moduleColumns,
  )

/** A new identity's keys are mostly needed next, in its connection string. */
export function tellOfKeys(
  options: HubOptions & Answering & { readonly authMethod: AuthMethod },
  { deviceId, moduleId }: IdentityName,
  environment: Environment,
): void {
  if (options.authMethod !== 'shared_private_key' || asksForKeys(options)) return
  const kind = moduleId === undefined ? 'device' : 'module'
  const hub = options.hubName === undefined ? '' : `-n ${typed(options.hubName)} `
  const words = moduleId === undefined ? `-d ${typed(deviceId)}` : `-d ${typed(deviceId)} -m ${typed(moduleId)}`
  notice(
    environment,
    `its keys are not shown; muster hub ${kind}-identity connection-string show ${hub}${words} shows the first`,
  )
}
