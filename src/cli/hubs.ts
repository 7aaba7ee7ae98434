import { Fields } from '../base/json.ts'
import type { Environment } from './environment.ts'
import { managementPath } from './management.ts'
import { type Answering, type Columns, print } from './output.ts'
import { type ManagementOptions, managementRest } from './services.ts'

const columns: Columns = {
  Name: 'name',
  'Host name': 'properties.hostName',
  State: 'properties.state',
  Partitions: 'properties.eventHubEndpoints.events.partitionCount',
}

/** The hubs of this service, over the management API (hub-service.md 11). */
export async function listHubs(options: ManagementOptions & Answering, environment: Environment): Promise<void> {
  const rest = await managementRest(options, environment)
  const { body } = await rest({ method: 'GET', path: managementPath('hub') })
  await print(environment, options, new Fields(body, 'answer').array('value'), columns)
}
