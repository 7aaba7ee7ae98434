import { connect, createServer, type Socket } from 'node:net'

/** A way to a server that can be shut: what dials it then finds nobody, and what was connected is cut. */
export interface TcpGate {
  readonly port: number
  shut(): void
  open(): void
  close(): Promise<void>
}

/** Listens on any free port of `address` and hands every byte on to `port` of the same address. */
export async function tcpGate(address: string, port: number): Promise<TcpGate> {
  const sockets = new Set<Socket>()
  let isOpen = true
  const server = createServer((from) => {
    if (!isOpen) return void from.destroy()
    const to = connect({ host: address, port })
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(socket)
      socket.pipe(other)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as { port: number }).port,
    shut: () => {
      isOpen = false
      cut()
    },
    open: () => {
      isOpen = true
    },
    close: () => {
      cut()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}
