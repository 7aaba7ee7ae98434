import { ServiceError } from './base/errors.ts'
import { limits } from './base/limits.ts'
import type { Config } from './config.ts'
import type { Control, IotHub, ProvisioningService } from './control/control.ts'
import { portOf } from './control/hosts.ts'

export const DPS_NAME = 'muster-dps'
export const HUB_NAME = 'muster-hub'

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

const caller = { kind: 'management', name: 'start' } as const

/** The host names of both services as they are stored: without a port, so that it may change. */
export const ownNames = (config: Config): string[] =>
  config.hostNames.map((name) => (name.includes(':') ? `[${name.toLowerCase()}]` : name.toLowerCase()))

/**
 * First start: one provisioning service and one hub, linked, with their policies. Every start: both answer under the
 * configured host names, and the hub under its earlier ones too: devices that were assigned to them are still its own.
 * What the operator decided about the link since stays.
 * @param idScope of the provisioning service, where it is made now
 */
export async function prepareInstances(
  control: Control,
  config: Config,
  ports: Ports,
  idScope?: string,
): Promise<Addresses> {
  const hostNames = ownNames(config)
  const service = await prepareService(control, await prepareHub(control, hostNames), hostNames, idScope)
  return addressesOf(service, await control.hubs.list(), config, ports)
}

/** Where everything is now. @throws ServiceError where the provisioning service was deleted */
export async function readAddresses(control: Control, config: Config, ports: Ports): Promise<Addresses> {
  return addressesOf(await requireService(control), await control.hubs.list(), config, ports)
}

/** The provisioning service that every Muster has. */
export async function requireService(control: Control): Promise<ProvisioningService> {
  const service = await control.provisioningServices.get(DPS_NAME)
  if (service === undefined) throw new ServiceError(404000, `There is no provisioning service ${DPS_NAME} any more.`)
  return service
}

interface PreparedHub {
  readonly hub: IotHub
  readonly isNew: boolean
}

async function prepareHub(control: Control, hostNames: readonly string[]): Promise<PreparedHub> {
  const existing = await control.hubs.get(HUB_NAME)
  const earlier = existing?.hostNames.filter((name) => !hostNames.includes(name)) ?? []
  const wanted = [...hostNames, ...earlier].slice(0, limits.hostNames)
  if (existing !== undefined && same(existing.hostNames, wanted)) return { hub: existing, isNew: false }
  const ifMatch = { kind: existing === undefined ? 'absent' : 'any' } as const
  return {
    hub: await control.hubs.put(caller, HUB_NAME, { hostNames: wanted }, ifMatch),
    isNew: existing === undefined,
  }
}

async function prepareService(
  control: Control,
  { hub, isNew }: PreparedHub,
  hostNames: readonly string[],
  idScope: string | undefined,
): Promise<ProvisioningService> {
  const [hubName = ''] = hub.hostNames
  const existing = await control.provisioningServices.get(DPS_NAME)
  const links = existing?.linkedHubs ?? []
  const link = links.find((entry) => hub.hostNames.includes(entry.hostName))
  // A hub that the operator unlinked stays so.
  const isLinked = link === undefined ? !isNew : link.hostName === hubName
  if (existing !== undefined && isLinked && same(existing.serviceHostNames, hostNames)) return existing
  const own = { ...link, connectionString: connectionString(hubName, hub.policies[0]) }
  const others = links.filter((entry) => !hub.hostNames.includes(entry.hostName))
  const iotHubs = existing !== undefined && link === undefined && !isNew ? others : [own, ...others]
  return control.provisioningServices.put(
    caller,
    DPS_NAME,
    {
      ...(existing === undefined && idScope !== undefined && { idScope }),
      serviceHostNames: hostNames,
      deviceHostName: hostNames[0] ?? '',
      iotHubs: iotHubs.map(({ connectionString = '', ...rest }) => ({ ...rest, connectionString })),
    },
    { kind: existing === undefined ? 'absent' : 'any' },
  )
}

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((each, at) => each === b[at])

const connectionString = (hostName: string, policy: { keyName: string; primaryKey: string } | undefined): string =>
  `HostName=${hostName};SharedAccessKeyName=${policy?.keyName ?? ''};SharedAccessKey=${policy?.primaryKey ?? ''}`

function addressesOf(service: ProvisioningService, hubs: readonly IotHub[], config: Config, ports: Ports): Addresses {
  const dialledAs = (name: string): string =>
    ports.https === 443 || portOf(name) !== undefined ? name : `${name}:${ports.https}`
  const dpsHost = dialledAs(service.serviceHostNames[0] ?? '')
  return {
    address: config.address,
    ports,
    idScope: service.idScope,
    dps: { name: service.name, hostName: dpsHost, connectionString: connectionString(dpsHost, service.policies[0]) },
    // The one that every Muster has comes first.
    hubs: [...hubs]
      .sort((a, b) => Number(b.name === HUB_NAME) - Number(a.name === HUB_NAME))
      .map((hub) => {
        const hostName = dialledAs(hub.hostNames[0] ?? '')
        return { name: hub.name, hostName, connectionString: connectionString(hostName, hub.policies[0]) }
      }),
  }
}
