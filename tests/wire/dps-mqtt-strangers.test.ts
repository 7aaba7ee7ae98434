import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { stopClean } from '../support/clean-stop.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { exchangeRaw } from '../support/raw-https.ts'
import {
  connectMqtt,
  type RawMqtt,
  rawConnect,
  rawPuback,
  rawPublish,
  rawSubscribe,
  readMessage,
} from '../support/raw-mqtt.ts'
import { enrolling } from '../support/service-client.ts'
import { dpsTokens, unixNow } from '../support/tokens.ts'

// Connections to the provisioning service stay strangers until a register message was admitted, whatever CONNECT said.

let muster: TestMuster
const key = newKey()

beforeAll(async () => {
  // Time as it is, but the deadline of strangers comes soon.
  const clock = {
    ...systemClock,
    after: (ms: number, run: () => void) => systemClock.after(ms === limits.proveMs ? 1_000 : ms, run),
  }
  muster = await startMuster({ world: { clock } })
  await enrolling(muster).enroll('proved', symmetricKeys(key, newKey()))
})
afterAll(() => stopClean(muster))

const PINGREQ = Buffer.from([0xc0, 0x00])
const PINGRESP = Buffer.from([0xd0, 0x00])
const REGISTER = '$dps/registrations/PUT/iotdps-register/?$rid=1'

/** Connects, registers with `withKey`, and says what the answer was. */
async function registering(inWebSocket: boolean, withKey: string): Promise<{ device: RawMqtt; topic: string }> {
  const { address, ports, idScope } = muster.addresses
  const device = await connectMqtt({
    address,
    port: inWebSocket ? ports.https : ports.mqtts,
    ca: muster.ca,
    ...(inWebSocket && { webSocket: { path: '/$iothub/websocket', protocol: 'mqtt' } }),
  })
  device.write(
    rawConnect({
      clientId: 'proved',
      username: `${idScope}/registrations/proved/api-version=2019-03-31`,
      password: dpsTokens['node']!(idScope, 'proved', withKey, unixNow()),
      clean: true,
      keepAlive: 60,
    }),
    rawSubscribe(1, '$dps/registrations/res/#', 1),
    rawPublish(REGISTER, '', 2),
  )
  const packets = [await device.next(), await device.next(), await device.next(), await device.next()]
  expect(packets.map((packet) => packet[0]! >> 4)).toEqual([2, 9, 4, 3])
  const { topic, id } = readMessage(packets[3]!)
  device.write(rawPuback(id!))
  return { device, topic }
}

test.each([
  ['MQTT', false],
  ['MQTT in a WebSocket', true],
] as const)('over %s a device that was refused is cut in time, one that was admitted stays', async (_, inWebSocket) => {
  const admitted = await registering(inWebSocket, key)
  expect(admitted.topic).toContain('/res/202/')
  const refused = await registering(inWebSocket, newKey())
  expect(refused.topic).toContain('/res/401/')
  await refused.device.ended()
  admitted.device.write(PINGREQ)
  expect(await admitted.device.next()).toEqual(PINGRESP)
  admitted.device.close()
})

test('a WebSocket in which nothing is said is cut in time', async () => {
  const { address, ports } = muster.addresses
  const device = await connectMqtt({
    address,
    port: ports.https,
    ca: muster.ca,
    webSocket: { path: '/', protocol: 'MQTT' },
  })
  await device.ended()
})

test('an offer to upgrade to another protocol is no reason to refuse a request', async () => {
  const { address, ports } = muster.addresses
  const lines = ['GET /nothing HTTP/1.1', 'Host: dps', 'Connection: Upgrade', 'Upgrade: h2c', '', '']
  const answer = await exchangeRaw({ address, port: ports.https, ca: muster.ca }, lines.join('\r\n'))
  expect(answer.json()).toMatchObject({ errorCode: 404000 })
})
