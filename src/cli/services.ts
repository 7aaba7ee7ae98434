import { Fields } from '../base/json.ts'
import { type Environment, usage } from './environment.ts'
import { managementPath, policiesOf } from './management.ts'
import { absolute, type ReadyFile, readReadyFile } from './ready-file.ts'
import { createRest, type Rest } from './rest.ts'
import { loginTarget, readText, readyTarget } from './target.ts'

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

/** The provisioning service's REST API: by `--login`, else by name through the management API, else the ready file's. */
export async function dpsRest(options: DpsOptions, environment: Environment): Promise<Rest> {
  const { login, ca, dpsName } = options
  if (login !== undefined) return createRest(await loginTarget(login, ca, environment), environment)
  const ready = await readReadyFile(options.readyFile, environment)
  const connectionString =
    dpsName === undefined ? ready.dps?.connectionString : await discover(ready, 'dps', dpsName, environment)
  if (connectionString === undefined) throw usage(`Expected a provisioning service in ${ready.path}, found none.`)
  return createRest(await readyTarget(ready, connectionString, ca, environment), environment)
}

/** A hub's REST API: by `--login`, else by name through the management API, else the only one of the ready file. */
export async function hubRest(options: HubOptions, environment: Environment): Promise<Rest> {
  const { login, ca, hubName } = options
  if (login !== undefined) return createRest(await loginTarget(login, ca, environment), environment)
  const ready = await readReadyFile(options.readyFile, environment)
  const [only, ...others] = ready.hubs
  if (hubName === undefined && others.length > 0)
    throw usage(`Expected --hub-name: the service has several hubs, ${ready.hubs.map(({ name }) => name).join(', ')}.`)
  const connectionString =
    hubName === undefined ? only?.connectionString : await discover(ready, 'hub', hubName, environment)
  if (connectionString === undefined) throw usage(`Expected a hub in ${ready.path}, found none.`)
  return createRest(await readyTarget(ready, connectionString, ca, environment), environment)
}

/** The management API, which only the ready file names. */
export async function managementRest(options: ManagementOptions, environment: Environment): Promise<Rest> {
  return managementOf(await readReadyFile(options.readyFile, environment), environment)
}

/** The management API of a ready file that was read already. */
export async function managementOf(ready: ReadyFile, environment: Environment): Promise<Rest> {
  if (ready.management === undefined) throw usage(`Expected a management API in ${ready.path}, found none.`)
  const token = await readText(absolute(environment.cwd, ready.management.tokenFile), 'the management token')
  const target = { kind: 'bearer', url: new URL(ready.management.url), token: token.trim() } as const
  return createRest(target, environment)
}

/** Looks a service up by name, as the az CLI does through its control plane, and takes its first policy. */
async function discover(
  ready: ReadyFile,
  kind: 'dps' | 'hub',
  name: string,
  environment: Environment,
): Promise<string> {
  const rest = await managementOf(ready, environment)
  const { body } = await rest({ method: 'GET', path: managementPath(kind, name) })
  const properties = new Fields(body, name).fields('properties')
  const hostName = properties?.string(kind === 'dps' ? 'serviceOperationsHostName' : 'hostName')
  const [policy] = await policiesOf(rest, kind, name)
  if (hostName === undefined || policy === undefined)
    throw usage(`Expected a host name and a shared access policy of ${name}, found none.`)
  return `HostName=${hostName};SharedAccessKeyName=${policy.keyName};SharedAccessKey=${policy.primaryKey}`
}
