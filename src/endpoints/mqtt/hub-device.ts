import { type Clock, isoTime } from '../../base/clock.ts'
import { asServiceError, ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import { type Log, redactText } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Control } from '../../control/control.ts'
import type { Credential } from '../../hub/device-auth.ts'
import type { Hub } from '../../hub/hub.ts'
import type { CutReason, Session } from '../../hub/sessions.ts'
import type { DeviceMessage } from '../../hub/telemetry.ts'
import type { AfterAck, ConnectAnswer, MqttConnect, MqttFace, MqttPublish, MqttSession } from '../../wire/mqtt.ts'
import type { Peer } from '../../wire/peer.ts'
import { answerTopic } from '../../wire/topics.ts'
import { asWill, isGranted, readPublication, type TopicOwner, TWIN_ANSWERS, withRetain } from './hub-topics.ts'
import { type HubUsername, parseHubUsername } from './hub-username.ts'

export interface HubDeviceNeeds {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly control: Control
  readonly hub: Hub
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

/** A token is the password; X.509 devices send none (hub-device.md 1.3). */
function credentialOf({ password }: MqttConnect, { chain }: Peer): Credential {
  if (password !== undefined && password.length > 0) return { kind: 'sas', token: password.toString('utf8') }
  return chain.length === 0 ? { kind: 'none' } : { kind: 'x509', chain }
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
  const { twins, telemetry } = needs.hub
  const granted = new Set<string>()

  const answer = (rid: string | undefined, status: number, body: string, version?: number): AfterAck => ({
    afterAck: () => {
      if (rid === undefined || !granted.has(TWIN_ANSWERS)) return
      const topic = answerTopic(`$iothub/twin/res/${status}/`, rid, version === undefined ? {} : { $version: version })
      // QoS 0 satisfies every SDK, those that subscribed with QoS 1 too (hub-device.md 2.5).
      void connection.publish(topic, body, 0)
    },
  })

  /** Node takes an error without a body for success (hub-device.md 0.2). */
  const refuse = (rid: string | undefined, thrown: unknown): AfterAck => {
    const error = asServiceError(thrown)
    const trackingId = needs.random.uuid()
    const line = { trackingId, deviceId: identity.deviceId, moduleId: identity.moduleId, code: error.code }
    if (error.status >= 500) needs.log.error({ ...line, err: error.cause }, 'twin request failed')
    else needs.log.info({ ...line, reason: error.message }, 'twin request refused')
    const body = {
      errorCode: error.code,
      trackingId,
      message: error.message,
      info: {},
      timestampUtc: isoTime(needs.clock.now()),
    }
    return answer(rid, error.status, JSON.stringify(body))
  }

  async function patchReported(rid: string | undefined, sent: string | undefined, payload: Buffer): Promise<AfterAck> {
    try {
      const version = await twins.patchReported(session, payload, readVersion(sent))
      return answer(rid, 204, '', version)
    } catch (thrown) {
      return refuse(rid, thrown)
    }
  }

  async function readTwin(rid: string | undefined): Promise<AfterAck> {
    try {
      return answer(rid, 200, JSON.stringify(await twins.getForDevice(session)))
    } catch (thrown) {
      return refuse(rid, thrown)
    }
  }

  async function publish(message: MqttPublish): Promise<AfterAck | undefined> {
    const publication = readPublication(identity, message.topic)
    switch (publication?.kind) {
      case 'telemetry':
        await telemetry.send(session, { ...withRetain(publication.properties, message), body: message.payload })
        return undefined
      case 'twin-get':
        return readTwin(publication.rid)
      case 'twin-patch':
        return patchReported(publication.rid, publication.version, message.payload)
      case 'method-answer':
        // No method was invoked, so this is a late answer: those are taken and forgotten (hub-device.md 2.6).
        return void (await session.confirm())
      case undefined:
        throw new ServiceError(400003, `${identity.deviceId} published to a topic that is not one of its own.`)
    }
  }

  return {
    async subscribe(filters) {
      await session.confirm()
      return filters.map(({ topic, qos }) => {
        const known = granted.has(topic)
        if (!isGranted(identity, topic) || (!known && granted.size >= limits.mqttSubscriptions)) return 128
        granted.add(topic)
        return qos === 0 ? 0 : 1
      })
    },

    async unsubscribe(filters) {
      for (const filter of filters) granted.delete(filter)
    },

    publish,

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

/** Java may say which version it takes for current. */
function readVersion(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new ServiceError(400004, `$version must be a whole number, found ${JSON.stringify(text.slice(0, 40))}.`)
}
