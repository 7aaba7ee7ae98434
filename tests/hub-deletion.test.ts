import { expect, test } from 'vitest'
import { managed } from './support/management.ts'
import { startMuster } from './support/muster.ts'
import { ask, connectDevice, sas } from './support/raw-client.ts'

// A hub is deleted, and made again under its name, on a running service: nothing of the first one is in the second.
test('a hub with devices is not deleted; after their deletion nothing of it is left, their connections included', async () => {
  const muster = await startMuster()
  const { address, ports } = muster.addresses
  const hub = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/second'
  const make = async () => {
    const body = { location: 'local', properties: { hostNames: ['second.example'] } }
    await managed(muster, 'PUT', hub, { body })
    const { primaryKey } = (await managed(muster, 'POST', `${hub}/IotHubKeys/iothubowner/listkeys`)) as {
      primaryKey: string
    }
    const service = { host: 'second.example', authorization: sas('second.example', primaryKey, 'iothubowner') }
    return (method: string, path: string, body?: unknown) =>
      ask({ host: address, port: ports.https, ca: muster.ca }, { method, path, body, headers: service })
  }
  const events = async (): Promise<readonly object[]> => {
    const { partitionIds } = (await managed(muster, 'GET', '/muster/hubs/second/partitions')) as {
      partitionIds: string[]
    }
    const pages = partitionIds.map((id) => managed(muster, 'GET', `/muster/hubs/second/partitions/${id}/events`))
    return (await Promise.all(pages)).flatMap((page) => (page as { events: object[] }).events)
  }
  try {
    const first = await make()
    const { body } = await first('PUT', '/devices/d1?api-version=2021-04-12', {})
    const { primaryKey } = (body as { authentication: { symmetricKey: { primaryKey: string } } }).authentication
      .symmetricKey
    const names = { hubHost: 'second.example', deviceId: 'd1', password: sas('second.example/devices/d1', primaryKey) }
    const device = await connectDevice({ host: address, port: ports.mqtts, ca: muster.ca }, names)
    await device.publish('devices/d1/messages/events/', 'of the first hub')
    await expect(managed(muster, 'DELETE', hub)).rejects.toThrow('it holds 1 device')
    expect(await events()).toHaveLength(1)
    expect((await first('DELETE', '/devices/d1?api-version=2021-04-12')).status).toBe(204)
    await expect(device.publish('devices/d1/messages/events/', 'too late')).rejects.toThrow()
    await managed(muster, 'DELETE', hub)
    await make()
    expect(await events()).toEqual([])
  } finally {
    await muster.stop()
  }
})
