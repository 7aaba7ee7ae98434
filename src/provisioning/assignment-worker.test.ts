import { expect, test } from 'vitest'
import { settled, until } from '../../tests/support/provisioning.ts'
import { temporaryStore } from '../../tests/support/store.ts'
import { TestClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { silentLog } from '../base/log.ts'
import type { CommitResult } from '../store/store.ts'
import type { Job } from './assignment.ts'
import { createAssignmentWorker } from './assignment-worker.ts'
import { assignments, provisioningSchema } from './schema.ts'

interface Call {
  readonly job: Job
  readonly last: boolean
  readonly end: (fault?: unknown) => void
}

async function worker(assigningMs = 0) {
  const store = await temporaryStore(provisioningSchema)
  const clock = new TestClock()
  const calls: Call[] = []
  const assign = (job: Job, last: boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      calls.push({ job, last, end: (fault) => (fault === undefined ? resolve() : reject(fault)) })
    })
  const needs = { store, clock, log: silentLog, assign, assigningMs, backlog: limits.assignmentBacklog }
  return { store, clock, calls, made: createAssignmentWorker(needs), needs }
}

type Committed = Extract<CommitResult, { ok: true }>

const enqueue = (at: number, id: string) => ({ enqueue: [{ queue: assignments, id, dueAt: at, value: {} }] })

test('so many at once, the rest waits; above the backlog it is full', async () => {
  const { made, calls } = await worker()
  for (let at = 0; at < limits.assignmentBacklog - 1; at++) made.accept({ id: `s/${at}` })
  expect(made.isFull()).toBe(false)
  made.accept({ id: 's/last' })
  expect(made.isFull()).toBe(true)
  expect(calls).toHaveLength(limits.assignmentsAtOnce)
  calls[0]!.end()
  await settled()
  expect(calls).toHaveLength(limits.assignmentsAtOnce + 1)
  expect(made.isFull()).toBe(false)
})

test('what waits for a slow webhook or hub makes room for the others, up to a bound', async () => {
  const { made, calls, clock } = await worker()
  const { assignmentsAtOnce: atOnce, assignmentsSlow: slow } = limits
  for (let at = 0; at < 2 * slow; at++) made.accept({ id: `s/${at}` })
  clock.advance(limits.assignmentSlowMs - 1)
  expect(calls).toHaveLength(atOnce)
  clock.advance(1)
  expect(calls).toHaveLength(2 * atOnce)
  clock.advance(60_000)
  expect(calls).toHaveLength(slow + atOnce)
  calls[0]!.end()
  await settled()
  expect(calls).toHaveLength(slow + atOnce + 1)
})

test('one registration is never worked on twice at a time; what came meanwhile follows', async () => {
  const { made, calls } = await worker()
  made.accept({ id: 's/a' })
  made.accept({ id: 's/a' })
  made.accept({ id: 's/a' })
  made.accept({ id: 's/b' })
  expect(calls.map(({ job }) => job.id)).toEqual(['s/a', 's/b'])
  calls[0]!.end()
  await settled()
  expect(calls.map(({ job }) => job.id)).toEqual(['s/a', 's/b', 's/a'])
  calls[2]!.end()
  await settled()
  expect(calls).toHaveLength(3)
})

test('a fault is tried again after longer and longer pauses; the last try is told so', async () => {
  const { made, calls, clock } = await worker()
  made.accept({ id: 's/a' })
  for (let fault = 0; fault < limits.assignmentAttempts - 1; fault++) {
    expect(calls).toHaveLength(fault + 1)
    expect(calls[fault]!.last).toBe(false)
    calls[fault]!.end(new Error('the hub is away'))
    await settled()
    clock.advance(limits.assignmentRetryMs * 2 ** fault - 1)
    expect(calls).toHaveLength(fault + 1)
    clock.advance(1)
  }
  expect(calls.at(-1)!.last).toBe(true)
  calls.at(-1)!.end(new Error('even then'))
  await settled()
  clock.advance(3_600_000)
  expect(calls).toHaveLength(limits.assignmentAttempts)
  // It is not forgotten: the work item is still in the store, and anybody may give it another go.
  made.accept({ id: 's/a' })
  expect(calls.at(-1)!.last).toBe(false)
})

test('a newer job replaces what a waiting one knows and starts its tries anew', async () => {
  const { made, calls, clock } = await worker()
  made.accept({ id: 's/a' })
  calls[0]!.end(new Error('fault'))
  await settled()
  made.accept({ id: 's/a' })
  expect(calls).toHaveLength(2)
  clock.advance(limits.assignmentRetryMs)
  expect(calls).toHaveLength(2)
})

test('at start everything is taken over, later only what is overdue', async () => {
  const { made, store, clock, calls } = await worker()
  const now = clock.now()
  await store.commit(enqueue(now + limits.assignmentGraceMs, 's/mine'))
  await store.commit(enqueue(now + limits.assignmentGraceMs + 1, 's/of-another-node'))
  made.start(clock.now())
  await settled()
  expect(calls.map(({ job }) => job.id)).toEqual(['s/mine'])
  const [item] = await store.due(assignments, Number.MAX_SAFE_INTEGER, 10)
  expect(item).toMatchObject({ id: 's/mine', dueAt: now + limits.assignmentGraceMs + 1 })
  for (let at = 0; at < limits.assignmentGraceMs / limits.assignmentSweepMs; at++) {
    clock.advance(limits.assignmentSweepMs)
    await settled()
    expect(calls).toHaveLength(1)
  }
  clock.advance(limits.assignmentSweepMs)
  await settled()
  expect(calls.map(({ job }) => job.id)).toEqual(['s/mine', 's/of-another-node'])
  calls.map(({ end }) => end())
  await made.stop()
})

test('at start everything is taken, however much it is', async () => {
  const { made, store, clock, calls } = await worker()
  const ids = Array.from({ length: 3 * limits.assignmentSweep + 1 }, (_, at) => `s/${at}`)
  await Promise.all(ids.map((id) => store.commit(enqueue(made.dueAt(clock.now()), id))))
  made.start(clock.now())
  await until(() => calls.length === limits.assignmentsAtOnce)
  for (let done = 0; done < ids.length; done++) {
    await until(() => calls.length > done)
    calls[done]!.end()
  }
  expect(new Set(calls.map(({ job }) => job.id)).size).toBe(ids.length)
  expect(calls).toHaveLength(ids.length)
  await made.stop()
})

test('a crash does not shorten the time that a registration stays assigning', async () => {
  const { made, store, clock, calls } = await worker(60_000)
  await store.commit(enqueue(made.dueAt(clock.now()), 's/a'))
  clock.advance(20_000)
  made.start(clock.now())
  await settled()
  clock.advance(39_999)
  expect(calls).toHaveLength(0)
  clock.advance(1)
  expect(calls).toHaveLength(1)
  calls[0]!.end()
  await made.stop()
})

test('of two nodes one takes an item over', async () => {
  const { made, store, clock, calls, needs } = await worker()
  const other = createAssignmentWorker(needs)
  for (let at = 0; at < 300; at++) await store.commit(enqueue(clock.now(), `s/${at}`))
  made.start(clock.now())
  other.start(clock.now())
  await settled()
  for (let done = 0; done < 300; done++) {
    calls[done]!.end()
    await settled()
  }
  expect(new Set(calls.map(({ job }) => job.id)).size).toBe(300)
  expect(calls).toHaveLength(300)
  await Promise.all([made.stop(), other.stop()])
})

test('what a living node is busy with is nobody else’s, and what it never ends is in the end', async () => {
  const { made, store, clock, calls, needs } = await worker()
  const other = createAssignmentWorker(needs)
  made.start(clock.now())
  other.start(clock.now())
  await settled()
  const dueAt = made.dueAt(clock.now())
  const { queued } = (await store.commit(enqueue(dueAt, 's/slow'))) as Committed
  made.accept({ id: 's/slow' }, { version: queued[0]!, dueAt })
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += limits.assignmentSweepMs) {
      clock.advance(limits.assignmentSweepMs)
      await settled()
    }
  }
  await pass(limits.assignmentKeptMs)
  expect(calls).toHaveLength(1)
  await pass(2 * limits.assignmentGraceMs)
  expect(calls).toHaveLength(2)
  for (const { end } of calls) end()
  await Promise.all([made.stop(), other.stop()])
})

test('an item that was deleted is not made again; one of a newer operation is kept as well', async () => {
  const { made, store, clock, calls } = await worker()
  made.start(clock.now())
  await settled()
  const dueAt = made.dueAt(clock.now())
  for (const id of ['s/ended', 's/newer']) {
    const { queued } = (await store.commit(enqueue(dueAt, id))) as Committed
    made.accept({ id }, { version: queued[0]!, dueAt })
  }
  await store.commit({ delete: [{ in: assignments, id: 's/ended' }] })
  await store.commit(enqueue(dueAt + 1, 's/newer'))
  for (let passed = 0; passed < limits.assignmentGraceMs; passed += limits.assignmentSweepMs) {
    clock.advance(limits.assignmentSweepMs)
    await settled()
  }
  const items = await store.due(assignments, Number.MAX_SAFE_INTEGER, 10)
  expect(items.map(({ id }) => id)).toEqual(['s/newer'])
  expect(items[0]!.dueAt).toBeGreaterThan(dueAt + 1)
  for (const { end } of calls) end()
  await made.stop()
})

test('a node that begins together with another one leaves it what that one took over or opened since', async () => {
  const { made, store, clock, calls, needs } = await worker()
  const startedAt = clock.now()
  await store.commit(enqueue(made.dueAt(startedAt - 1), 's/before-the-crash'))
  clock.advance(300)
  made.start(startedAt)
  await settled()
  await store.commit(enqueue(made.dueAt(clock.now()), 's/opened-since'))
  clock.advance(300)
  const other = createAssignmentWorker(needs)
  other.start(startedAt)
  await settled()
  expect(calls.map(({ job }) => job.id)).toEqual(['s/before-the-crash'])
  calls[0]!.end()
  await Promise.all([made.stop(), other.stop()])
})

test('stopping waits for what is running and starts nothing more', async () => {
  const { made, calls, clock } = await worker()
  made.start(clock.now())
  made.accept({ id: 's/a' })
  await settled()
  const stopping = made.stop()
  made.accept({ id: 's/b' })
  let stopped = false
  void stopping.then(() => {
    stopped = true
  })
  await settled()
  expect(stopped).toBe(false)
  calls[0]!.end(new Error('fault'))
  await stopping
  clock.advance(3_600_000)
  expect(calls).toHaveLength(1)
})

test('a store that does not answer the search is asked again later', async () => {
  const { store, clock, needs } = await worker()
  let faults = 2
  const due = ((...args: Parameters<typeof store.due>) => {
    if (faults-- > 0) throw new Error('no answer')
    return store.due(...args)
  }) as typeof store.due
  await store.commit(enqueue(clock.now(), 's/a'))
  const calls: string[] = []
  const assign = async ({ id }: Job) => void calls.push(id)
  const made = createAssignmentWorker({ ...needs, store: { ...store, due }, assign })
  made.start(clock.now())
  await settled()
  expect(calls).toEqual([])
  clock.advance(limits.assignmentSweepMs)
  await settled()
  clock.advance(limits.assignmentSweepMs)
  await settled()
  expect(calls).toEqual(['s/a'])
  await made.stop()
})
