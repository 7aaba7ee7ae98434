import type { MessagePort } from 'node:worker_threads'
import type { Metrics } from './base/metrics.ts'
import { controlSchema } from './control/control.ts'
import { hubSchema } from './hub/hub.ts'
import { provisioningSchema } from './provisioning/provisioning.ts'
import { seedSchema } from './seed/schema.ts'
import { connectSqliteStore, openSqliteStore } from './store/sqlite.ts'
import type { Schema, Store } from './store/store.ts'

/** Everything in the documents file. */
export const schema: Schema = {
  collections: [
    ...controlSchema.collections,
    ...provisioningSchema.collections,
    ...hubSchema.collections,
    ...seedSchema.collections,
  ],
  queues: [...controlSchema.queues, ...provisioningSchema.queues, ...hubSchema.queues],
}
/** The telemetry file holds logs only. */
export const telemetrySchema: Schema = { collections: [], queues: [] }

export interface Stores {
  readonly store: Store
  readonly telemetry: Store
}

export interface DatabaseFiles {
  readonly documentsFile: string
  readonly telemetryFile: string
}

/** This thread's stores, with the writers in this thread. Not `durable`: not synced, for tests. */
export async function openStores(
  { documentsFile, telemetryFile }: DatabaseFiles,
  options: { readonly durable?: boolean; readonly metrics?: Metrics } = {},
): Promise<Stores> {
  const [store, telemetry] = await Promise.all([
    openSqliteStore({ file: documentsFile, schema, windowMs: 0, ...options }),
    openSqliteStore({ file: telemetryFile, schema: telemetrySchema, windowMs: 0, ...options }),
  ])
  return { store, telemetry }
}

/** This thread's stores, through the writer threads' ports. */
export async function connectStores(
  { documentsFile, telemetryFile }: DatabaseFiles,
  ports: { readonly documents: MessagePort; readonly telemetry: MessagePort },
): Promise<Stores> {
  const [store, telemetry] = await Promise.all([
    connectSqliteStore({ file: documentsFile, schema, port: ports.documents }),
    connectSqliteStore({ file: telemetryFile, schema: telemetrySchema, port: ports.telemetry }),
  ])
  return { store, telemetry }
}
