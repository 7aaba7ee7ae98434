import { Fields } from '../base/json.ts'
import { type Environment, usage } from './environment.ts'
import { readNamed } from './files.ts'
import { managementPath, onlyName, ownerOf, policiesOf, type Resource } from './management.ts'
import { dialledAs, type ReadyFile, readReadyFile } from './ready-file.ts'
import { createRest, type Rest } from './rest.ts'
import { loginTarget, readyTarget, type ServiceTarget } from './target.ts'

/** How a command is told which service it is for. */
interface TargetOptions {
  readonly readyFile?: string
  readonly login?: string
  readonly ca?: string
}

export interface DpsOptions extends TargetOptions {
  readonly dpsName?: string
}

export interface HubOptions extends TargetOptions {
  readonly hubName?: string
}

export interface ManagementOptions {
  readonly readyFile?: string
}

/** The provisioning service's REST API: by `--login`, else found through the management API, else the ready file's. */
export async function dpsRest(options: DpsOptions, environment: Environment): Promise<Rest> {
  const { login, ca, dpsName } = options
  if (login !== undefined) return createRest(await loginTarget(login, ca, environment), environment)
  const ready = await readReadyFile(options.readyFile, environment)
  const connectionString =
    ready.management === undefined && dpsName === undefined
      ? ready.dps?.connectionString
      : await discover(ready, 'dps', dpsName, environment)
  if (connectionString === undefined) throw usage(`Expected a provisioning service in ${ready.path}, found none.`)
  return createRest(await readyTarget(ready, connectionString, ca, environment), environment)
}

/** A hub's REST API, found in the same way as its target. */
export const hubRest = async (options: HubOptions, environment: Environment): Promise<Rest> =>
  createRest(await hubTarget(options, environment), environment)

/** Where a hub's REST API is: by `--login`, else found through the management API, else the only one of the ready file. */
export async function hubTarget(options: HubOptions, environment: Environment): Promise<ServiceTarget> {
  const { login, ca, hubName } = options
  if (login !== undefined) return loginTarget(login, ca, environment)
  const ready = await readReadyFile(options.readyFile, environment)
  const connectionString =
    ready.management === undefined && hubName === undefined
      ? onlyHub(ready).connectionString
      : await discover(ready, 'hub', hubName, environment)
  return readyTarget(ready, connectionString, ca, environment)
}

/** The management API for a hub, and the hub's name there; undefined with `--login`, which leads to the hub alone. */
export async function hubManagement(
  options: HubOptions,
  environment: Environment,
): Promise<{ readonly rest: Rest; readonly name: string } | undefined> {
  if (options.login !== undefined) return undefined
  const rest = await managementRest(options, environment)
  return { rest, name: await onlyName(rest, 'hub', options.hubName) }
}

function onlyHub({ path, hubs }: ReadyFile): ReadyFile['hubs'][number] {
  const [only, ...others] = hubs
  if (only === undefined) throw usage(`Expected a hub in ${path}, found none.`)
  if (others.length === 0) return only
  throw usage(`Expected --hub-name: the service has several hubs, ${hubs.map(({ name }) => name).join(', ')}.`)
}

/** The management API, which only the ready file names. */
export async function managementRest(options: ManagementOptions, environment: Environment): Promise<Rest> {
  return managementOf(await readReadyFile(options.readyFile, environment), environment)
}

/** The management API of a ready file that was read already. */
export async function managementOf(ready: ReadyFile, environment: Environment): Promise<Rest> {
  if (ready.management === undefined) throw usage(`Expected a management API in ${ready.path}, found none.`)
  const { url, tokenFile } = ready.management
  const token = (await readNamed(tokenFile, 'the management token', environment)).toString('utf8').trim()
  const target = { kind: 'bearer', url, token } as const
  return createRest(target, environment)
}

/**
 * Looks a service up, as the az CLI does through its control plane. The ready file tells what was there at the start:
 * since then hubs may have come, and keys may have been renewed.
 */
async function discover(
  ready: ReadyFile,
  kind: Resource,
  given: string | undefined,
  environment: Environment,
): Promise<string> {
  const rest = await managementOf(ready, environment)
  const name = await onlyName(rest, kind, given)
  const { body } = await rest({ method: 'GET', path: managementPath(kind, name) })
  const properties = new Fields(body, name).fields('properties')
  const hostName = properties?.string(kind === 'dps' ? 'serviceOperationsHostName' : 'hostName')
  const policy = ownerOf(kind, await policiesOf(rest, kind, name))
  if (hostName === undefined || policy === undefined)
    throw usage(`Expected a host name and a shared access policy of ${name}, found none.`)
  return `HostName=${dialledAs(hostName, ready)};SharedAccessKeyName=${policy.keyName};SharedAccessKey=${policy.primaryKey}`
}
