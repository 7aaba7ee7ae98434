import { limits } from '../base/limits.ts'

export interface ProvisioningSettings {
  /** How long a registration stays `assigning` at the least, ms. */
  readonly assigningMs: number
  /** Seconds that a device is told to wait while assigning; 3 suits every client (dps.md 2.5). */
  readonly retryAfterSeconds: number
  /** Registrations of a node that wait to be assigned; above it, devices are told to register later. */
  readonly assignmentBacklog: number
  /** How far tokens and certificates may be off the clock, ms (dps.md 1.7, 8.2). */
  readonly clockSkewMs: number
  /** Hub host names from nearest to farthest, for geoLatency; hubs that are not named come last, all alike. */
  readonly latencyOrder: readonly string[]
  /** Under which name a linked hub is dialled. Names in records carry no port of ours, so that one may change. */
  readonly hubName: (hub: string) => string
}

export const defaultSettings: ProvisioningSettings = {
  assigningMs: 0,
  retryAfterSeconds: 3,
  assignmentBacklog: limits.assignmentBacklog,
  clockSkewMs: limits.tokenSkewMs,
  latencyOrder: [],
  hubName: (hub) => hub,
}
