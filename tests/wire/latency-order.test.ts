import { expect, test } from 'vitest'
import { ConfigError, defaults, loadConfig } from '../../src/config.ts'
import { stopClean } from '../support/clean-stop.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { firstHub, linkHubs, makeHub } from '../support/linked-hubs.ts'
import { startMuster } from '../support/muster.ts'
import { registeringDevice } from '../support/registering.ts'
import { enrolling } from '../support/service-client.ts'

test('an order of hubs is read, and its names are judged', () => {
  const load = (order: string) => loadConfig(undefined, {}, { 'latency-order': order }, '/srv').latencyOrder
  expect(defaults.latencyOrder).toEqual([])
  expect(load('near.example, far.example:8443')).toEqual(['near.example', 'far.example:8443'])
  for (const wrong of ['https://near.example', 'near.example/x', '*.example'])
    expect(() => load(wrong)).toThrow(ConfigError)
})

test.each([true, false])('geoLatency takes the hub that the order names first (the first hub: %s)', async (isFirst) => {
  const other = 'second-hub.example.net:443'
  const muster = await startMuster({ config: { latencyOrder: isFirst ? ['127.0.0.1', other] : [other, '127.0.0.1'] } })
  const second = await makeHub(muster, 'second-hub')
  await linkHubs(muster, second.connectionString)
  const service = enrolling(muster)
  const near = isFirst ? firstHub(muster).hostName : second.hostName
  for (let at = 0; at < 6; at++) {
    const [registrationId, key] = [`dev-${at}`, newKey()]
    await service.enroll(registrationId, { ...symmetricKeys(key, newKey()), allocationPolicy: 'geoLatency' })
    const { assignedHub } = await registeringDevice(muster, { registrationId, key }).register()
    expect(assignedHub).toBe(near)
  }
  await stopClean(muster)
})
