import { managed } from './control-plane.ts'
import { hubOf } from './hub.ts'
import type { TestMuster } from './muster.ts'
import { type Rest, restOf } from './rest.ts'
import { succeeded } from './service-client.ts'

/** A hub as its owner sees it. */
export interface TestHub {
  /** As devices are told it. */
  readonly hostName: string
  readonly connectionString: string
  readonly rest: Rest
}

const VERSION = 'api-version=2021-04-12'

/** The hub that every Muster starts with. */
export function firstHub(muster: TestMuster): TestHub {
  const { hostName, connectionString } = hubOf(muster)
  return { hostName, connectionString, rest: restOf(muster, connectionString) }
}

/** One more hub in this Muster, linked to nothing. */
export async function makeHub(muster: TestMuster, name: string): Promise<TestHub> {
  const hostName = `${name}.example.net`
  await managed(muster, 'PUT', `/IotHubs/${name}`, { body: { properties: { hostNames: [hostName] } } })
  const { value } = (await managed(muster, 'POST', `/IotHubs/${name}/listkeys`)) as {
    value: { keyName: string; primaryKey: string }[]
  }
  const [policy] = value
  const connectionString = `HostName=${hostName};SharedAccessKeyName=${policy?.keyName};SharedAccessKey=${policy?.primaryKey}`
  return { hostName, connectionString, rest: restOf(muster, connectionString) }
}

/** Our own hub is linked by its name without our port. */
export const linkName = ({ hostName }: { hostName: string }): string => hostName.replace(/:\d+$/, '')

/** Links these hubs beside the first one, in place of all others. */
export async function linkHubs(muster: TestMuster, ...connectionStrings: readonly string[]): Promise<void> {
  const path = `/provisioningServices/${muster.addresses.dps.name}`
  const resource = (await managed(muster, 'GET', path)) as { etag: string; properties: { iotHubs: { name: string }[] } }
  const own = resource.properties.iotHubs.filter(({ name }) => name === linkName(hubOf(muster)))
  const iotHubs = [...own, ...connectionStrings.map((connectionString) => ({ connectionString }))]
  await managed(muster, 'PUT', path, {
    headers: { 'If-Match': resource.etag },
    body: { ...resource, properties: { ...resource.properties, iotHubs } },
  })
}

/** The device's document in the registry (hub-service.md 2.2). */
export const deviceIn = async ({ rest }: { rest: Rest }, deviceId: string): Promise<Record<string, unknown>> =>
  succeeded(await rest('GET', `/devices/${deviceId}?${VERSION}`))

export const isIn = async ({ rest }: { rest: Rest }, deviceId: string): Promise<boolean> =>
  (await rest('GET', `/devices/${deviceId}?${VERSION}`)).status === 200

export const twinIn = async ({ rest }: { rest: Rest }, deviceId: string): Promise<Record<string, unknown>> =>
  succeeded(await rest('GET', `/twins/${deviceId}?${VERSION}`))
