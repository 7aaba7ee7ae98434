import { limits } from './limits.ts'

/**
 * Counters, gauges and histograms of one thread, and their text form for Prometheus (exposition format 0.0.4). Pure: a
 * thread makes its own and hands it to whoever counts. What threads counted travels as `Family` and is added up.
 */
export interface Metrics {
  /** `name` ends in `_total`. Labels must take few values: beyond `limits.metricSeries` all are counted as `other`. */
  counter(name: string, help: string, labels?: readonly string[]): Counter
  /** Seconds; `bounds` are the upper ones, ascending, without infinity. */
  histogram(name: string, help: string, labels?: readonly string[], bounds?: readonly number[]): Histogram
  /** Asked when somebody looks. Several under one name are added up. */
  gauge(name: string, help: string, read: () => number): void
  gauge(name: string, help: string, read: () => readonly Reading[], labels: readonly string[]): void
  collect(): readonly Family[]
}

export interface Counter {
  add(amount: number, ...labels: readonly string[]): void
  /** The series of these labels, looked up once: for what is counted with every request. */
  of(...labels: readonly string[]): (amount: number) => void
}

export interface Histogram {
  observe(seconds: number, ...labels: readonly string[]): void
  of(...labels: readonly string[]): (seconds: number) => void
}

export type Reading = readonly [value: number, ...labels: readonly string[]]

/** One metric with all its series, as JSON. */
export interface Family {
  readonly name: string
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  /** Of a histogram. */
  readonly bounds: readonly number[]
  /** One number; of a histogram a count for each bucket (the last is the infinite one) and the sum of all values. */
  readonly series: readonly (readonly [labels: readonly string[], numbers: readonly number[]])[]
}

/** From a memory access to a slow disk and a slow webhook. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

interface Kept {
  readonly family: Omit<Family, 'series'>
  readonly series: Map<string, [labels: readonly string[], numbers: number[]]>
  readonly gauges: (() => readonly Reading[])[]
}

export function createMetrics(): Metrics {
  const families = new Map<string, Kept>()

  function keep(family: Omit<Family, 'series'>): Kept {
    const kept = families.get(family.name) ?? { family, series: new Map(), gauges: [] }
    families.set(family.name, kept)
    return kept
  }

  return {
    counter(name, help, labels = []) {
      const kept = keep({ name, kind: 'counter', help, labels, bounds: [] })
      const of: Counter['of'] = (...values) => {
        const numbers = numbersOf(kept, values, 1)
        return (amount) => {
          numbers[0]! += amount
        }
      }
      return { of, add: (amount, ...values) => of(...values)(amount) }
    },
    histogram(name, help, labels = [], bounds = SECONDS) {
      const kept = keep({ name, kind: 'histogram', help, labels, bounds })
      const of: Histogram['of'] = (...values) => {
        const numbers = numbersOf(kept, values, bounds.length + 2)
        return (seconds) => {
          let at = 0
          while (at < bounds.length && seconds > bounds[at]!) at++
          numbers[at]! += 1
          numbers[bounds.length + 1]! += seconds
        }
      }
      return { of, observe: (seconds, ...values) => of(...values)(seconds) }
    },
    gauge(name: string, help: string, read: () => number | readonly Reading[], labels: readonly string[] = []) {
      const readings = (): readonly Reading[] => {
        const value = read()
        return typeof value === 'number' ? [[value]] : value
      }
      keep({ name, kind: 'gauge', help, labels, bounds: [] }).gauges.push(readings)
    },
    collect: () =>
      [...families.values()].map(({ family, series, gauges }) => {
        const read = gauges.flatMap((gauge) => gauge().map(([value, ...labels]) => [labels, [value]] as const))
        return { ...family, series: [...series.values(), ...read] }
      }),
  }
}

/** The numbers of one series. Labels come from closed sets of ours; one that does not is folded before it fills memory. */
function numbersOf({ family, series }: Kept, labels: readonly string[], count: number): number[] {
  const key = labels.length === 1 ? labels[0]! : labels.join('\0')
  const found = series.get(key)
  if (found !== undefined) return found[1]
  if (series.size >= limits.metricSeries) {
    const other = family.labels.map(() => 'other')
    const rest = series.get(other.join('\0'))
    if (rest !== undefined) return rest[1]
    labels = other
  }
  const numbers = new Array<number>(count).fill(0)
  series.set(labels.join('\0'), [labels, numbers])
  return numbers
}

/** What several threads counted, added up label by label; in the order of the names. */
export function addUp(collected: readonly (readonly Family[])[]): readonly Family[] {
  const sums = new Map<string, Kept>()
  for (const { series, ...family } of collected.flat()) {
    const kept = sums.get(family.name) ?? { family, series: new Map(), gauges: [] }
    sums.set(family.name, kept)
    for (const [labels, numbers] of series) {
      const sum = numbersOf(kept, labels, numbers.length)
      for (const [at, number] of numbers.entries()) sum[at]! += number
    }
  }
  return [...sums.values()]
    .map(({ family, series }) => ({ ...family, series: [...series.values()] }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** The text that Prometheus reads. A metric without labels that nothing was counted for is 0. */
export function metricsText(families: readonly Family[]): string {
  const lines = families.flatMap((family) => {
    const { name, help, kind, labels, bounds, series } = family
    const nothing =
      labels.length > 0 ? [] : [[[], new Array<number>(kind === 'histogram' ? bounds.length + 2 : 1).fill(0)]]
    const shown = (series.length > 0 ? series : nothing) as Family['series']
    return [
      `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
      `# TYPE ${name} ${kind}`,
      ...shown.flatMap(([values, numbers]) =>
        kind === 'histogram'
          ? histogramLines(family, values, numbers)
          : [`${name}${labelText(labels, values)} ${numbers[0]}`],
      ),
    ]
  })
  return `${lines.join('\n')}\n`
}

function histogramLines({ name, labels, bounds }: Family, values: readonly string[], numbers: readonly number[]) {
  let count = 0
  const buckets = [...bounds, '+Inf'].map((bound, at) => {
    count += numbers[at] ?? 0
    return `${name}_bucket${labelText([...labels, 'le'], [...values, String(bound)])} ${count}`
  })
  const own = labelText(labels, values)
  return [...buckets, `${name}_sum${own} ${numbers[bounds.length + 1] ?? 0}`, `${name}_count${own} ${count}`]
}

function labelText(names: readonly string[], values: readonly string[]): string {
  if (names.length === 0) return ''
  const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
  return `{${names.map((name, at) => `${name}="${escaped(values[at] ?? '')}"`).join(',')}}`
}
