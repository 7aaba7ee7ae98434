import { collection, queue, type Scan, type Schema, type Store } from './store.ts'

export interface Device {
  readonly name?: string | null
  readonly rank?: number
  readonly at?: { readonly site?: string }
  readonly list?: readonly string[]
  readonly text?: string
}

export const devices = collection<Device>('devices', {
  name: '$.name',
  rank: '$.rank',
  site: '$.at.site',
  first: '$.list[0]',
})
export const notes = collection<unknown>('notes')
export const work = queue<{ readonly step: number }>('work')
export const contractSchema: Schema = { collections: [devices, notes], queues: [work] }

export const device = (id: string, value: Device = {}) => ({ collection: devices, id, value })
export const note = (id: string, value: unknown = id) => ({ collection: notes, id, value })
export const item = (id: string, dueAt: number, step = 0) => ({ queue: work, id, dueAt, value: { step } })
export const bytes = (text: string) => Buffer.from(text)

export type Rule = (name: string, run: (store: Store) => Promise<void>) => void

/** Ids of all pages of a scan of devices. */
export async function pages(store: Store, scan: Scan): Promise<string[][]> {
  const all: string[][] = []
  let after: string | undefined
  do {
    const page = await store.scan(devices, { ...scan, after })
    all.push(page.items.map(({ id }) => id))
    after = page.next
  } while (after !== undefined)
  return all
}

export const versionOf = (result: Awaited<ReturnType<Store['commit']>>): number =>
  result.ok ? result.versions[0]! : Number.NaN
