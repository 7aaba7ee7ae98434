import { codes, ServiceError } from '../base/errors.ts'
import { Fields, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Control, IotHub, Owner, ProvisioningService } from '../control/control.ts'
import type { Hub } from '../hub/hub.ts'
import type { Enrollments, Provisioning } from '../provisioning/provisioning.ts'
import { type Seed, SeedError, type SeedHubItem, type SeedItem } from './seed-document.ts'

export interface SeedNeeds {
  readonly control: Control
  readonly provisioning: Pick<Provisioning, 'enrollments' | 'enrollmentGroups'>
  readonly hub: { readonly registry: Pick<Hub['registry'], 'bulk'> }
  /** The provisioning service that the seed is for. */
  readonly serviceName: string
  /** Where a new hub of that name is reached, if it says nothing itself; undefined: `<name>.hub.localhost`. */
  readonly hubHostName?: (name: string) => Promise<string | undefined>
}

/** What came of a seed. */
export interface Seeded {
  readonly made: number
  /** Paths of what was there already and was left as it is. */
  readonly kept: readonly string[]
}

type Place = Pick<SeedItem, 'path' | 'id'>

const caller = { kind: 'management', name: 'seed' } as const
const API_VERSION = '2021-10-01'
const ABSENT = { kind: 'absent' } as const
const ANY = { kind: 'any' } as const

/**
 * Makes what the seed names through the operations that the APIs use: instances get the properties that it gives,
 * everything else is made where it does not exist and otherwise left as it is, so that repeating it after a crash ends
 * the same. @throws SeedError at the first thing that is refused
 */
export async function applySeed(needs: SeedNeeds, seed: Seed): Promise<Seeded> {
  const { control, provisioning, serviceName } = needs
  const kept: string[] = []
  let made = 0
  const make = async (item: SeedItem, step: () => Promise<unknown>): Promise<void> => {
    if (await succeeds(item, step)) made++
    else kept.push(item.path)
  }
  const certificates = async (owner: Owner, items: readonly SeedItem[]): Promise<void> => {
    for (const item of items) {
      const known = (await control.certificates.get(owner, item.id)) !== undefined
      if (known) kept.push(item.path)
      else await make(item, () => control.certificates.put(owner, item.id, item.document, ABSENT))
    }
  }

  // First, because of the ID scope: the one thing that an empty service admits and another does not.
  const own = await refusedAt(seed.service, () =>
    control.provisioningServices.put(caller, serviceName, seed.service.document, ANY),
  )
  for (const item of seed.hubs) {
    const hub = await refusedAt(item, () => putHub(needs, item))
    await certificates({ kind: 'hub', name: hub.name }, item.certificates)
    made += await putDevices(needs, hub, item.devices, kept)
  }
  const service = await refusedAt({ path: 'seed.hubs', id: '' }, () => linkHubs(needs, own, seed.hubs))
  await certificates({ kind: 'dps', name: serviceName }, seed.certificates)
  const hubs = await control.hubs.list()
  const enroll = async (room: Enrollments, items: readonly SeedItem[]): Promise<void> => {
    for (const item of items) {
      const document = withHostNames(item.document, hubs)
      await make(item, () => room.put(caller, service, item.id, document, { ifMatch: ABSENT, apiVersion: API_VERSION }))
    }
  }
  await enroll(provisioning.enrollmentGroups, seed.enrollmentGroups)
  await enroll(provisioning.enrollments, seed.enrollments)
  return { made, kept }
}

async function putHub({ control, hubHostName }: SeedNeeds, { id, document }: SeedHubItem): Promise<IotHub> {
  const existing = await control.hubs.get(id)
  const hostName = existing === undefined && document['hostNames'] === undefined ? await hubHostName?.(id) : undefined
  const properties = { ...document, ...(hostName !== undefined && { hostNames: [hostName] }) }
  return control.hubs.put(caller, id, properties, existing === undefined ? ABSENT : ANY)
}

/** Links the hubs of the seed, beside those that are linked. */
async function linkHubs(
  { control, serviceName }: SeedNeeds,
  { linkedHubs }: ProvisioningService,
  hubs: readonly SeedHubItem[],
): Promise<ProvisioningService> {
  const links = new Map<string, JsonObject>(linkedHubs.map((entry) => [entry.hostName, { ...entry }]))
  for (const { id, link } of hubs) {
    const hub = await control.hubs.get(id)
    const [hostName = ''] = hub?.hostNames ?? []
    // What a link needs (control/linked-hubs.ts); without one the link is refused with these words.
    const fits = hub?.policies.find(
      ({ rights }) => rights.includes('RegistryWrite') && rights.includes('ServiceConnect'),
    )
    const policy = fits ?? hub?.policies[0]
    const connectionString = `HostName=${hostName};SharedAccessKeyName=${policy?.keyName};SharedAccessKey=${policy?.primaryKey}`
    links.set(hostName, { ...links.get(hostName), connectionString, ...link })
  }
  return control.provisioningServices.put(caller, serviceName, { iotHubs: [...links.values()] }, ANY)
}

/** Through the bulk operation of the registry, which makes devices with their first twins. Answers how many it made. */
async function putDevices(
  { hub: { registry } }: SeedNeeds,
  hub: IotHub,
  items: readonly SeedItem[],
  kept: string[],
): Promise<number> {
  const before = kept.length
  for (let at = 0; at < items.length; at += limits.deviceBulk) {
    const batch = items.slice(at, at + limits.deviceBulk)
    const body = batch.map(({ document }) => ({ ...document, importMode: 'create' }))
    const { errors } = await refusedAt(batch[0], () => registry.bulk(caller, hub, body))
    for (const { deviceId, moduleId, errorCode, errorStatus } of errors) {
      const item = batch.find(({ id, document }) => id === deviceId && moduleOf(document) === moduleId)
      const path = item?.path ?? 'seed'
      if (errorCode !== codes[409001] && errorCode !== codes[409301])
        // The bulk operation names the place in its own batch.
        throw new SeedError(`${path} (${deviceId}): ${errorStatus.replace(/^\[\d+\]\./, 'device.')}`)
      kept.push(path)
    }
  }
  return items.length - (kept.length - before)
}

const moduleOf = (document: JsonObject): string | null => new Fields(document, 'device').string('moduleId') || null

/** Host names differ from run to run where ports do, so a seed names hubs of this Muster by their names. */
function withHostNames(document: JsonObject, hubs: readonly IotHub[]): JsonObject {
  const hostName = (name: unknown) => hubs.find((hub) => hub.name === name)?.hostNames[0] ?? name
  return Object.fromEntries(
    Object.entries(document).map(([member, value]) => {
      if (member.toLowerCase() === 'iothubhostname') return [member, hostName(value)]
      return [member, member.toLowerCase() === 'iothubs' && Array.isArray(value) ? value.map(hostName) : value]
    }),
  ) as JsonObject
}

/** False where the enrollment exists already. */
async function succeeds(item: SeedItem, step: () => Promise<unknown>): Promise<boolean> {
  try {
    await step()
    return true
  } catch (thrown) {
    if (thrown instanceof ServiceError && (thrown.code === 409201 || thrown.code === 409202)) return false
    throw refusal(item, thrown)
  }
}

async function refusedAt<T>(item: Place | undefined, step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (thrown) {
    throw refusal(item, thrown)
  }
}

function refusal(item: Place | undefined, thrown: unknown): unknown {
  if (!(thrown instanceof ServiceError) || thrown.status >= 500) return thrown
  const named = item?.id ? ` (${item.id})` : ''
  return new SeedError(`${item?.path ?? 'seed'}${named}: ${thrown.message}`, { cause: thrown })
}
