import { type Clock, systemClock, type Timer } from '../base/clock.ts'

/** A length of time: milliseconds, or by name. */
export type Duration =
  | number
  | {
      readonly days?: number
      readonly hours?: number
      readonly minutes?: number
      readonly seconds?: number
      readonly milliseconds?: number
    }

/** The service's time, in the hand of a test: runs with real time until it is moved. */
export interface TestTime {
  /** What the service takes for now. */
  now(): Date
  /**
   * As if the machine had slept: what fell due meanwhile is done once, at the new time, before the promise resolves
   * (tokens that ran out cut their sessions, retention forgets). Connections feel nothing: their deadlines are real time.
   * @throws RangeError for less than no time
   */
  advance(duration: Duration): Promise<void>
  /** The same to a moment; back, too: what waits then keeps waiting as long as it had to. */
  set(time: Date | string | number): Promise<void>
}

interface Waiting {
  at: number
  readonly run: () => unknown
  timer: Timer | undefined
}

/** Real time, shifted. */
export class MovableClock implements Clock {
  readonly #waiting = new Set<Waiting>()
  #shift = 0

  now(): number {
    return systemClock.now() + this.#shift
  }

  after(ms: number, run: () => void): Timer {
    const waiting: Waiting = { at: this.now() + ms, run, timer: undefined }
    this.#arm(waiting)
    return { cancel: () => this.#drop(waiting) }
  }

  /** Resolves when everything that fell due was done. */
  async moveTo(time: number): Promise<void> {
    const by = time - this.now()
    this.#shift += by
    if (by < 0) {
      for (const waiting of this.#waiting) waiting.at += by
      return
    }
    const all = [...this.#waiting].sort((a, b) => a.at - b.at)
    for (const waiting of all) this.#drop(waiting)
    const due = all.filter(({ at }) => at <= time)
    for (const waiting of all) if (!due.includes(waiting)) this.#arm(waiting)
    await Promise.all(due.map(({ run }) => run()))
  }

  #arm(waiting: Waiting): void {
    this.#waiting.add(waiting)
    waiting.timer = systemClock.after(Math.max(0, waiting.at - this.now()), () => {
      this.#waiting.delete(waiting)
      waiting.run()
    })
  }

  #drop(waiting: Waiting): void {
    this.#waiting.delete(waiting)
    waiting.timer?.cancel()
  }
}

const UNITS = { days: 86_400_000, hours: 3_600_000, minutes: 60_000, seconds: 1_000, milliseconds: 1 } as const

export function millisecondsOf(duration: Duration): number {
  const parts = typeof duration === 'number' ? { milliseconds: duration } : duration
  const ms = Object.entries(parts).reduce((sum, [name, count]) => {
    const unit = (UNITS as Readonly<Record<string, number>>)[name]
    if (unit === undefined)
      throw new RangeError(`A duration must have ${Object.keys(UNITS).join(', ')}, found ${JSON.stringify(name)}.`)
    return sum + count * unit
  }, 0)
  if (Number.isFinite(ms) && ms >= 0) return ms
  throw new RangeError(`Expected a duration of 0 ms or more, found ${ms}. To go back, set the time.`)
}

export function momentOf(time: Date | string | number): number {
  const ms = new Date(time).getTime()
  if (Number.isFinite(ms)) return ms
  throw new RangeError(`Expected a moment (a Date, its text or milliseconds since 1970), found ${String(time)}.`)
}
