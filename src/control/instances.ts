import { ServiceError } from '../base/errors.ts'
import { type IfMatch, requireMatch, resourceEtag } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Expectation, Put } from '../store/store.ts'
import { createRemoval, type Remove } from './deletion.ts'
import { type InstanceDocument, ownerId, presences } from './documents.ts'
import type { Caller } from './policies.ts'
import { commitSettled } from './settle.ts'
import {
  absent,
  createSnapshots,
  type Entry,
  epochPut,
  type Instance,
  type InstanceKind,
  type InstanceNeeds,
  type Snapshot,
  served,
} from './snapshots.ts'

export interface Written<D> {
  readonly document: D
  /** What must still be so when the commit happens. */
  readonly expect?: readonly Expectation[]
}

export interface Instances<D, V> {
  snapshot(): Promise<Snapshot<D, V>>
  get(name: string): Promise<V | undefined>
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
  /** Changes one that exists; absent: 404. */
  change(caller: Caller, name: string, ifMatch: IfMatch, next: (stored: D) => D): Promise<V>
  /** Deletes one that nothing lives in or depends on, with its certificates; absent: 404. */
  readonly remove: Remove
}

/** The instances of one kind: read from memory while their epoch stands, written one commit at a time. */
export function createInstances<D extends InstanceDocument<string>, V extends Instance>(
  needs: InstanceNeeds,
  kind: InstanceKind<D, V>,
): Instances<D, V> {
  const { store, log } = needs
  const snapshot = createSnapshots(store, kind)
  const write: Instances<D, V>['write'] = async (caller, name, ifMatch, evaluate) => {
    const written = await commitSettled(store, async () => {
      const all = await snapshot()
      const entry = all.entries.get(name.toLowerCase())
      requireWritable(kind, name, entry, all, ifMatch)
      const { document, expect = [] } = await evaluate(entry?.stored.value, all)
      requireFreeHostNames(document, all)
      const made = entry === undefined
      const id = name.toLowerCase()
      const presence = { in: presences, id: ownerId({ kind: kind.kind, name }) }
      const put: Put[] = [{ collection: kind.collection, id, value: document }, epochPut(kind.kind, needs.clock)]
      if (made) put.push({ collection: presences, id: presence.id, value: { since: document.createdAt } })
      return {
        change: { expect: [all.epoch, ...expect], put },
        answer: ([version = 0, , since = 0]) =>
          kind.view(document, resourceEtag(version), entry?.view.presence ?? { ...presence, version: since }),
      }
    })
    log.info({ caller, instance: ownerId({ kind: kind.kind, name }) }, `${kind.noun} written`)
    return written
  }
  return {
    snapshot,
    get: async (name) => served((await snapshot()).entries.get(name.toLowerCase())),
    list: async () => (await snapshot()).views,
    write,
    change: (caller, name, ifMatch, next) =>
      write(caller, name, ifMatch, async (stored) => {
        if (stored === undefined) throw absent(kind, name)
        return { document: next(stored) }
      }),
    remove: createRemoval({ needs, kind, snapshot }),
  }
}

function requireWritable<D extends InstanceDocument<string>, V extends Instance>(
  kind: InstanceKind<D, V>,
  name: string,
  entry: Entry<D, V> | undefined,
  all: Snapshot<D, V>,
  ifMatch: IfMatch,
): void {
  if (entry === undefined) {
    if (ifMatch.kind !== 'absent')
      throw new ServiceError(
        412001,
        `Precondition failed: If-Match asks for an existing ${kind.noun} ${JSON.stringify(name)}, there is none. Leave the header out to create it.`,
      )
    if (all.entries.size >= limits.instances)
      throw new ServiceError(
        403000,
        `This installation takes ${limits.instances} of the kind ${kind.noun}, and has as many. Delete one first.`,
      )
    return
  }
  requireMatch(ifMatch, entry.view.etag)
  if (entry.stored.value.state === 'Deleting')
    throw new ServiceError(
      409000,
      `The ${kind.noun} ${entry.view.name} is being deleted. Delete it again to finish that, then create it anew.`,
    )
}

/** Two instances of a kind never share a host name: a service call could not be told apart. */
function requireFreeHostNames<D extends InstanceDocument<string>, V>(document: D, all: Snapshot<D, V>): void {
  for (const { stored } of all.entries.values()) {
    if (stored.id === document.name.toLowerCase()) continue
    const shared = document.hostNames.find((host) => stored.value.hostNames.includes(host))
    if (shared !== undefined)
      throw new ServiceError(
        409000,
        `The host name ${shared} belongs to ${stored.value.name} already. Choose another one, or take it from there first.`,
      )
  }
}
