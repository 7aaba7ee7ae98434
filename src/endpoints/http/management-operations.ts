import { Fields } from '../../base/json.ts'
import { version } from '../../base/version.ts'
import { guarded, type ManagementGuard } from './management-guard.ts'
import { jsonOf } from './management-request.ts'
import { queryOf, type Routes } from './server.ts'

/** What an operator asks of a running service. */
export interface Operations {
  /** What keeps the service from its work, in words; empty: it is ready. */
  missing(): readonly string[]
  /** In the text form of Prometheus. */
  metrics(): Promise<string>
  readonly backups: Backups
}

export interface Backups {
  state(): BackupState
  /** As `state`, when the backup that runs has ended, and after `limits.backupPollMs` at the latest. */
  later(): Promise<BackupState>
  /** Begins a copy of the data folder into a new folder, an absolute path. Throws 400004, 409000 while another runs. */
  start(to: string): BackupState
}

export type BackupState =
  | { readonly state: 'none' }
  | ({ readonly to: string; readonly startedAt: string } & (
      | { readonly state: 'running'; readonly bytes: number; readonly ofBytes: number }
      | { readonly state: 'succeeded'; readonly bytes: number }
      | { readonly state: 'failed'; readonly error: string }
    ))

export interface ManagementOperationsNeeds extends ManagementGuard {
  readonly operations: Operations
}

/** Ours, not Azure's: health, metrics, backups. */
export const managementOperations = (needs: ManagementOperationsNeeds): Routes => {
  const { operations } = needs
  const routes = guarded(needs, (app) => {
    app.get('/metrics', async (_request, reply) =>
      reply.type('text/plain; version=0.0.4; charset=utf-8').send(await operations.metrics()),
    )
    app.get('/muster/status', async () => {
      const missing = operations.missing()
      return { version, ready: missing.length === 0, missing, backup: operations.backups.state() }
    })
    app.get('/muster/backup', async (request) =>
      queryOf(request, 'wait') === 'true' ? operations.backups.later() : operations.backups.state(),
    )
    app.post('/muster/backup', async (request, reply) => {
      const fields = new Fields(jsonOf(request), 'body')
      const to = fields.required('to', fields.string('to'))
      return reply.code(202).send(operations.backups.start(to))
    })
  })
  return (app) => {
    // For probes, by whatever name or address: whoever may connect may know whether it lives and works, and nothing else.
    app.get('/health/live', async (_request, reply) => reply.type('text/plain').send('ok'))
    app.get('/health/ready', async (_request, reply) => {
      const isReady = operations.missing().length === 0
      return reply
        .code(isReady ? 200 : 503)
        .type('text/plain')
        .send(isReady ? 'ok' : 'not ready')
    })
    app.register(async (scope) => routes(scope))
  }
}
