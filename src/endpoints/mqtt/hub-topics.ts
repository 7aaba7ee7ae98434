import { fromBag, type MessageProperties } from '../../documents/message-properties.ts'
import type { MqttPublish } from '../../wire/mqtt.ts'
import { parsePropertyBag, parseTopicRequest } from '../../wire/topics.ts'

export const TWIN_ANSWERS = '$iothub/twin/res/#'
const TWIN_GET = '$iothub/twin/GET/'
const TWIN_REPORTED = '$iothub/twin/PATCH/properties/reported/'
const DESIRED_CHANGES = '$iothub/twin/PATCH/properties/desired/#'
const METHOD_REQUESTS = /^\$iothub\/methods\/POST\/([^/#+]+\/)?#$/
const METHOD_ANSWER = /^\$iothub\/methods\/res\/-?\d{1,10}\/$/

/** Whom a connection speaks for: the ids as they stand in its topics, raw and case-sensitive (hub-device.md 2.2). */
export interface TopicOwner {
  readonly deviceId: string
  readonly moduleId: string | undefined
}

const rootOf = ({ deviceId, moduleId }: TopicOwner): string =>
  moduleId === undefined ? `devices/${deviceId}` : `devices/${deviceId}/modules/${moduleId}`

/** What a device publishes, by topic. Everything else closes the connection, because 3.1.1 has no error packet. */
export type Publication =
  | { readonly kind: 'telemetry'; readonly properties: MessageProperties }
  | { readonly kind: 'twin-get'; readonly rid: string | undefined }
  | { readonly kind: 'twin-patch'; readonly rid: string | undefined; readonly version: string | undefined }
  | { readonly kind: 'method-answer' }

export function readPublication(owner: TopicOwner, topic: string): Publication | undefined {
  if (topic.startsWith('$iothub/')) return readRequest(topic)
  const base = `${rootOf(owner)}/messages/events`
  if (topic !== base && !topic.startsWith(`${base}/`)) return undefined
  // With and without a slash at the end: C# appends one after every bag, Java for modules.
  const bag = topic.slice(base.length + 1).replace(/\/$/, '')
  return { kind: 'telemetry', properties: fromBag(parsePropertyBag(bag)) }
}

function readRequest(topic: string): Publication | undefined {
  const { path, parameters, rid } = parseTopicRequest(topic)
  if (path === TWIN_GET) return { kind: 'twin-get', rid }
  if (path === TWIN_REPORTED) return { kind: 'twin-patch', rid, version: parameters.get('$version') }
  return METHOD_ANSWER.test(path) ? { kind: 'method-answer' } : undefined
}

/**
 * Whether a filter is one that the real hub grants to this identity (hub-device.md 2.3 to 2.6). Node and Python hang on
 * a refusal of what they ask for, so cloud-to-device messages, methods, desired changes and module inputs are granted,
 * although nothing is delivered on them before those services exist (DIVERGENCES.md).
 */
export function isGranted(owner: TopicOwner, filter: string): boolean {
  const root = rootOf(owner)
  return (
    filter === TWIN_ANSWERS ||
    filter === DESIRED_CHANGES ||
    METHOD_REQUESTS.test(filter) ||
    filter === `${root}/messages/devicebound/#` ||
    (owner.moduleId !== undefined && (filter === `${root}/#` || filter === `${root}/inputs/#`))
  )
}

/** Retained messages do not exist: the wish is told as a property instead (hub-device.md 2.1). */
export const withRetain = (
  properties: MessageProperties,
  { retain }: Pick<MqttPublish, 'retain'>,
): MessageProperties =>
  retain ? { ...properties, application: { ...properties.application, 'mqtt-retain': 'true' } } : properties

/** A will is stored as telemetry that says what it is (hub-device.md 2.2). */
export const asWill = (properties: MessageProperties): MessageProperties => ({
  ...properties,
  application: { ...properties.application, 'iothub-MessageType': 'Will' },
})
