import { type Clock, isoTime } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Append, Commit, Expectation, Store, Stored } from '../store/store.ts'
import { type ImportDocument, imports, type Owner, ownerId } from './documents.ts'
import {
  type Chunk,
  type ChunkNeeds,
  judgeChunk,
  type LineFailure,
  type LineRules,
  type ReadLine,
  readLines,
} from './import-lines.ts'
import { createTurns, notYet } from './import-turns.ts'

/** Where an import goes: to a hub or provisioning service, under an id of the caller's. */
export interface ImportTarget {
  readonly owner: Owner
  /** Of the instance: an import ends with it, and one of an earlier instance of the name is none. */
  readonly presence: Expectation
  readonly id: string
}

/** How far an import is. Counts are of lines. */
export interface ImportState {
  readonly id: string
  readonly kind: string
  readonly mode: string
  readonly createdAt: string
  /** Lines of the source that are done; the next one to send is this one, counted from 0. */
  readonly next: number
  readonly succeeded: number
  readonly failed: number
  /** Lines that need what was not there when they came; `finish` judges them again. */
  readonly later: number
}

/**
 * Bulk imports, line by line, of whatever kind: `LineRules` say what a line means. What the lines change and how far the
 * import is go into the same commit, so a crash at any moment resumes with the first line that was not taken, and none
 * is taken twice.
 */
export interface Imports {
  /** Makes the import, or answers with the one that is there. One that was begun another way is a 409. */
  open(target: ImportTarget, how: { readonly kind: string; readonly mode: string }): Promise<ImportState>
  list(target: Omit<ImportTarget, 'id'>): Promise<readonly ImportState[]>
  get(target: ImportTarget): Promise<ImportState>
  /**
   * Takes lines; `from` is the number of lines before the first. Lines that were taken before are passed over; when lines
   * before `from` are missing, it waits for them a while (`limits.importTurnMs`), then refuses with a 409.
   */
  append<T>(rules: LineRules<T>, target: ImportTarget, from: number, lines: readonly string[]): Promise<ImportState>
  /** Judges lines that were put off, a bounded number: to be repeated until `later` is 0. */
  finish<T>(rules: LineRules<T>, target: ImportTarget): Promise<ImportState>
  /** The failures, in the order in which they were found. @param after `next` of the page before */
  failures(
    target: ImportTarget,
    after: number,
  ): Promise<{ readonly failures: readonly LineFailure[]; readonly next: number | undefined }>
  /** Forgets the import, not what it brought. */
  remove(target: ImportTarget): Promise<void>
  /** What would become of the lines now, by themselves. Nothing is written. */
  check<T>(
    rules: LineRules<T>,
    from: number,
    lines: readonly string[],
  ): Promise<{ readonly succeeded: number; readonly later: number; readonly failures: readonly LineFailure[] }>
}

const IMPORT_ID = /^[A-Za-z0-9_-]{1,64}$/

export function createImports(needs: { readonly store: Store; readonly clock: Clock; readonly log: Log }): Imports {
  const { store, clock, log } = needs
  const turns = createTurns(clock)

  async function find(target: ImportTarget): Promise<Stored<ImportDocument>> {
    const stored = await lookUp(target)
    if (stored !== undefined) return stored
    throw new ServiceError(
      404000,
      `There is no import ${JSON.stringify(target.id.slice(0, 80))} here. Create it first.`,
    )
  }

  /** One that belonged to an instance that was deleted since is none. */
  async function lookUp({ owner, presence, id }: ImportTarget): Promise<Stored<ImportDocument> | undefined> {
    const stored = IMPORT_ID.test(id) ? await store.get(imports, documentId(owner, id)) : undefined
    return stored?.value.presence === presence.version ? stored : undefined
  }

  async function all(owner: Owner): Promise<readonly Stored<ImportDocument>[]> {
    const { items } = await store.scan(imports, { prefix: `${ownerId(owner)}/`, limit: 2 * limits.imports })
    return items
  }

  async function forget({ id, version, value }: Stored<ImportDocument>): Promise<void> {
    const own = { in: imports, id }
    const result = await store.commit({ expect: [{ ...own, version }], delete: [own] })
    if (!result.ok) throw changedMeanwhile()
    for (const entries of [failuresLog(id), laterLog(id)]) {
      const { next } = await store.bounds(entries)
      if (next > 0) await store.trim(entries, next)
    }
    const { cursor: lines, succeeded, failed } = value
    log.info({ import: id, lines, succeeded, failed }, 'import ended')
  }

  /** What nobody goes on with, and what an earlier instance of the name left behind, goes. */
  async function makeRoom({ owner, presence }: ImportTarget): Promise<void> {
    const found = await all(owner)
    const stale = found.filter(
      ({ value }) => value.presence !== presence.version || value.updatedAt < clock.now() - limits.importKeptMs,
    )
    for (const each of stale) await forget(each)
    if (found.length - stale.length < limits.imports) return
    throw new ServiceError(
      403000,
      `There are ${limits.imports} unfinished imports already. Finish or delete one of them first.`,
    )
  }

  const open: Imports['open'] = async (target, { kind, mode }) => {
    if (!IMPORT_ID.test(target.id))
      throw new ServiceError(400004, 'The id of an import must be 1 to 64 letters, digits, dashes and underscores.')
    const found = await lookUp(target)
    if (found !== undefined) {
      if (found.value.kind === kind && found.value.mode === mode) return stateOf(found)
      throw new ServiceError(
        409000,
        `The import ${target.id} was begun as ${found.value.kind} with mode ${found.value.mode}. Go on with these, or delete it first.`,
      )
    }
    await makeRoom(target)
    const id = documentId(target.owner, target.id)
    const [failures, later] = await Promise.all([store.bounds(failuresLog(id)), store.bounds(laterLog(id))])
    const now = clock.now()
    const value: ImportDocument = {
      ...{ kind, mode, presence: target.presence.version, createdAt: now, updatedAt: now },
      ...{ cursor: 0, succeeded: 0, failed: 0 },
      failures: { base: failures.next, entries: 0 },
      later: { base: later.next, entries: 0, next: 0, end: 0, rounds: 0, gained: 0, last: false },
    }
    const before = await store.get(imports, id)
    const expect = [target.presence, { in: imports, id, version: before?.version ?? 0 }]
    const result = await store.commit({ expect, put: [{ collection: imports, id, value }] })
    if (!result.ok) throw changedMeanwhile()
    log.info({ import: id, kind, mode }, 'import begun')
    return stateOf({ id, version: 0, value })
  }

  /** Commits lines, as many as fit at a time, each time together with the import as it then is. */
  async function take<T>(
    rules: LineRules<T>,
    target: ImportTarget,
    before: Stored<ImportDocument>,
    lines: readonly ReadLine<T>[],
    {
      advance,
      last,
      judged,
    }: { readonly advance: Advance; readonly last: boolean; readonly judged?: Chunk | undefined },
  ): Promise<Stored<ImportDocument>> {
    const chunkNeeds = { store, rules, expect: [target.presence] }
    let current = before
    let look = false
    let ahead = judged
    for (let at = 0, attempt = 0; at < lines.length; ) {
      const chunk: Chunk = ahead ?? (await judgeChunk(chunkNeeds, lines.slice(at), { look, last }))
      const next = at + chunk.taken
      const value = counted(advance(current.value, lines.slice(at, next)), chunk, clock.now())
      // What depends on nothing stored can be judged while this is being written.
      const [result, after] = await Promise.all([
        store.commit(commitOf(current, value, chunk)),
        next < lines.length ? judgeAhead(chunkNeeds, lines.slice(next), last) : undefined,
      ])
      ahead = result.ok ? after : undefined
      if (result.ok) {
        current = { ...current, version: result.versions[0]!, value }
        at = next
        attempt = 0
        if (chunk.append.length > 0) rules.announce?.()
        continue
      }
      if (result.conflicts.some(({ in: of }) => of === imports || of === target.presence.in)) throw changedMeanwhile()
      // Something is there that was taken for new, or another writer came between: judged again on what is stored now.
      look = true
      if (++attempt === limits.commitAttempts)
        throw new ServiceError(409000, `Other changes came between ${attempt} times. Send the lines again.`)
    }
    return current
  }

  /** The lines and how far the import is after them: all or nothing. */
  function commitOf({ id, version }: Stored<ImportDocument>, value: ImportDocument, chunk: Chunk): Commit {
    const { expect = [], put = [], delete: remove = [] } = chunk.draft.change()
    return {
      expect: [{ in: imports, id, version }, ...expect],
      put: [{ collection: imports, id, value }, ...put],
      delete: remove,
      append: [...chunk.append, ...logged(id, chunk, clock.now())],
    }
  }

  return {
    open,
    list: async ({ owner, presence }) =>
      (await all(owner)).filter(({ value }) => value.presence === presence.version).map(stateOf),
    get: async (target) => stateOf(await find(target)),

    async append(rules, target, from, texts) {
      const lines = texts.map((text, at) => ({ number: from + at + 1, text }))
      const read = await readLines(rules, lines)
      const end = from + lines.length
      const found = await find(target)
      const isAllNew = from >= found.value.cursor
      const judged = isAllNew ? await judgeAhead({ store, rules, expect: [target.presence] }, read, false) : undefined
      const release = await turns.take(found.id, from, found.value.cursor)
      let reached = 0
      try {
        const before = await find(target)
        reached = before.value.cursor
        if (from > reached) throw notYet(from, reached)
        const fresh = read.filter(({ line }) => line.number > before.value.cursor)
        const advance: Advance = (value, taken) => ({ ...value, cursor: taken.at(-1)!.line.number })
        const how = { advance, last: false, judged: fresh.length === read.length ? judged : undefined }
        const after = await passOver(await take(rules, target, before, fresh, how), end)
        reached = after.value.cursor
        return stateOf(after)
      } finally {
        release(reached)
      }
    },

    async finish(rules, target) {
      const found = await find(target)
      const release = await turns.take(found.id, found.value.cursor, found.value.cursor)
      try {
        const current = await find(target)
        const later = beginRound(current.value.later)
        if (later.next === later.entries) return stateOf(current)
        const count = Math.min(limits.importLaterLines, later.end - later.next)
        const entries = await store.read(laterLog(current.id), later.base + later.next, count)
        const lines = entries.map(({ value }) => JSON.parse(value.toString('utf8')) as { number: number; text: string })
        const begun = { ...current, value: { ...current.value, later } }
        const advance: Advance = (value, taken) => ({
          ...value,
          later: { ...value.later, next: value.later.next + taken.length },
        })
        const read = await readLines(rules, lines)
        return stateOf(await take(rules, target, begun, read, { advance, last: later.last }))
      } finally {
        release(found.value.cursor)
      }
    },

    async failures(target, after) {
      const { id, value } = await find(target)
      const { base, entries } = value.failures
      const found = await store.read(failuresLog(id), base + after, limits.importFailurePage)
      const failures = found.flatMap((entry) => JSON.parse(entry.value.toString('utf8')) as LineFailure[])
      const next = after + found.length
      return { failures, next: found.length > 0 && next < entries ? next : undefined }
    },

    remove: async (target) => forget(await find(target)),

    async check(rules, from, texts) {
      const lines = texts.map((text, at) => ({ number: from + at + 1, text }))
      const read = await readLines(rules, lines)
      const sum = { succeeded: 0, later: 0, failures: [] as LineFailure[] }
      for (let at = 0; at < read.length; ) {
        const chunk = await judgeChunk({ store, rules, expect: [] }, read.slice(at), { look: true, last: false })
        sum.succeeded += chunk.succeeded
        sum.later += chunk.later.length
        sum.failures.push(...chunk.failures)
        at += chunk.taken
      }
      return sum
    },
  }

  /** Blank lines at the end of a batch are done too. */
  async function passOver(current: Stored<ImportDocument>, end: number): Promise<Stored<ImportDocument>> {
    if (current.value.cursor >= end) return current
    const value = { ...current.value, cursor: end }
    const own = { in: imports, id: current.id, version: current.version }
    const result = await store.commit({ expect: [own], put: [{ collection: imports, id: current.id, value }] })
    if (!result.ok) throw changedMeanwhile()
    return { ...current, version: result.versions[0]!, value }
  }
}

/**
 * Judges lines while those before them are still being written; undefined where that depends on what will be stored. What
 * it took for new and is not there after all, the commit finds.
 */
async function judgeAhead<T>(
  chunkNeeds: ChunkNeeds<T>,
  lines: readonly ReadLine<T>[],
  last: boolean,
): Promise<Chunk | undefined> {
  const chunk = await judgeChunk(chunkNeeds, lines, { look: false, last, ahead: true })
  return chunk.draft.blind ? chunk : undefined
}

/** What it means for an import that these lines were taken. */
type Advance = (value: ImportDocument, taken: readonly ReadLine<unknown>[]) => ImportDocument

const documentId = (owner: Owner, id: string): string => `${ownerId(owner)}/${id}`
const failuresLog = (id: string): string => `import-failures/${id}`
const laterLog = (id: string): string => `import-later/${id}`

const stateOf = ({ id, value }: Stored<ImportDocument>): ImportState => ({
  id: id.slice(id.lastIndexOf('/') + 1),
  kind: value.kind,
  mode: value.mode,
  createdAt: isoTime(value.createdAt),
  next: value.cursor,
  succeeded: value.succeeded,
  failed: value.failed,
  later: value.later.entries - value.later.next,
})

/** The import after a chunk of it. */
function counted(value: ImportDocument, { succeeded, failures, later }: Chunk, now: number): ImportDocument {
  return {
    ...value,
    updatedAt: now,
    succeeded: value.succeeded + succeeded,
    failed: value.failed + failures.length,
    failures: { ...value.failures, entries: value.failures.entries + Number(failures.length > 0) },
    later: {
      ...value.later,
      entries: value.later.entries + later.length,
      gained: value.later.gained + succeeded,
    },
  }
}

/** One entry for all failures of a chunk, one for each line put off. */
function logged(id: string, { failures, later }: Chunk, time: number): Append[] {
  const entry = (log: string, value: unknown): Append => ({ log, time, value: Buffer.from(JSON.stringify(value)) })
  return [
    ...(failures.length > 0 ? [entry(failuresLog(id), failures)] : []),
    ...later.map((line) => entry(laterLog(id), line)),
  ]
}

/**
 * Lines put off are gone over in rounds, because one may need another. A round that gains nothing is followed by the
 * last one, which refuses what is left.
 */
function beginRound(later: ImportDocument['later']): ImportDocument['later'] {
  if (later.next < later.end) return later
  const last = later.rounds > 0 && later.gained === 0
  return { ...later, end: later.entries, rounds: later.rounds + 1, gained: 0, last }
}

const changedMeanwhile = (): ServiceError =>
  new ServiceError(409000, 'The import was changed or deleted meanwhile. Ask how far it is, and go on from there.')
