import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { listenOnLoopback, type ManagementInside, type NodeInside } from '../app.ts'
import { systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Ports } from '../instances.ts'
import { type Listening, listen, type Peer, type TlsMaterial } from '../wire/listener.ts'

/** What answers behind the listeners. */
export interface Behind {
  readonly node: Pick<NodeInside, 'serveHttps' | 'serveMqtts'>
  readonly management: Pick<ManagementInside, 'serve'>
}

/** Listeners that stay while what is behind them is replaced. */
export interface Listeners {
  readonly ports: Ports
  /** Listens on one more address, on the same ports. */
  listenOn(address: string): Promise<void>
  /** Cuts what is connected; new connections go to `behind`, or are closed at once where that is undefined. */
  replace(behind: Behind | undefined): void
  close(): Promise<void>
}

export interface ListenersNeeds {
  readonly log: Log
  readonly address: string
  readonly ports: { readonly https: number; readonly mqtts: number }
  readonly tls: TlsMaterial
}

export async function openListeners({ log, address, ports, tls }: ListenersNeeds): Promise<Listeners> {
  const closers: (() => Promise<void>)[] = []
  const connected = new Set<Socket>()
  let behind: Behind | undefined

  const accept = <S extends Socket>(socket: S, serve: (to: Behind) => void): void => {
    if (behind === undefined) return void socket.destroy()
    connected.add(socket)
    socket.once('close', () => connected.delete(socket))
    serve(behind)
  }
  const serveHttps = (socket: TLSSocket, peer: Peer) => accept(socket, ({ node }) => node.serveHttps(socket, peer))
  const serveMqtts = (socket: TLSSocket, peer: Peer) => accept(socket, ({ node }) => node.serveMqtts(socket, peer))
  const listenAt = async (at: { https: number; mqtts: number; address: string }) => {
    const common = { clock: systemClock, log, tls, address: at.address }
    const open = async (port: number, serve: (socket: TLSSocket, peer: Peer) => void): Promise<Listening> => {
      const listening = await listen({ ...common, port, serve })
      closers.push(listening.close)
      return listening
    }
    const https = await open(at.https, serveHttps)
    const mqtts = await open(at.mqtts, serveMqtts)
    return { https: https.port, mqtts: mqtts.port }
  }
  const replace = (next: Behind | undefined): void => {
    behind = next
    for (const socket of connected) socket.destroy()
  }
  const close = async (): Promise<void> => {
    replace(undefined)
    await Promise.all(closers.map((each) => each()))
  }
  try {
    const management = await listenOnLoopback(0, (socket) => accept(socket, (to) => to.management.serve(socket)))
    closers.push(management.close)
    const bound = { ...(await listenAt({ ...ports, address })), management: management.port }
    return {
      ports: bound,
      listenOn: async (another) => void (await listenAt({ ...bound, address: another })),
      replace,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
