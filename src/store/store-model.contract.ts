import fc from 'fast-check'
import { expect } from 'vitest'
import type { Commit, CommitResult, Store } from './store.ts'
import { bytes, type Device, devices, pages, type Rule, work } from './store-fixtures.contract.ts'

/** A commit drawn by chance over a handful of ids, so that they meet often. Versions are told by how they relate. */
interface Drawn {
  readonly expect: readonly { readonly id: string; readonly version: 'absent' | 'current' | 'stale' }[]
  readonly put: readonly { readonly id: string; readonly name: string | undefined; readonly rank: number | undefined }[]
  readonly remove: readonly string[]
  readonly append: readonly string[]
  readonly enqueue: readonly { readonly id: string; readonly dueAt: number }[]
}

const ids = fc.constantFrom('a', 'b', 'B', 'ü', '😀', 'a/1', 'a/2')
const names = fc.option(fc.constantFrom('', 'x', 'y', '\ufb00', '😀'), { nil: undefined })
const drawn: fc.Arbitrary<Drawn> = fc.record({
  expect: fc.array(fc.record({ id: ids, version: fc.constantFrom('absent', 'current', 'stale') }), { maxLength: 2 }),
  put: fc.uniqueArray(
    fc.record({ id: ids, name: names, rank: fc.option(fc.integer({ min: -3, max: 3 }), { nil: undefined }) }),
    {
      maxLength: 3,
      selector: ({ id }) => id,
    },
  ),
  remove: fc.array(ids, { maxLength: 1 }),
  append: fc.array(fc.constantFrom('l', 'm'), { maxLength: 2 }),
  enqueue: fc.uniqueArray(fc.record({ id: ids, dueAt: fc.integer({ min: 0, max: 5 }) }), {
    maxLength: 2,
    selector: ({ id }) => id,
  }),
})

/** The same store in a few maps. */
interface Model {
  readonly documents: Map<string, { version: number; value: Device }>
  readonly items: Map<string, { version: number; dueAt: number }>
  readonly logs: Map<string, number>
  last: number
}

export function modelRules(rule: Rule): void {
  rule('random commits, one after the other and together, leave what a model says', async (store) => {
    const model: Model = { documents: new Map(), items: new Map(), logs: new Map(), last: 0 }
    const together = async (commits: readonly Drawn[]) => {
      const changes = commits.map((each) => changeOf(model, each))
      const results = await Promise.all(changes.map((change) => store.commit(change)))
      for (const [at, change] of changes.entries()) follow(model, change, results[at]!)
    }
    await fc.assert(
      fc.asyncProperty(fc.array(drawn, { maxLength: 8 }), fc.boolean(), async (commits, atOnce) => {
        if (atOnce) await together(commits)
        else for (const each of commits) await together([each])
        await sameContent(store, model)
      }),
      { numRuns: 60 },
    )
  })
}

function changeOf({ documents }: Model, { expect, put, remove, append, enqueue }: Drawn): Commit {
  const written = new Set(put.map(({ id }) => id))
  return {
    expect: expect.map(({ id, version }) => {
      const current = documents.get(id)?.version ?? 0
      return { in: devices, id, version: version === 'absent' ? 0 : version === 'current' ? current : current + 1e9 }
    }),
    put: put.map(({ id, name, rank }) => ({
      collection: devices,
      id,
      value: { ...(name === undefined ? {} : { name }), ...(rank === undefined ? {} : { rank }) },
    })),
    delete: remove.filter((id) => !written.has(id)).map((id) => ({ in: devices, id })),
    append: append.map((log) => ({ log, time: 1, value: bytes(log) })),
    enqueue: enqueue.map(({ id, dueAt }) => ({ queue: work, id, dueAt, value: { step: dueAt } })),
  }
}

/** Checks the answer to a commit against the model and takes the change over, with the versions given out. */
function follow(model: Model, change: Commit, result: CommitResult): void {
  const conflicts = (change.expect ?? []).flatMap(({ in: of, id, version }) => {
    const found = model.documents.get(id)?.version ?? 0
    return found === version ? [] : [{ in: of, id, version: found }]
  })
  if (!result.ok || conflicts.length > 0) {
    expect(result).toEqual({ ok: false, conflicts })
    return
  }
  for (const version of [...result.versions, ...result.queued]) {
    expect(version).toBeGreaterThan(model.last)
    model.last = version
  }
  for (const [at, { id, value }] of (change.put ?? []).entries())
    model.documents.set(id, { version: result.versions[at]!, value: value as Device })
  for (const { id } of change.delete ?? []) model.documents.delete(id)
  for (const [at, { log }] of (change.append ?? []).entries()) {
    const next = model.logs.get(log) ?? 0
    expect(result.positions[at]).toBe(next)
    model.logs.set(log, next + 1)
  }
  for (const [at, { id, dueAt }] of (change.enqueue ?? []).entries())
    model.items.set(id, { version: result.queued[at]!, dueAt })
}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

/** Numbers as numbers, text byte by byte: the order of an index. */
const byValue = (a: string | number, b: string | number): number =>
  typeof a === 'number' && typeof b === 'number' ? a - b : byBytes(String(a), String(b))

async function sameContent(store: Store, { documents, items, logs }: Model): Promise<void> {
  const sorted = [...documents.keys()].sort(byBytes)
  expect((await pages(store, { limit: 2 })).flat()).toEqual(sorted)
  const found = await store.getMany(devices, sorted)
  expect(found.map((each) => [each?.version, each?.value])).toEqual(
    sorted.map((id) => [documents.get(id)!.version, documents.get(id)!.value]),
  )
  for (const index of ['name', 'rank'] as const) {
    const having = sorted.filter((id) => documents.get(id)!.value[index] !== undefined)
    const value = (id: string) => documents.get(id)!.value[index]!
    const expected = having.toSorted((a, b) => byValue(value(a), value(b)) || byBytes(a, b))
    expect((await pages(store, { index, limit: 3 })).flat()).toEqual(expected)
    const bounds = index === 'rank' ? { from: -1, to: 2 } : { from: 'x', to: '\ufb00' }
    const within = expected.filter((id) => byValue(value(id), bounds.from) >= 0 && byValue(value(id), bounds.to) < 0)
    expect((await pages(store, { index, ...bounds, limit: 1 })).flat()).toEqual(within)
    expect(await store.count(devices, { index, ...bounds })).toBe(within.length)
  }
  const due = [...items].filter(([, { dueAt }]) => dueAt <= 3)
  due.sort(([a, { dueAt: first }], [b, { dueAt: second }]) => first - second || byBytes(a, b))
  expect((await store.due(work, 3, 100)).map(({ id, version }) => [id, version])).toEqual(
    due.map(([id, { version }]) => [id, version]),
  )
  for (const [log, next] of logs) expect(await store.bounds(log)).toEqual({ first: 0, next })
}
