import { collection, type Schema } from '../store/store.ts'

/** That a data folder has had its seed: one document. */
export const seeds = collection<{ readonly digest: string; readonly at: number }>('seeds')

export const seedSchema: Schema = { collections: [seeds], queues: [] }
