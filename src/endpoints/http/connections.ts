import type { Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { limits } from '../../base/limits.ts'

/** The connections of an HTTP server that never listens. */
export interface Connections {
  serve(socket: Duplex): void
  /** Ends those on which nothing is asked, and the others once they are answered or `limits.closeGraceMs` are over. */
  close(): Promise<void>
}

export function serverConnections(server: Server, clock: Clock): Connections {
  /** With what is being answered on each. By connection, because answers behind one that broke never end. */
  const open = new Map<Duplex, Set<ServerResponse>>()
  let closing = false
  let gone = (): void => {}

  const release = (socket: Duplex): void => {
    open.delete(socket)
    if (open.size === 0) gone()
  }

  server.on('request', ({ socket }, response) => {
    const answers = open.get(socket)
    answers?.add(response)
    response.once('close', () => {
      answers?.delete(response)
      if (closing && answers?.size === 0) socket.end(() => socket.destroy())
    })
  })
  // Another protocol takes care of its end.
  server.on('upgrade', (_request, socket) => release(socket))

  return {
    serve(socket) {
      open.set(socket, new Set())
      socket.once('close', () => release(socket))
      server.emit('connection', socket)
    },
    async close() {
      closing = true
      for (const [socket, answers] of open) {
        const last = [...answers].at(-1)
        if (last === undefined) socket.destroy()
        else if (!last.headersSent) last.setHeader('Connection', 'close')
      }
      await new Promise<void>((resolve) => {
        const timer = clock.after(limits.closeGraceMs, resolve)
        gone = () => {
          timer.cancel()
          resolve()
        }
        if (open.size === 0) gone()
      })
      for (const socket of open.keys()) socket.destroy()
    },
  }
}
