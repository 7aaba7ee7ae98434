import type { Duplex } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { createMetrics, type Metrics } from '../../base/metrics.ts'
import type { ConnectAnswer, MqttConnect, MqttConnection, MqttSession } from '../../wire/mqtt.ts'
import { serveMqtt } from '../../wire/mqtt.ts'
import type { Peer } from '../../wire/peer.ts'
import { connectDpsDevice, type DpsDeviceNeeds } from './dps-device.ts'
import { connectHubDevice, type HubDeviceNeeds } from './hub-device.ts'

export interface MqttEndpointNeeds extends HubDeviceNeeds, DpsDeviceNeeds {
  /** Times the connections out; default `clock`. */
  readonly deadlines?: Clock
  readonly metrics?: Metrics
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
  const count = counters(needs.metrics ?? createMetrics(), () => connections.size)

  return {
    serve(stream, peer) {
      const connection = serveMqtt(stream, {
        clock: needs.deadlines ?? needs.clock,
        log: needs.log,
        remote: peer.address,
        proved: peer.proved,
        connect: (packet, session) => connect({ ...needs, count }, packet, session, peer),
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

interface Counters {
  connect(service: Service, answer: ConnectAnswer): void
  publish(service: Service, kind: string): void
}

type Service = 'dps' | 'hub'

function counters(metrics: Metrics, open: () => number): Counters {
  const connects = metrics.counter('muster_mqtt_connects_total', 'CONNECT packets by the code of their CONNACK.', [
    'service',
    'code',
  ])
  const publishes = metrics.counter('muster_mqtt_publishes_total', 'PUBLISH packets of devices, by what they are.', [
    'service',
    'kind',
  ])
  metrics.gauge('muster_mqtt_connections', 'Open MQTT connections, also inside WebSockets.', open)
  const known = { dps: new Map<string, (amount: number) => void>(), hub: new Map<string, (amount: number) => void>() }
  const publishOf = (service: Service, kind: string): ((amount: number) => void) => {
    const count = known[service].get(kind) ?? publishes.of(service, kind)
    known[service].set(kind, count)
    return count
  }
  return {
    connect: (service, answer) => connects.add(1, service, 'refuse' in answer ? String(answer.refuse) : '0'),
    publish: (service, kind) => publishOf(service, kind)(1),
  }
}

async function connect(
  needs: MqttEndpointNeeds & { readonly count: Counters },
  packet: MqttConnect,
  session: MqttSession,
  peer: Peer,
): Promise<ConnectAnswer> {
  const { count } = needs
  const service = isProvisioning(packet) ? 'dps' : 'hub'
  const published = (kind: string): void => count.publish(service, kind)
  const open = service === 'dps' ? connectDpsDevice : connectHubDevice
  const answer = await open({ ...needs, published }, packet, session, peer)
  count.connect(service, answer)
  return answer
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
