import { managed } from '../support/control-plane.ts'
import { hubOf } from '../support/hub.ts'
import type { TestMuster } from '../support/muster.ts'
import { type Rest, restOf } from '../support/rest.ts'

/** Everything that a service tells of itself, as JSON: what an upgrade must not change. */
export async function snapshotOf(muster: TestMuster): Promise<unknown> {
  const { https } = muster.addresses.ports
  const told = { ...(await provisioningOf(muster)), ...(await hubsOf(muster)), instances: await instancesOf(muster) }
  // Names are stored without our port, which is another one at every start here.
  return JSON.parse(JSON.stringify(told).replaceAll(`:${https}`, ''))
}

const succeeded = async (
  rest: Rest,
  method: string,
  path: string,
  version: string,
  body?: unknown,
): Promise<unknown> => {
  const answer = await rest(method, `${path}?api-version=${version}`, body === undefined ? {} : { body })
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`)
  return answer.body
}

async function provisioningOf(muster: TestMuster) {
  const rest = restOf(muster, muster.addresses.dps.connectionString)
  const ask = (method: string, path: string, body?: unknown) => succeeded(rest, method, path, '2021-10-01', body)
  const query = { query: 'SELECT *' }
  const enrollments = (await ask('POST', '/enrollments/query', query)) as { registrationId: string }[]
  const groups = (await ask('POST', '/enrollmentGroups/query', query)) as { enrollmentGroupId: string }[]
  return {
    enrollments,
    groups,
    attestations: await Promise.all([
      ...enrollments.map(({ registrationId }) => ask('POST', `/enrollments/${registrationId}/attestationmechanism`)),
      ...groups.map(({ enrollmentGroupId }) =>
        ask('POST', `/enrollmentGroups/${enrollmentGroupId}/attestationmechanism`),
      ),
    ]),
    registrations: await Promise.all(
      groups.map(({ enrollmentGroupId }) => ask('POST', `/registrations/${enrollmentGroupId}/query`, query)),
    ),
  }
}

async function hubsOf(muster: TestMuster) {
  const rest = restOf(muster, hubOf(muster).connectionString)
  const get = (path: string) => succeeded(rest, 'GET', path, '2021-04-12')
  const devices = (await get('/devices')) as { deviceId: string }[]
  const name = muster.addresses.hubs[0]!.name
  const { partitionIds } = (await managed(muster, 'GET', `/muster/hubs/${name}/partitions`)) as {
    partitionIds: string[]
  }
  return {
    devices,
    twins: await Promise.all(devices.map(({ deviceId }) => get(`/twins/${deviceId}`))),
    modules: await Promise.all(devices.map(({ deviceId }) => get(`/devices/${deviceId}/modules`))),
    events: await Promise.all(
      partitionIds.map((id) => managed(muster, 'GET', `/muster/hubs/${name}/partitions/${id}/events?limit=1000`)),
    ),
  }
}

async function instancesOf(muster: TestMuster) {
  const found: unknown[] = []
  for (const kind of ['provisioningServices', 'IotHubs']) {
    const { value } = (await managed(muster, 'GET', `/${kind}`)) as { value: { name: string }[] }
    for (const instance of value) {
      const path = `/${kind}/${instance.name}`
      found.push(
        instance,
        await managed(muster, 'POST', `${path}/listkeys`),
        await managed(muster, 'GET', `${path}/certificates`),
      )
    }
  }
  return found
}
