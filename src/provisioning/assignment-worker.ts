import { type Clock, every, type Timer } from '../base/clock.ts'
import { asServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { DueItem, Store } from '../store/store.ts'
import type { Job } from './assignment.ts'
import { assignments } from './schema.ts'

export interface WorkerNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  /** Does one job; throws when it is worth another try, which `last` says there will not be. */
  readonly assign: (job: Job, last: boolean) => Promise<void>
  /** How long a registration stays `assigning` at the least, ms. */
  readonly assigningMs: number
  /** Registrations that may wait here before it is full. */
  readonly backlog: number
}

export interface AssignmentWorker {
  /** When the work item of a registration that is opened now falls due for any node: this one works at once. */
  dueAt(now: number): number
  /**
   * Takes a job whose work item is durable. One that the node has already replaces what that one knows.
   * @param item as it was written: while the job takes its time, the node keeps it from falling due for others
   */
  accept(job: Job, item?: WorkItem): void
  /** Whether this node is at work on it, or is about to be. */
  has(id: string): boolean
  /** Whether no more registrations should be opened on this node for now. */
  isFull(): boolean
  /** Registrations that this node is busy with. */
  waiting(): number
  /**
   * Looks for what a crash left behind, now and then from time to time.
   * @param since ms since 1970, when the nodes that begin together began: what was opened after is one of theirs
   */
  start(since: number): void
  /** Waits for what is running; the rest stays in the store. */
  stop(): Promise<void>
}

/** Where the work item of a registration stands in the store. */
export interface WorkItem {
  readonly version: number
  /** When any node may take it over. */
  readonly dueAt: number
}

/** A registration that this node is busy with. */
interface Entry {
  job: Job
  /** As this node wrote it last; absent when it is not ours any more. */
  item?: WorkItem | undefined
  /** How long it is kept from falling due: one that never ends is somebody else's in the end. */
  keptUntil: number
  state: 'delayed' | 'queued' | 'running'
  timer?: Timer
  /** Tries that ended in a fault. */
  faults: number
  /** What came in while it was running. */
  next?: Job
}

/**
 * Works on assignments: from memory, at once, so many at a time that their commits share disk writes; and from the
 * store, for what a crash or another node left behind. One registration is never worked on twice at a time here.
 */
export function createAssignmentWorker(needs: WorkerNeeds): AssignmentWorker {
  const { store, clock, log, assign, assigningMs, backlog } = needs
  const entries = new Map<string, Entry>()
  const queue: Entry[] = []
  const running = new Set<Promise<void>>()
  /** Those of them that take long; up to `limits.assignmentsSlow` of them hold up nobody. */
  const slow = new Set<Promise<void>>()
  let stopped = false
  let sweeping: Timer | undefined
  let firstSweep: Promise<void> | undefined

  function accept(job: Job, item: WorkItem | undefined, delayMs = assigningMs): void {
    if (stopped) return
    const entry = entries.get(job.id)
    const keptUntil = clock.now() + assigningMs + limits.assignmentKeptMs
    if (entry !== undefined) Object.assign(entry, { item, keptUntil })
    if (entry?.state === 'running') {
      entry.next = job
      return
    }
    entry?.timer?.cancel()
    const fresh: Entry = entry ?? { job, item, keptUntil, state: 'delayed', faults: 0 }
    fresh.job = job
    fresh.faults = 0
    entries.set(job.id, fresh)
    if (fresh.state !== 'queued') schedule(fresh, delayMs)
  }

  function schedule(entry: Entry, delayMs: number): void {
    if (delayMs <= 0) enqueue(entry)
    else {
      entry.state = 'delayed'
      entry.timer = clock.after(delayMs, () => enqueue(entry))
    }
  }

  function enqueue(entry: Entry): void {
    entry.state = 'queued'
    queue.push(entry)
    drain()
  }

  function drain(): void {
    while (!stopped && running.size - Math.min(slow.size, limits.assignmentsSlow) < limits.assignmentsAtOnce) {
      const entry = queue.shift()
      if (entry === undefined) return
      const timer = clock.after(limits.assignmentSlowMs, () => {
        slow.add(run)
        drain()
      })
      const run = work(entry).finally(() => {
        timer.cancel()
        slow.delete(run)
        running.delete(run)
        drain()
      })
      running.add(run)
    }
  }

  async function work(entry: Entry): Promise<void> {
    entry.state = 'running'
    const last = entry.faults + 1 >= limits.assignmentAttempts
    let retryMs: number | undefined
    try {
      await assign(fresh(entry.job), last)
    } catch (thrown) {
      retryMs = faulted(entry, thrown, last)
    }
    const { job, next } = entry
    if (next !== undefined) {
      delete entry.next
      entries.delete(job.id)
      accept(next, entry.item)
    } else if (retryMs !== undefined && !stopped) {
      // What it knew may be out of date by then.
      entry.job = withoutKnown(job)
      schedule(entry, retryMs)
    } else entries.delete(job.id)
  }

  /** What was known when the operation was opened is forgotten where the job had to wait. */
  function fresh(job: Job): Job {
    const { known } = job
    const isLate = known === undefined || clock.now() - known.record.value.openedAt >= limits.assignmentFreshMs
    return isLate ? withoutKnown(job) : job
  }

  /** The pause before the next try; undefined: none here, the sweep finds the work item again. */
  function faulted(entry: Entry, thrown: unknown, last: boolean): number | undefined {
    const { code, message, cause } = asServiceError(thrown)
    log.error({ registration: entry.job.id, code, reason: message, cause, last }, 'assignment interrupted')
    entry.faults++
    return last ? undefined : limits.assignmentRetryMs * 2 ** (entry.faults - 1)
  }

  /** Takes over what is due at `horizon` and nobody here works on. */
  async function sweep(horizon: number): Promise<void> {
    while (!stopped && !isFull()) {
      const due = await store.due(assignments, horizon, limits.assignmentSweep)
      const found = due.filter(({ id }) => !entries.has(id))
      const taken = await Promise.all(found.map((item) => takeOver(item, horizon)))
      // A full page of which nothing could be taken is somebody else's; what stands behind it waits for its turn.
      if (due.length < limits.assignmentSweep || !taken.includes(true)) return
    }
  }

  /** Moving the item first, beyond the horizon, means that of several nodes only one works on it. */
  async function takeOver({ id, version, dueAt }: DueItem<Record<string, never>>, horizon: number): Promise<boolean> {
    const now = clock.now()
    const later = Math.max(now + limits.assignmentGraceMs, horizon + 1)
    const result = await moved(id, version, later)
    if (result.ok)
      accept({ id }, { version: result.queued[0] ?? 0, dueAt: later }, dueAt - limits.assignmentGraceMs - now)
    return result.ok
  }

  const moved = (id: string, version: number, dueAt: number) =>
    store.commit({
      expect: [{ in: assignments, id, version }],
      enqueue: [{ queue: assignments, id, dueAt, value: {} }],
    })

  /**
   * A node that lives keeps what it is busy with, however long a hub or webhook takes: two at work on one move could
   * each write what the other one does not expect.
   */
  async function keep(): Promise<void> {
    const now = clock.now()
    await Promise.all(
      [...entries.values()].map(async (entry) => {
        const { item, job, keptUntil } = entry
        if (item === undefined || now >= keptUntil || item.dueAt > now + limits.assignmentGraceMs / 2) return
        const dueAt = now + limits.assignmentGraceMs
        const result = await moved(job.id, item.version, dueAt)
        if (entry.item !== item) return
        if (result.ok) {
          entry.item = { version: result.queued[0] ?? 0, dueAt }
          return
        }
        // A newer operation that another node opened, and this run goes on with; none: it has ended.
        const version = result.conflicts[0]?.version ?? 0
        entry.item = version === 0 ? undefined : { version, dueAt: now }
      }),
    )
  }

  const isFull = (): boolean => entries.size >= backlog

  const dueAt = (now: number): number => now + assigningMs + limits.assignmentGraceMs

  const swept = (error: unknown): void =>
    log.error({ reason: asServiceError(error).message, cause: error }, 'looking for unfinished assignments failed')

  return {
    dueAt,
    accept: (job, item) => accept(job, item),
    has: (id) => entries.has(id),
    isFull,
    waiting: () => entries.size,
    start(since) {
      // All that is older is taken, due or not: what was being worked on before the crash falls due later.
      firstSweep = sweep(dueAt(since)).catch(swept)
      const look = () => keep().then(() => sweep(clock.now()))
      sweeping = every(clock, limits.assignmentSweepMs, look, swept)
    },
    async stop() {
      stopped = true
      sweeping?.cancel()
      for (const { timer } of entries.values()) timer?.cancel()
      queue.length = 0
      await firstSweep
      await Promise.all(running)
    },
  }
}

/** What was attested stays true. */
const withoutKnown = ({ id, trace }: Job): Job => ({ id, ...(trace !== undefined && { trace }) })
