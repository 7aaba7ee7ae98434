import { limits } from '../base/limits.ts'
import type { Refused } from './attempts.ts'

/** What an attempt is looked up by. */
export type AttemptQuery = { readonly registrationId: string } | { readonly trackingId: string }

/** The refusals that this node remembers. Nothing of it is durable: what is refused must cost nothing for good. */
export interface AttemptRing {
  add(attempt: Refused): void
  /** Oldest first. */
  find(query: AttemptQuery): readonly Refused[]
  readonly size: number
}

interface Entry {
  readonly attempt: Refused
  readonly source: string
  readonly registration: string
}

/**
 * So many entries in all, per source and per registration id. A source that reaches its ceiling gives up its own
 * oldest; where a registration id or the whole is full, the source that holds the most of it does. So whoever asks
 * much, under one id or many, pushes out what he left himself, and a single trace of somebody else is the last to go.
 */
export function createAttemptRing(): AttemptRing {
  const entries = new Set<Entry>()
  const bySource = new Map<string, Set<Entry>>()
  const byRegistration = new Map<string, Set<Entry>>()
  const byTracking = new Map<string, Entry>()

  function forget(entry: Entry): void {
    entries.delete(entry)
    leave(bySource, entry.source, entry)
    leave(byRegistration, entry.registration, entry)
    const { trackingId } = entry.attempt
    if (trackingId !== undefined && byTracking.get(trackingId) === entry) byTracking.delete(trackingId)
  }

  function makeRoom({ source, registration }: Entry): void {
    const own = bySource.get(source)
    if (own !== undefined && own.size >= limits.attemptsPerSource) forget(oldest(own))
    const same = byRegistration.get(registration)
    if (same !== undefined && same.size >= limits.attemptsPerRegistration) forget(oldest(largest(grouped(same))))
    if (entries.size >= limits.attemptEntries) forget(oldest(largest(bySource)))
  }

  return {
    add(attempt) {
      const registration = attempt.registrationId.toLowerCase()
      const entry: Entry = { attempt, source: attempt.source ?? '', registration }
      makeRoom(entry)
      entries.add(entry)
      join(bySource, entry.source, entry)
      join(byRegistration, registration, entry)
      if (attempt.trackingId !== undefined) byTracking.set(attempt.trackingId, entry)
    },
    find(query) {
      if ('trackingId' in query) {
        const found = byTracking.get(query.trackingId)
        return found === undefined ? [] : [found.attempt]
      }
      return [...(byRegistration.get(query.registrationId.toLowerCase()) ?? [])].map(({ attempt }) => attempt)
    },
    get size() {
      return entries.size
    },
  }
}

/** A set keeps the order of insertion. */
const oldest = (entries: ReadonlySet<Entry>): Entry => entries.values().next().value!

function largest(groups: ReadonlyMap<string, ReadonlySet<Entry>>): ReadonlySet<Entry> {
  let found: ReadonlySet<Entry> = new Set()
  for (const group of groups.values()) if (group.size > found.size) found = group
  return found
}

function grouped(entries: Iterable<Entry>): Map<string, Set<Entry>> {
  const groups = new Map<string, Set<Entry>>()
  for (const entry of entries) join(groups, entry.source, entry)
  return groups
}

function join(groups: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const group = groups.get(key)
  if (group === undefined) groups.set(key, new Set([entry]))
  else group.add(entry)
}

function leave(groups: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const group = groups.get(key)
  group?.delete(entry)
  if (group?.size === 0) groups.delete(key)
}
