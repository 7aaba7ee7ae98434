import { compact } from '../base/json.ts'
import { type Environment, notFound, notice, usage } from './environment.ts'
import { managementPath, onlyName, type PolicyKeys, policiesOf, type Resource, readInstance } from './management.ts'
import { type Answering, asksForKeys, type Columns, print } from './output.ts'
import type { Rest } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

/** Shared access policies of a provisioning service or a hub, over the management API (dps.md 6.7, hub-service.md 1.1). */

interface Options extends ManagementOptions, Answering {}

interface One extends Options {
  readonly policyName: string
}

export interface PolicyOptions extends One {
  readonly rights?: readonly string[]
  /** Empty: a new one. */
  readonly primaryKey?: string
  readonly secondaryKey?: string
}

const columns: Columns = { Policy: 'keyName', Rights: 'rights' }

/** Segment before the name of one policy. */
const segments = { dps: 'keys', hub: 'IotHubKeys' } as const

export async function listPolicies(
  kind: Resource,
  name: string | undefined,
  options: Options,
  environment: Environment,
): Promise<void> {
  const { policies } = await find(kind, name, options, environment)
  await printPolicies(policies, options, environment)
}

export async function showPolicy(
  kind: Resource,
  name: string | undefined,
  options: One,
  environment: Environment,
): Promise<void> {
  const { policies } = await find(kind, name, options, environment)
  await printPolicies(requireNamed(policies, options.policyName), options, environment)
}

export async function createPolicy(
  kind: Resource,
  name: string | undefined,
  options: PolicyOptions & { readonly rights: readonly string[] },
  environment: Environment,
): Promise<void> {
  const found = await find(kind, name, options, environment)
  const existing = named(found.policies, options.policyName)
  if (existing !== undefined)
    throw usage(
      `Expected the name of a new policy, found ${existing.keyName}, which exists already. Change it by "update".`,
    )
  await put(found, options.policyName, options, options, environment)
}

export async function updatePolicy(
  kind: Resource,
  name: string | undefined,
  options: PolicyOptions,
  environment: Environment,
): Promise<void> {
  const found = await find(kind, name, options, environment)
  const { keyName, rights } = requireNamed(found.policies, options.policyName)
  await put(found, keyName, { ...options, rights: options.rights ?? [rights] }, options, environment)
}

export async function renewKey(
  kind: Resource,
  name: string | undefined,
  options: One & { readonly renewKey: 'primary' | 'secondary' | 'swap' },
  environment: Environment,
): Promise<void> {
  const found = await find(kind, name, options, environment)
  const { keyName, primaryKey, secondaryKey, rights } = requireNamed(found.policies, options.policyName)
  const keys = {
    primary: { primaryKey: '' },
    secondary: { secondaryKey: '' },
    swap: { primaryKey: secondaryKey, secondaryKey: primaryKey },
  }[options.renewKey]
  await put(found, keyName, { ...keys, rights: [rights] }, options, environment)
}

/** Answers with those that are left, as the az CLI. */
export async function deletePolicy(
  kind: Resource,
  name: string | undefined,
  options: One,
  environment: Environment,
): Promise<void> {
  const { rest, path, policies } = await find(kind, name, options, environment)
  const gone = requireNamed(policies, options.policyName)
  await rest({ method: 'DELETE', path: path(gone.keyName) })
  const left = policies.filter((policy) => policy !== gone)
  await printPolicies(left, options, environment)
}

interface Found {
  readonly rest: Rest
  readonly path: (policy: string) => string
  readonly policies: readonly PolicyKeys[]
  readonly etag: string | undefined
}

async function find(
  kind: Resource,
  given: string | undefined,
  options: Options,
  environment: Environment,
): Promise<Found> {
  const rest = await managementRest(options, environment)
  const name = await onlyName(rest, kind, given)
  // The etag first: whoever changes policies between the two is noticed.
  const { etag } = await readInstance(rest, kind, name)
  const path = (policy: string): string => managementPath(kind, name, segments[kind], policy)
  return { rest, path, etag, policies: await policiesOf(rest, kind, name) }
}

async function put(
  { rest, path, etag }: Found,
  keyName: string,
  { rights, primaryKey, secondaryKey }: Omit<PolicyOptions, keyof One>,
  options: Options,
  environment: Environment,
): Promise<void> {
  const body = compact({ keyName, rights: rights?.join(', '), primaryKey, secondaryKey })
  const headers: Record<string, string> = etag === undefined ? {} : { 'If-Match': etag }
  const answer = await rest({ method: 'PUT', path: path(keyName), headers, body })
  await printPolicies(answer.body, options, environment)
}

async function printPolicies(policies: unknown, options: Options, environment: Environment): Promise<void> {
  if (!asksForKeys(options)) notice(environment, 'keys are not shown; --show-keys shows them')
  await print(environment, options, policies, columns)
}

const named = (policies: readonly PolicyKeys[], name: string): PolicyKeys | undefined =>
  policies.find(({ keyName }) => keyName.toLowerCase() === name.toLowerCase())

function requireNamed(policies: readonly PolicyKeys[], name: string): PolicyKeys {
  const found = named(policies, name)
  if (found !== undefined) return found
  const known = policies.map(({ keyName }) => keyName).join(', ') || 'none'
  throw notFound(`Expected the name of a policy (${known}), found ${JSON.stringify(name.slice(0, 80))}.`)
}
