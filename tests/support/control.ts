import { expect } from 'vitest'
import { TestClock } from '../../src/base/clock.ts'
import { ServiceError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { type Control, type ControlNeeds, controlSchema, createControl } from '../../src/control/control.ts'
import type { Store } from '../../src/store/store.ts'
import { temporaryStore } from './store.ts'

/** Who changes instances in tests. */
export const operator = { kind: 'management', name: 'test' } as const

export const absent = { kind: 'absent' } as const
export const any = { kind: 'any' } as const
export const etag = (text: string) => ({ kind: 'etag', etag: text }) as const

export interface TestControl {
  readonly control: Control
  readonly store: Store
  readonly clock: TestClock
  /** Another node's view of the same store. */
  another(needs?: Partial<ControlNeeds>): Control
}

/** A control room over a SQLite store of its own, with a clock that stands still and repeatable chance. */
export async function controlForTest(needs: Partial<ControlNeeds> = {}): Promise<TestControl> {
  const store = needs.store ?? (await temporaryStore(controlSchema))
  const clock = new TestClock()
  const random = seededRandom(1)
  const another = (more: Partial<ControlNeeds> = {}) =>
    createControl({ clock, random, log: silentLog, ...needs, store, ...more })
  return { control: another(), store, clock, another }
}

/** A policy's connection string, as the ready file and the portal show it. */
export const connectionStringOf = (
  host: string | undefined,
  policy: { readonly keyName: string; readonly primaryKey: string } | undefined,
): string => `HostName=${host};SharedAccessKeyName=${policy?.keyName};SharedAccessKey=${policy?.primaryKey}`

/** The refusal of what must fail. */
export async function refusal(of: Promise<unknown>): Promise<{ code: number; message: string }> {
  const thrown = await of.then(
    (value) => value,
    (error: unknown) => error,
  )
  expect(thrown).toBeInstanceOf(ServiceError)
  const { code, message } = thrown as ServiceError
  return { code, message }
}
