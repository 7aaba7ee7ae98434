import type { Duplex } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import type { ConnectAnswer, MqttConnect, MqttConnection, MqttSession } from '../../wire/mqtt.ts'
import { serveMqtt } from '../../wire/mqtt.ts'
import type { Peer } from '../../wire/peer.ts'
import { connectDpsDevice, type DpsDeviceNeeds } from './dps-device.ts'
import { connectHubDevice, type HubDeviceNeeds } from './hub-device.ts'

export interface MqttEndpointNeeds extends HubDeviceNeeds, DpsDeviceNeeds {
  /** Times the connections out; default `clock`. */
  readonly deadlines?: Clock
}

export interface MqttEndpoint {
  /** Speaks MQTT 3.1.1 on a connection that the listener accepted. */
  serve(stream: Duplex, peer: Peer): void
  /** Answers what was received on every connection, then closes them; resolves when all are gone. */
  close(): Promise<void>
}

/**
 * The MQTT endpoint. The user name decides whose connection it is (ARCHITECTURE.md): `{idScope}/registrations/…` a
 * device of the provisioning service, `{host}/{device}/…` one of a hub. TLS server names decide nothing.
 */
export function createMqttEndpoint(needs: MqttEndpointNeeds): MqttEndpoint {
  const connections = new Map<MqttConnection, Promise<void>>()

  return {
    serve(stream, peer) {
      const connection = serveMqtt(stream, {
        clock: needs.deadlines ?? needs.clock,
        log: needs.log,
        remote: peer.address,
        proved: peer.proved,
        connect: (packet, session) => connect(needs, packet, session, peer),
      })
      const gone = new Promise<void>((resolve) => stream.once('close', () => resolve()))
      connections.set(connection, gone)
      void gone.then(() => connections.delete(connection))
    },

    async close() {
      const open = [...connections]
      for (const [connection] of open) connection.stop()
      await Promise.all(open.map(([, gone]) => gone))
    },
  }
}

async function connect(
  needs: MqttEndpointNeeds,
  packet: MqttConnect,
  session: MqttSession,
  peer: Peer,
): Promise<ConnectAnswer> {
  const open = isProvisioning(packet) ? connectDpsDevice : connectHubDevice
  return open(needs, packet, session, peer)
}

/**
 * `{idScope}/registrations/{id}/api-version=…` (dps.md 2.2). A hub device named `registrations` has that as its client
 * id, a device of the provisioning service has its registration id.
 */
function isProvisioning({ username, clientId }: MqttConnect): boolean {
  const [, collection, id] = (username ?? '').split('/')
  if (collection?.toLowerCase() !== 'registrations' || !id || id.startsWith('?')) return false
  return clientId === id || !isOfDevice(clientId, collection)
}

const isOfDevice = (clientId: string, deviceId: string): boolean =>
  clientId === deviceId || clientId.startsWith(`${deviceId}/`)
