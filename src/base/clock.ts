/** Time is an argument: nothing outside `base` reads the machine's clock or sets its timers. */
export interface Clock {
  /** Milliseconds since 1970, UTC. */
  now(): number
  /**
   * Runs `run` once, `ms` from now, unless cancelled before. A promise that it answers with is waited for by clocks that
   * a test moves, and by no other.
   */
  after(ms: number, run: () => void): Timer
}

export interface Timer {
  cancel(): void
}

/** The machine's clock. Its timers do not keep the process alive: open listeners do. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, run) => {
    const handle = setTimeout(run, ms)
    handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}

/** Stands still until a test moves it. */
export class TestClock implements Clock {
  #now: number
  #due: { readonly at: number; readonly run: () => void }[] = []

  constructor(start = Date.UTC(2026, 0, 1)) {
    this.#now = start
  }

  now(): number {
    return this.#now
  }

  after(ms: number, run: () => void): Timer {
    const entry = { at: this.#now + ms, run }
    this.#due.push(entry)
    return {
      cancel: () => {
        this.#due = this.#due.filter((other) => other !== entry)
      },
    }
  }

  /** Moves time forward by `ms`, running what falls due on the way, in order. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#due.filter((entry) => entry.at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#due = this.#due.filter((entry) => entry !== next)
      this.#now = next.at
      next.run()
    }
    this.#now = end
  }
}

/** Runs `step` again and again, `ms` after the last one ended, until stopped. A failing step is reported and repeated. */
export function every(clock: Clock, ms: number, step: () => Promise<void>, failed: (error: unknown) => void): Timer {
  let stopped = false
  let timer: Timer | undefined
  const arm = () => {
    if (stopped) return
    timer = clock.after(ms, () => step().catch(failed).finally(arm))
  }
  arm()
  return {
    cancel: () => {
      stopped = true
      timer?.cancel()
    },
  }
}

/** `2026-01-01T00:00:00.1230000Z`: seven fraction digits, as the real services write every time (dps.md 1.5). */
export const isoTime = (ms: number): string => new Date(ms).toISOString().replace('Z', '0000Z')

/** What a registry shows for a moment that never was (hub-service.md 2.2). */
export const NEVER = '0001-01-01T00:00:00Z'
