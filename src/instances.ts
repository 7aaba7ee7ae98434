import type { Config } from './config.ts'
import type { Control, IotHub, ProvisioningService } from './control/control.ts'
import { isLinkTo } from './control/hosts.ts'

export interface DevicePorts {
  readonly https: number
  readonly mqtts: number
}

export interface Ports extends DevicePorts {
  readonly management: number
}

/** Where everything is: what the ready file and `createApp` tell. */
export interface Addresses {
  readonly address: string
  readonly ports: Ports
  readonly idScope: string
  readonly dps: { readonly name: string; readonly hostName: string; readonly connectionString: string }
  readonly hubs: readonly { readonly name: string; readonly hostName: string; readonly connectionString: string }[]
}

const DPS_NAME = 'muster-dps'
const HUB_NAME = 'muster-hub'
const caller = { kind: 'management', name: 'start' } as const

/**
 * First start: one provisioning service and one hub, linked, with their policies. Every start: both answer under the
 * configured host names; these carry `:port` only where it is not the one that SDKs dial by themselves.
 */
export async function prepareInstances(control: Control, config: Config, ports: Ports): Promise<Addresses> {
  const hostNames = config.hostNames.map((name) => withPort(name.toLowerCase(), ports.https))
  const hub = await prepareHub(control, hostNames)
  const service = await prepareService(control, hub, hostNames)
  return addressesOf(service, await control.hubs.list(), config.address, ports)
}

const withPort = (name: string, port: number): string => {
  const host = name.includes(':') ? `[${name}]` : name
  return port === 443 ? host : `${host}:${port}`
}

async function prepareHub(control: Control, hostNames: readonly string[]): Promise<IotHub> {
  const existing = await control.hubs.get(HUB_NAME)
  if (existing !== undefined && same(existing.hostNames, hostNames)) return existing
  return control.hubs.put(caller, HUB_NAME, { hostNames }, { kind: existing === undefined ? 'absent' : 'any' })
}

async function prepareService(
  control: Control,
  hub: IotHub,
  hostNames: readonly string[],
): Promise<ProvisioningService> {
  const existing = await control.provisioningServices.get(DPS_NAME)
  const linked = existing?.linkedHubs.some((entry) => isLinkTo(hub.hostNames, entry.hostName)) ?? false
  if (existing !== undefined && linked && same(existing.serviceHostNames, hostNames)) return existing
  const others = existing?.linkedHubs.filter((entry) => !isDefaultHub(entry.hostName, hub, existing)) ?? []
  const iotHubs = [
    { connectionString: connectionString(hub.hostNames[0] ?? '', hub.policies[0]) },
    ...others.map((entry) => ({ ...entry, connectionString: entry.connectionString ?? '' })),
  ]
  return control.provisioningServices.put(
    caller,
    DPS_NAME,
    { serviceHostNames: hostNames, deviceHostName: hostNames[0] ?? '', iotHubs },
    { kind: existing === undefined ? 'absent' : 'any' },
  )
}

/**
 * The entry made by an earlier start under other host names or ports: the service's own until now. The same host with
 * another port is a hub elsewhere.
 */
const isDefaultHub = (hostName: string, hub: IotHub, service: ProvisioningService): boolean =>
  isLinkTo([...hub.hostNames, ...service.serviceHostNames], hostName)

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((each, at) => each === b[at])

const connectionString = (hostName: string, policy: { keyName: string; primaryKey: string } | undefined): string =>
  `HostName=${hostName};SharedAccessKeyName=${policy?.keyName ?? ''};SharedAccessKey=${policy?.primaryKey ?? ''}`

function addressesOf(service: ProvisioningService, hubs: readonly IotHub[], address: string, ports: Ports): Addresses {
  const dpsHost = service.serviceHostNames[0] ?? ''
  return {
    address,
    ports,
    idScope: service.idScope,
    dps: { name: service.name, hostName: dpsHost, connectionString: connectionString(dpsHost, service.policies[0]) },
    hubs: hubs.map((hub) => {
      const hostName = hub.hostNames[0] ?? ''
      return { name: hub.name, hostName, connectionString: connectionString(hostName, hub.policies[0]) }
    }),
  }
}
