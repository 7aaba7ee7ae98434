import { Fields, type JsonObject } from '../base/json.ts'
import { HUB_NAME, requireService } from '../instances.ts'
import type { Attempt } from '../provisioning/provisioning.ts'
import type { ReadyFile } from '../ready-file.ts'
import type { Seeded } from '../seed/apply-seed.ts'
import type { SeedDocument } from '../seed/seed-document.ts'
import { millisecondsOf, momentOf, type TestTime } from './clock.ts'
import { type EventsWanted, type ReceivedEvent, receivedEvents } from './events.ts'
import { type Ground, openGround } from './ground.ts'
import { type Lives, openLives } from './lives.ts'
import { checkOptions, type MusterOptions, seedOf } from './options.ts'
import type { Service } from './service.ts'

/** A running Muster in this process, alone with its test: what it keeps is gone with it. */
export interface Muster extends ReadyFile {
  /** PEM of the authority that clients must trust; `caFile` is a file of it. */
  readonly ca: string
  /** The members of `ReadyFile` as a file, for commands (`--ready-file`) and other processes. */
  readonly readyFile: string
  /** Environment variables by which clients in other processes trust the CA, and commands find this Muster. */
  readonly env: Readonly<Record<string, string>>
  readonly clock: TestTime
  /** Makes an individual enrollment from the document of `PUT /enrollments/{id}`; answers it with its keys. */
  enroll(document: object): Promise<JsonObject>
  /** Makes an enrollment group from the document of `PUT /enrollmentGroups/{id}`; answers it with its keys. */
  enrollGroup(document: object): Promise<JsonObject>
  /**
   * Makes what a seed names, until the next reset. What exists already stays as it is and is told in `kept`.
   * @throws SeedError; where the seed itself is wrong nothing was made
   */
  seed(seed: SeedDocument | string): Promise<Seeded>
  /**
   * Back to how it was after the start: same ID scope, same keys, same content, real time (or the option `now`).
   * Connections are cut; addresses stay.
   */
  reset(): Promise<void>
  /** Why a device was refused, or how it came to its hub: newest attempt first. */
  explain(registrationId: string): Promise<readonly Attempt[]>
  /** Telemetry as a hub received it; waits for it where `atLeast` asks for some. */
  events(wanted?: EventsWanted): Promise<readonly ReceivedEvent[]>
  /** Ends everything and removes its files. May be called again. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Starts a Muster that is ready when the promise resolves. Many may run in one process. */
export async function startMuster(options: MusterOptions = {}): Promise<Muster> {
  const checked = await checkOptions(options)
  const ground = await openGround(checked)
  try {
    const lives = await openLives(ground, checked.seed, checked.now)
    return musterOf(ground, lives)
  } catch (error) {
    await ground.close()
    throw error
  }
}

function musterOf({ certificates, files, clock }: Ground, lives: Lives): Muster {
  const one = oneByOne()
  const stop = () => one(lives.stop)
  return {
    ...lives.ready,
    // A seed may have added some since.
    get hubs() {
      return lives.ready.hubs
    },
    ca: certificates.ca,
    readyFile: files.readyFile,
    env: {
      NODE_EXTRA_CA_CERTS: files.caFile,
      SSL_CERT_FILE: files.caFile,
      REQUESTS_CA_BUNDLE: files.caFile,
      MUSTER_READY_FILE: files.readyFile,
    },
    clock: {
      now: () => new Date(clock.now()),
      advance: async (duration) => clock.moveTo(clock.now() + millisecondsOf(duration)),
      set: async (time) => clock.moveTo(momentOf(time)),
    },
    enroll: (document) => enroll(lives.now(), 'enrollments', document),
    enrollGroup: (document) => enroll(lives.now(), 'enrollmentGroups', document),
    seed: (document) =>
      one(async () => {
        const seeded = await lives.now().seed(await seedOf(document))
        await lives.refresh()
        return seeded
      }),
    reset: () => one(lives.reset),
    explain: (registrationId) => explain(lives.now(), registrationId),
    events: (wanted = {}) => events(lives.now(), wanted),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

const caller = { kind: 'management', name: 'test' } as const
const API_VERSION = '2021-10-01'

async function enroll(
  { node: { rooms } }: Service,
  kind: 'enrollments' | 'enrollmentGroups',
  document: object,
): Promise<JsonObject> {
  const idName = kind === 'enrollments' ? 'registrationId' : 'enrollmentGroupId'
  const fields = new Fields(document, kind === 'enrollments' ? 'enrollment' : 'enrollmentGroup')
  const id = fields.required(idName, fields.string(idName))
  const how = { ifMatch: { kind: 'absent' }, apiVersion: API_VERSION } as const
  return rooms.provisioning[kind].put(caller, await requireService(rooms.control), id, document, how)
}

async function explain({ node: { rooms } }: Service, registrationId: string): Promise<readonly Attempt[]> {
  return rooms.provisioning.attempts.find(await requireService(rooms.control), { registrationId })
}

async function events({ node: { rooms }, arrivals }: Service, wanted: EventsWanted): Promise<ReceivedEvent[]> {
  const name = wanted.hub ?? HUB_NAME
  const hub = await rooms.control.hubs.get(name)
  if (hub !== undefined) return receivedEvents(rooms.hub.telemetry, hub, arrivals, wanted)
  const known = (await rooms.control.hubs.list()).map((each) => each.name).join(', ')
  throw new Error(`Expected the name of a hub (${known}), found ${JSON.stringify(name)}.`)
}

/** What replaces or ends the service happens one after the other. */
function oneByOne(): <T>(step: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (step) => {
    const done = last.then(step)
    last = done.catch(() => undefined)
    return done
  }
}
