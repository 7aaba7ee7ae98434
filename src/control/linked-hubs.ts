import { Fields } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { decodeKey, sameBytes } from '../crypto/keys.ts'
import type { Expectation } from '../store/store.ts'
import type { LinkedHubEntry } from './documents.ts'
import { hostName, isLinkTo } from './hosts.ts'
import { findPolicy, grants, type HubRight, isMasked, MASK, type Policy } from './policies.ts'

/** A linked hub as a PUT document carries it (dps.md 7.1 `iotHubs`). */
export interface LinkedHubInput {
  /** `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`; a key of `****` keeps the stored one. */
  readonly connectionString: string
  /** 1 to 1000, default 1. */
  readonly allocationWeight?: number
  /** Default true. */
  readonly applyAllocationPolicy?: boolean
  readonly location?: string
}

/** What a service's connection string says (hub-service.md 1.2). */
export interface HubConnection {
  /** Lower case, with its port. */
  readonly hostName: string
  readonly keyName: string
  /** Base64, or masked. */
  readonly key: string
}

/** The whole list of a PUT document; `stored` are the entries it replaces. Undefined: the document has none. */
export function readLinkedHubs(fields: Fields, stored: readonly LinkedHubEntry[]): LinkedHubEntry[] | undefined {
  const items = fields.array('iotHubs')
  if (items === undefined) return undefined
  if (items.length > limits.linkedHubs)
    fields.fail('iotHubs', `at most ${limits.linkedHubs} hubs`, String(items.length))
  const entries = items.map((item, at) => readLinkedHub(new Fields(item, linkedHubPath(at)), stored))
  for (const [at, entry] of entries.entries())
    if (entries.findIndex((other) => other.hostName === entry.hostName) !== at)
      fields.fail('iotHubs', 'hubs of different host names', `${JSON.stringify(entry.hostName)} twice`)
  return entries
}

const linkedHubPath = (at: number): string => `properties.iotHubs[${at}]`

function readLinkedHub(fields: Fields, stored: readonly LinkedHubEntry[]): LinkedHubEntry {
  const connection = readConnection(fields)
  // `name` is read-only: whoever changes it without the connection string would link another hub than meant.
  const name = fields.string('name')
  if (name !== undefined && name.toLowerCase() !== connection.hostName)
    fields.fail('name', `the HostName of the connection string (${connection.hostName})`, JSON.stringify(name))
  const location = fields.string('location')
  return {
    hostName: connection.hostName,
    allocationWeight: readWeight(fields),
    applyAllocationPolicy: fields.boolean('applyAllocationPolicy') ?? true,
    connectionString: isMasked(connection.key)
      ? keptConnectionString(fields, connection, stored)
      : connectionString(connection),
    ...(location === undefined ? {} : { location }),
  }
}

function readWeight(fields: Fields): number {
  const weight = fields.number('allocationWeight') ?? 1
  if (!Number.isInteger(weight) || weight < 1 || weight > 1000)
    fields.fail('allocationWeight', 'a whole number from 1 to 1000', String(weight))
  return weight
}

const SHAPE = '"HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"'

/** Complaints never repeat the text: it holds a key. */
function readConnection(fields: Fields): HubConnection {
  const text = fields.required('connectionString', fields.string('connectionString'))
  const fail = (found: string): never => fields.fail('connectionString', SHAPE, found)
  if (text.length > limits.connectionStringLength) fail(`${text.length} characters`)
  const connection = parseConnectionString(text, fail)
  if (!isMasked(connection.key) && decodeKey(connection.key) === undefined)
    fail(`a SharedAccessKey that is not base64 of ${limits.keyBytesLeast} to ${limits.keyBytes} bytes`)
  return connection
}

/** Parts in any order, their names in any letter case; a value may contain `=` (hub-service.md 1.2). */
export function parseConnectionString(text: string, fail: (found: string) => never): HubConnection {
  const parts = new Map<string, string>()
  for (const part of text.split(';').filter((each) => each.trim() !== '')) {
    const at = part.indexOf('=')
    const name = part.slice(0, Math.max(at, 0)).trim().toLowerCase()
    if (!['hostname', 'sharedaccesskeyname', 'sharedaccesskey'].includes(name)) fail('a part that is none of these')
    if (parts.has(name)) fail('one of these twice')
    parts.set(name, part.slice(at + 1).trim())
  }
  const required = (name: string): string => parts.get(name.toLowerCase()) || fail(`no ${name}`)
  const host = hostName(required('HostName')) ?? fail('a HostName that is no host name')
  return { hostName: host, keyName: required('SharedAccessKeyName'), key: required('SharedAccessKey') }
}

/** What a link's own connection string says; undefined where it is none. */
export function linkConnection(text: string): HubConnection | undefined {
  try {
    return parseConnectionString(text, () => {
      throw new RangeError('The stored connection string is malformed.')
    })
  } catch {
    return undefined
  }
}

const connectionString = ({ hostName, keyName, key }: HubConnection): string =>
  `HostName=${hostName};SharedAccessKeyName=${keyName};SharedAccessKey=${key}`

/** With its key replaced by stars: the form in which it may leave the service. */
export const maskedConnectionString = (text: string): string => text.replace(/(SharedAccessKey=)[^;]*/i, `$1${MASK}`)

function keptConnectionString(fields: Fields, masked: HubConnection, stored: readonly LinkedHubEntry[]): string {
  const before = stored.find((entry) => entry.hostName === masked.hostName)?.connectionString
  const same = before?.startsWith(connectionString({ ...masked, key: '' }))
  if (before !== undefined && same) return before
  return fields.fail(
    'connectionString',
    'a connection string with its key',
    `a masked key, and no linked hub ${masked.hostName} with policy ${masked.keyName} to keep it from`,
  )
}

/** One of our own hubs, as a link is judged by it. */
export interface LinkableHub {
  readonly hostNames: readonly string[]
  readonly policies: readonly Policy<HubRight>[]
  readonly presence: Expectation
}

/**
 * The key of a new link to a hub of our own can be judged at once, so a link that could never work is refused: DPS
 * writes the registry and connects to the service (dps.md 8.3). Answers with what keeps the judgement true. A link
 * whose connection string did not change is left alone: it may have outlived a key, as in Azure.
 */
export function judgeLinks(
  links: readonly LinkedHubEntry[],
  stored: readonly LinkedHubEntry[],
  hubs: readonly LinkableHub[],
): readonly Expectation[] {
  return links.flatMap((link, at) => {
    if (stored.some((before) => before.connectionString === link.connectionString)) return []
    const hub = hubs.find(({ hostNames }) => isLinkTo(hostNames, link.hostName))
    if (hub === undefined) return []
    requireUsable(link, new Fields({}, linkedHubPath(at)), hub.policies)
    return [hub.presence]
  })
}

function requireUsable(link: LinkedHubEntry, fields: Fields, policies: readonly Policy<HubRight>[]): void {
  const fail = (expected: string, found: string): never => fields.fail('connectionString', expected, found)
  const { keyName, key } = parseConnectionString(link.connectionString ?? '', (found) => fail(SHAPE, found))
  const policy = findPolicy(policies, keyName)
  const given = decodeKey(key)
  const keys = [policy?.primaryKey, policy?.secondaryKey].flatMap((each) => decodeKey(each ?? '') ?? [])
  if (policy === undefined || given === undefined || !keys.some((each) => sameBytes(each, given))) {
    const found = `policy ${JSON.stringify(keyName)} with a key that is not of that hub`
    fail(`a policy of the hub ${link.hostName} with one of its keys`, found)
  }
  const missing = (['RegistryWrite', 'ServiceConnect'] as const).filter((right) => !policy || !grants(policy, right))
  if (missing.length > 0)
    fail('a policy with RegistryWrite and ServiceConnect', `${keyName}, which lacks ${missing.join(' and ')}`)
}
