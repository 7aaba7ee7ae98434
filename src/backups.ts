import { isAbsolute, resolve } from 'node:path'
import { backupFolder } from './backup.ts'
import type { Clock } from './base/clock.ts'
import { ServiceError } from './base/errors.ts'
import { limits } from './base/limits.ts'
import type { Log } from './base/log.ts'
import type { Metrics } from './base/metrics.ts'
import { ConfigError } from './config.ts'
import type { BackupState, Backups } from './endpoints/http/management-operations.ts'

/** Backups of the data folder of a running service, one at a time. */
export function createBackups(needs: { dataFolder: string; clock: Clock; log: Log; metrics: Metrics }): Backups & {
  /** Gives up the one that runs. */
  stop(): Promise<void>
} {
  const { dataFolder, clock, log, metrics } = needs
  let state: BackupState = { state: 'none' }
  let running = Promise.resolve()
  let stopped = false
  let lastSuccess = 0
  metrics.gauge(
    'muster_backup_last_success_timestamp_seconds',
    'When the last backup was complete, seconds since 1970; 0: none since the start.',
    () => lastSuccess,
  )

  async function run(to: string): Promise<void> {
    const startedAt = new Date(clock.now()).toISOString()
    const copied = (bytes: number, ofBytes: number): void => {
      if (stopped) throw new Error('the service stops')
      state = { state: 'running', to, startedAt, bytes, ofBytes }
    }
    try {
      copied(0, 0)
      const { files } = await backupFolder(dataFolder, to, clock, copied)
      state = { state: 'succeeded', to, startedAt, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) }
      lastSuccess = Math.floor(clock.now() / 1000)
      log.info(state, 'backup made')
    } catch (error) {
      const { message } = error as Error
      const text = error instanceof ConfigError ? message : `The backup to ${to} failed and was removed: ${message}.`
      state = { state: 'failed', to, startedAt, error: text }
      log.error({ to, cause: error }, 'backup failed')
    }
  }

  return {
    state: () => state,
    start(to) {
      if (state.state === 'running') throw new ServiceError(409000, `A backup to ${state.to} is running. Wait for it.`)
      running = run(requirePath(to))
      return state
    },
    async stop() {
      stopped = true
      await running
    },
    async later() {
      const late = Promise.withResolvers<void>()
      const timer = clock.after(limits.backupPollMs, late.resolve)
      await Promise.race([running, late.promise])
      timer.cancel()
      return state
    },
  }
}

function requirePath(to: string): string {
  if (to.length <= limits.pathLength && isAbsolute(to) && !to.includes('\0')) return resolve(to)
  throw new ServiceError(
    400004,
    `body.to must be an absolute path of at most ${limits.pathLength} characters on the machine of the service, found ${JSON.stringify(to.slice(0, 80))}.`,
  )
}
