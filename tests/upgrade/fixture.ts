/** What a data folder of a release holds besides its files (`fixture.json`). */
export interface Fixture {
  /** What the service told of itself (`snapshotOf`). */
  readonly snapshot: unknown
  /** By registration id: the device's symmetric key. */
  readonly keys: Readonly<Record<string, string>>
  /** By registration id: the chain without the root, and the key. */
  readonly certificates: Readonly<Record<string, { readonly cert: string; readonly key: string }>>
}
