import { compact, type JsonObject } from '../base/json.ts'
import type { Environment } from './environment.ts'
import { pairsOf } from './generic-update.ts'
import { dialledDocument, listDocuments, managementPath, onlyName, readInstance, requireNew } from './management.ts'
import { type Answering, type Columns, print } from './output.ts'
import { readReadyFile } from './ready-file.ts'
import { type ManagementOptions, managementOf, managementRest } from './services.ts'

interface Answered extends ManagementOptions, Answering {}

interface One extends Answered {
  readonly hubName?: string
  readonly etag?: string
}

interface CreateOptions extends Answered {
  readonly hubName: string
  readonly location?: string
  readonly sku?: string
  readonly unit?: number
  readonly partitionCount?: number
  readonly retentionDay?: number
  readonly tags?: readonly string[]
}

const columns: Columns = {
  Name: 'name',
  'Host name': 'properties.hostName',
  State: 'properties.state',
  Partitions: 'properties.eventHubEndpoints.events.partitionCount',
}

/** The hubs of this service, over the management API (hub-service.md 11). */
export async function listHubs(options: Answered, environment: Environment): Promise<void> {
  const ready = await readReadyFile(options.readyFile, environment)
  const hubs = await listDocuments(await managementOf(ready, environment), 'hub')
  await print(
    environment,
    options,
    hubs.map((hub) => dialledDocument(hub, ready)),
    columns,
  )
}

export async function showHub(options: One, environment: Environment): Promise<void> {
  const ready = await readReadyFile(options.readyFile, environment)
  const rest = await managementOf(ready, environment)
  const { document } = await readInstance(rest, 'hub', await onlyName(rest, 'hub', options.hubName))
  await print(environment, options, dialledDocument(document, ready), columns)
}

/** A name that is taken is refused, as by the az CLI. */
export async function createHub(options: CreateOptions, environment: Environment): Promise<void> {
  const { hubName: name, location, sku, unit, partitionCount, retentionDay, tags } = options
  const ready = await readReadyFile(options.readyFile, environment)
  const rest = await managementOf(ready, environment)
  await requireNew(rest, 'hub', name)
  const events = compact({ partitionCount, retentionTimeInDays: retentionDay })
  const document = compact({
    location,
    tags: tags && pairsOf(tags),
    sku: sku === undefined && unit === undefined ? undefined : compact({ name: sku ?? 'S1', capacity: unit }),
    properties: { ...(Object.keys(events).length > 0 && { eventHubEndpoints: { events } }) },
  })
  const { body } = await rest({ method: 'PUT', path: managementPath('hub', name), body: document })
  await print(environment, options, dialledDocument(body as JsonObject, ready), columns)
}

export async function deleteHub(options: One & { readonly hubName: string }, environment: Environment): Promise<void> {
  const rest = await managementRest(options, environment)
  const headers: Record<string, string> = options.etag === undefined ? {} : { 'If-Match': options.etag }
  await rest({ method: 'DELETE', path: managementPath('hub', options.hubName), headers })
}
