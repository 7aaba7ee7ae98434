import type { TLSSocket } from 'node:tls'
import { limits } from '../base/limits.ts'

/** What a listener knows about the other end of a connection. */
export interface Peer {
  /** DER certificates as presented: in presented order, leaf first, [] if none. Nothing about them is verified. */
  readonly chain: readonly Buffer[]
  /** Source address; IPv4 in its own form also on a dual-stack listener. */
  readonly address: string
  /** The connection's bytes come in messages of a WebSocket. */
  readonly inWebSocket?: true
  /** The caller has proved who it is: lifts the deadline and the ceilings of strangers. May be called again. */
  proved(): void
}

const peers = new WeakMap<object, Peer>()

/** The peer of a socket that a listener handed out; HTTP finds it by `request.socket`. */
export const peerOf = (socket: object): Peer | undefined => peers.get(socket)

export const rememberPeer = (socket: object, peer: Peer): void => {
  peers.set(socket, peer)
}

/**
 * The client's certificates as it presented them, or undefined if there are more than `limits` allow.
 * Call it ONCE per connection: in older versions of Node the second `getPeerX509Certificate()` returns the leaf without
 * issuers and spoils `getPeerCertificate(true)` as well (attestation-crypto.md B2, trap 1; not so in 26.10.0).
 */
export function presentedChain(socket: TLSSocket): Buffer[] | undefined {
  const chain: Buffer[] = []
  let bytes = 0
  for (let next = socket.getPeerX509Certificate(); next !== undefined; next = next.issuerCertificate) {
    bytes += next.raw.length
    if (chain.length === limits.presentedChain || bytes > limits.presentedChainBytes) return undefined
    chain.push(next.raw)
  }
  return chain
}
