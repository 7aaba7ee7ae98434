import type { MqttConnect } from '../../wire/mqtt.ts'
import type { Peer } from '../../wire/peer.ts'

/** What a client shows for who it says it is. */
export type Shown =
  | { readonly kind: 'sas'; readonly token: string }
  | { readonly kind: 'x509'; readonly chain: readonly Buffer[] }
  | { readonly kind: 'none' }

/** A token is the password; X.509 devices send none (hub-device.md 1.3, dps.md 2.2). */
export function credentialOf({ password }: MqttConnect, { chain }: Peer): Shown {
  if (password !== undefined && password.length > 0) return { kind: 'sas', token: password.toString('utf8') }
  return chain.length === 0 ? { kind: 'none' } : { kind: 'x509', chain }
}
