import { isIPv6 } from 'node:net'

/** `::ffff:10.0.0.1` is `10.0.0.1`: a dual-stack listener sees IPv4 peers in this form. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped?.[1] ?? address
}

/** Whom a ceiling counts: an IPv4 address, or an IPv6 /64, because one host owns all of that. */
export function sourceOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail = ''] = address.toLowerCase().split('%')[0]!.split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === '' ? [] : tail.split(':')
  const gap = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0')
  const groups = address.includes('::') ? [...first, ...gap, ...last] : first
  return groups.slice(0, 4).join(':')
}

/** A connection that has not proved anything yet. */
export interface Stranger {
  readonly source: string
  /** Its place is needed by somebody of a source that holds fewer. */
  cut(): void
}

export interface Ceilings {
  /** Undefined: no place for one more of this source, close it at once. */
  admit(stranger: Stranger): { leave(): void } | undefined
  count(): number
}

/**
 * Places for connections that have not proved anything: so many per source, so many in all. A newcomer over the
 * ceiling of its own source is turned away, never an older one of it: a fleet behind one address that reconnects at
 * once makes progress only if handshakes under way are left alone. When all places are taken, the source that holds
 * the most gives up its newest, so that a few sources cannot shut out the rest; among equals the newcomer goes.
 */
export function ceilings(perSource: number, inAll: number): Ceilings {
  const sources = new Map<string, Set<Stranger>>()
  let total = 0

  const leave = (stranger: Stranger): void => {
    const others = sources.get(stranger.source)
    if (!others?.delete(stranger)) return
    total -= 1
    if (others.size === 0) sources.delete(stranger.source)
  }

  const largest = (): Set<Stranger> => {
    let found = new Set<Stranger>()
    for (const strangers of sources.values()) if (strangers.size > found.size) found = strangers
    return found
  }

  /** Makes room at the cost of the largest source; false when the newcomer's would become as large itself. */
  const makeRoom = (mine: number): boolean => {
    const strangers = largest()
    if (strangers.size <= mine + 1) return false
    const newest = [...strangers].at(-1)!
    leave(newest)
    newest.cut()
    return true
  }

  return {
    admit(stranger) {
      const mine = sources.get(stranger.source)?.size ?? 0
      if (mine >= perSource) return undefined
      if (total >= inAll && !makeRoom(mine)) return undefined
      const same = sources.get(stranger.source) ?? new Set()
      sources.set(stranger.source, same.add(stranger))
      total += 1
      return { leave: () => leave(stranger) }
    },
    count: () => total,
  }
}
