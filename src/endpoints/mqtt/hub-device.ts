import type { Clock } from '../../base/clock.ts'
import { asServiceError, ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { type Log, redactText } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Control } from '../../control/control.ts'
import type { Hub } from '../../hub/hub.ts'
import type { CutReason, Session } from '../../hub/sessions.ts'
import type { DeviceMessage } from '../../hub/telemetry.ts'
import type { ConnectAnswer, MqttConnect, MqttFace, MqttSession } from '../../wire/mqtt.ts'
import type { Peer } from '../../wire/peer.ts'
import { credentialOf } from './credential.ts'
import { asWill, isGranted, readPublication, type TopicOwner, TWIN_ANSWERS, withRetain } from './hub-topics.ts'
import { createTwinRequests } from './hub-twin-requests.ts'
import { type HubUsername, parseHubUsername } from './hub-username.ts'

export interface HubDeviceNeeds {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly control: Control
  readonly hub: Hub
  /** Told what each PUBLISH of a device is. */
  readonly published?: (kind: string) => void
}

/**
 * MQTT for devices and modules of a hub (hub-device.md 2): connect with take-over, telemetry, twin. Every refusal of a
 * CONNECT is code 5, whatever its cause; 3 where trying again helps (1.8).
 */
export async function connectHubDevice(
  needs: HubDeviceNeeds,
  packet: MqttConnect,
  connection: MqttSession,
  peer: Peer,
): Promise<ConnectAnswer> {
  try {
    return { face: await openFace(needs, packet, connection, peer) }
  } catch (thrown) {
    const error = asServiceError(thrown)
    const line = { remote: peer.address, client: packet.clientId, code: error.code, reason: redactText(error.message) }
    if (error.status >= 500) needs.log.error({ ...line, err: error.cause }, 'hub connection failed')
    else needs.log.info(line, 'hub connection refused')
    return { refuse: error.status >= 500 || error.status === 429 ? 3 : 5 }
  }
}

async function openFace(
  needs: HubDeviceNeeds,
  packet: MqttConnect,
  connection: MqttSession,
  peer: Peer,
): Promise<MqttFace> {
  const named = readNames(packet)
  const hub = await needs.control.hubs.byHost(named.host)
  if (hub === undefined) throw new ServiceError(401001, `There is no hub ${named.host}.`)
  const credential = credentialOf(packet, peer)
  const { deviceId, moduleId, modelId } = named
  const identity = await needs.hub.deviceAuth.authenticate({ hub, deviceId, moduleId, credential })
  const will = readWill(identity, packet)
  const session = await needs.hub.sessions.open(identity, {
    modelId,
    cut: (reason) => connection.close(cutText(reason)),
  })
  return createFace(needs, session, connection, will)
}

const cutText = (reason: CutReason): string => `the session was cut: ${reason}`

/** The user name's identity, which the client id must repeat (hub-device.md 1.7). */
function readNames(packet: MqttConnect): HubUsername {
  const named = parseHubUsername(packet.username ?? '')
  if (named === undefined)
    throw new ServiceError(
      401003,
      'The user name must be {host}/{device}[/{module}]/?api-version=…, found something else.',
    )
  const expected = named.moduleId === undefined ? named.deviceId : `${named.deviceId}/${named.moduleId}`
  if (packet.clientId !== expected)
    throw new ServiceError(401003, `The client ID must be the identity of the user name, ${expected}.`)
  if (named.modelId !== undefined && named.modelId.length > limits.modelIdLength)
    throw new ServiceError(401003, `The model-id has more than ${limits.modelIdLength} characters.`)
  return named
}

/** A will goes where telemetry goes; one for another topic could never be sent, so it is refused at once. */
function readWill(owner: TopicOwner, { will }: MqttConnect): DeviceMessage | undefined {
  if (will === undefined) return undefined
  const publication = readPublication(owner, will.topic)
  if (publication?.kind !== 'telemetry' || will.qos > 1)
    throw new ServiceError(401003, 'The will must be for the telemetry topic of the identity, with QoS 0 or 1.')
  return { ...asWill(withRetain(publication.properties, will)), body: will.payload }
}

function createFace(
  needs: HubDeviceNeeds,
  session: Session,
  connection: MqttSession,
  will: DeviceMessage | undefined,
): MqttFace {
  const { identity } = session
  const { telemetry } = needs.hub
  const granted = new Set<string>()
  const twin = createTwinRequests(needs, session, connection, () => granted.has(TWIN_ANSWERS))

  return {
    async subscribe(filters) {
      await session.confirm()
      return filters.map(({ topic, qos }) => {
        const room = granted.has(topic) || granted.size < limits.mqttSubscriptions
        if (!room || !isGranted(identity, topic)) return 128
        granted.add(topic)
        return qos === 0 ? 0 : 1
      })
    },

    async unsubscribe(filters) {
      for (const filter of filters) granted.delete(filter)
    },

    async publish(message) {
      const publication = readPublication(identity, message.topic)
      needs.published?.(publication?.kind ?? 'unknown')
      switch (publication?.kind) {
        case 'telemetry':
          return telemetry.send(session, { ...withRetain(publication.properties, message), body: message.payload })
        case 'twin-get':
          return twin.get(publication.rid)
        case 'twin-patch':
          return twin.patchReported(publication.rid, publication.version, message.payload)
        case 'method-answer':
          // No method was invoked, so this is a late answer: those are taken and forgotten (hub-device.md 2.6).
          return session.confirm()
        case undefined:
          throw new ServiceError(400003, `${identity.deviceId} published to a topic that is not one of its own.`)
      }
    },

    ended(how) {
      if (how !== 'lost' || will === undefined) return session.end()
      void telemetry
        .send(session, will)
        .catch((thrown: unknown) => {
          const { code, message } = asServiceError(thrown)
          needs.log.info({ deviceId: identity.deviceId, code, reason: message }, 'a will was not sent')
        })
        .finally(() => session.end())
    },
  }
}
