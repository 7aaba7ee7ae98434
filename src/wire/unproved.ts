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
  /** It has a place now: its handshake may begin. */
  enter(): void
  /** Its place is needed by somebody else. */
  cut(): void
}

export interface Ceilings {
  /** Takes a newcomer into the waiting room. */
  admit(stranger: Stranger): { leave(): void }
  /** Gives places to so many of those that wait, at most, and answers with how many got one. */
  letIn(most: number): number
  /** Those that have a place, and those that wait for one. */
  count(): { readonly placed: number; readonly waiting: number }
}

export interface Room {
  /** Places of one source, and in all. */
  readonly perSource: number
  readonly inAll: number
  /** Those that may wait for a place, in all. */
  readonly waiting: number
}

/**
 * Places for connections that have not proved anything, so many per source and so many in all, and a waiting room
 * before them: SDKs do not repeat a connection that was closed, they report it to the application.
 *
 * A place is never taken from an older one of the same source: a fleet behind one address that comes back at once makes
 * progress only if handshakes under way are left alone. When all places are taken, the source that holds the most gives
 * up its newest, so that a few sources cannot shut out the rest; among equals the newcomer waits.
 *
 * In the waiting room sources take turns, and of each the oldest goes first. When it is full, the largest source loses
 * its newest.
 */
export function ceilings({ perSource, inAll, waiting }: Room): Ceilings {
  const inside = createCrowd()
  const outside = createCrowd()

  /** Whether a source may have one more place; where all are taken, at whose cost. */
  const placeFor = (source: string, largest: string | undefined): boolean =>
    inside.of(source) < perSource && (largest === undefined || inside.of(largest) > inside.of(source) + 1)

  const letOneIn = (): boolean => {
    const largest = inside.count() < inAll ? undefined : inside.largest()
    for (const source of outside.sources()) {
      if (!placeFor(source, largest)) continue
      if (largest !== undefined) inside.takeNewest(largest)?.cut()
      const stranger = outside.takeOldest(source)!
      inside.add(stranger)
      stranger.enter()
      return true
    }
    return false
  }

  return {
    admit(stranger) {
      outside.add(stranger)
      if (outside.count() > waiting) outside.takeNewest(outside.largest()!)?.cut()
      return { leave: () => void (outside.remove(stranger) || inside.remove(stranger)) }
    },
    letIn(most) {
      let count = 0
      while (count < most && letOneIn()) count += 1
      return count
    },
    count: () => ({ placed: inside.count(), waiting: outside.count() }),
  }
}

/** Strangers by source. */
function createCrowd() {
  /** Of each source the oldest first; the source whose turn it is comes first. */
  const sources = new Map<string, Stranger[]>()
  let total = 0

  const take = (source: string, at: number): Stranger | undefined => {
    const same = sources.get(source)
    const [taken] = same?.splice(at, 1) ?? []
    if (same === undefined || taken === undefined) return undefined
    total -= 1
    sources.delete(source)
    if (same.length > 0) sources.set(source, same)
    return taken
  }

  return {
    count: () => total,
    of: (source: string): number => sources.get(source)?.length ?? 0,
    sources: () => sources.keys(),
    takeNewest: (source: string): Stranger | undefined => take(source, -1),
    takeOldest: (source: string): Stranger | undefined => take(source, 0),

    add(stranger: Stranger): void {
      const same = sources.get(stranger.source)
      if (same === undefined) sources.set(stranger.source, [stranger])
      else same.push(stranger)
      total += 1
    },

    remove(stranger: Stranger): boolean {
      const at = sources.get(stranger.source)?.indexOf(stranger) ?? -1
      return at >= 0 && take(stranger.source, at) !== undefined
    },

    /** The source that holds the most. */
    largest(): string | undefined {
      let found: string | undefined
      let most = 0
      for (const [source, { length }] of sources) if (length > most) [found, most] = [source, length]
      return found
    },
  }
}
