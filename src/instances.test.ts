import { expect, test } from 'vitest'
import { any, controlForTest, operator } from '../tests/support/control.ts'
import { defaults } from './config.ts'
import { prepareInstances } from './instances.ts'

const KEY = Buffer.alloc(32, 1).toString('base64')
const config = { ...defaults, hostNames: ['127.0.0.1'] }
const ports = (https: number) => ({ https, mqtts: 1, management: 2 })

test('other ports at the next start replace the own link, and leave links to hubs on the same host alone', async () => {
  const { control } = await controlForTest()
  const first = await prepareInstances(control, config, ports(1_001))
  const [hub] = first.hubs
  const elsewhere = `HostName=127.0.0.1:1003;SharedAccessKeyName=iothubowner;SharedAccessKey=${KEY}`
  const iotHubs = [{ connectionString: hub?.connectionString ?? '' }, { connectionString: elsewhere }]
  await control.provisioningServices.put(operator, first.dps.name, { iotHubs }, any)
  const links = async () =>
    (await control.provisioningServices.get(first.dps.name))?.linkedHubs.map(({ hostName }) => hostName)

  await prepareInstances(control, config, ports(1_001))
  expect(await links()).toEqual(['127.0.0.1:1001', '127.0.0.1:1003'])
  await prepareInstances(control, config, ports(1_002))
  expect(await links()).toEqual(['127.0.0.1:1002', '127.0.0.1:1003'])
})
