import { asServiceError, type Code, codes, ServiceError } from '../base/errors.ts'
import { Fields } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { IotHub } from '../control/control.ts'

/** An identity that a request about many names, and what else it says of it. */
export interface Item {
  readonly fields: Fields
  readonly deviceId: string
  readonly moduleId: string | undefined
}

/** Up to 100 items `{id, moduleId?, ...}`, no identity twice (400004, 400011, 413002). */
export function parseItems(items: readonly unknown[]): Item[] {
  if (items.length > limits.deviceBulk)
    throw new ServiceError(413002, `One request may change ${limits.deviceBulk} devices, found ${items.length}.`)
  const seen = new Set<string>()
  return items.map((each, at) => {
    const fields = new Fields(each, `[${at}]`)
    const deviceId = fields.required('id', fields.string('id'))
    const moduleId = fields.string('moduleId') || undefined
    const key = JSON.stringify([deviceId, moduleId])
    if (seen.has(key))
      throw new ServiceError(400011, `[${at}] names ${key} again; one request may name an identity once.`)
    seen.add(key)
    return { fields, deviceId, moduleId }
  })
}

/**
 * The C# client takes only names of the numbered list of hub-service.md 12.2 and throws on others: those get the
 * nearest of that list.
 */
const NUMBERED = new Set<Code>([
  400001, 400003, 400004, 400005, 400006, 400011, 400012, 400301, 401001, 401002, 401003, 403002, 404001, 404010,
  409001, 409301, 412001, 413001, 413002, 413003, 429001, 500001, 503001,
])
const NEAREST: Readonly<Record<number, Code>> = {
  400: 400004,
  401: 401002,
  403: 403002,
  404: 404001,
  409: 409001,
  412: 412001,
  413: 413001,
  429: 429001,
  503: 503001,
}

/** Why one item failed, as answers about many items say it; the cause of what is our own fault goes to the log. */
export function itemError(
  log: Log,
  hub: IotHub,
  { deviceId, moduleId }: Item,
  thrown: unknown,
): { readonly errorCode: string; readonly errorStatus: string } {
  const error = asServiceError(thrown)
  if (error.status >= 500)
    log.error({ hub: hub.name, deviceId, moduleId, cause: error.cause }, 'item of a request failed')
  const code = NUMBERED.has(error.code) ? error.code : (NEAREST[error.status] ?? 500001)
  return { errorCode: codes[code], errorStatus: error.message }
}
