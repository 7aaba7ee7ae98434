import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Metrics } from './metrics.ts'
import { version } from './version.ts'

/** How late this thread is: what every thread of the process tells about itself. `thread`: its name, of few. */
export function threadMetrics(metrics: Metrics, thread: string): void {
  const delay = monitorEventLoopDelay({ resolution: 20 })
  delay.enable()
  metrics.gauge(
    'muster_event_loop_delay_seconds',
    'How late the event loop of a thread was since the last look, the 20 ms of the measurement included.',
    () => {
      const seconds = (nanoseconds: number): number => (Number.isFinite(nanoseconds) ? nanoseconds / 1e9 : 0)
      const read = [
        [seconds(delay.percentile(50)), thread, '0.5'],
        [seconds(delay.percentile(99)), thread, '0.99'],
        [seconds(delay.max), thread, '1'],
      ] as const
      delay.reset()
      return read
    },
    ['thread', 'quantile'],
  )
}

/** What is one for the whole process; for one of its threads. `now`: milliseconds since 1970. */
export function processMetrics(metrics: Metrics, now: number): void {
  const started = now / 1000 - process.uptime()
  metrics.gauge('process_start_time_seconds', 'When the process started, seconds since 1970.', () => started)
  metrics.gauge('process_resident_memory_bytes', 'Memory of the process in RAM.', () => process.memoryUsage.rss())
  metrics.gauge(
    'muster_build_info',
    'Version of Muster and of its Node; always 1.',
    () => [[1, version, process.version]],
    ['version', 'node'],
  )
}
