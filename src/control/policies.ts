import { ServiceError } from '../base/errors.ts'
import { Fields, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import { decodeKey, generateKey } from '../crypto/keys.ts'

/** Shared access policies: names, keys and rights of Azure (dps.md 6.7, hub-service.md 1.1). */

export const hubRights = ['RegistryRead', 'RegistryWrite', 'ServiceConnect', 'DeviceConnect'] as const
export type HubRight = (typeof hubRights)[number]

export const dpsRights = [
  'ServiceConfig',
  'DeviceConnect',
  'EnrollmentRead',
  'EnrollmentWrite',
  'RegistrationStatusRead',
  'RegistrationStatusWrite',
] as const
export type DpsRight = (typeof dpsRights)[number]

export interface Policy<R extends string> {
  readonly keyName: string
  /** Base64 of 16 to 64 bytes. */
  readonly primaryKey: string
  readonly secondaryKey: string
  readonly rights: readonly R[]
}

/** Who asks: a shared access policy of a service call, a device on its own behalf, or the holder of the management token. */
export interface Caller {
  readonly kind: 'policy' | 'device' | 'management'
  readonly name: string
}

/** A policy as a PUT document carries it. */
export interface PolicyInput {
  readonly keyName: string
  /** Absent or `****`: the stored key, or a generated one for a new policy. Empty text: a new generated one. */
  readonly primaryKey?: string
  readonly secondaryKey?: string
  /** Names joined by `, ` in any letter case. */
  readonly rights: string
}

/** What a service's policies may be. */
export interface PolicyKind<R extends string> {
  readonly rights: readonly R[]
  /** Made with a new instance; clients that look for one take the first that fits, so the owner comes first. */
  readonly defaults: readonly { readonly keyName: string; readonly rights: readonly R[] }[]
  /** A right that is never held without another one. */
  readonly together?: { readonly right: R; readonly with: R }
  /** Of the policies, those with this right are fewer still. */
  readonly ceiling?: { readonly right: R; readonly most: number }
}

/**
 * The default owner holds every right there is (dps.md 6.7): the two read rights by their write rights. The az CLI
 * looks for ServiceConfig and EnrollmentWrite by these names.
 */
export const dpsPolicies: PolicyKind<DpsRight> = {
  rights: dpsRights,
  defaults: [
    {
      keyName: 'provisioningserviceowner',
      rights: ['ServiceConfig', 'DeviceConnect', 'EnrollmentWrite', 'RegistrationStatusWrite'],
    },
  ],
}

/** hub-service.md 1.1. RegistryWrite comes always together with RegistryRead, as in the flags of the real service. */
export const hubPolicies: PolicyKind<HubRight> = {
  rights: hubRights,
  defaults: [
    { keyName: 'iothubowner', rights: ['RegistryRead', 'RegistryWrite', 'ServiceConnect', 'DeviceConnect'] },
    { keyName: 'service', rights: ['ServiceConnect'] },
    { keyName: 'device', rights: ['DeviceConnect'] },
    { keyName: 'registryRead', rights: ['RegistryRead'] },
    { keyName: 'registryReadWrite', rights: ['RegistryRead', 'RegistryWrite'] },
  ],
  together: { right: 'RegistryWrite', with: 'RegistryRead' },
  ceiling: { right: 'ServiceConnect', most: limits.serviceConnectPolicies },
}

const IMPLIED_BY: Readonly<Record<string, string>> = {
  EnrollmentRead: 'EnrollmentWrite',
  RegistrationStatusRead: 'RegistrationStatusWrite',
  RegistryRead: 'RegistryWrite',
}

/** Whether the policy holds the right, or the write right that implies it (dps.md 6.7). */
export const grants = (policy: Policy<string>, right: string): boolean =>
  policy.rights.some((held) => held === right || held === IMPLIED_BY[right])

/** How the rights are written: `RegistryRead, RegistryWrite`; the az CLI splits at the comma and the blank. */
export const rightsText = (policy: Policy<string>): string => policy.rights.join(', ')

/** Policy names do not differ by case alone. */
export const findPolicy = <R extends string>(policies: readonly Policy<R>[], keyName: string): Policy<R> | undefined =>
  policies.find((policy) => policy.keyName.toLowerCase() === keyName.toLowerCase())

/** The policy, or a 404 that lists the ones there are. */
export function requirePolicy<R extends string>(policies: readonly Policy<R>[], keyName: string): Policy<R> {
  const found = findPolicy(policies, keyName)
  if (found !== undefined) return found
  const known = policies.map((policy) => policy.keyName).join(', ') || 'none'
  throw new ServiceError(
    404000,
    `Expected the name of a shared access policy (${known}), found ${JSON.stringify(keyName)}.`,
  )
}

const newKey = (random: Random): string => generateKey(random, limits.policyKeyBytes)

export const defaultPolicies = <R extends string>(kind: PolicyKind<R>, random: Random): Policy<R>[] =>
  kind.defaults.map(({ keyName, rights }) => ({
    keyName,
    primaryKey: newKey(random),
    secondaryKey: newKey(random),
    rights,
  }))

/** The whole list of a PUT document; `stored` are the policies it replaces. */
export function readPolicies<R extends string>(
  fields: Fields,
  stored: readonly Policy<R>[],
  kind: PolicyKind<R>,
  random: Random,
): Policy<R>[] | undefined {
  const member = 'authorizationPolicies'
  const policies = fields
    .array(member)
    ?.map((item, at) => readPolicy(new Fields(item, `properties.${member}[${at}]`), stored, kind, random))
  if (policies === undefined) return undefined
  for (const [at, { keyName }] of policies.entries())
    if (findPolicy(policies.slice(0, at), keyName) !== undefined)
      fields.fail(member, 'policies of different names', `${JSON.stringify(keyName)} twice`)
  requireFew(policies, kind)
  return policies
}

const NAME = new RegExp(`^[A-Za-z0-9_\\-@.]{1,${limits.policyNameLength}}$`)

/** One policy of a PUT document. Keys that it leaves out or masks are the stored ones. */
export function readPolicy<R extends string>(
  fields: Fields,
  stored: readonly Policy<R>[],
  kind: PolicyKind<R>,
  random: Random,
): Policy<R> {
  const keyName = fields.required('keyName', fields.string('keyName'))
  if (!NAME.test(keyName))
    fields.fail('keyName', `1 to ${limits.policyNameLength} of A-Z a-z 0-9 _ - @ .`, JSON.stringify(keyName))
  const before = findPolicy(stored, keyName)
  return {
    keyName,
    primaryKey: readKey(fields, 'primaryKey', before?.primaryKey, random),
    secondaryKey: readKey(fields, 'secondaryKey', before?.secondaryKey, random),
    rights: readRights(fields, kind),
  }
}

function readKey(fields: Fields, member: string, stored: string | undefined, random: Random): string {
  const text = fields.string(member)
  if (text === undefined) return stored ?? newKey(random)
  if (text === '') return newKey(random)
  if (isMasked(text))
    return stored ?? fields.fail(member, 'a key, or left out to have one made', 'a masked key of a new policy')
  if (decodeKey(text) === undefined)
    fields.fail(member, `base64 of ${limits.keyBytesLeast} to ${limits.keyBytes} bytes`, 'something else')
  return text
}

function readRights<R extends string>(fields: Fields, kind: PolicyKind<R>): R[] {
  const expected = `one or more of ${kind.rights.join(', ')}, separated by commas`
  const text = fields.required('rights', fields.string('rights'))
  const named = text.split(',').map((word) => {
    const found = kind.rights.find((right) => right.toLowerCase() === word.trim().toLowerCase())
    return found ?? fields.fail('rights', expected, JSON.stringify(text))
  })
  const { together } = kind
  const implied = together !== undefined && named.includes(together.right) ? [together.with] : []
  return kind.rights.filter((right) => named.includes(right) || implied.includes(right))
}

function requireFew<R extends string>(policies: readonly Policy<R>[], kind: PolicyKind<R>): void {
  const refuse = (what: string, most: number, found: number) => {
    throw new ServiceError(400004, `properties.authorizationPolicies must be at most ${most} ${what}, found ${found}.`)
  }
  if (policies.length > limits.policies) refuse('policies', limits.policies, policies.length)
  const { ceiling } = kind
  const counted = policies.filter((policy) => ceiling !== undefined && policy.rights.includes(ceiling.right)).length
  if (ceiling !== undefined && counted > ceiling.most) refuse(`policies with ${ceiling.right}`, ceiling.most, counted)
}

/** A key that was replaced by stars where it left the service: it stands for the stored one. */
export const isMasked = (text: string): boolean => /^\*+$/.test(text)

export const MASK = '****'

/** What a change of one policy makes of the list. */
export type PolicyChange = <R extends string>(
  policies: readonly Policy<R>[],
  kind: PolicyKind<R>,
  random: Random,
) => readonly Policy<R>[]

/** Adds the policy, or changes rights and keys of the one of that name in its place. */
export const putPolicy =
  (input: PolicyInput | JsonObject): PolicyChange =>
  (policies, kind, random) => {
    const policy = readPolicy(new Fields(input, 'policy'), policies, kind, random)
    const before = findPolicy(policies, policy.keyName)
    const next =
      before === undefined ? [...policies, policy] : policies.map((each) => (each === before ? policy : each))
    requireFew(next, kind)
    return next
  }

export const removePolicy =
  (keyName: string): PolicyChange =>
  (policies) => {
    const gone = requirePolicy(policies, keyName)
    return policies.filter((policy) => policy !== gone)
  }

export const regenerateKey =
  (keyName: string, key: 'primary' | 'secondary'): PolicyChange =>
  (policies, _kind, random) => {
    const found = requirePolicy(policies, keyName)
    const member = key === 'primary' ? 'primaryKey' : 'secondaryKey'
    return policies.map((policy) => (policy === found ? { ...policy, [member]: newKey(random) } : policy))
  }
