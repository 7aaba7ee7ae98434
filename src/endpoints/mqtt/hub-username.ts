import { decodePercent } from '../../wire/topics.ts'

/** What an MQTT user name of a hub device says (hub-device.md 1.7). Ids are not percent-encoded. */
export interface HubUsername {
  /** What the client connected to, `:port` included; behind a gateway the gateway's name. */
  readonly host: string
  readonly deviceId: string
  readonly moduleId: string | undefined
  /** Plug and Play model, percent-decoded. */
  readonly modelId: string | undefined
}

/**
 * `{host}/{device}[/{module}][/?api-version=…&…]`, and the older spellings without `?`, with several segments of
 * parameters, and with none at all. Undefined: not of that form.
 */
export function parseHubUsername(username: string): HubUsername | undefined {
  const segments = username.split('/')
  const first = segments.findIndex((segment, at) => at >= 2 && isQuery(segment))
  const names = first === -1 ? segments : segments.slice(0, first)
  // A slash at the end without parameters.
  if (names.length > 2 && names.at(-1) === '') names.pop()
  const [host, deviceId, moduleId, ...more] = names
  if (!host || !deviceId || moduleId === '' || more.length > 0) return undefined
  const query = first === -1 ? '' : segments.slice(first).join('/')
  return { host, deviceId, moduleId, modelId: parameterOf(query, 'model-id') }
}

const isQuery = (segment: string): boolean => segment.startsWith('?') || segment.includes('api-version=')

/** Java and Node send `model-id` raw, `;` and `:` included; Python encodes it. */
function parameterOf(query: string, name: string): string | undefined {
  for (const pair of query.replace(/^\?/, '').split('&')) {
    const at = pair.indexOf('=')
    if (at !== -1 && pair.slice(0, at).toLowerCase() === name) return decodePercent(pair.slice(at + 1)) || undefined
  }
  return undefined
}
