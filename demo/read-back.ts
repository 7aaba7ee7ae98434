import { isDeepStrictEqual } from 'node:util'
import type { Commands } from './commands.ts'
import type { Enrolled } from './demo.ts'
import { type LoggedMessage, readMessages, readTwinTags } from './service-reads.ts'

/** What the service itself says of a device afterwards; `problems` is empty when all of it is as it must be. */
export interface Outcome {
  readonly enrolled: Enrolled
  readonly status: string | undefined
  readonly hub: string | undefined
  readonly deviceId: string | undefined
  readonly tags: object | undefined
  /** Where its message stands in the hub's log. */
  readonly message: string | undefined
  readonly problems: readonly string[]
}

/** Asks the service, not the devices: registration records, registry, twins and the telemetry log. */
export async function readBack(
  commands: Commands,
  enrolled: readonly Enrolled[],
  failures: ReadonlyMap<string, string>,
): Promise<readonly Outcome[]> {
  const devices = (await commands.json('hub', 'device-identity', 'list')) as readonly { readonly deviceId: string }[]
  const known = new Set(devices.map(({ deviceId }) => deviceId))
  const messages = await readMessages(commands.readyFile)
  return Promise.all(
    enrolled.map((each) => outcomeOf(commands, each, known, messages, failures.get(each.device.registrationId))),
  )
}

async function outcomeOf(
  commands: Commands,
  enrolled: Enrolled,
  known: ReadonlySet<string>,
  messages: readonly LoggedMessage[],
  failure: string | undefined,
): Promise<Outcome> {
  const { registrationId } = enrolled.device
  const record = failure === undefined ? await readRecord(commands, registrationId) : {}
  const { status, assignedHub, deviceId } = record
  const inRegistry = deviceId !== undefined && known.has(deviceId)
  const tags = inRegistry ? await readTwinTags(commands.readyFile, deviceId) : undefined
  const message = messages.find((each) => each.deviceId === deviceId && each.properties['demo'] === registrationId)
  const problems = [
    ...(failure === undefined ? [] : [failure]),
    ...(status === 'assigned' ? [] : [`expected its registration to be assigned, found ${status ?? 'none'}`]),
    ...(inRegistry ? [] : ['expected its identity in the registry, found none']),
    ...(isDeepStrictEqual(tags, enrolled.tags) ? [] : [`expected its twin’s tags, found ${JSON.stringify(tags)}`]),
    ...(message === undefined ? ['expected its message in the log, found none'] : []),
  ]
  const position = message && `partition ${message.partition}\nposition ${message.position}`
  return { enrolled, status, hub: assignedHub, deviceId, tags, message: position, problems }
}

interface RegistrationRecord {
  readonly status?: string
  readonly assignedHub?: string
  readonly deviceId?: string
}

async function readRecord({ json }: Commands, registrationId: string): Promise<RegistrationRecord> {
  return (await json('dps', 'registration', 'show', '--registration-id', registrationId)) as RegistrationRecord
}
