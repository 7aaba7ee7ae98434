import { statfsSync } from 'node:fs'
import { type Clock, every, type Timer } from './base/clock.ts'
import { limits } from './base/limits.ts'
import type { Log } from './base/log.ts'
import type { Store } from './store/store.ts'

export interface Health {
  /** What is missing, in words for the operator; empty: every listener accepts and both stores can be written. */
  missing(): readonly string[]
  /** Looks now and then again and again; each change of the answer is logged. */
  start(): Promise<void>
  stop(): void
}

export interface HealthNeeds {
  readonly clock: Clock
  readonly log: Log
  readonly dataFolder: string
  readonly stores: { readonly store: Store; readonly telemetry: Store }
  /** Threads that should serve, and those that do. */
  readonly threads: () => { readonly expected: number; readonly listening: number }
}

/** The row that is written to see whether a store can be written: a lease that nobody holds for longer than a moment. */
const PROBE = 'health'

/**
 * Whether this Muster can do its work. The writers are asked for a commit from time to time, and not when somebody asks,
 * so that a stranger who asks for readiness costs nothing.
 */
export function createHealth({ clock, log, dataFolder, stores, threads }: HealthNeeds): Health {
  let faults: readonly string[] = ['the stores were not asked yet']
  let told = ''
  let wasReady = false
  let stopped = false
  let timer: Timer | undefined

  async function canWrite(name: string, store: Store): Promise<string[]> {
    const late = Promise.withResolvers<string[]>()
    const wait = clock.after(limits.healthAnswerMs, () =>
      late.resolve([`the ${name} store has not answered for ${limits.healthAnswerMs / 1000} s`]),
    )
    const written = store.lease(PROBE, PROBE, clock.now(), 0).then(
      () => [],
      (error: unknown) => [unwritable(name, error)],
    )
    try {
      return await Promise.race([written, late.promise])
    } finally {
      wait.cancel()
    }
  }

  function unwritable(name: string, error: unknown): string {
    const { message, cause } = error as { message?: string; cause?: unknown }
    const reason = cause instanceof Error ? cause.message : (message ?? String(error))
    return `the ${name} store cannot be written: ${reason}`
  }

  function missing(): readonly string[] {
    const { expected, listening } = threads()
    const absent = expected - listening
    return absent > 0 ? [`${absent} of ${expected} threads do not listen`, ...faults] : faults
  }

  async function look(): Promise<void> {
    const found = await Promise.all([canWrite('documents', stores.store), canWrite('telemetry', stores.telemetry)])
    faults = found.flat()
    if (stopped) return // at the end the stores go
    const now = missing()
    wasReady ||= now.length === 0
    // At a start the threads come one after the other: that is no news.
    const news = wasReady || faults.length > 0 ? now.join('; ') : ''
    if (news === told) return
    told = news
    if (news === '') return log.info({ dataFolder }, 'ready again')
    log.error(
      { dataFolder, freeBytes: freeBytes(dataFolder), missing: now },
      `not ready. Where the disk is full: nothing that was acknowledged is lost; make room on the file system of ${dataFolder}, and it goes on by itself`,
    )
  }

  return {
    missing,
    async start() {
      await look()
      timer = every(clock, limits.healthCheckMs, look, (error) =>
        log.error({ cause: error }, 'looking after health failed'),
      )
    },
    stop() {
      stopped = true
      timer?.cancel()
    },
  }
}

/** Bytes that an ordinary user may still write on the file system of `folder`. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}
