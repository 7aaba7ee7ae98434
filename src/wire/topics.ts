import { TOPIC_BYTES } from './mqtt-packets.ts'

/** A property as it stands in a bag. `value` null: the name stood alone, which the documents call null. */
export type BagProperty = readonly [name: string, value: string | null]

/**
 * Reads a property bag: `key=value` pairs joined with `&`, in their order (hub-device.md 2.2). Names and values are
 * percent-decoded leniently, because the C SDK sends them as they are: what is no valid `%` sequence stays. System
 * properties come out as `$.mid`, whether sent as `$.mid` or `%24.mid`.
 */
export function parsePropertyBag(bag: string): BagProperty[] {
  return bag
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const equals = pair.indexOf('=')
      return equals < 0
        ? [decodePercent(pair), null]
        : [decodePercent(pair.slice(0, equals)), decodePercent(pair.slice(equals + 1))]
    })
}

/** `+` is a plus here, not a space. Sequences that are not UTF-8 stay as they were. */
export function decodePercent(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => {
    try {
      return decodeURIComponent(run)
    } catch {
      return run
    }
  })
}

/**
 * Writes a property bag for a device: system properties (`$.…`) first, spelled `%24.`, `/` as `%2F`, and nothing
 * without a value, because Java's parser throws on those (hub-device.md 0, traps 3 to 5).
 */
export function formatPropertyBag(properties: Iterable<BagProperty>): string {
  const filled = [...properties].filter(([name, value]) => name !== '' && value !== null && value !== '')
  const system = filled.filter(([name]) => name.startsWith('$.'))
  const application = filled.filter(([name]) => !name.startsWith('$.'))
  return [...system, ...application].map(([name, value]) => `${encode(name)}=${encode(value ?? '')}`).join('&')
}

const encode = (text: string): string => encodeURIComponent(text.toWellFormed())

/** A topic of request and response: `path`, then `?`, then parameters, e.g. `$iothub/twin/GET/?$rid=7`. */
export interface TopicRequest {
  /** Up to the `?`, e.g. `$iothub/twin/GET/`. */
  path: string
  /** Values as sent, not decoded: a request identifier is echoed byte for byte (dps.md 2.3). The first of a name counts. */
  parameters: ReadonlyMap<string, string>
  /** The parameter `$rid`; undefined if absent, empty or too long to be answered. */
  rid: string | undefined
}

/** Bytes that the longest answer topic needs beside the request identifier. */
const ANSWER_TOPIC_BYTES = 1_024

export function parseTopicRequest(topic: string): TopicRequest {
  const mark = topic.indexOf('?')
  if (mark < 0) return { path: topic, parameters: new Map(), rid: undefined }
  const parameters = new Map<string, string>()
  for (const pair of topic.slice(mark + 1).split('&')) {
    const equals = pair.indexOf('=')
    const name = equals < 0 ? pair : pair.slice(0, equals)
    if (!parameters.has(name)) parameters.set(name, equals < 0 ? '' : pair.slice(equals + 1))
  }
  const rid = parameters.get('$rid')
  const answerable = rid !== undefined && rid !== '' && Buffer.byteLength(rid) <= TOPIC_BYTES - ANSWER_TOPIC_BYTES
  return { path: topic.slice(0, mark), parameters, rid: answerable ? rid : undefined }
}

/**
 * `{path}?$rid={rid}&name=value…`: `path` ends with `/`, and `$rid` is the first parameter; the C SDK splits on the one
 * and looks for the other (hub-device.md 0, trap 1).
 */
export function answerTopic(
  path: string,
  rid: string,
  parameters: Readonly<Record<string, string | number>> = {},
): string {
  const rest = Object.entries(parameters).map(([name, value]) => `&${name}=${value}`)
  return `${path}?$rid=${rid}${rest.join('')}`
}
