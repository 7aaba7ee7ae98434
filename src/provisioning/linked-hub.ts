import type { JsonObject } from '../base/json.ts'

/**
 * The port to a hub that devices are assigned to. `app.ts` fulfils it with the local hub's registry; a remote hub
 * (another Muster, or Azure) fulfils it through its REST API. Every call is idempotent: the registration worker
 * repeats it after a crash. A hub that is not known any more throws 400208; a fault that may pass throws 429 or 5xx.
 */
export interface LinkedHub {
  /**
   * Makes the device with its first twin, or refreshes the credentials of the one that is there and leaves its twin
   * alone; one commit. `reset` replaces the twin of an existing device too. With `keep` an Edge device stays one,
   * whatever the enrollment says: its modules depend on it. `returning`: it was assigned to this hub before, so most
   * likely it is there; that decides what is looked at first, and nothing else.
   */
  provision(device: HubDevice, mode: 'keep' | 'reset', returning?: boolean): Promise<'created' | 'refreshed'>
  /** What a move to another hub takes along; undefined when the device is gone. */
  read(deviceId: string): Promise<Belongings | undefined>
  /** Whether this hub answers to `hostName` too: what was assigned under that name is not somewhere else. */
  isAlso(hostName: string): Promise<boolean>
  /** Deletes the device; absent is fine. */
  remove(deviceId: string): Promise<void>
}

/** What a hub does, whatever it is called. */
export type HubCalls = Omit<LinkedHub, 'isAlso'>

/**
 * Finds a hub by the host name that enrollments and linked hubs name, and the ID scope of the service to which it is
 * linked; undefined: not a hub that can be reached.
 */
export type LinkedHubs = (hostName: string, idScope: string) => LinkedHub | undefined

export interface HubDevice {
  readonly deviceId: string
  readonly authentication: HubAuthentication
  readonly iotEdge: boolean
  /** Absent: enabled where it is new, unchanged where it is there. */
  readonly status?: 'disabled'
  readonly twin: DeviceData
}

export type HubAuthentication =
  | { readonly type: 'sas'; readonly symmetricKey: { readonly primaryKey: string; readonly secondaryKey: string } }
  | {
      readonly type: 'selfSigned'
      /** SHA-256, upper-case hex, of the leaf presented (dps.md 8.4). */
      readonly x509Thumbprint: { readonly primaryThumbprint: string; readonly secondaryThumbprint: string | null }
    }

/** What a device has in its hub: twin and capabilities (dps.md 8.5), and that somebody disabled it there. */
export interface Belongings {
  readonly twin: DeviceData
  readonly iotEdge: boolean
  readonly status: 'enabled' | 'disabled'
}

export interface DeviceData {
  readonly tags: JsonObject
  readonly desired: JsonObject
  /** Only a migrated device has some. */
  readonly reported?: JsonObject
}
