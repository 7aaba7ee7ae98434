import { Fields, isObject } from '../base/json.ts'
import { type Environment, usage } from './environment.ts'
import { managementPath, onlyName, policiesOf } from './management.ts'
import { type Answering, type Columns, print, withoutKeys } from './output.ts'
import type { Rest } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

interface Printed extends ManagementOptions, Answering {
  readonly dpsName?: string
}

interface CreateOptions extends Printed {
  readonly hubName?: string
  readonly connectionString?: string
  readonly location?: string
  readonly allocationWeight?: number
  readonly applyAllocationPolicy?: boolean
}

const columns: Columns = {
  Hub: 'name',
  Weight: 'allocationWeight',
  'Takes part': 'applyAllocationPolicy',
  Location: 'location',
}

/** Linked hubs are a member of the provisioning service's resource, `properties.iotHubs` (dps.md 7.1). */
export async function listLinkedHubs(options: Printed, environment: Environment): Promise<void> {
  const rest = await managementRest(options, environment)
  const service = await read(rest, await onlyName(rest, 'dps', options.dpsName))
  await print(environment, options, withoutKeys(service.iotHubs), columns)
}

export async function createLinkedHub(options: CreateOptions, environment: Environment): Promise<void> {
  const rest = await managementRest(options, environment)
  const name = await onlyName(rest, 'dps', options.dpsName)
  const added = await linkOf(rest, options)
  const { resource, iotHubs, etag } = await read(rest, name)
  const properties = { ...(isObject(resource['properties']) && resource['properties']), iotHubs: [...iotHubs, added] }
  const headers: Record<string, string> = etag === undefined ? {} : { 'If-Match': etag }
  await rest({ method: 'PUT', path: managementPath('dps', name), headers, body: { ...resource, properties } })
  await print(environment, options, withoutKeys((await read(rest, name)).iotHubs), columns)
}

async function linkOf(rest: Rest, options: CreateOptions): Promise<object> {
  const { hubName, connectionString, location, allocationWeight, applyAllocationPolicy } = options
  if ((hubName === undefined) === (connectionString === undefined))
    throw usage('Expected one of --hub-name and --connection-string, found both or neither.')
  return {
    connectionString: connectionString ?? (await connectionStringOf(rest, hubName ?? '')),
    ...(location !== undefined && { location }),
    ...(allocationWeight !== undefined && { allocationWeight }),
    ...(applyAllocationPolicy !== undefined && { applyAllocationPolicy }),
  }
}

async function connectionStringOf(rest: Rest, hub: string): Promise<string> {
  const { body } = await rest({ method: 'GET', path: managementPath('hub', hub) })
  const hostName = new Fields(body, hub).fields('properties')?.string('hostName')
  const [policy] = await policiesOf(rest, 'hub', hub)
  if (hostName === undefined || policy === undefined)
    throw usage(`Expected a host name and a policy of ${hub}, found none.`)
  return `HostName=${hostName};SharedAccessKeyName=${policy.keyName};SharedAccessKey=${policy.primaryKey}`
}

async function read(
  rest: Rest,
  name: string,
): Promise<{ resource: Record<string, unknown>; iotHubs: readonly unknown[]; etag: string | undefined }> {
  const { body } = await rest({ method: 'GET', path: managementPath('dps', name) })
  const fields = new Fields(body, name)
  const iotHubs = fields.fields('properties')?.array('iotHubs') ?? []
  return { resource: body as Record<string, unknown>, iotHubs, etag: fields.string('etag') }
}
