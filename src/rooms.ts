import type { NodeNeeds } from './app.ts'
import { type Control, createControl, type IotHub, type Owner } from './control/control.ts'
import { isLinkTo, isNamed } from './control/hosts.ts'
import { dpsDevice } from './endpoints/http/dps-device.ts'
import { dpsEnrollments } from './endpoints/http/dps-enrollments.ts'
import { dpsRegistrations } from './endpoints/http/dps-registrations.ts'
import { hubRegistry } from './endpoints/http/hub-registry.ts'
import { hubTwins } from './endpoints/http/hub-twins.ts'
import { createHttpEndpoint, type HttpEndpoint } from './endpoints/http/server.ts'
import { createMqttEndpoint, type MqttEndpoint } from './endpoints/mqtt/server.ts'
import { createHub, type Hub } from './hub/hub.ts'
import { linkedRemoteHub, openOutbound, webhookPost } from './outbound.ts'
import type { LinkedHub } from './provisioning/linked-hub.ts'
import { createProvisioning, type Provisioning } from './provisioning/provisioning.ts'
import type { Outbound } from './wire/outbound.ts'

/** The domain rooms of one node. */
export interface Rooms {
  readonly control: Control
  readonly hub: Hub
  readonly provisioning: Provisioning
  /** The way to webhooks and hubs that are not ours. */
  readonly outbound: Outbound
}

export interface RoomNeeds extends NodeNeeds {
  /** Where the management API listens on loopback: nothing that the service calls by itself may lead there. */
  readonly managementPort: Promise<number>
}

/** The one place where rooms meet. */
export function wireRooms(needs: RoomNeeds): Rooms {
  const outbound = openOutbound(needs.config, needs.clock, needs.managementPort)
  const control: Control = createControl({ ...needs, contents: (owner) => contentsOf(owner) })
  const hub = createHub({ ...needs, control, node: needs.random.uuid() })
  const provisioning = createProvisioning({
    ...needs,
    control,
    linkedHubs: (hostName, idScope) =>
      linkedHub(control, hub, hostName, () => linkedRemoteHub({ ...needs, control, outbound }, hostName, idScope)),
    hubNameNow: (hostName, idScope) => hubNameNow(control, hostName, idScope),
    postWebhook: webhookPost(outbound),
    settings: needs.config.registration,
  })
  // Asked only when somebody deletes an instance, so after the rooms exist.
  const contentsOf = async ({ kind, name }: Owner): Promise<string | undefined> => {
    if (kind === 'hub') return hub.registry.contents(name)
    const service = await control.provisioningServices.get(name)
    return service === undefined ? undefined : provisioning.contents(service)
  }
  return { control, hub, provisioning, outbound }
}

/**
 * Fulfils provisioning's port to a hub: with the hub of this house that the name means, else with the linked one that is
 * elsewhere. A hub of ours that had other ports when the device was assigned is ours still.
 */
function linkedHub(control: Control, hub: Hub, hostName: string, elsewhere: () => Promise<LinkedHub>): LinkedHub {
  const found = async (): Promise<LinkedHub> => {
    const hubs = await control.hubs.list()
    const own = hubs.find((each) => isLinkTo(each.hostNames, hostName))
    if (own !== undefined) return localHub(hub, own)
    return elsewhere().catch((thrown: unknown) => {
      const moved = hubs.find((each) => isNamed(each.hostNames, hostName))
      if (moved === undefined) throw thrown
      return localHub(hub, moved)
    })
  }
  return {
    provision: async (device, mode) => (await found()).provision(device, mode),
    read: async (deviceId) => (await found()).read(deviceId),
    remove: async (deviceId) => (await found()).remove(deviceId),
  }
}

/** Where neither a hub of ours nor a link bears this name, one of ours under its former ports may. */
async function hubNameNow(control: Control, hostName: string, idScope: string): Promise<string> {
  const [hubs, service] = await Promise.all([control.hubs.list(), control.provisioningServices.byScope(idScope)])
  const links = service?.linkedHubs ?? []
  if (hubs.some((each) => isLinkTo(each.hostNames, hostName))) return hostName
  if (links.some((link) => link.hostName === hostName.toLowerCase())) return hostName
  const own = hubs.find((each) => isNamed(each.hostNames, hostName))
  const link = own && links.find((each) => isLinkTo(own.hostNames, each.hostName))
  return link?.hostName ?? hostName
}

const localHub = (hub: Hub, own: IotHub): LinkedHub => ({
  provision: (device, mode) => hub.registry.provision(own, device, mode),
  read: (deviceId) => hub.twins.read(own, deviceId),
  remove: (deviceId) => hub.registry.discard(own, deviceId),
})

/** The faces that devices and services dial. */
export async function deviceEndpoints(
  needs: NodeNeeds,
  rooms: Rooms,
): Promise<{ http: HttpEndpoint; mqtt: MqttEndpoint }> {
  const all = { ...needs, ...rooms }
  const http = await createHttpEndpoint(needs, [
    dpsDevice(all),
    dpsEnrollments(all),
    dpsRegistrations(all),
    hubRegistry(all),
    hubTwins(all),
  ])
  return { http, mqtt: createMqttEndpoint(all) }
}
