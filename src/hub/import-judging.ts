import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { requireMatch, twinEtag } from '../base/etags.ts'
import type { Random } from '../base/random.ts'
import type { IotHub, Judgement } from '../control/control.ts'
import { isFresh, type TwinRecord, type TwinSection } from '../documents/twin-record.ts'
import type { Draft } from '../store/draft.ts'
import type { Change, Changes } from './changes.ts'
import type { DeviceLine, TwinLine } from './import-line.ts'
import { keyOf, twins } from './records.ts'

export interface ImportNeeds {
  readonly clock: Clock
  readonly random: Random
  readonly changes: Changes
  readonly ticks: () => string
}

/** What judging a line works with. */
export interface Judging {
  readonly hub: IotHub
  readonly needs: ImportNeeds
  readonly draft: Draft
  readonly last: boolean
}

/** Overwrites what the line gives of a twin and leaves the rest. A new one takes the versions of the line. */
export async function writeTwin(
  { hub, draft }: Judging,
  line: Pick<DeviceLine, 'deviceId' | 'moduleId' | 'twin' | 'twinMatch'>,
  identity: 'new' | 'existing',
): Promise<void> {
  if (line.twin === undefined) return
  const id = keyOf(hub.name, line)
  const old = await draft.get(twins, id)
  if (old === undefined) throw new ServiceError(500001, `The twin of ${id} is missing from the store.`)
  if (line.twinMatch.kind !== 'any') requireMatch(line.twinMatch, twinEtag(old.value.version - 1))
  const isNew = identity === 'new' && isFresh(old.value)
  const value = isNew ? { ...old.value, ...line.twin } : overwritten(old.value, line.twin)
  draft.put([{ collection: twins, id, value }])
}

/** Versions that somebody may have seen only grow. */
function overwritten(old: TwinRecord, line: TwinLine): TwinRecord {
  const section = (before: TwinSection, given: TwinSection | undefined): TwinSection =>
    given === undefined ? before : { ...given, version: Math.max(given.version, before.version + 1) }
  return {
    version: old.version + 1,
    tags: line.tags ?? old.tags,
    desired: section(old.desired, line.desired),
    reported: section(old.reported, line.reported),
  }
}

export const changed = ({ needs }: Judging, changes: readonly Change[]): Judgement => ({
  append: needs.changes.entries(changes),
})
