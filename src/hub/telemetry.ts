import { type Clock, every, type Timer } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { createMetrics, type Metrics } from '../base/metrics.ts'
import type { Control, IotHub } from '../control/control.ts'
import { type MessageProperties, propertiesSize, requireSystemProperties } from '../documents/message-properties.ts'
import type { Store } from '../store/store.ts'
import { decodeEvent, encodeEvent, type HubEvent } from './events.ts'
import { authMethodOf } from './identity.ts'
import type { Session } from './sessions.ts'

export interface DeviceMessage extends MessageProperties {
  readonly body: Buffer
}

export interface LoggedEvent {
  /** Sequence number in the partition, from 0. */
  readonly position: number
  readonly event: HubEvent
}

/** Device-to-cloud messages: a durable log per partition, in a store of its own. */
export interface Telemetry {
  /** Resolves after the commit. Throws 413001, 400004, and what `session.confirm` throws. */
  send(session: Session, message: DeviceMessage): Promise<void>
  /** Events at `from` and after. */
  read(hub: IotHub, partition: number, from: number, limit: number): Promise<readonly LoggedEvent[]>
  /** First position still kept and the next one to be given. */
  bounds(hub: IotHub, partition: number): Promise<{ readonly first: number; readonly next: number }>
  /** Forgets what is older than each hub keeps it. */
  trim(): Promise<void>
  /** All of a hub that is being deleted, or the next one of its name would have it. */
  forget(hubName: string): Promise<void>
  start(): void
  stop(): void
}

const DAY_MS = 24 * 60 * 60 * 1000

export function createTelemetry(needs: {
  telemetry: Store
  control: Control
  clock: Clock
  log: Log
  metrics?: Metrics
}): Telemetry {
  const { telemetry, control, clock, log, metrics = createMetrics() } = needs
  const messages = metrics.counter('muster_hub_telemetry_messages_total', 'Device-to-cloud messages in the log.').of()
  const bytes = metrics.counter('muster_hub_telemetry_bytes_total', 'Their bodies and properties, in bytes.').of()
  let timer: Timer | undefined

  async function trim(): Promise<void> {
    for (const hub of await control.hubs.list())
      for (let partition = 0; partition < hub.partitions; partition++) {
        const name = logOf(hub.name, partition)
        const position = await telemetry.seek(name, clock.now() - hub.retentionDays * DAY_MS)
        if (position > (await telemetry.bounds(name)).first) await telemetry.trim(name, position)
      }
  }

  return {
    trim,

    async forget(hubName) {
      for (let partition = 0; partition < limits.hubPartitions; partition++) {
        const name = logOf(hubName, partition)
        const { first, next } = await telemetry.bounds(name)
        if (first < next) await telemetry.trim(name, next)
      }
    },

    async send(session, message) {
      const size = message.body.length + propertiesSize(message)
      if (size > limits.telemetryMessageBytes)
        throw new ServiceError(
          413001,
          `A message may have ${limits.telemetryMessageBytes} bytes of body and properties, found ${size}.`,
        )
      requireSystemProperties(message.system)
      await session.confirm()
      const { identity, modelId } = session
      const time = clock.now()
      const event: HubEvent = {
        source: 'Telemetry',
        enqueuedTime: time,
        deviceId: identity.deviceId,
        ...(identity.moduleId === undefined ? {} : { moduleId: identity.moduleId }),
        generationId: identity.generationId,
        authMethod: authMethodOf(identity),
        ...(modelId === undefined ? {} : { modelId }),
        ...message,
      }
      const name = logOf(identity.hub.name, partitionOf(identity.deviceId, identity.hub.partitions))
      await telemetry.commit({ append: [{ log: name, time, value: encodeEvent(event) }] })
      messages(1)
      bytes(size)
      session.touch()
    },

    async read(hub, partition, from, limit) {
      const entries = await telemetry.read(logOf(hub.name, partition), from, limit)
      return entries.map(({ position, value }) => ({ position, event: decodeEvent(value) }))
    },

    bounds: (hub, partition) => telemetry.bounds(logOf(hub.name, partition)),

    start() {
      timer = every(clock, limits.retentionSweepMs, trim, (error) =>
        log.warn({ error }, 'old telemetry could not be trimmed; the next round tries again'),
      )
    },

    stop: () => timer?.cancel(),
  }
}

export const logOf = (hub: string, partition: number): string => `${hub}/events/${partition}`

/** A stable hash of the device id: its events keep their order, over restarts and releases (hub-service.md 9.4). */
export function partitionOf(deviceId: string, partitions: number): number {
  // FNV-1a, then a finisher: the low bits of plain FNV lean on the last character.
  let hash = 0x811c9dc5
  for (let at = 0; at < deviceId.length; at++) hash = Math.imul(hash ^ deviceId.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) % partitions
}
