import type { Clock } from './base/clock.ts'
import { isObject } from './base/json.ts'
import { limits } from './base/limits.ts'
import { addUp, createMetrics, type Family, type Metrics, metricsText } from './base/metrics.ts'
import type { Random } from './base/random.ts'
import type { Bus } from './bus/bus.ts'

/** `ask` is chosen by the one who asks; every hint carries one metric, so that it is never too long. */
interface Ask {
  readonly ask: string
}
interface Answer extends Ask {
  readonly source: string
  /** How many metrics this source has. */
  readonly of: number
  readonly family: Family
}

const ASK = 'metrics.ask'
const ANSWER = 'metrics.answer'

/** Answers with this thread's metrics when a collector asks. `source`: a name that no other thread has or had. */
export function answerMetrics(bus: Bus, metrics: Metrics, source: string): () => void {
  return bus.subscribe(ASK, (hint) => {
    const families = metrics.collect()
    for (const family of families)
      bus.publish(ANSWER, { ask: (hint as Ask).ask, source, of: families.length, family } satisfies Answer)
  })
}

export interface CollectorNeeds {
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
  /** Threads that serve devices: so many answers are waited for, `limits.metricsAnswerMs` at the most. */
  readonly workers: number
  /** Metrics that do not come over the bus: of this thread, of the writers. */
  readonly others: () => Promise<readonly (readonly Family[])[]>
}

/**
 * The metrics of all threads together, as Prometheus reads them. What a thread counted is kept when it is late or has
 * ended: a sum that falls would look like a restart of everything. Its gauges go with it, and
 * `muster_worker_threads_answering` falls below `muster_worker_threads`.
 */
export function createMetricsCollector(needs: CollectorNeeds): () => Promise<string> {
  const { bus, clock, random, workers, others } = needs
  /** What each source counted last, the one heard least recently first. */
  const counted = new Map<string, readonly Family[]>()
  let ended: readonly Family[] = []

  function remember(source: string, families: readonly Family[]): void {
    counted.delete(source)
    counted.set(source, families.filter(isCounted))
    const [oldest] = counted
    if (counted.size <= limits.metricSources || oldest === undefined) return
    counted.delete(oldest[0])
    ended = addUp([ended, oldest[1]])
  }

  async function ask(): Promise<ReadonlyMap<string, readonly Family[]>> {
    const heard = new Map<string, Family[]>()
    const whole = new Map<string, readonly Family[]>()
    const asked = random.uuid()
    let unsubscribe = (): void => {}
    await new Promise<void>((resolve) => {
      const timer = clock.after(limits.metricsAnswerMs, resolve)
      unsubscribe = bus.subscribe(ANSWER, (hint) => {
        if (!isObject(hint) || hint['ask'] !== asked) return
        const { source, of, family } = hint as unknown as Answer
        const families = heard.get(source) ?? []
        heard.set(source, families)
        families.push(family)
        if (families.length === of) whole.set(source, families)
        if (whole.size < workers) return
        timer.cancel()
        resolve()
      })
      bus.publish(ASK, { ask: asked } satisfies Ask)
    })
    unsubscribe()
    return whole
  }

  return async () => {
    const [answers, own] = await Promise.all([ask(), others()])
    for (const [source, families] of answers) remember(source, families)
    const gauges = [...answers.values()].map((families) => families.filter((family) => !isCounted(family)))
    const about = createMetrics()
    about.gauge('muster_worker_threads', 'Threads that should serve devices.', () => workers)
    about.gauge(
      'muster_worker_threads_answering',
      'Of them, those whose numbers are in this answer.',
      () => answers.size,
    )
    return metricsText(addUp([ended, ...counted.values(), ...gauges, ...own, about.collect()]))
  }
}

const isCounted = ({ kind }: Family): boolean => kind !== 'gauge'
