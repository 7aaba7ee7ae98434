import { expect, test } from 'vitest'
import { limits } from './limits.ts'
import { addUp, createMetrics, metricsText } from './metrics.ts'

test('counters, gauges and histograms read as Prometheus expects them', () => {
  const metrics = createMetrics()
  const requests = metrics.counter('muster_requests_total', 'Requests, a "quoted" \\ help.', ['face', 'status'])
  requests.add(1, 'hub', '2xx')
  requests.add(2, 'hub', '2xx')
  requests.add(1, 'a"b\\c\nd', '4xx')
  metrics.counter('muster_idle_total', 'Nothing yet.')
  metrics.gauge('muster_open', 'Open.', () => 7)
  const seconds = metrics.histogram('muster_seconds', 'Time.', ['face'], [0.1, 1])
  for (const value of [0.05, 0.1, 0.5, 3]) seconds.observe(value, 'hub')
  expect(metricsText(metrics.collect())).toBe(
    [
      '# HELP muster_requests_total Requests, a "quoted" \\\\ help.',
      '# TYPE muster_requests_total counter',
      'muster_requests_total{face="hub",status="2xx"} 3',
      'muster_requests_total{face="a\\"b\\\\c\\nd",status="4xx"} 1',
      '# HELP muster_idle_total Nothing yet.',
      '# TYPE muster_idle_total counter',
      'muster_idle_total 0',
      '# HELP muster_open Open.',
      '# TYPE muster_open gauge',
      'muster_open 7',
      '# HELP muster_seconds Time.',
      '# TYPE muster_seconds histogram',
      'muster_seconds_bucket{face="hub",le="0.1"} 2',
      'muster_seconds_bucket{face="hub",le="1"} 3',
      'muster_seconds_bucket{face="hub",le="+Inf"} 4',
      'muster_seconds_sum{face="hub"} 3.65',
      'muster_seconds_count{face="hub"} 4',
      '',
    ].join('\n'),
  )
})

test('what threads counted is added up series by series, and survives the way as JSON', () => {
  const counted = [1, 2].map((amount) => {
    const metrics = createMetrics()
    metrics.counter('b_total', 'B.', ['kind']).add(amount, 'same')
    metrics.counter('b_total', 'B.', ['kind']).add(amount, `only-${amount}`)
    metrics.gauge('a', 'A.', () => amount)
    metrics.gauge('a', 'A.', () => 10)
    metrics.histogram('c_seconds', 'C.', [], [1]).observe(amount)
    return JSON.parse(JSON.stringify(metrics.collect()))
  })
  const lines = metricsText(addUp(counted))
    .split('\n')
    .filter((line) => !line.startsWith('#'))
  expect(lines).toEqual([
    'a 23',
    'b_total{kind="same"} 3',
    'b_total{kind="only-1"} 1',
    'b_total{kind="only-2"} 2',
    'c_seconds_bucket{le="1"} 1',
    'c_seconds_bucket{le="+Inf"} 2',
    'c_seconds_sum 3',
    'c_seconds_count 2',
    '',
  ])
})

test('labels that grow without end are counted as other', () => {
  const metrics = createMetrics()
  const counter = metrics.counter('n_total', 'N.', ['id'])
  for (let n = 0; n < limits.metricSeries + 500; n++) counter.add(1, `id-${n}`)
  const [family] = metrics.collect()
  expect(family?.series).toHaveLength(limits.metricSeries + 1)
  expect(family?.series.at(-1)).toEqual([['other'], [500]])
})
