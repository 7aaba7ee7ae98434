/** A linked hub as a PUT document carries it (dps.md 7.1 `iotHubs`). */
export interface LinkedHubInput {
  /** `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`; a key of `****` keeps the stored one. */
  readonly connectionString: string
  /** 1 to 1000, default 1. */
  readonly allocationWeight?: number
  /** Default true. */
  readonly applyAllocationPolicy?: boolean
  readonly location?: string
}
