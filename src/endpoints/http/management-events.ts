import { isoTime } from '../../base/clock.ts'
import { ServiceError } from '../../base/errors.ts'
import { limits } from '../../base/limits.ts'
import type { Control, IotHub } from '../../control/control.ts'
import type { Hub } from '../../hub/hub.ts'
import type { LoggedEvent } from '../../hub/telemetry.ts'
import { guarded, type ManagementGuard } from './management-guard.ts'
import { paramOf } from './management-request.ts'
import { queryOf, type Routes } from './server.ts'

export interface ManagementEventsNeeds extends ManagementGuard {
  readonly control: Control
  readonly hub: Hub
}

/**
 * Ours, not Azure's: what devices sent, read from the hub's telemetry log by position. For people who look and for
 * tests; applications read the same log through the Event Hubs face.
 */
export const managementEvents = (needs: ManagementEventsNeeds): Routes =>
  guarded(needs, (app) => {
    const { control, hub } = needs
    app.get('/muster/hubs/:name/partitions', async (request) => {
      const found = await hubNamed(control, paramOf(request, 'name'))
      return { partitionIds: Array.from({ length: found.partitions }, (_, at) => String(at)) }
    })
    app.get('/muster/hubs/:name/partitions/:partition/events', async (request) => {
      const found = await hubNamed(control, paramOf(request, 'name'))
      const partition = whole('partition', paramOf(request, 'partition'), 0, found.partitions - 1)
      const from = whole('from', queryOf(request, 'from') ?? '0', 0, Number.MAX_SAFE_INTEGER)
      const limit = whole('limit', queryOf(request, 'limit') ?? '100', 1, limits.eventPage)
      const { first } = await hub.telemetry.bounds(found, partition)
      const start = Math.max(first, from)
      const events = await hub.telemetry.read(found, partition, start, limit)
      return { first, next: (events.at(-1)?.position ?? start - 1) + 1, events: events.map(shown) }
    })
  })

async function hubNamed(control: Control, name: string): Promise<IotHub> {
  const found = await control.hubs.get(name)
  if (found === undefined) throw new ServiceError(404000, `There is no hub named ${name}.`)
  return found
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d{1,16}$/.test(text) || value < least || value > most)
    throw new ServiceError(
      400004,
      `${name} must be a whole number from ${least} to ${most}, found "${text.slice(0, 20)}".`,
    )
  return value
}

const shown = ({ position, event }: LoggedEvent) => ({
  position,
  enqueuedTime: isoTime(event.enqueuedTime),
  deviceId: event.deviceId,
  moduleId: event.moduleId,
  source: event.source,
  systemProperties: event.system,
  properties: event.application,
  body: event.body.toString('base64'),
})
