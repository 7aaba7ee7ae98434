import type { Duplex } from 'node:stream'

/**
 * Tells the protocol of a connection by its first byte and gives the byte back, so that one port can serve several:
 * clients that take `host:port` (Node over MQTT, Rust and Java over HTTPS) then need to know only one port. The caller
 * keeps the deadline; a connection that ends before its first byte is never handed on.
 */
export function byFirstByte(stream: Duplex, take: (firstByte: number) => void): void {
  stream.once('readable', () => {
    const chunk = stream.read() as Buffer | null
    if (chunk === null) return void stream.destroy()
    stream.unshift(chunk)
    take(chunk[0] ?? 0)
  })
}

/** The fixed header of an MQTT CONNECT; no HTTP request begins so. */
export const MQTT_CONNECT = 0x10
