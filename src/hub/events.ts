import { isObject } from '../base/json.ts'

/**
 * One entry of a telemetry log: everything that the Event Hubs face and routes must tell about an event later
 * (hub-service.md 9.5), in a form that says its own version.
 */
export interface HubEvent {
  /** `iothub-message-source`: `Telemetry`, later others. */
  readonly source: string
  /** Milliseconds: `iothub-enqueuedtime`. */
  readonly enqueuedTime: number
  readonly deviceId: string
  readonly moduleId?: string
  readonly generationId: string
  /** `iothub-connection-auth-method`: JSON text. */
  readonly authMethod: string
  /** `dt-dataschema`: the model announced at connect. */
  readonly modelId?: string
  /** By the names of documents/message-properties.ts. */
  readonly system: Readonly<Record<string, string>>
  readonly application: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** First byte of an entry. A reader refuses what it does not know. */
const VERSION = 1
const HEAD_BYTES = 5

/** Version byte, length of the JSON head as 4 bytes big-endian, JSON head, body as it came. */
export function encodeEvent({ body, ...event }: HubEvent): Buffer {
  const head = JSON.stringify({
    src: event.source,
    t: event.enqueuedTime,
    d: event.deviceId,
    m: event.moduleId,
    g: event.generationId,
    a: event.authMethod,
    s: event.modelId,
    ...(isEmpty(event.system) ? {} : { sp: event.system }),
    ...(isEmpty(event.application) ? {} : { ap: event.application }),
  })
  const headBytes = Buffer.byteLength(head)
  const entry = Buffer.allocUnsafe(HEAD_BYTES + headBytes + body.length)
  entry.writeUInt8(VERSION, 0)
  entry.writeUInt32BE(headBytes, 1)
  entry.write(head, HEAD_BYTES, 'utf8')
  body.copy(entry, HEAD_BYTES + headBytes)
  return entry
}

export function decodeEvent(entry: Buffer): HubEvent {
  const version = entry.readUInt8(0)
  if (version !== VERSION)
    throw new Error(`This telemetry entry has version ${version}; this release reads version ${VERSION}.`)
  const bodyAt = HEAD_BYTES + entry.readUInt32BE(1)
  const head: unknown = JSON.parse(entry.toString('utf8', HEAD_BYTES, bodyAt))
  if (!isObject(head)) throw new Error('This telemetry entry has no head.')
  const { src, t, d, m, g, a, s, sp, ap } = head as unknown as Head
  return {
    source: src,
    enqueuedTime: t,
    deviceId: d,
    ...(m === undefined ? {} : { moduleId: m }),
    generationId: g,
    authMethod: a,
    ...(s === undefined ? {} : { modelId: s }),
    system: sp ?? {},
    application: ap ?? {},
    body: entry.subarray(bodyAt),
  }
}

/** Member names of the head; short, because every event repeats them. */
interface Head {
  readonly src: string
  readonly t: number
  readonly d: string
  readonly m?: string
  readonly g: string
  readonly a: string
  readonly s?: string
  readonly sp?: Readonly<Record<string, string>>
  readonly ap?: Readonly<Record<string, string>>
}

function isEmpty(record: Readonly<Record<string, string>>): boolean {
  for (const _ in record) return false
  return true
}
