import { systemClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { IotHub } from '../control/control.ts'
import type { LoggedEvent, Telemetry } from '../hub/telemetry.ts'

/** Telemetry as the hub keeps it. */
export interface ReceivedEvent {
  readonly hub: string
  readonly deviceId: string
  readonly moduleId: string | undefined
  readonly body: Buffer
  /** The body, parsed. @throws SyntaxError where it is no JSON */
  json(): unknown
  /** Application properties. */
  readonly properties: Readonly<Record<string, string>>
  readonly systemProperties: Readonly<Record<string, string>>
  /** By the service's clock. */
  readonly enqueuedTime: Date
  readonly partition: number
  readonly position: number
}

export interface EventsWanted {
  /** Name of a hub; default `muster-hub`, which every Muster has. */
  readonly hub?: string
  readonly deviceId?: string
  /** Waits until there are so many; default 0. */
  readonly atLeast?: number
  /** Waits so long at most, real time; default 5000 (`limits.testEventsMs`). */
  readonly withinMs?: number
}

/** Wakes those who wait for telemetry. */
export interface Arrivals {
  arrived(): void
  /** Resolves at the next arrival. */
  next(): Promise<void>
}

export function createArrivals(): Arrivals {
  let waiting = Promise.withResolvers<void>()
  return {
    arrived() {
      waiting.resolve()
      waiting = Promise.withResolvers<void>()
    },
    next: () => waiting.promise,
  }
}

/**
 * All that a hub has, in the order of their times; of one device in the order in which it sent them.
 * @throws Error that says how many there were when the time is up
 */
export async function receivedEvents(
  telemetry: Telemetry,
  hub: IotHub,
  arrivals: Arrivals,
  { deviceId, atLeast = 0, withinMs = limits.testEventsMs }: EventsWanted,
): Promise<ReceivedEvent[]> {
  const late = Promise.withResolvers<'late'>()
  const timer = systemClock.after(withinMs, () => late.resolve('late'))
  try {
    for (;;) {
      const arrival = arrivals.next()
      const events = (await readAll(telemetry, hub)).filter((each) => [undefined, each.deviceId].includes(deviceId))
      if (events.length >= atLeast) return events
      if ((await Promise.race([arrival, late.promise])) !== 'late') continue
      const from = deviceId === undefined ? '' : ` of device ${deviceId}`
      throw new Error(
        `Expected at least ${atLeast} events${from} in hub ${hub.name} within ${withinMs} ms, found ${events.length}.`,
      )
    }
  } finally {
    timer.cancel()
  }
}

async function readAll(telemetry: Telemetry, hub: IotHub): Promise<ReceivedEvent[]> {
  const partitions = Array.from({ length: hub.partitions }, (_, partition) => readPartition(telemetry, hub, partition))
  const events = (await Promise.all(partitions)).flat()
  return events.sort((a, b) => a.enqueuedTime.getTime() - b.enqueuedTime.getTime())
}

async function readPartition(telemetry: Telemetry, hub: IotHub, partition: number): Promise<ReceivedEvent[]> {
  const found: ReceivedEvent[] = []
  for (let from = (await telemetry.bounds(hub, partition)).first; ; ) {
    const page = await telemetry.read(hub, partition, from, limits.eventPage)
    const last = page.at(-1)
    if (last === undefined) return found
    found.push(...page.map((each) => received(hub.name, partition, each)))
    from = last.position + 1
  }
}

const received = (hub: string, partition: number, { position, event }: LoggedEvent): ReceivedEvent => ({
  hub,
  deviceId: event.deviceId,
  moduleId: event.moduleId,
  body: event.body,
  json: () => JSON.parse(event.body.toString('utf8')),
  properties: event.application,
  systemProperties: event.system,
  enqueuedTime: new Date(event.enqueuedTime),
  partition,
  position,
})
