import { expect, test } from 'vitest'
import { any, controlForTest, operator } from '../tests/support/control.ts'
import { type Config, defaults } from './config.ts'
import { DPS_NAME, HUB_NAME, prepareInstances } from './instances.ts'

const ports = { https: 443, mqtts: 8883, management: 0 }
const named = (name: string): Config => ({ ...defaults, hostNames: [name] })

async function started() {
  const { control } = await controlForTest()
  const start = async (name: string) => {
    await prepareInstances(control, named(name), ports)
    return (await control.provisioningServices.get(DPS_NAME))!.linkedHubs
  }
  const relink = (iotHubs: readonly object[]) =>
    control.provisioningServices.put(operator, DPS_NAME, { iotHubs } as never, any)
  return { control, start, relink }
}

test('another host name keeps what the operator decided about the link', async () => {
  const { start, relink } = await started()
  const [link] = await start('first.example')
  const far = 'HostName=far.example;SharedAccessKeyName=owner;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAA=='
  const decided = { allocationWeight: 7, applyAllocationPolicy: false }
  await relink([
    { connectionString: link!.connectionString, ...decided },
    { connectionString: far, location: 'elsewhere' },
  ])
  expect(await start('second.example')).toMatchObject([
    { hostName: 'second.example', ...decided },
    { hostName: 'far.example', connectionString: far, location: 'elsewhere' },
  ])
})

test('a hub that was unlinked stays so; one that is made anew is linked', async () => {
  const { control, start, relink } = await started()
  expect(await start('first.example')).toHaveLength(1)
  await relink([])
  expect(await start('first.example')).toEqual([])
  expect(await start('second.example')).toEqual([])
  await control.hubs.remove(operator, HUB_NAME, any)
  expect(await start('second.example')).toMatchObject([{ hostName: 'second.example' }])
})
