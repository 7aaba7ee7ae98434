import { Fields } from '../base/json.ts'
import { refused, usage } from './environment.ts'
import { pathOf, type Rest } from './rest.ts'

/** The management API mirrors the resource paths of Azure's control plane below the subscription (dps.md 7, hub-service.md 11). */
const resources = { dps: 'provisioningServices', hub: 'IotHubs' } as const

export type Resource = keyof typeof resources

/** Path of an instance, or with more segments of something that belongs to it. */
export const managementPath = (kind: Resource, ...segments: readonly string[]): string =>
  pathOf(resources[kind], ...segments)

/** All instances of a kind, as resources `{name, properties, …}`. */
export async function listResources(rest: Rest, kind: Resource): Promise<readonly Fields[]> {
  const { body } = await rest({ method: 'GET', path: managementPath(kind) })
  return valuesOf(body)
}

/** The name of the instance meant: the one given, else the only one. */
export async function onlyName(rest: Rest, kind: Resource, given: string | undefined): Promise<string> {
  if (given !== undefined) return given
  const names = (await listResources(rest, kind)).map((item) => item.required('name', item.string('name')))
  const [name] = names
  if (name === undefined || names.length > 1)
    throw usage(`Expected --${kind}-name, because there is more than one or none: ${names.join(', ') || 'none'}.`)
  return name
}

export interface PolicyKeys {
  readonly keyName: string
  readonly primaryKey: string
}

/** The shared access policies of an instance, with their keys. */
export async function policiesOf(rest: Rest, kind: Resource, name: string): Promise<readonly PolicyKeys[]> {
  const { body } = await rest({ method: 'POST', path: managementPath(kind, name, 'listkeys') })
  return valuesOf(body).map((item) => ({
    keyName: item.required('keyName', item.string('keyName')),
    primaryKey: item.required('primaryKey', item.string('primaryKey')),
  }))
}

/** The members of a list answer, `{value: […]}`. */
export function valuesOf(body: unknown): readonly Fields[] {
  const values = new Fields(body, 'answer').array('value')
  if (values === undefined) throw refused('Expected {"value": […]} as the answer, found something else.')
  return values.map((value, index) => new Fields(value, `answer.value[${index}]`))
}
