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
  readonly settle: (outcome: Outcome) => void
}

/**
 * Group commit: what arrives within `windowMs` shares one transaction, and so one sync of the disk. A window of 0
 * gathers one turn of the event loop. A full transaction does not wait for its window to end. `wrote` is called after
 * each transaction, when all its callers have their outcome.
 */
export function createGroup(needs: {
  writer: SqliteWriter
  clock: Clock
  windowMs: number
  wrote?: () => void
}): Group {
  const { writer, clock, windowMs, wrote } = needs
  let waiting: Waiting[] = []
  let weight = 0
  let timer: Timer | undefined
  let sweeping = false

  const arm = (ms: number): void => {
    if (ms > 0) {
      timer = clock.after(ms, turn)
      return
    }
    const immediate = setImmediate(turn)
    timer = { cancel: () => clearImmediate(immediate) }
  }

  const turn = (): void => {
    timer = undefined
    write()
    if (waiting.length > 0) arm(0)
  }

  /** One transaction with as much as fits. */
  const write = (): void => {
    const batch = take()
    const outcomes = writer.write(batch.map(({ operation }) => operation))
    for (const [at, { settle }] of batch.entries()) settle(outcomes[at]!)
    wrote?.()
    if (batch.some(({ operation }) => operation[0] === 'trim')) sweep()
  }

  const take = (): readonly Waiting[] => {
    let count = 0
    for (let rows = 0; count < waiting.length && rows < limits.storeBatch; count++) {
      const own = weightOf(waiting[count]!.operation)
      rows += own
      weight -= own
    }
    const batch = waiting.slice(0, count)
    waiting = waiting.slice(count)
    return batch
  }

  /** Between transactions, one step a turn. */
  const sweep = (): void => {
    if (sweeping) return
    sweeping = true
    setImmediate(() => {
      sweeping = false
      if (writer.sweep()) sweep()
    })
  }
  sweep() // what a crash left half swept

  return {
    add(operation, settle) {
      waiting.push({ operation, settle })
      const before = weight
      weight += weightOf(operation)
      if (timer === undefined) arm(windowMs)
      else if (windowMs > 0 && before < limits.storeBatch && weight >= limits.storeBatch) {
        timer.cancel()
        arm(0)
      }
    },
    end() {
      timer?.cancel()
      while (waiting.length > 0) write()
    },
  }
}
