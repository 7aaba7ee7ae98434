import { type Clock, isoTime } from '../base/clock.ts'
import type { ServiceError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Random } from '../base/random.ts'
import type { Bus } from '../bus/bus.ts'
import type { ProvisioningService } from '../control/control.ts'
import { Lru } from '../crypto/lru.ts'
import type { Store } from '../store/store.ts'
import { type AttemptQuery, createAttemptRing } from './attempt-ring.ts'
import type { Claim } from './claims.ts'
import { prefixOf, sameId, storeId } from './ids.ts'
import type { Registration } from './registration-record.ts'
import { type Explanation, explain } from './remedies.ts'
import { registrations, traces } from './schema.ts'
import { type Looked, type OperationTrace, printableText, shownFor, type Trace, traceOf } from './trace.ts'

export type { AttemptQuery } from './attempt-ring.ts'

export type Operation = 'register' | 'status' | 'lookup'

/** The step of an attempt that belongs to no service, so that whoever asks under any service finds it. */
export const UNKNOWN_ID_SCOPE = 'unknown-id-scope'

/** An attempt that was refused, as the ring keeps it. */
export interface Refused extends Trace {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly operation: Operation
  readonly idScope: string
  readonly registrationId: string
  /** What the device was told. */
  readonly errorCode: number
  readonly errorMessage: string
}

/** An attempt with its explanation, as operators read it. Absent members are absent, never null. */
export interface Attempt extends Trace, Explanation {
  readonly time: string
  readonly operation: Operation
  readonly idScope: string
  readonly registrationId: string
  readonly outcome: 'refused' | Registration['status']
  readonly errorCode?: number
  readonly errorMessage?: string
  readonly operationId?: string
  readonly enrollment?: { readonly kind: 'individual' | 'group'; readonly id: string }
  readonly assignedHub?: string
  readonly deviceId?: string
  readonly substatus?: string
  readonly lastUpdatedDateTimeUtc?: string
}

export interface Refusal {
  readonly operation: Operation
  readonly claim: Claim
  readonly looked: Looked
  readonly error: Pick<ServiceError, 'code' | 'message'>
}

/** An operation and its registration. */
export interface Opened {
  /** Store id of the registration. */
  readonly id: string
  readonly operationId: string
}

/** Why devices were refused, and how they came to their hubs. */
export interface Attempts {
  /** Remembers a refusal in this node, not durably. */
  refused(refusal: Refusal): void
  /** Remembers under which tracking id a registration was opened; its trace will be in the store. */
  admitted(claim: Claim, opened: Opened): void
  /**
   * Attempts, newest first: refusals of every node that answers in time, and the last admitted one with its outcome.
   * Those under an id scope that no service has are found under every service.
   */
  find(service: ProvisioningService, query: AttemptQuery): Promise<readonly Attempt[]>
  /** Answers when other nodes ask. */
  start(): void
  stop(): void
}

export interface AttemptsNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly bus: Bus
  /** Under which name a linked hub is dialled. */
  readonly hubName: (hub: string) => string
}

/** `ask` is chosen by the one who asks; every hint carries one attempt, so that it is never too long. */
interface Ask {
  readonly ask: string
  readonly query: AttemptQuery
}
type Answer = { readonly ask: string } & ({ readonly refused: Refused } | { readonly admitted: Opened })

const ASK = 'attempts.ask'
const ANSWER = 'attempts.answer'

export function createAttempts({ store, clock, random, bus, hubName }: AttemptsNeeds): Attempts {
  const ring = createAttemptRing()
  /** By tracking id. */
  const admitted = new Lru<Opened>(limits.attemptEntries)
  const asking = new Set<string>()
  let ended: (() => void) | undefined

  const known = (query: AttemptQuery) => {
    const opened = 'trackingId' in query ? admitted.get(query.trackingId) : undefined
    return { refused: ring.find(query), admitted: opened === undefined ? [] : [opened] }
  }

  function answer({ ask, query }: Ask): void {
    // Who asks looks into his own memory himself.
    if (asking.has(ask)) return
    const found = known(query)
    for (const refused of found.refused) bus.publish(ANSWER, { ask, refused })
    for (const opened of found.admitted) bus.publish(ANSWER, { ask, admitted: opened })
  }

  /** What the other nodes know. A node that does not answer in time is left out: they may be many, or gone. */
  async function elsewhere(query: AttemptQuery): Promise<Answer[]> {
    const ask = random.uuid()
    const answers: Answer[] = []
    asking.add(ask)
    let unsubscribe = (): void => {}
    // A tracking id names one attempt; a device may have asked every node.
    const enough = 'trackingId' in query ? 1 : limits.attemptAnswers
    await new Promise<void>((resolve) => {
      const timer = clock.after(limits.attemptAnswerMs, resolve)
      unsubscribe = bus.subscribe(ANSWER, (hint) => {
        if (!isObject(hint) || hint['ask'] !== ask) return
        answers.push(hint as never)
        if (answers.length < enough) return
        timer.cancel()
        unsubscribe()
        resolve()
      })
      bus.publish(ASK, { ask, query } satisfies Ask)
    })
    unsubscribe()
    asking.delete(ask)
    return answers
  }

  /** The last operation of a registration; with an operation id only if it is that one. */
  async function recorded({ id, operationId }: Partial<Opened> & Pick<Opened, 'id'>): Promise<Attempt[]> {
    const [record, trace] = await Promise.all([store.get(registrations, id), store.get(traces, id)])
    if (record === undefined) return []
    if (operationId !== undefined && record.value.operationId !== operationId) return []
    return [attemptOf(record.value, trace?.value, hubName)]
  }

  return {
    refused({ operation, claim, looked, error }) {
      ring.add({
        at: clock.now(),
        operation,
        idScope: printableText(claim.idScope, limits.idLength),
        registrationId: printableText(claim.registrationId, limits.idLength),
        errorCode: error.code,
        errorMessage: printableText(error.message),
        ...traceOf(claim, looked),
      })
    },
    admitted({ trackingId }, opened) {
      if (trackingId !== undefined) admitted.set(trackingId, opened)
    },
    async find({ idScope }, query) {
      const own = known(query)
      const others = await elsewhere(query)
      const refused = [...own.refused, ...others.flatMap((each) => ('refused' in each ? [each.refused] : []))]
      const operations =
        'registrationId' in query
          ? [{ id: storeId(idScope, query.registrationId) }]
          : [...own.admitted, ...others.flatMap((each) => ('admitted' in each ? [each.admitted] : []))]
      const records = await Promise.all(operations.filter(({ id }) => id.startsWith(prefixOf(idScope))).map(recorded))
      return [...refused.filter((each) => concerns(idScope, each)).map(refusedAttempt), ...records.flat()].sort(
        (a, b) => b.time.localeCompare(a.time),
      )
    },
    start() {
      ended ??= bus.subscribe(ASK, (hint) => answer(hint as Ask))
    },
    stop() {
      ended?.()
      ended = undefined
    },
  }
}

const concerns = (idScope: string, { idScope: asked, steps }: Refused): boolean =>
  sameId(asked, idScope) || steps.some(({ reason }) => reason === UNKNOWN_ID_SCOPE)

function refusedAttempt({ at, ...refused }: Refused): Attempt {
  return { time: isoTime(at), outcome: 'refused', ...refused, ...explain(refused.steps) }
}

/** The last attempt that was admitted; without a trace where its end is not reached, or was before there were traces. */
function attemptOf(
  record: Registration,
  stored: OperationTrace | undefined,
  hubName: AttemptsNeeds['hubName'],
): Attempt {
  const { operationId, credential, status } = record
  const trace = stored?.operationId === operationId ? stored : { credential: shownFor(credential), steps: [] }
  return {
    time: isoTime(record.openedAt),
    operation: 'register',
    outcome: status,
    idScope: record.idScope,
    registrationId: record.registrationId,
    operationId,
    enrollment: record.admittedBy,
    ...(record.status === 'failed' && {
      errorCode: record.failure.code,
      errorMessage: printableText(record.failure.message),
    }),
    ...(record.status === 'assigned' && {
      assignedHub: hubName(record.assignment.hub),
      deviceId: record.assignment.deviceId,
      substatus: record.assignment.substatus,
    }),
    lastUpdatedDateTimeUtc: isoTime(record.updatedAt),
    ...trace,
    ...explain(trace.steps, status),
  }
}
