import { ServiceError } from '../base/errors.ts'
import { type IfMatch, requireMatch } from '../base/etags.ts'
import { limits } from '../base/limits.ts'
import type { Key, Put } from '../store/store.ts'
import { certificates, epochs, type InstanceDocument, ownerId, presences } from './documents.ts'
import type { Caller } from './policies.ts'
import { commitSettled } from './settle.ts'
import {
  absent,
  type Entry,
  epochPut,
  type Instance,
  type InstanceKind,
  type InstanceNeeds,
  type Snapshot,
} from './snapshots.ts'

export type Remove = (caller: Caller, name: string, ifMatch: IfMatch) => Promise<void>

interface Removal<D, V> {
  readonly needs: InstanceNeeds
  readonly kind: InstanceKind<D, V>
  readonly snapshot: () => Promise<Snapshot<D, V>>
}

/**
 * Deletion in three steps, each durable. First the instance is closed: its presence goes, so no commit can make
 * anything inside it any more. Then its contents are counted for good. Then it goes with its certificates, or is
 * opened again when somebody was faster; what it keeps elsewhere goes just before. A crash in between leaves it closed:
 * deleting again finishes.
 */
export function createRemoval<D extends InstanceDocument<string>, V extends Instance>(removal: Removal<D, V>): Remove {
  const { needs, kind } = removal
  return async (caller, name, ifMatch) => {
    const { version, view } = await close(removal, name, ifMatch)
    try {
      await requireEmpty(removal, view)
    } catch (refusal) {
      await open(removal, name, version)
      throw refusal
    }
    await needs.forget({ kind: kind.kind, name: view.name })
    await erase(removal, name, version)
    needs.log.info({ caller, instance: ownerId({ kind: kind.kind, name }) }, `${kind.noun} deleted`)
  }
}

/**
 * Deleting is irreversible and takes everything inside along; Azure asks for the name once more in its portal, a REST
 * call cannot be asked. So what still holds something is refused.
 */
async function requireEmpty<D, V extends Instance>({ needs, kind }: Removal<D, V>, view: V): Promise<void> {
  const found = await needs.contents({ kind: kind.kind, name: view.name }, view)
  if (found === undefined) return
  throw new ServiceError(
    409000,
    `The ${kind.noun} ${view.name} cannot be deleted: it holds ${found}. Delete these first.`,
  )
}

/** Answers with what was closed, and at which version. Nearly all refusals happen here, before anything was written. */
function close<D extends InstanceDocument<string>, V extends Instance>(
  removal: Removal<D, V>,
  name: string,
  ifMatch: IfMatch,
): Promise<{ readonly version: number; readonly view: V }> {
  const { needs, kind, snapshot } = removal
  return commitSettled(needs.store, async () => {
    const all = await snapshot()
    const entry = all.entries.get(name.toLowerCase())
    if (entry === undefined) throw absent(kind, name)
    requireMatch(ifMatch, entry.view.etag)
    const { found, expect } = await kind.dependants(entry.view)
    if (found !== undefined)
      throw new ServiceError(409000, `The ${kind.noun} ${entry.view.name} cannot be deleted: ${found}`)
    // One that a crash left closed is counted after this, and opened again where something is in it.
    if (entry.stored.value.state === 'Active') await requireEmpty(removal, entry.view)
    const { in: of, id } = entry.view.presence
    const put = [statePut(kind, entry, 'Deleting'), epochPut(kind.kind, needs.clock)]
    return {
      change: { expect: [all.epoch, ...expect], put, delete: [{ in: of, id }] },
      answer: ([version = 0]) => ({ version, view: entry.view }),
    }
  })
}

/** Takes the closing back: somebody made something inside at the last moment. */
function open<D extends InstanceDocument<string>, V extends Instance>(
  removal: Removal<D, V>,
  name: string,
  version: number,
): Promise<void> {
  const { needs, kind } = removal
  return commitSettled(needs.store, async () => {
    const { all, entry } = await closed(removal, name, version)
    const presence = { collection: presences, id: entry.view.presence.id, value: { since: needs.clock.now() } }
    const put = [statePut(kind, entry, 'Active'), presence, epochPut(kind.kind, needs.clock)]
    return { change: { expect: [all.epoch], put }, answer: () => undefined }
  })
}

function erase<D extends InstanceDocument<string>, V extends Instance>(
  removal: Removal<D, V>,
  name: string,
  version: number,
): Promise<void> {
  const { needs, kind } = removal
  return commitSettled(needs.store, async () => {
    const { all, entry } = await closed(removal, name, version)
    const id = ownerId({ kind: kind.kind, name })
    const held = await needs.store.scan(certificates, { prefix: `${id}/`, limit: limits.caCertificates })
    const gone: Key[] = [
      { in: kind.collection, id: entry.stored.id },
      { in: epochs, id },
      ...held.items.map((item) => ({ in: certificates, id: item.id })),
    ]
    const change = { expect: [all.epoch], put: [epochPut(kind.kind, needs.clock)], delete: gone }
    return { change, answer: () => undefined }
  })
}

/** The instance as it was closed; a 409 when somebody else went on with it meanwhile. */
async function closed<D, V>(
  { kind, snapshot }: Removal<D, V>,
  name: string,
  version: number,
): Promise<{ all: Snapshot<D, V>; entry: Entry<D, V> }> {
  const all = await snapshot()
  const entry = all.entries.get(name.toLowerCase())
  if (entry?.stored.version === version) return { all, entry }
  throw new ServiceError(409000, `The ${kind.noun} ${name} was changed while it was being deleted. Look at it again.`)
}

const statePut = <D extends InstanceDocument<string>, V>(
  kind: InstanceKind<D, V>,
  { stored }: Entry<D, V>,
  state: 'Active' | 'Deleting',
): Put => ({ collection: kind.collection, id: stored.id, value: { ...stored.value, state } })
