import { ServiceError } from './errors.ts'

/** One page of a list; `continuation` is absent on the last page, never empty (dps.md 6.4). */
export interface Page<T> {
  readonly items: readonly T[]
  readonly continuation?: string
}

/** What the caller asked for with `x-ms-max-item-count` and `x-ms-continuation`. */
export interface PageRequest {
  readonly size: number
  readonly continuation: string | undefined
}

export function parsePageRequest(
  headers: { readonly maxItemCount: string | undefined; readonly continuation: string | undefined },
  largest: number,
): PageRequest {
  const { maxItemCount, continuation } = headers
  const size = maxItemCount === undefined || maxItemCount === '' ? largest : Number(maxItemCount)
  if (!Number.isInteger(size) || size === 0 || size < -1)
    throw new ServiceError(
      400004,
      `x-ms-max-item-count must be a whole number from 1 to ${largest}, found ${JSON.stringify(maxItemCount)}.`,
    )
  return {
    size: size === -1 ? largest : Math.min(size, largest),
    continuation: continuation === '' ? undefined : continuation,
  }
}

/** A page of the store; a continuation that was not given out by this list is a 400. */
export async function scanPage<T>(scan: () => Promise<T>): Promise<T> {
  try {
    return await scan()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new ServiceError(
      400004,
      'x-ms-continuation must be the value that the previous page of this list gave, found another one.',
    )
  }
}
