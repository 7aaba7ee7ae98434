/** Host and port of `name`, `name:port`, `1.2.3.4:port`, `[::1]:port`, `::1`. */
export function splitHost(hostName: string): { host: string; port: number | undefined } {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(hostName)
  const plain = /^([^:]+):(\d+)$/.exec(hostName)
  const [, host = hostName, port] = bracketed ?? plain ?? []
  return { host, port: port === undefined ? undefined : Number(port) }
}
