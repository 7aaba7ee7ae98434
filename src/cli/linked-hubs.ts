import { compact, isObject, type JsonObject } from '../base/json.ts'
import { type Environment, notFound, usage } from './environment.ts'
import { splitHost } from './host-names.ts'
import { type InstanceResource, onlyName, ownerOf, policiesOf, readInstance, replaceInstance } from './management.ts'
import { type Answering, type Columns, print } from './output.ts'
import type { Rest } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

interface Printed extends ManagementOptions, Answering {
  readonly dpsName?: string
}

interface One extends Printed {
  readonly linkedHub: string
}

interface Allocation {
  readonly allocationWeight?: number
  readonly applyAllocationPolicy?: boolean
}

interface CreateOptions extends Printed, Allocation {
  readonly hubName?: string
  readonly connectionString?: string
  readonly location?: string
}

const columns: Columns = {
  Hub: 'name',
  Weight: 'allocationWeight',
  'Takes part': 'applyAllocationPolicy',
  Location: 'location',
}

/** Linked hubs are a member of the provisioning service's resource, `properties.iotHubs` (dps.md 7.1). */
export async function listLinkedHubs(options: Printed, environment: Environment): Promise<void> {
  const { service } = await find(options, environment)
  await print(environment, options, hubsOf(service.properties), columns)
}

export async function showLinkedHub(options: One, environment: Environment): Promise<void> {
  const { rest, service } = await find(options, environment)
  const hub = await requireLinked(rest, hubsOf(service.properties), options.linkedHub)
  await print(environment, options, hub, columns)
}

export async function createLinkedHub(options: CreateOptions, environment: Environment): Promise<void> {
  const { hubName, connectionString, location } = options
  if ((hubName === undefined) === (connectionString === undefined))
    throw usage('Expected one of --hub-name and --connection-string, found both or neither.')
  const { rest, service } = await find(options, environment)
  const added = compact({
    connectionString: connectionString ?? (await connectionStringOf(rest, hubName ?? '')),
    location,
    ...allocationOf(options),
  })
  const hubs = await replaceHubs(rest, service, [...hubsOf(service.properties), added as JsonObject])
  await print(environment, options, hubs, columns)
}

export async function updateLinkedHub(options: One & Allocation, environment: Environment): Promise<void> {
  const changes = allocationOf(options)
  if (Object.keys(changes).length === 0)
    throw usage('Expected --allocation-weight or --apply-allocation-policy, found neither.')
  const { rest, service } = await find(options, environment)
  const hubs = hubsOf(service.properties)
  const changed = await requireLinked(rest, hubs, options.linkedHub)
  const after = await replaceHubs(
    rest,
    service,
    hubs.map((hub) => (hub === changed ? { ...hub, ...changes } : hub)),
  )
  const hub = after.find(({ name }) => name === changed['name'])
  await print(environment, options, hub, columns)
}

export async function deleteLinkedHub(options: One, environment: Environment): Promise<void> {
  const { rest, service } = await find(options, environment)
  const hubs = hubsOf(service.properties)
  const gone = await requireLinked(rest, hubs, options.linkedHub)
  const after = await replaceHubs(
    rest,
    service,
    hubs.filter((hub) => hub !== gone),
  )
  await print(environment, options, after, columns)
}

async function find(options: Printed, environment: Environment): Promise<{ rest: Rest; service: InstanceResource }> {
  const rest = await managementRest(options, environment)
  return { rest, service: await readInstance(rest, 'dps', await onlyName(rest, 'dps', options.dpsName)) }
}

const hubsOf = (properties: unknown): readonly JsonObject[] => {
  const hubs = isObject(properties) ? properties['iotHubs'] : undefined
  return Array.isArray(hubs) ? (hubs.filter(isObject) as JsonObject[]) : []
}

async function replaceHubs(
  rest: Rest,
  service: InstanceResource,
  iotHubs: readonly JsonObject[],
): Promise<readonly JsonObject[]> {
  const properties = { ...service.properties, iotHubs: [...iotHubs] }
  return hubsOf((await replaceInstance(rest, 'dps', service, { properties }))['properties'])
}

/** The hub that the user means: by its host name, or a name without a dot, which is that of a hub of this service. */
async function requireLinked(rest: Rest, hubs: readonly JsonObject[], linkedHub: string): Promise<JsonObject> {
  const meant = (linkedHub.includes('.') ? linkedHub : await hostNameOf(rest, linkedHub)).toLowerCase()
  const names = hubs.map((hub) => ({ hub, name: String(hub['name']).toLowerCase() }))
  const exact = names.find(({ name }) => name === meant)
  // Our own hubs are linked without the port that users are told (ARCHITECTURE.md), others as they were given.
  const byHost = names.filter(({ name }) => splitHost(name).host === splitHost(meant).host)
  const found = exact ?? (byHost.length === 1 ? byHost[0] : undefined)
  if (found !== undefined) return found.hub
  const known = hubs.map(({ name }) => String(name)).join(', ') || 'none'
  throw notFound(`Expected the host name of a linked hub (${known}), found ${JSON.stringify(linkedHub.slice(0, 80))}.`)
}

const allocationOf = ({ allocationWeight, applyAllocationPolicy }: Allocation): JsonObject =>
  compact({ allocationWeight, applyAllocationPolicy }) as JsonObject

async function hostNameOf(rest: Rest, hub: string): Promise<string> {
  const { hostName } = (await readInstance(rest, 'hub', hub)).properties
  if (typeof hostName === 'string') return hostName
  throw usage(`Expected a host name of ${hub}, found none.`)
}

async function connectionStringOf(rest: Rest, hub: string): Promise<string> {
  const hostName = await hostNameOf(rest, hub)
  const policy = ownerOf('hub', await policiesOf(rest, 'hub', hub))
  if (policy === undefined) throw usage(`Expected a policy of ${hub}, found none.`)
  return `HostName=${hostName};SharedAccessKeyName=${policy.keyName};SharedAccessKey=${policy.primaryKey}`
}
