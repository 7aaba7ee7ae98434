import type { NodeNeeds } from './app.ts'
import type { Config } from './config.ts'
import {
  type Control,
  createControl,
  type Instance,
  type IotHub,
  type Owner,
  type ProvisioningService,
} from './control/control.ts'
import { isNamed, portOf } from './control/hosts.ts'
import { dpsDevice } from './endpoints/http/dps-device.ts'
import { dpsEnrollments } from './endpoints/http/dps-enrollments.ts'
import { dpsRegistrations } from './endpoints/http/dps-registrations.ts'
import { hubRegistry } from './endpoints/http/hub-registry.ts'
import { hubTwins } from './endpoints/http/hub-twins.ts'
import { createHttpEndpoint, type HttpEndpoint } from './endpoints/http/server.ts'
import { createMqttEndpoint, type MqttEndpoint } from './endpoints/mqtt/server.ts'
import { createHub, type Hub } from './hub/hub.ts'
import { ownNames } from './instances.ts'
import { linkedRemoteHub, openOutbound, webhookPost } from './outbound.ts'
import type { HubCalls, LinkedHub } from './provisioning/linked-hub.ts'
import { createProvisioning, type Provisioning } from './provisioning/provisioning.ts'
import type { Outbound } from './wire/outbound.ts'
import { acceptWebSockets } from './wire/websocket.ts'

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

/** The one place where rooms meet. `httpsPort`: the one that clients dial; known once the listener is bound. */
export function wireRooms(needs: RoomNeeds, httpsPort: () => number): Rooms {
  const outbound = openOutbound(needs.config, needs.deadlines ?? needs.clock, needs.managementPort)
  const control: Control = createControl({
    ...needs,
    contents: (...asked) => contentsOf(...asked),
    forget: (owner) => forget(owner),
  })
  const hub = createHub({ ...needs, control, node: needs.random.uuid() })
  const provisioning = createProvisioning({
    ...needs,
    control,
    linkedHubs: (hostName, idScope) => {
      const elsewhere = () => linkedRemoteHub({ ...needs, control, outbound }, hostName, idScope)
      return linkedHub({ control, hub, hostName, httpsPort, elsewhere })
    },
    postWebhook: webhookPost(outbound),
    settings: {
      ...needs.config.registration,
      assignmentBacklog: needs.config.assignmentBacklog,
      hubName: (name) => dialled(needs.config, name, httpsPort()),
    },
  })
  // Asked only when somebody deletes an instance, so after the rooms exist.
  const contentsOf = async ({ kind, name }: Owner, instance: Instance): Promise<string | undefined> =>
    kind === 'hub' ? hub.registry.contents(name) : provisioning.contents(instance as ProvisioningService)
  const forget = async ({ kind, name }: Owner): Promise<void> => {
    if (kind === 'hub') await hub.telemetry.forget(name)
  }
  return { control, hub, provisioning, outbound }
}

/** Our own names carry the port where it is not the one that SDKs dial by themselves; other hubs' names stay. */
export const dialled = (config: Config, name: string, httpsPort: number): string =>
  httpsPort !== 443 && portOf(name) === undefined && isNamed(ownNames(config), name) ? `${name}:${httpsPort}` : name

interface HubByName {
  readonly control: Control
  readonly hub: Hub
  readonly hostName: string
  readonly httpsPort: () => number
  readonly elsewhere: () => Promise<HubCalls>
}

/**
 * Fulfils provisioning's port to a hub: with the hub of this house that the name means, else with the linked one that is
 * elsewhere, on the same host with another port too.
 */
function linkedHub({ control, hub, hostName, httpsPort, elsewhere }: HubByName): LinkedHub {
  const isHere = (names: readonly string[], name: string): boolean =>
    isNamed(names, name) && [undefined, httpsPort()].includes(portOf(name))
  const find = async (): Promise<IotHub | undefined> =>
    (await control.hubs.list()).find((each) => isHere(each.hostNames, hostName))
  const found = async (): Promise<HubCalls> => {
    const own = await find()
    return own === undefined ? elsewhere() : localHub(hub, own)
  }
  return {
    provision: async (device, mode, returning) => (await found()).provision(device, mode, returning),
    read: async (deviceId) => (await found()).read(deviceId),
    isAlso: async (other) => isHere((await find())?.hostNames ?? [], other),
    remove: async (deviceId) => (await found()).remove(deviceId),
  }
}

const localHub = (hub: Hub, own: IotHub): HubCalls => ({
  provision: (device, mode, returning) => hub.registry.provision(own, device, mode, returning),
  read: (deviceId) => hub.twins.read(own, deviceId),
  remove: (deviceId) => hub.registry.discard(own, deviceId),
})

/** The faces that devices and services dial. */
export async function deviceEndpoints(
  needs: NodeNeeds,
  rooms: Rooms,
): Promise<{ http: HttpEndpoint; mqtt: MqttEndpoint }> {
  const all = { ...needs, ...rooms }
  const mqtt = createMqttEndpoint(all)
  const upgrade = acceptWebSockets(needs.log, { mqtt: mqtt.serve })
  const http = await createHttpEndpoint(
    needs,
    [dpsDevice(all), dpsEnrollments(all), dpsRegistrations(all), hubRegistry(all), hubTwins(all)],
    upgrade,
  )
  return { http, mqtt }
}
