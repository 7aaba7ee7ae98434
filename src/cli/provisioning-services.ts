import { compact, isObject, type Json, type JsonObject } from '../base/json.ts'
import type { Environment } from './environment.ts'
import { assign, assignmentOf, pairsOf } from './generic-update.ts'
import {
  dialledDocument,
  listDocuments,
  managementPath,
  onlyName,
  readInstance,
  replaceInstance,
  requireNew,
} from './management.ts'
import { type Answering, type Columns, print } from './output.ts'
import { readReadyFile } from './ready-file.ts'
import { type ManagementOptions, managementOf, managementRest } from './services.ts'

interface Options extends ManagementOptions, Answering {
  readonly dpsName?: string
}

interface Named extends Options {
  readonly dpsName: string
}

const columns: Columns = {
  Name: 'name',
  'ID scope': 'properties.idScope',
  'Service host': 'properties.serviceOperationsHostName',
  Allocation: 'properties.allocationPolicy',
  Location: 'location',
}

/** Provisioning services as resources of the management API (dps.md 7.1, 7.2). */
export async function listServices(options: Options, environment: Environment): Promise<void> {
  const ready = await readReadyFile(options.readyFile, environment)
  const services = await listDocuments(await managementOf(ready, environment), 'dps')
  await print(
    environment,
    options,
    services.map((service) => dialledDocument(service, ready)),
    columns,
  )
}

export async function showService(options: Options, environment: Environment): Promise<void> {
  const ready = await readReadyFile(options.readyFile, environment)
  const { service } = await find(options, environment)
  await print(environment, options, dialledDocument(service.document, ready), columns)
}

export async function createService(
  options: Named & {
    readonly location?: string
    readonly tags?: readonly string[]
  },
  environment: Environment,
): Promise<void> {
  const { dpsName, location, tags } = options
  const body = compact({
    location,
    tags: tags && pairsOf(tags),
    properties: {},
  })
  const ready = await readReadyFile(options.readyFile, environment)
  const rest = await managementOf(ready, environment)
  await requireNew(rest, 'dps', dpsName)
  const answer = await rest({ method: 'PUT', path: managementPath('dps', dpsName), body })
  await print(environment, options, dialledDocument(answer.body as JsonObject, ready), columns)
}

export async function updateService(
  options: Options & { readonly set?: readonly string[]; readonly tags?: readonly string[] },
  environment: Environment,
): Promise<void> {
  const { set = [], tags } = options
  const assignments = set.map(assignmentOf)
  const ready = await readReadyFile(options.readyFile, environment)
  const { rest, service } = await find(options, environment)
  const document = structuredClone(service.document)
  for (const assignment of assignments) assign(document, assignment)
  const changes = tags === undefined ? document : { ...document, tags: pairsOf(tags) }
  const changed = await replaceInstance(rest, 'dps', service, changes)
  await print(environment, options, dialledDocument(changed, ready), columns)
}

export async function deleteService(options: Named, environment: Environment): Promise<void> {
  const rest = await managementRest(options, environment)
  await rest({ method: 'DELETE', path: managementPath('dps', options.dpsName) })
}

const policyColumns: Columns = { Name: 'name', 'Allocation policy': 'allocationPolicy' }

const policyOf = ({ name, properties }: JsonObject): JsonObject => ({
  name: name ?? null,
  allocationPolicy: (isObject(properties) ? (properties['allocationPolicy'] as Json) : undefined) ?? null,
})

export async function listAllocationPolicies(options: Options, environment: Environment): Promise<void> {
  const rest = await managementRest(options, environment)
  await print(environment, options, (await listDocuments(rest, 'dps')).map(policyOf), policyColumns)
}

export async function showAllocationPolicy(options: Options, environment: Environment): Promise<void> {
  const { service } = await find(options, environment)
  await print(environment, options, policyOf(service.document), policyColumns)
}

export async function updateAllocationPolicy(
  options: Options & { readonly policy: string },
  environment: Environment,
): Promise<void> {
  const { rest, service } = await find(options, environment)
  const properties = { ...service.properties, allocationPolicy: options.policy }
  const changed = await replaceInstance(rest, 'dps', service, { properties })
  await print(environment, options, policyOf(changed), policyColumns)
}

async function find(options: Options, environment: Environment) {
  const rest = await managementRest(options, environment)
  const name = await onlyName(rest, 'dps', options.dpsName)
  return { rest, service: await readInstance(rest, 'dps', name) }
}
