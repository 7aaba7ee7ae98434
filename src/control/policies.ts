/** Shared access policies: names, keys and rights of Azure (dps.md 6.7, hub-service.md 1.1). */

export const hubRights = ['RegistryRead', 'RegistryWrite', 'ServiceConnect', 'DeviceConnect'] as const
export type HubRight = (typeof hubRights)[number]

export const dpsRights = [
  'ServiceConfig',
  'EnrollmentRead',
  'EnrollmentWrite',
  'RegistrationStatusRead',
  'RegistrationStatusWrite',
  'DeviceConnect',
] as const
export type DpsRight = (typeof dpsRights)[number]

export interface Policy<R extends string> {
  readonly keyName: string
  /** Base64 of 16 to 64 bytes. */
  readonly primaryKey: string
  readonly secondaryKey: string
  readonly rights: readonly R[]
}

/** Who asks: a shared access policy of a service call, a device on its own behalf, or the holder of the management token. */
export interface Caller {
  readonly kind: 'policy' | 'device' | 'management'
  readonly name: string
}

/** A policy as a PUT document carries it. */
export interface PolicyInput {
  readonly keyName: string
  /** Absent or `****`: the stored key, or a generated one for a new policy. Empty text: a new generated one. */
  readonly primaryKey?: string
  readonly secondaryKey?: string
  /** Names joined by `, ` in any letter case. */
  readonly rights: string
}
