import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'

/** Properties of a device message. System properties have the names of `SYSTEM_PROPERTIES`; the rest is the application's. */
export interface MessageProperties {
  readonly system: Readonly<Record<string, string>>
  readonly application: Readonly<Record<string, string>>
}

/** How one system property is spelled on each wire (hub-device.md 2.2). */
export interface SystemProperty {
  /** Our name of it, that of the AMQP property or annotation. */
  readonly name: string
  /** In an MQTT property bag; the dollar may be percent-encoded. */
  readonly bag: string
  /** HTTP header, lower case; undefined: HTTP has none. */
  readonly header?: string
  /** Where AMQP and the Event Hubs face carry it. */
  readonly amqp: 'property' | 'application' | 'annotation'
}

const property = (name: string, bag: string, header: string): SystemProperty => ({
  name,
  bag,
  header,
  amqp: 'property',
})
const annotation = (name: string, bag: string, header?: string): SystemProperty => ({
  name,
  bag,
  ...(header === undefined ? {} : { header }),
  amqp: 'annotation',
})
const application = (name: string, bag: string, header?: string): SystemProperty => ({
  name,
  bag,
  ...(header === undefined ? {} : { header }),
  amqp: 'application',
})

/** In the order in which a bag is written: C# and Java want system properties first (hub-device.md 0.3, 2.3). */
export const SYSTEM_PROPERTIES: readonly SystemProperty[] = [
  property('message-id', '$.mid', 'iothub-messageid'),
  property('to', '$.to', 'iothub-to'),
  property('correlation-id', '$.cid', 'iothub-correlationid'),
  property('user-id', '$.uid', 'iothub-userid'),
  property('absolute-expiry-time', '$.exp', 'iothub-expiry'),
  property('content-type', '$.ct', 'iothub-contenttype'),
  property('content-encoding', '$.ce', 'iothub-contentencoding'),
  annotation('iothub-connection-device-id', '$.cdid'),
  annotation('iothub-connection-module-id', '$.cmid'),
  application('iothub-outputname', '$.on'),
  annotation('dt-subject', '$.sub', 'dt-subject'),
  annotation('iothub-interface-id', '$.ifid', 'iothub-interface-id'),
  application('iothub-creation-time-utc', '$.ctime', 'iothub-creationtimeutc'),
  application('iothub-message-schema', '$.schema', 'iothub-messageschema'),
  annotation('Diagnostic-Id', '$.diagid'),
  annotation('Correlation-Context', '$.diagctx'),
  application('iothub-ack', 'iothub-ack', 'iothub-ack'),
  application('iothub-operation', 'iothub-operation', 'iothub-operation'),
]

const byBagKey = new Map(SYSTEM_PROPERTIES.map((each) => [each.bag, each]))

/** Stamped by the service from the connection; whatever a device writes there is not believed. */
const CONNECTION_STAMPS = new Set(['iothub-connection-device-id', 'iothub-connection-module-id'])

/** A property as it stands in a bag, decoded. */
export type BagPair = readonly [key: string, value: string | null]

/**
 * Sorts the pairs of an MQTT property bag. Of two equal keys the last counts; a key that stood without a value has an
 * empty one; `$.` keys that are not in the table stay with the application, as sent.
 */
export function fromBag(pairs: readonly BagPair[]): MessageProperties {
  const system: [string, string][] = []
  const application: [string, string][] = []
  for (const [key, value] of pairs) {
    const known = byBagKey.get(key)
    if (known === undefined) application.push([key, value ?? ''])
    else if (!CONNECTION_STAMPS.has(known.name)) system.push([known.name, value ?? ''])
  }
  // fromEntries makes own members even of names like __proto__.
  return { system: Object.fromEntries(system), application: Object.fromEntries(application) }
}

/** The pairs of a bag for a device, system properties first and in the table's order (hub-device.md 2.3). */
export function toBag({ system, application }: MessageProperties): BagPair[] {
  const known = SYSTEM_PROPERTIES.flatMap(({ name, bag }): BagPair[] => {
    const value = Object.hasOwn(system, name) ? system[name] : undefined
    return value === undefined ? [] : [[bag, value]]
  })
  return [...known, ...Object.entries(application)]
}

/** What counts against the size of a message beside its body: values of system, names and values of the others. */
export function propertiesSize({ system, application }: MessageProperties): number {
  let size = 0
  for (const value of Object.values(system)) size += Buffer.byteLength(value)
  for (const [name, value] of Object.entries(application)) size += Buffer.byteLength(name) + Buffer.byteLength(value)
  return size
}

const CREATION_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/

/** Refuses system properties that the real service refuses (hub-device.md 5.1). */
export function requireSystemProperties(system: Readonly<Record<string, string>>): void {
  const messageId = system['message-id']
  if (messageId !== undefined && messageId.length > limits.messageIdLength)
    throw new ServiceError(
      400004,
      `The message ID must have at most ${limits.messageIdLength} characters, found ${messageId.length}.`,
    )
  const created = system['iothub-creation-time-utc']
  if (created !== undefined && (!CREATION_TIME.test(created) || Number.isNaN(Date.parse(created))))
    throw new ServiceError(
      400004,
      `iothub-creation-time-utc must be an ISO 8601 time in UTC that ends in Z, found ${JSON.stringify(created.slice(0, 80))}.`,
    )
}
