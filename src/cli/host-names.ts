import { isIP } from 'node:net'

/** Host and port of `name`, `name:port`, `1.2.3.4:port`, `[::1]:port`, `::1`. */
export function splitHost(hostName: string): { host: string; port: number | undefined } {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(hostName)
  const plain = /^([^:]+):(\d+)$/.exec(hostName)
  const [, host = hostName, port] = bracketed ?? plain ?? []
  return { host, port: port === undefined ? undefined : Number(port) }
}

/** A DNS name or an IP address, with a port or without. */
export function isHostName(text: string): boolean {
  const { host, port } = splitHost(text)
  return (isIP(host) !== 0 || /^[A-Za-z0-9_]([A-Za-z0-9._-]{0,258}[A-Za-z0-9_.])?$/.test(host)) && isPort(port)
}

const isPort = (port: number | undefined): boolean => port === undefined || (port >= 1 && port <= 65_535)
