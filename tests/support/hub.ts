import type { ReadyFile } from '../../src/index.ts'

/** Where a Muster is, whether it runs in this process or in one of its own. */
export interface Running {
  readonly addresses: Pick<ReadyFile, 'address' | 'ports' | 'idScope' | 'dps' | 'hubs'>
  readonly ca: string
}

/** The hub that every Muster starts with. */
export function hubOf(muster: Running): { readonly hostName: string; readonly connectionString: string } {
  const [hub] = muster.addresses.hubs
  if (hub === undefined) throw new Error('A started Muster has a hub.')
  return hub
}
