import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { IotHub } from '../control/control.ts'
import type { Commit } from '../store/store.ts'
import type { Change, Changes } from './changes.ts'

/** A change that was judged on what is stored now, and what to answer once it is durable. */
export interface Judged<T> {
  /** Undefined: nothing has to be written. */
  readonly change: Commit | undefined
  /** Identities whose live sessions have to be looked at again. */
  readonly changed?: readonly Change[]
  /** @param versions new versions, in the order of `change.put` */
  answer(versions: readonly number[]): T
}

/**
 * Commits what `judge` decides. When another writer came between reading and writing, the whole request is judged
 * again on what is stored then, If-Match included. `judge` is told which attempt it is, from 0.
 */
export async function settle<T>(
  changes: Changes,
  hub: IotHub,
  judge: (attempt: number) => Judged<T> | Promise<Judged<T>>,
): Promise<T> {
  for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
    const { change, changed = [], answer } = await judge(attempt)
    if (change === undefined) return answer([])
    const result = await changes.commit(change, changed)
    if (result.ok) return answer(result.versions)
    const { presence } = hub
    if (result.conflicts.some(({ in: of, id }) => of === presence.in && id === presence.id))
      throw new ServiceError(401001, `The hub ${hub.name} is being deleted; nothing can be made in it.`)
  }
  throw new ServiceError(
    409000,
    `Other changes came between ${limits.commitAttempts} times and nothing was written. Repeat the request.`,
  )
}
