import type { Environment } from './environment.ts'
import type { HubRegistry, IdentityDocument } from './hub-registry.ts'
import { type Answering, type Columns, print } from './output.ts'
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
