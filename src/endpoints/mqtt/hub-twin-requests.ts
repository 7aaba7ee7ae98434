import { type Clock, isoTime } from '../../base/clock.ts'
import { asServiceError, ServiceError } from '../../base/errors.ts'
import { type Log, redactText } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Session } from '../../hub/sessions.ts'
import type { AfterAck, MqttSession } from '../../wire/mqtt.ts'
import { answerTopic } from '../../wire/topics.ts'

export interface TwinRequestNeeds {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly hub: Hub
}

/** What a device asks of its twin; the answer leaves after the PUBACK, on `$iothub/twin/res/…` (hub-device.md 2.5). */
export interface TwinRequests {
  get(rid: string | undefined): Promise<AfterAck>
  /** @param version the `$version` of the topic, as sent: Java's precondition */
  patchReported(rid: string | undefined, version: string | undefined, patch: Buffer): Promise<AfterAck>
}

/** @param listening whether the device has subscribed to answers; without that they are dropped */
export function createTwinRequests(
  needs: TwinRequestNeeds,
  session: Session,
  connection: MqttSession,
  listening: () => boolean,
): TwinRequests {
  const { clock, random, log, hub } = needs
  const { deviceId, moduleId } = session.identity

  const answer = (rid: string | undefined, status: number, body: string, version?: number): AfterAck => ({
    afterAck: () => {
      if (rid === undefined || !listening()) return
      const topic = answerTopic(`$iothub/twin/res/${status}/`, rid, version === undefined ? {} : { $version: version })
      // QoS 0 satisfies every SDK, those that subscribed with QoS 1 too.
      void connection.publish(topic, body, 0)
    },
  })

  /** Always with a body: Node takes an error without one for success (hub-device.md 0.2). */
  const refuse = (rid: string | undefined, thrown: unknown): AfterAck => {
    const error = asServiceError(thrown)
    const trackingId = random.uuid()
    const line = { trackingId, deviceId, moduleId, code: error.code }
    if (error.status >= 500) log.error({ ...line, err: error.cause }, 'twin request failed')
    else log.info({ ...line, reason: redactText(error.message) }, 'twin request refused')
    const timestampUtc = isoTime(clock.now())
    const body = { errorCode: error.code, trackingId, message: error.message, info: {}, timestampUtc }
    return answer(rid, error.status, JSON.stringify(body))
  }

  return {
    async get(rid) {
      try {
        return answer(rid, 200, JSON.stringify(await hub.twins.getForDevice(session)))
      } catch (thrown) {
        return refuse(rid, thrown)
      }
    },
    async patchReported(rid, version, patch) {
      try {
        return answer(rid, 204, '', await hub.twins.patchReported(session, patch, readVersion(version)))
      } catch (thrown) {
        return refuse(rid, thrown)
      }
    },
  }
}

function readVersion(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new ServiceError(400004, `$version must be a whole number, found ${JSON.stringify(text.slice(0, 40))}.`)
}
