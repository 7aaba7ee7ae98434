import type { TwinRecord } from '../documents/twin-record.ts'
import { collection, type Schema } from '../store/store.ts'

/** What the hub keeps. Stored documents keep the vendor's names; times are milliseconds since 1970. */

export type AuthenticationType = 'sas' | 'selfSigned' | 'certificateAuthority' | 'none'

/** Only the members of its type are there (hub-service.md 2.3). */
export type Authentication =
  | { readonly type: 'sas'; readonly primaryKey: string; readonly secondaryKey: string }
  | {
      readonly type: 'selfSigned'
      readonly primaryThumbprint: string | null
      readonly secondaryThumbprint: string | null
    }
  | { readonly type: 'certificateAuthority' }
  | { readonly type: 'none' }

export interface DeviceRecord {
  readonly deviceId: string
  /** Decimal ticks: new for each creation, so that a device deleted and made again differs. */
  readonly generationId: string
  readonly status: 'enabled' | 'disabled'
  readonly statusReason?: string
  /** Absent until the status changes for the first time. */
  readonly statusUpdatedTime?: number
  readonly authentication: Authentication
  /** Counts the changes of the credentials: a session that was opened under an older one is cut. */
  readonly keyed: number
  readonly iotEdge: boolean
  /** Scopes of the parents; a leaf device has at most one (hub-service.md 2.5). Its own scope is derived. */
  readonly parentScopes?: readonly string[]
  /** The hub's name while disabled, else absent: what the statistics count. */
  readonly disabledIn?: string
}

export interface ModuleRecord {
  readonly deviceId: string
  readonly moduleId: string
  readonly generationId: string
  readonly managedBy?: string
  readonly authentication: Authentication
  readonly keyed: number
}

/**
 * The ids of a device's modules: the one document that every change of a device's set of modules touches, so that a
 * module made while its device is deleted cannot be left behind. Absent until the first module.
 */
export interface ModuleList {
  readonly modules: readonly string[]
}

/** One entry of the session directory: the last connection of an identity. */
export interface DirectoryEntry {
  /** The process that holds or held the connection; it lives as long as its lease. */
  readonly node: string
  /** Grows with every connection of the identity; an older one is stale. */
  readonly fence: number
  readonly connected: boolean
  readonly connectionStateUpdatedTime: number
  readonly lastActivityTime: number
  /** The Plug and Play model announced at the last connection (hub-service.md 4.2). */
  readonly modelId?: string
}

export const devices = collection<DeviceRecord>('hubDevices', {
  disabledIn: '$.disabledIn',
  parentScope: '$.parentScopes[0]',
})
export const modules = collection<ModuleRecord>('hubModules')
export const moduleLists = collection<ModuleList>('hubModuleLists')
export const twins = collection<TwinRecord>('hubTwins')
export const directory = collection<DirectoryEntry>('hubSessions')

/** Everything the hub keeps in the documents store; telemetry is in logs of the other store. */
export const hubSchema: Schema = { collections: [devices, modules, moduleLists, twins, directory], queues: [] }

/** The name of an identity: a device, or one of its modules. */
export interface IdentityKey {
  readonly deviceId: string
  readonly moduleId?: string | undefined
}

/** `{hub}/{deviceId}` or `{hub}/{deviceId}/{moduleId}`: ids hold no slash, hub names neither. */
export const keyOf = (hub: string, { deviceId, moduleId }: IdentityKey): string =>
  moduleId === undefined ? `${hub}/${deviceId}` : `${hub}/${deviceId}/${moduleId}`
