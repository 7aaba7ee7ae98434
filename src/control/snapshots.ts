import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { resourceEtag } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Collection, Expectation, Put, Store, Stored } from '../store/store.ts'
import { epochs, type InstanceDocument, type Owner, ownerId, presences } from './documents.ts'

/** What both kinds of instance show. */
export interface Instance {
  readonly name: string
  readonly etag: string
  readonly location: string
  readonly tags: Readonly<Record<string, string>>
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly updatedAt: number
  /** Expected by every commit that makes something inside the instance: it fails once the instance is being deleted. */
  readonly presence: Expectation
}

/** What tells one kind of instance from the other. */
export interface InstanceKind<D, V> {
  readonly kind: Owner['kind']
  /** What a caller reads of it in a refusal: `provisioning service`, `hub`. */
  readonly noun: string
  readonly collection: Collection<D>
  view(document: D, etag: string, presence: Expectation): V
  /** What depends on it (words for a 409), and the expectations under which nothing does. */
  dependants(view: V): Promise<{ readonly found: string | undefined; readonly expect: readonly Expectation[] }>
}

export interface InstanceNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  /** What lives in an instance, in words; undefined: nothing. Also asked of one that is closed, which nobody finds any more. */
  readonly contents: (owner: Owner, instance: Instance) => Promise<string | undefined>
  /** Of an instance that is closed, empty and about to go: what is kept of it in other stores goes first. */
  readonly forget: (owner: Owner) => Promise<void>
}

export interface Entry<D, V> {
  readonly stored: Stored<D>
  readonly view: V
}

/** All instances of a kind, as they stood at one epoch. */
export interface Snapshot<D, V> {
  /** Expected by every commit whose rules look at more than one instance. */
  readonly epoch: Expectation
  /** By lower-case name, those that are being deleted included. */
  readonly entries: ReadonlyMap<string, Entry<D, V>>
  /** Those that serve. */
  readonly views: readonly V[]
}

export const served = <D extends InstanceDocument<string>, V>(entry: Entry<D, V> | undefined): V | undefined =>
  entry?.stored.value.state === 'Active' ? entry.view : undefined

export const absent = (kind: { readonly noun: string }, name: string): ServiceError =>
  new ServiceError(404000, `Expected the name of a ${kind.noun}, found ${JSON.stringify(name)}, which does not exist.`)

/** Every commit that changes an instance of the kind carries it. */
export const epochPut = (id: string, clock: Clock): Put => ({
  collection: epochs,
  id,
  value: { changedAt: clock.now() },
})

/** Answers from memory while the epoch stands, which costs one read; otherwise reads all instances again. */
export function createSnapshots<D extends InstanceDocument<string>, V extends Instance>(
  store: Store,
  kind: InstanceKind<D, V>,
): () => Promise<Snapshot<D, V>> {
  let cached: Snapshot<D, V> | undefined
  const epochNow = async () => (await store.get(epochs, kind.kind))?.version ?? 0
  return async () => {
    let version = await epochNow()
    for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
      if (cached?.epoch.version === version) return cached
      const entries = await readEntries(store, kind)
      const after = await epochNow()
      // Equal before and after: no commit fell between the reads, so they show one state.
      if (after === version) cached = snapshotOf(kind, version, entries)
      version = after
    }
    throw new ServiceError(503001, `Every ${kind.noun} is being changed right now. Repeat the request.`)
  }
}

function snapshotOf<D extends InstanceDocument<string>, V>(
  { kind }: InstanceKind<D, V>,
  version: number,
  list: readonly Entry<D, V>[],
): Snapshot<D, V> {
  return {
    epoch: { in: epochs, id: kind, version },
    entries: new Map(list.map((entry) => [entry.stored.id, entry])),
    views: list.flatMap((entry) => served(entry) ?? []),
  }
}

async function readEntries<D extends InstanceDocument<string>, V extends Instance>(
  store: Store,
  kind: InstanceKind<D, V>,
): Promise<readonly Entry<D, V>[]> {
  const page = { limit: limits.instances }
  const documents = await store.scan(kind.collection, page)
  const marks = await store.scan(presences, { ...page, prefix: `${kind.kind}/` })
  const since = new Map(marks.items.map((mark) => [mark.id, mark.version]))
  return documents.items.map((stored) => {
    const id = ownerId({ kind: kind.kind, name: stored.id })
    const presence = { in: presences, id, version: since.get(id) ?? 0 }
    return { stored, view: kind.view(stored.value, resourceEtag(stored.version), presence) }
  })
}
