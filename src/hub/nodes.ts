import type { Clock, Timer } from '../base/clock.ts'
import { every } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Store } from '../store/store.ts'

/**
 * Which processes live: each holds a lease and prolongs it. What the session directory says of a process whose lease
 * has run out is no longer true.
 */
export interface Nodes {
  /** This process, this time: another start of it is another name. */
  readonly self: string
  start(): Promise<void>
  stop(): Promise<void>
  /** When each of these processes was last known to live (milliseconds); Infinity: it lives now. */
  aliveUntil(nodes: Iterable<string>): Promise<ReadonlyMap<string, number>>
}

export function createNodes(needs: { store: Store; clock: Clock; random: Random; log: Log; node: string }): Nodes {
  const { store, clock, log } = needs
  const self = `${needs.node}.${needs.random.bytes(6).toString('hex')}`
  const leaseOf = (node: string) => `hub-node/${node}`
  /** Others' leases as last read: while one runs, its holder need not be asked for again. */
  const known = new Map<string, number>()
  let timer: Timer | undefined

  const prolong = async () => {
    const lease = await store.lease(leaseOf(self), self, clock.now(), limits.nodeLeaseMs)
    if (lease === undefined) log.error({ node: self }, 'the lease of this process is held by another')
  }

  async function untilOf(node: string, now: number): Promise<number> {
    if (node === self) return Number.POSITIVE_INFINITY
    const remembered = known.get(node)
    if (remembered !== undefined && remembered > now) return Number.POSITIVE_INFINITY
    const lease = await store.leaseOf(leaseOf(node))
    const until = lease?.until ?? 0
    if (until <= now) {
      known.delete(node)
      return until
    }
    if (known.size >= limits.knownNodes) known.clear()
    known.set(node, until)
    return Number.POSITIVE_INFINITY
  }

  return {
    self,
    async start() {
      await prolong()
      timer = every(clock, limits.nodeLeaseMs / 3, prolong, (error) =>
        log.warn({ node: self, error }, 'the lease of this process could not be prolonged'),
      )
    },
    async stop() {
      timer?.cancel()
      await store.release(leaseOf(self), self)
    },
    async aliveUntil(nodes) {
      const now = clock.now()
      const names = [...new Set(nodes)]
      const until = await Promise.all(names.map((node) => untilOf(node, now)))
      return new Map(names.map((node, at) => [node, until[at] ?? 0]))
    },
  }
}
