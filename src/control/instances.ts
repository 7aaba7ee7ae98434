import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { type IfMatch, requireMatch, resourceEtag } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Collection, Expectation, Key, Put, Store, Stored } from '../store/store.ts'
import { epochs, type InstanceDocument, type Owner, ownerId, presences } from './documents.ts'
import { findByHost } from './hosts.ts'
import type { Caller } from './policies.ts'
import { commitSettled } from './settle.ts'

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

/** What a room of instances is made of. */
export interface InstanceKind<D, V> {
  readonly kind: Owner['kind']
  /** What a caller reads of it in a refusal: `provisioning service`, `hub`. */
  readonly noun: string
  readonly collection: Collection<D>
  view(document: D, etag: string, presence: Expectation): V
  hostNamesOf(view: V): readonly string[]
  /** Why it cannot be deleted now, with the expectations under which that holds; throws a 409. */
  requireDeletable?(view: V): Promise<readonly Expectation[]>
}

export interface InstanceNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly contents: (owner: Owner) => Promise<string | undefined>
}

interface Entry<D, V> {
  readonly stored: Stored<D>
  readonly view: V
}

/** All instances of a kind, as they stood at one epoch. */
export interface Snapshot<D, V> {
  /** Expected by every commit whose rules look at more than one instance. */
  readonly epoch: Expectation
  /** Those that are being deleted included. */
  readonly entries: readonly Entry<D, V>[]
  /** Those that serve. */
  readonly views: readonly V[]
}

export interface Instances<D, V> {
  snapshot(): Promise<Snapshot<D, V>>
  get(name: string): Promise<V | undefined>
  byHost(host: string): Promise<V | undefined>
  list(): Promise<readonly V[]>
  /**
   * Creates or replaces one instance in one commit. `evaluate` sees the stored document (undefined: absent) and all
   * others, throws what it refuses, and is asked again when somebody else wrote in between.
   */
  write(
    caller: Caller,
    name: string,
    ifMatch: IfMatch,
    evaluate: (stored: D | undefined, all: Snapshot<D, V>) => Promise<Written<D>>,
  ): Promise<V>
  /** Deletes one that nothing lives in or depends on, with its certificates. Absent: 404. */
  remove(caller: Caller, name: string, ifMatch: IfMatch): Promise<void>
}

export interface Written<D> {
  readonly document: D
  /** What must still be so when the commit happens. */
  readonly expect?: readonly Expectation[]
}
