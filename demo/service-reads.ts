import { Fields } from '../src/base/json.ts'
import type { Environment } from '../src/cli/environment.ts'
import { pathOf, type Rest } from '../src/cli/rest.ts'
import { hubRest, managementRest } from '../src/cli/services.ts'

/** A message of the hub's durable log. */
export interface LoggedMessage {
  readonly partition: string
  readonly position: number
  readonly deviceId: string
  readonly properties: Readonly<Record<string, unknown>>
}

const nowhere = { write: () => true }
const environment: Environment = { stdout: nowhere, stderr: nowhere, env: {}, cwd: process.cwd() }

/** The tags of a device's twin, through the hub's service API. */
export async function readTwinTags(readyFile: string, deviceId: string): Promise<object | undefined> {
  const rest = await hubRest({ readyFile }, environment)
  const { body } = await rest({ method: 'GET', path: `${pathOf('twins', deviceId)}?api-version=2021-04-12` })
  return new Fields(body, 'twin').object('tags')
}

/** All messages of the first hub's log, partition by partition, through the management API. */
export async function readMessages(readyFile: string): Promise<readonly LoggedMessage[]> {
  const rest = await managementRest({ readyFile }, environment)
  const { body } = await rest({ method: 'GET', path: pathOf('IotHubs') })
  const [hub] = new Fields(body, 'hubs').array('value') ?? []
  const partitions = pathOf('muster', 'hubs', String(new Fields(hub, 'hub').string('name')), 'partitions')
  const { body: described } = await rest({ method: 'GET', path: partitions })
  const ids = new Fields(described, 'partitions').strings('partitionIds') ?? []
  const messages = await Promise.all(ids.map((id) => readPartition(rest, `${partitions}/${id}/events`, id)))
  return messages.flat()
}

async function readPartition(rest: Rest, path: string, partition: string): Promise<LoggedMessage[]> {
  const { body } = await rest({ method: 'GET', path: `${path}?from=0&limit=100` })
  return (new Fields(body, 'events').array('events') ?? []).map((event) => {
    const fields = new Fields(event, 'event')
    return {
      partition,
      position: fields.required('position', fields.number('position')),
      deviceId: fields.string('deviceId') ?? '',
      properties: fields.object('properties') ?? {},
    }
  })
}
