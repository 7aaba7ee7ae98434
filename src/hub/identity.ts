import type { IotHub } from '../control/control.ts'

/**
 * Who was authenticated. It is only as good as the documents it was read from: `sessions.open` and the change sequence
 * check `generationId`, `keyed` and the device's status again.
 */
export interface Identity {
  readonly hub: IotHub
  readonly deviceId: string
  readonly moduleId: string | undefined
  /** Of the module if there is one, else of the device. */
  readonly generationId: string
  /** Which credentials proved it: those of the identity itself, or a policy of the hub. */
  readonly scope: 'device' | 'module' | 'hub'
  readonly type: 'sas' | 'x509'
  /** State of the credentials that were used (`keyed` of the record); a change of them cuts the session. */
  readonly keyed: number
  /** Milliseconds: of the token, or of the first certificate of the chain to end. */
  readonly expiresAt: number
  /** What of its hub let it in; absent: its own keys or thumbprints did. The session ends when that is gone. */
  readonly grant?: Grant
}

/** The key of a policy that made the token, or the CA certificate that the chain led to. */
export type Grant =
  | { readonly kind: 'policy'; readonly keyName: string; readonly key: string }
  | { readonly kind: 'authority'; readonly sha256: string }

/** `iothub-connection-auth-method` (hub-device.md 5.1). */
export const authMethodOf = (identity: Pick<Identity, 'scope' | 'type'>): string =>
  JSON.stringify({ scope: identity.scope, type: identity.type, issuer: 'iothub', acceptingIpFilterRule: null })
