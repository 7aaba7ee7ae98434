import { type Environment, notFound, notice, refused } from './environment.ts'
import { namesOf, type PolicyKeys, policiesOf, type Resource, readInstance } from './management.ts'
import { type Answering, print } from './output.ts'
import { dialledAs, type ReadyFile, readReadyFile } from './ready-file.ts'
import type { Rest } from './rest.ts'
import { type ManagementOptions, managementOf } from './services.ts'

interface Options extends ManagementOptions, Answering {
  readonly policyName: string
  readonly keyType: 'primary' | 'secondary'
  readonly showAll?: boolean
}

/** Where an instance's host name stands: the one that its service API answers to (dps.md 7.1, hub-service.md 11). */
const hostNames = { dps: 'serviceOperationsHostName', hub: 'hostName' } as const

/**
 * `{connectionString}` of one instance; of all of them a list with their names, as the az CLI. Keys are what this
 * command is asked for.
 */
export async function showConnectionStrings(
  kind: Resource,
  name: string | undefined,
  options: Options,
  environment: Environment,
): Promise<void> {
  const ready = await readReadyFile(options.readyFile, environment)
  const rest = await managementOf(ready, environment)
  const strings = (instance: string) => connectionStringsOf(rest, ready, kind, instance, options)
  const asked = { ...options, showKeys: true }
  if (name !== undefined) {
    const found = await strings(name)
    if (found === undefined) throw notFound(`Expected a policy ${options.policyName} of ${name}, found none.`)
    return print(environment, asked, { connectionString: found }, { 'Connection string': 'connectionString' })
  }
  const all: object[] = []
  for (const each of await namesOf(rest, kind)) {
    const connectionString = await strings(each)
    if (connectionString === undefined) notice(environment, `${each} has no policy ${options.policyName}; left out`)
    else all.push({ name: each, connectionString })
  }
  await print(environment, asked, all, { Name: 'name', 'Connection string': 'connectionString' })
}

/** The connection string of the policy asked for, those of all policies, or undefined when there is no such policy. */
async function connectionStringsOf(
  rest: Rest,
  ready: ReadyFile,
  kind: Resource,
  name: string,
  { policyName, keyType, showAll }: Options,
): Promise<string | readonly string[] | undefined> {
  const hostName = (await readInstance(rest, kind, name)).properties[hostNames[kind]]
  if (typeof hostName !== 'string') throw refused(`Expected a host name of ${name}, found none.`)
  const host = dialledAs(hostName, ready)
  const connectionString = ({ keyName, primaryKey, secondaryKey }: PolicyKeys): string => {
    const key = keyType === 'primary' ? primaryKey : secondaryKey
    return `HostName=${host};SharedAccessKeyName=${keyName};SharedAccessKey=${key}`
  }
  const policies = await policiesOf(rest, kind, name)
  if (showAll === true) return policies.map(connectionString)
  const found = policies.find(({ keyName }) => keyName.toLowerCase() === policyName.toLowerCase())
  return found && connectionString(found)
}
