import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Commit, Store } from '../store/store.ts'

/** A change that was judged on what is stored now, and what to answer once it is durable. */
export interface Judged<T> {
  readonly change: Commit
  /** @param versions new versions, in the order of `change.put` */
  answer(versions: readonly number[]): T
}

/**
 * Commits what `judge` decides. When another writer came between reading and writing, the whole request is judged
 * again on what is stored then, If-Match included: the outcome is that of a request that arrived a moment later.
 */
export async function commitSettled<T>(store: Store, judge: () => Promise<Judged<T>>): Promise<T> {
  for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
    const { change, answer } = await judge()
    const result = await store.commit(change)
    if (result.ok) return answer(result.versions)
  }
  throw new ServiceError(
    409000,
    `Other changes came between ${limits.commitAttempts} times and nothing was written. Repeat the request.`,
  )
}
