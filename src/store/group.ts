import type { Clock, Timer } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { type Operation, type Outcome, weightOf } from './operations.ts'
import type { SqliteWriter } from './sqlite-writer.ts'

export interface Group {
  /** `settle` is called with the outcome, after the transaction that carries it. */
  add(operation: Operation, settle: (outcome: Outcome) => void): void
  /** Writes what waits, at once. Nothing may be added any more. */
  end(): void
}

interface Waiting {
  readonly operation: Operation
  readonly weight: number
  readonly settle: (outcome: Outcome) => void
}

/**
 * Group commit: transactions begin at least `windowMs` apart, and what arrives meanwhile shares the next one and its
 * sync of the disk. So a lone commit does not wait, and many wait together. A window of 0 gathers one turn of the event
 * loop. A full transaction does not wait for its window to end. `wrote` is called after each transaction, with its weight,
 * when all its callers have their outcome.
 */
export function createGroup(needs: {
  writer: SqliteWriter
  clock: Clock
  windowMs: number
  wrote?: (rows: number) => void
}): Group {
  const { writer, clock, windowMs, wrote } = needs
  const waiting: Waiting[] = []
  let weight = 0
  let timer: Timer | undefined
  let began = Number.NEGATIVE_INFINITY
  let sweeping = false
  let ended = false

  const arm = (ms: number): void => {
    if (ms > 0) {
      timer = clock.after(ms, turn)
      return
    }
    const immediate = setImmediate(turn)
    timer = { cancel: () => clearImmediate(immediate) }
  }

  /** Of the window; never more than one, also when the clock was set back. */
  const left = (): number => (windowMs > 0 ? Math.min(windowMs, began + windowMs - clock.now()) : 0)

  const turn = (): void => {
    timer = undefined
    write()
    if (waiting.length > 0) arm(0)
  }

  /** One transaction with as much as fits. */
  const write = (): void => {
    const batch = take()
    if (windowMs > 0) began = clock.now()
    const outcomes = writer.write(batch.map(({ operation }) => operation))
    for (const [at, { settle }] of batch.entries()) settle(outcomes[at]!)
    wrote?.(batch.reduce((sum, each) => sum + each.weight, 0))
    if (batch.some(({ operation }) => operation[0] === 'trim')) sweep()
  }

  /** In the order of arrival. What is too large to share a transaction has one of its own, and holds up only who comes after. */
  const take = (): readonly Waiting[] => {
    let count = 1
    for (let taken = waiting[0]!.weight; count < waiting.length; count++) {
      taken += waiting[count]!.weight
      if (taken > limits.storeGroup) break
    }
    const batch = waiting.splice(0, count)
    for (const each of batch) weight -= each.weight
    return batch
  }

  /** In small steps with pauses, so that commits hardly notice. */
  const sweep = (): void => {
    if (sweeping || ended) return
    sweeping = true
    clock.after(limits.storeSweepPauseMs, () => {
      sweeping = false
      if (!ended && writer.sweep()) sweep()
    })
  }
  sweep() // what a crash left half swept

  return {
    add(operation, settle) {
      const before = weight
      const own = weightOf(operation)
      waiting.push({ operation, weight: own, settle })
      weight += own
      if (timer === undefined) arm(left())
      else if (windowMs > 0 && before < limits.storeGroup && weight >= limits.storeGroup) {
        timer.cancel()
        arm(0)
      }
    },
    end() {
      ended = true
      timer?.cancel()
      while (waiting.length > 0) write()
    },
  }
}
