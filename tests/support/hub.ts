import type { TestMuster } from './muster.ts'

/** The hub that every Muster starts with. */
export function hubOf(muster: TestMuster): { readonly hostName: string; readonly connectionString: string } {
  const [hub] = muster.addresses.hubs
  if (hub === undefined) throw new Error('A started Muster has a hub.')
  return hub
}
