import type { Collection, Commit, Expectation, Key, Put, Queue, Store, Stored } from './store.ts'

/** The version of a document that is staged and not committed yet: no etag is ever made of it. */
export const STAGED = -1

/**
 * Many changes on their way into one commit. Each is judged on what is stored and on what the changes before it staged;
 * the commit expects every document as it was first read, so it holds only if all of them still do. What was staged
 * since the last `keep` can be dropped again, so one change that is refused takes nothing of the others along.
 */
export interface Draft {
  /** The document as it will be: staged, else stored. */
  get<T>(from: Collection<T>, id: string): Promise<Stored<T> | undefined>
  /** As `get` for a document that is likely to be new: not looked for, its absence is only expected by the commit. */
  getNew<T>(from: Collection<T>, id: string): Promise<Stored<T> | undefined>
  /** Expectations of documents that were read through this draft change nothing. */
  expect(expectations: readonly Expectation[]): void
  put(puts: readonly Put[]): void
  delete(keys: readonly Key[]): void
  /** Rows of the commit so far: what `limits.storeBatch` bounds. */
  readonly parts: number
  /** Nothing was read: what was judged so far does not depend on what is stored. */
  readonly blind: boolean
  /** Something since the last `keep` or `drop` was taken for new: a refusal may come of that, and no commit would find it. */
  readonly assumed: boolean
  keep(): void
  drop(): void
  /** As `drop`, and until the next `keep` or `drop` nothing is taken for new. */
  dropAndLook(): void
  change(): Commit
}

interface Entry {
  readonly key: Key
  /** What the commit expects; undefined: nothing. */
  readonly version: number | undefined
  readonly stored: Stored<unknown> | undefined
  readonly fate: 'read' | 'put' | 'deleted'
}

/** @param look false: `getNew` takes for granted that there is nothing, which saves reading; a conflict says otherwise */
export function createDraft(store: Pick<Store, 'get'>, look: boolean): Draft {
  const entries = new Map<Collection<unknown> | Queue<unknown>, Map<string, Entry>>()
  let journal: { readonly of: Map<string, Entry>; readonly id: string; readonly before: Entry | undefined }[] = []
  let parts = 0
  let blind = true
  let assumed = false
  let looking = look

  const tableOf = (of: Key['in']): Map<string, Entry> => {
    const table = entries.get(of) ?? new Map<string, Entry>()
    entries.set(of, table)
    return table
  }
  const weight = (entry: Entry | undefined): number =>
    entry === undefined ? 0 : Number(entry.version !== undefined) + Number(entry.fate !== 'read')
  const set = (table: Map<string, Entry>, entry: Entry): void => {
    const { id } = entry.key
    const before = table.get(id)
    journal.push({ of: table, id, before })
    parts += weight(entry) - weight(before)
    table.set(id, entry)
  }
  const read = async <T>(from: Collection<T>, id: string, find: boolean): Promise<Stored<T> | undefined> => {
    const table = tableOf(from)
    const known = table.get(id)
    // One that is expected but was never read says nothing about what is in it.
    if (known !== undefined && (known.stored !== undefined || known.version === 0 || known.fate === 'deleted'))
      return known.stored as Stored<T> | undefined
    const stored = find ? await store.get(from, id) : undefined
    if (find) blind = false
    else assumed = true
    set(table, { key: { in: from, id }, version: known?.version ?? stored?.version ?? 0, stored, fate: 'read' })
    return stored
  }

  const forget = (next: boolean): void => {
    journal = []
    assumed = false
    looking = next
  }
  const undo = (): void => {
    for (const { of, id, before } of journal.reverse()) {
      parts += weight(before) - weight(of.get(id))
      if (before === undefined) of.delete(id)
      else of.set(id, before)
    }
  }

  return {
    get: (from, id) => read(from, id, true),
    getNew: (from, id) => read(from, id, looking),
    expect(expectations) {
      for (const { in: of, id, version } of expectations) {
        const table = tableOf(of)
        if (!table.has(id)) set(table, { key: { in: of, id }, version, stored: undefined, fate: 'read' })
      }
    },
    put(puts) {
      for (const { collection, id, value } of puts) {
        const table = tableOf(collection)
        const stored = { id, version: STAGED, value }
        set(table, { key: { in: collection, id }, version: table.get(id)?.version, stored, fate: 'put' })
      }
    },
    delete(keys) {
      for (const key of keys) {
        const table = tableOf(key.in)
        set(table, { key, version: table.get(key.id)?.version, stored: undefined, fate: 'deleted' })
      }
    },
    get parts() {
      return parts
    },
    get blind() {
      return blind
    },
    get assumed() {
      return assumed
    },
    keep: () => forget(look),
    drop() {
      undo()
      forget(look)
    },
    dropAndLook() {
      undo()
      forget(true)
    },
    change() {
      const all = [...entries.values()].flatMap((table) => [...table.values()])
      return {
        expect: all.flatMap(({ key, version }) => (version === undefined ? [] : [{ ...key, version }])),
        put: all.flatMap(({ key, stored, fate }) =>
          fate === 'put' ? [{ collection: key.in as Collection<unknown>, id: key.id, value: stored?.value }] : [],
        ),
        delete: all.flatMap(({ key, fate }) => (fate === 'deleted' ? [key] : [])),
      }
    },
  }
}
