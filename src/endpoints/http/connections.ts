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
  const open = new Set<Duplex>()
  const answers = new Set<ServerResponse>()
  let drained = (): void => {}
  server.on('request', (_request, response) => {
    answers.add(response)
    response.once('close', () => {
      answers.delete(response)
      if (answers.size === 0) drained()
    })
  })

  // Another protocol takes care of its end.
  server.on('upgrade', (_request, socket) => open.delete(socket))

  const answered = (): Promise<void> =>
    new Promise((resolve) => {
      const timer = clock.after(limits.closeGraceMs, resolve)
      drained = () => {
        timer.cancel()
        resolve()
      }
      if (answers.size === 0) drained()
    })

  return {
    serve(socket) {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      server.emit('connection', socket)
    },
    async close() {
      const asked = new Set<Duplex>([...answers].map(({ req }) => req.socket))
      for (const socket of open) if (!asked.has(socket)) socket.destroy()
      for (const response of answers) if (!response.headersSent) response.setHeader('Connection', 'close')
      await answered()
      for (const socket of open) socket.destroy()
    },
  }
}
