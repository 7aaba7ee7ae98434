import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Target } from '../support/raw-client.ts'

/** What a stranger does once its TCP connection stands, and its TLS handshake where it makes one. */
export interface Habit {
  readonly name: string
  readonly port: 'https' | 'mqtts'
  /** Undefined: no handshake at all. */
  readonly tls: boolean
  /** Sent at once. */
  readonly first: Buffer
  /** Sent byte by byte afterwards, one each `everyMs`. */
  readonly slowly?: Buffer
}

const text = (...lines: string[]): Buffer => Buffer.from(lines.join('\r\n'))

/** MQTT CONNECT of the largest size that is let in before proof, 16 KiB. */
const LARGEST_CONNECT = Buffer.from([0x10, 0xfd, 0x7f])
/** ClientHello: a TLS record of 16 KiB announced, its handshake message of 16 MiB. */
const LARGEST_HELLO = Buffer.from([0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0xff, 0xff, 0xff])
const SLOW_CONNECT = Buffer.concat([
  Buffer.from([0x10, 0xfa, 0x01, 0, 4]),
  Buffer.from('MQTT\x04\xc2\x00\x3c\x00\x02d1', 'latin1'),
  Buffer.alloc(230, 'x'),
])

/** The largest announcements of each protocol with nothing behind them, half handshakes, and bytes one at a time. */
export const HABITS: readonly Habit[] = [
  { name: 'silent after accept', port: 'mqtts', tls: false, first: Buffer.alloc(0) },
  { name: 'half a handshake', port: 'https', tls: false, first: LARGEST_HELLO },
  { name: 'silent after the handshake', port: 'mqtts', tls: true, first: Buffer.alloc(0) },
  { name: 'MQTT: 256 MiB announced', port: 'mqtts', tls: true, first: Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]) },
  { name: 'MQTT: largest CONNECT announced', port: 'mqtts', tls: true, first: LARGEST_CONNECT },
  {
    name: 'MQTT: largest CONNECT but for a byte',
    port: 'mqtts',
    tls: true,
    first: Buffer.concat([LARGEST_CONNECT, Buffer.alloc(16_380, 1)]),
  },
  { name: 'MQTT: CONNECT byte by byte', port: 'mqtts', tls: true, first: Buffer.alloc(0), slowly: SLOW_CONNECT },
  {
    name: 'HTTP: largest body announced',
    port: 'https',
    tls: true,
    first: text('PUT /devices/a?api-version=2021-04-12 HTTP/1.1', 'Host: x', 'Content-Length: 1048576', '', ''),
  },
  {
    name: 'HTTP: impossible body announced',
    port: 'https',
    tls: true,
    first: text(
      'PUT /devices/a?api-version=2021-04-12 HTTP/1.1',
      'Host: x',
      'Content-Length: 9007199254740991',
      '',
      '',
    ),
  },
  {
    name: 'HTTP: largest chunk announced',
    port: 'https',
    tls: true,
    first: text('PUT /enrollments/a HTTP/1.1', 'Host: x', 'Transfer-Encoding: chunked', '', '7FFFFFFF', ''),
  },
  {
    name: 'HTTP: headers without an end',
    port: 'https',
    tls: true,
    first: text('GET / HTTP/1.1', 'Host: x', `X-Long: ${'x'.repeat(15_000)}`),
    slowly: Buffer.alloc(1_000, 'y'),
  },
]

export interface Crowd {
  /** Connections that the service has not closed yet. */
  open(): number
  /** By habit: how many are still open. */
  readonly openByHabit: () => Record<string, number>
  leave(): void
}

/**
 * Opens `count` connections of strangers, each with the next habit, from the source addresses given, and keeps them
 * open. Resolves once every one of them was made and has sent what it sends at once.
 */
export async function gather(
  targets: Readonly<Record<'https' | 'mqtts', Target>>,
  count: number,
  sources: readonly string[],
  habits: readonly Habit[] = HABITS,
): Promise<Crowd> {
  const strangers: { socket: Socket; raw: Socket; habit: Habit }[] = []
  const timers = new Set<NodeJS.Timeout>()
  for (let at = 0; at < count; at += 25) {
    const wave = Array.from({ length: Math.min(25, count - at) }, async (_, each) => {
      const habit = habits[(at + each) % habits.length]!
      const stranger = {
        ...(await approach(targets[habit.port], sources[(at + each) % sources.length]!, habit)),
        habit,
      }
      strangers.push(stranger)
      if (habit.slowly !== undefined) timers.add(trickle(stranger.socket, habit.slowly))
    })
    await Promise.all(wave)
  }
  const openOnes = () => strangers.filter(({ socket, raw }) => !socket.destroyed && !raw.destroyed)
  return {
    open: () => openOnes().length,
    openByHabit: () => {
      const counts: Record<string, number> = {}
      for (const { habit } of openOnes()) counts[habit.name] = (counts[habit.name] ?? 0) + 1
      return counts
    },
    leave: () => {
      for (const timer of timers) clearInterval(timer)
      for (const { raw } of strangers) raw.destroy()
    },
  }
}

async function approach(target: Target, localAddress: string, habit: Habit): Promise<{ socket: Socket; raw: Socket }> {
  const raw = connectTcp({ host: target.host, port: target.port, localAddress })
  raw.on('error', () => undefined)
  await settled(raw, 'connect')
  const socket = habit.tls ? connectTls({ socket: raw, ca: target.ca, host: target.host }) : raw
  socket.on('error', () => undefined)
  socket.resume()
  if (habit.tls && !raw.destroyed) await settled(socket, 'secureConnect')
  if (habit.first.length > 0 && !socket.destroyed) socket.write(habit.first)
  return { socket, raw }
}

/** The event, or the end of the connection: a stranger who is turned away is as good as one who is not. */
const settled = (socket: Socket, event: string): Promise<unknown> =>
  Promise.race([once(socket, event), new Promise((resolve) => socket.once('close', resolve))]).catch(() => undefined)

const EVERY_MS = 50

function trickle(socket: Socket, bytes: Buffer): NodeJS.Timeout {
  let at = 0
  const timer = setInterval(() => {
    if (socket.destroyed || at === bytes.length) return clearInterval(timer)
    socket.write(bytes.subarray(at, ++at))
  }, EVERY_MS)
  return timer
}

/** Resident memory of a process in MiB (Linux). */
export function residentMiB(pid: number): number {
  const [, kib = '0'] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) / 1024
}
