import type { Clock } from '../../base/clock.ts'
import { asServiceError, ServiceError } from '../../base/errors.ts'
import { parseJson } from '../../base/json.ts'
import { limits } from '../../base/limits.ts'
import { type Log, redactText } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import {
  type Claim,
  errorBody,
  type OperationStatus,
  type Provisioning,
  parseRegisterBody,
  requireApiVersion,
  Throttled,
} from '../../provisioning/provisioning.ts'
import type { AfterAck, ConnectAnswer, MqttConnect, MqttFace, MqttPublish, MqttSession } from '../../wire/mqtt.ts'
import type { Peer } from '../../wire/peer.ts'
import { answerTopic, parseTopicRequest } from '../../wire/topics.ts'
import { sourceOf } from '../../wire/unproved.ts'
import { credentialOf } from './credential.ts'
import { parseDpsUsername } from './dps-username.ts'

export interface DpsDeviceNeeds {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly provisioning: Pick<Provisioning, 'registrations'>
  /** Told what each PUBLISH of a device is. */
  readonly published?: (kind: string) => void
}

const ANSWERS = '$dps/registrations/res/#'
const REGISTER = '$dps/registrations/PUT/iotdps-register/'
const OPERATION = '$dps/registrations/GET/iotdps-get-operationstatus/'

/** Who connected, by its CONNECT: what it shows is judged with every request. */
interface Registrant {
  readonly claim: Claim
  readonly apiVersion: string
}

/**
 * MQTT for devices that register (dps.md 2). CONNECT fails for its form only, with code 5: the real service takes a
 * wrong key or an unknown certificate here too and answers 401 to the register message, which is what clients look
 * for (2.2). Until that is admitted the connection stays a stranger's, with a stranger's deadline and limits.
 */
export function connectDpsDevice(
  needs: DpsDeviceNeeds,
  packet: MqttConnect,
  connection: MqttSession,
  peer: Peer,
): ConnectAnswer {
  try {
    // C# gives up on any session-present but 0, and there is no session to be present (2.2).
    return { face: createFace(needs, readRegistrant(packet, peer), connection), sessionPresent: false, unproved: true }
  } catch (thrown) {
    const { code, message } = asServiceError(thrown)
    const line = { remote: peer.address, client: packet.clientId, code, reason: redactText(message) }
    needs.log.info(line, 'provisioning connection refused')
    return { refuse: 5 }
  }
}

function readRegistrant(packet: MqttConnect, peer: Peer): Registrant {
  const named = parseDpsUsername(packet.username ?? '')
  if (named === undefined)
    throw new ServiceError(
      400004,
      'The user name must be {idScope}/registrations/{registrationId}/api-version=…, found something else.',
    )
  const { idScope, registrationId } = named
  if (packet.clientId !== registrationId)
    throw new ServiceError(400004, 'The client ID must be the registration id of the user name, found another.')
  if (packet.will !== undefined)
    throw new ServiceError(400004, 'CONNECT must have no will: nobody could receive it from a registering device.')
  const transport = peer.inWebSocket ? 'MQTT over WebSocket' : 'MQTT'
  const source = sourceOf(peer.address)
  const claim: Claim = { idScope, registrationId, transport, source, ...credentialOf(packet, peer) }
  return { claim, apiVersion: requireApiVersion(named.apiVersion) }
}

/** An answer as it goes onto a topic. `retryAfter`: seconds. */
interface Answer {
  readonly status: number
  readonly retryAfter?: number | undefined
  readonly body: object
}

function createFace(needs: DpsDeviceNeeds, registrant: Registrant, connection: MqttSession): MqttFace {
  const ask = createRequests(needs, registrant, connection)
  /** The grant for answers; undefined: the client has not subscribed, and gets none. */
  let granted: 0 | 1 | undefined

  /**
   * Java publishes at QoS 0 and begins to wait only then: an answer that is there sooner wakes nobody, and the device
   * gives up after its 60 s (observed with provisioning-device-client 2.1.3, one registration in thirty).
   */
  const untilClientWaits = (): Promise<void> =>
    new Promise((resolve) => needs.clock.after(limits.dpsAnswerAfterMs, resolve))

  const answerOn = (rid: string, { status, retryAfter, body }: Answer): void => {
    if (granted === undefined) return
    const more = retryAfter === undefined ? {} : { 'retry-after': retryAfter }
    void connection.publish(answerTopic(`$dps/registrations/res/${status}/`, rid, more), JSON.stringify(body), granted)
  }

  return {
    async subscribe(filters) {
      return filters.map(({ topic, qos }) => {
        if (topic !== ANSWERS) return 128
        granted = qos === 0 ? 0 : 1
        return granted
      })
    },

    async unsubscribe(filters) {
      if (filters.includes(ANSWERS)) granted = undefined
    },

    async publish(message): Promise<AfterAck> {
      const { path, parameters, rid } = parseTopicRequest(message.topic)
      needs.published?.(path === REGISTER ? 'register' : path === OPERATION ? 'operation-status' : 'unknown')
      if (path !== REGISTER && path !== OPERATION)
        throw new ServiceError(400003, 'A registering device published to a topic that is not one of this service.')
      if (rid === undefined) throw new ServiceError(400003, 'A request topic without $rid cannot be answered.')
      const [answer] = await Promise.all([
        path === REGISTER ? ask.register(message) : ask.operation(parameters.get('operationId')),
        message.qos === 0 ? untilClientWaits() : undefined,
      ])
      // C# insists on its PUBACK before the answer (dps.md 2.5).
      return { afterAck: () => answerOn(rid, answer) }
    },

    // No session outlives the connection: what was registered stays, what was not answered is asked again.
    ended: () => {},
  }
}

function createRequests(needs: DpsDeviceNeeds, { claim, apiVersion }: Registrant, connection: MqttSession) {
  const { registrations } = needs.provisioning

  const asAnswer = (status: OperationStatus): Answer =>
    status.status === 'assigning'
      ? { status: 202, retryAfter: registrations.retryAfterSeconds, body: status }
      : { status: 200, body: status }

  /** An answer whatever happens: a rejection would close the connection, and say nothing. */
  async function answered(request: (claim: Claim) => Promise<OperationStatus>): Promise<Answer> {
    const trackingId = needs.random.uuid()
    try {
      const status = await request({ ...claim, trackingId })
      connection.proved()
      return asAnswer(status)
    } catch (thrown) {
      // Clients wait on this connection, and take its loss for a failure (Node, Python).
      if (thrown instanceof Throttled) connection.proved()
      const error = asSeenOnMqtt(asServiceError(thrown), claim)
      const { registrationId } = claim
      const line = { trackingId, registrationId, code: error.code, reason: redactText(error.message) }
      if (error.status >= 500) needs.log.error({ ...line, cause: error.cause }, 'request failed')
      else needs.log.info(line, 'request refused')
      const body = errorBody(error, trackingId, needs.clock.now())
      return { status: error.status, retryAfter: error.retryAfter, body }
    }
  }

  return {
    register: ({ payload }: MqttPublish): Promise<Answer> =>
      answered(async (its) => {
        if (payload.length > limits.dpsBodyBytes)
          throw new ServiceError(413001, `The register message is larger than ${limits.dpsBodyBytes} bytes.`)
        const body = parseRegisterBody(parseJson(payload), its.registrationId)
        return registrations.register(its, body, apiVersion)
      }),

    /** Payloads of polls mean nothing: clients send a space, nothing, or the register message again (dps.md 2.4). */
    operation: (operationId: string | undefined): Promise<Answer> =>
      answered(async (its) => {
        if (!operationId) throw new ServiceError(400004, 'The topic must carry operationId=…, found none.')
        return registrations.status(its, operationId, apiVersion)
      }),
  }
}

/** Over MQTT a wrong key is 401000, where HTTPS says 401002; certificates get 401002 on both (dps.md 1.6, 2.2). */
const asSeenOnMqtt = (error: ServiceError, { kind }: Claim): ServiceError =>
  error.code === 401002 && kind !== 'x509' ? new ServiceError(401000, error.message) : error
