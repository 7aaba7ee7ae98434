import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ServiceError } from '../base/errors.ts'
import { Fields, isObject, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'

/**
 * The seed file: what a Muster starts with. The documents in it are the vendor's own: what `PUT /enrollments/{id}` and
 * `PUT /enrollmentGroups/{id}` take (dps.md 6.3), the lines of a registry export (hub-service.md 2.6), the `properties`
 * of the control plane (dps.md 7.1, hub-service.md 11). docs/testing.md describes it.
 */
export interface SeedDocument {
  readonly provisioningService?: SeedService
  readonly hubs?: readonly SeedHub[]
  /** CA certificates of the provisioning service. */
  readonly certificates?: readonly SeedCertificate[]
  readonly enrollmentGroups?: readonly object[]
  readonly enrollments?: readonly object[]
}

export interface SeedService {
  /** Default: a random one. */
  readonly idScope?: string
  readonly allocationPolicy?: string
  readonly authorizationPolicies?: readonly object[]
  readonly tags?: Readonly<Record<string, string>>
}

export interface SeedHub {
  /** `muster-hub` is the one that every Muster has; any other name makes one more, linked to the provisioning service. */
  readonly name: string
  readonly hostNames?: readonly string[]
  readonly authorizationPolicies?: readonly object[]
  readonly eventHubEndpoints?: object
  readonly location?: string
  readonly tags?: Readonly<Record<string, string>>
  /** Of its link. */
  readonly allocationWeight?: number
  readonly applyAllocationPolicy?: boolean
  /** CA certificates of the hub, for devices with authentication `certificateAuthority`. */
  readonly certificates?: readonly SeedCertificate[]
  /** `{ id, authentication?, status?, capabilities?, tags?, properties? }`, with `moduleId` a module. */
  readonly devices?: readonly object[]
}

export interface SeedCertificate {
  readonly name: string
  /** PEM text; or `certificateFile`, relative to the seed file. */
  readonly certificate?: string
  readonly certificateFile?: string
  /** Default true: whoever writes the seed vouches for it. */
  readonly isVerified?: boolean
}

/** A complaint about a seed: names the member, what was expected and what was found; never a secret. */
export class SeedError extends Error {
  override readonly name = 'SeedError'
}

/** Something of the seed, where it stands in it, and the document for the operation that makes it. */
export interface SeedItem {
  readonly path: string
  /** Its name or ID. */
  readonly id: string
  readonly document: JsonObject
}

export interface SeedHubItem extends SeedItem {
  /** Members of the link in the provisioning service. */
  readonly link: JsonObject
  readonly certificates: readonly SeedItem[]
  readonly devices: readonly SeedItem[]
}

/** A seed whose outer form is right and whose files were read; the operations judge the documents. */
export interface Seed {
  readonly idScope: string | undefined
  readonly service: SeedItem
  readonly hubs: readonly SeedHubItem[]
  readonly certificates: readonly SeedItem[]
  readonly enrollmentGroups: readonly SeedItem[]
  readonly enrollments: readonly SeedItem[]
}

/** Reads the file, and the files that it names. @throws SeedError */
export async function readSeed(file: string): Promise<Seed> {
  const text = await readBounded(file, 'The seed file', limits.seedBytes)
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch (cause) {
    throw new SeedError(
      `The seed file ${file} is not valid JSON: ${cause instanceof Error ? cause.message : 'unknown'}.`,
      {
        cause,
      },
    )
  }
  return parseSeed(document, dirname(file))
}

const SEED = ['provisioningService', 'hubs', 'certificates', 'enrollmentGroups', 'enrollments']
const SERVICE = ['idScope', 'allocationPolicy', 'authorizationPolicies', 'tags']
const LINK = ['allocationWeight', 'applyAllocationPolicy']
const HUB_PROPERTIES = ['hostNames', 'authorizationPolicies', 'eventHubEndpoints', 'location', 'tags']
const HUB = ['name', ...HUB_PROPERTIES, ...LINK, 'certificates', 'devices']
const CERTIFICATE = ['name', 'certificate', 'certificateFile', 'isVerified']

/** @param folder where relative file names begin. @throws SeedError */
export async function parseSeed(document: unknown, folder: string): Promise<Seed> {
  try {
    const root = new Fields(document, 'seed')
    requireKnown(document, 'seed', SEED)
    const service = root.object('provisioningService') ?? {}
    requireKnown(service, 'seed.provisioningService', SERVICE)
    return {
      idScope: new Fields(service, 'seed.provisioningService').string('idScope'),
      service: { path: 'seed.provisioningService', id: '', document: service },
      hubs: await Promise.all(itemsOf(root, 'seed', 'hubs', 'name').map((item) => hubOf(item, folder))),
      certificates: await certificatesOf(root, 'seed', folder),
      enrollmentGroups: itemsOf(root, 'seed', 'enrollmentGroups', 'enrollmentGroupId'),
      enrollments: itemsOf(root, 'seed', 'enrollments', 'registrationId'),
    }
  } catch (thrown) {
    if (thrown instanceof ServiceError) throw new SeedError(thrown.message, { cause: thrown })
    throw thrown
  }
}

async function hubOf({ path, id, document }: SeedItem, folder: string): Promise<SeedHubItem> {
  requireKnown(document, path, HUB)
  const fields = new Fields(document, path)
  return {
    path,
    id,
    document: pick(fields, HUB_PROPERTIES),
    link: pick(fields, LINK),
    certificates: await certificatesOf(fields, path, folder),
    devices: itemsOf(fields, path, 'devices', 'id', 'moduleId'),
  }
}

const certificatesOf = (owner: Fields, path: string, folder: string): Promise<SeedItem[]> =>
  Promise.all(
    itemsOf(owner, path, 'certificates', 'name').map(async (item) => {
      requireKnown(item.document, item.path, CERTIFICATE)
      const fields = new Fields(item.document, item.path)
      const inline = fields.string('certificate')
      const file = fields.string('certificateFile')
      if ((inline === undefined) === (file === undefined))
        fields.fail('certificate', 'PEM text, or certificateFile a file of it', file === undefined ? 'neither' : 'both')
      const read = () =>
        readBounded(resolve(folder, file ?? ''), `${item.path}.certificateFile`, limits.certificateBytes)
      const certificate = inline ?? (await read())
      return { ...item, document: { certificate, isVerified: fields.boolean('isVerified') ?? true } }
    }),
  )

/** The items of a list, each with the name that it must have, no name twice. */
function itemsOf(owner: Fields, path: string, list: string, ...idNames: [string, ...string[]]): SeedItem[] {
  const seen = new Map<string, string>()
  return (owner.array(list) ?? []).map((item, at) => {
    const itemPath = `${path}.${list}[${at}]`
    const fields = new Fields(item, itemPath)
    const [idName] = idNames
    const id = fields.required(idName, fields.string(idName))
    const key = JSON.stringify(idNames.map((name) => fields.string(name) ?? ''))
    const before = seen.get(key)
    if (before !== undefined) fields.fail(idName, `another one than ${before} has`, JSON.stringify(id.slice(0, 128)))
    seen.set(key, itemPath)
    return { path: itemPath, id, document: item as JsonObject }
  })
}

function requireKnown(value: unknown, path: string, known: readonly string[]): void {
  if (!isObject(value)) return
  for (const name of Object.keys(value))
    if (!known.some((each) => each.toLowerCase() === name.toLowerCase()))
      throw new SeedError(
        `${path} must have no other members than ${known.join(', ')}, found ${JSON.stringify(name.slice(0, 64))}.`,
      )
}

const pick = (fields: Fields, names: readonly string[]): JsonObject =>
  Object.fromEntries(
    names.flatMap((name) => {
      const value = fields.get(name)
      return value === undefined ? [] : [[name, value]]
    }),
  ) as JsonObject

async function readBounded(file: string, what: string, bytes: number): Promise<string> {
  try {
    const { size } = await stat(file)
    if (size > bytes) throw new SeedError(`${what} must have at most ${bytes} bytes, found ${size} in ${file}.`)
    return await readFile(file, 'utf8')
  } catch (cause) {
    if (cause instanceof SeedError) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    const found = code === 'ENOENT' ? 'no such file' : (code ?? message)
    throw new SeedError(`${what} must be a file that can be read, found ${found} at ${file}.`, { cause })
  }
}
