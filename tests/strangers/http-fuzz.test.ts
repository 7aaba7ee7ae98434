import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuthority, issueDeviceCertificate } from '../../src/crypto/issuing.ts'
import { sas, serviceToken } from '../support/raw-client.ts'
import { fuzz, inputs, seed } from './fuzz.ts'
import { httpInputs, mutatedRequest, statusesIn } from './http-inputs.ts'
import { type InProcess, startInProcess } from './in-process.ts'
import { checkMqttOutput, mqttInputs } from './mqtt-inputs.ts'

const HTTP_INPUTS = inputs(500_000)
const MQTT_INPUTS = inputs(100_000)
const GROUP_KEY = Buffer.alloc(64, 7).toString('base64')
const DEVICE_KEY = Buffer.alloc(32, 9).toString('base64')

let service: InProcess
beforeAll(async () => {
  service = await startInProcess()
})
afterAll(() => service.stop())

async function put(where: { hostName: string; connectionString: string }, url: string, payload: object): Promise<void> {
  const headers = { host: where.hostName, authorization: serviceToken(where.connectionString) }
  const answer = await service.http.app.inject({ method: 'PUT', url, headers, payload })
  expect(answer.statusCode, answer.body).toBe(200)
}

test(`the service survives ${HTTP_INPUTS} mutated HTTP requests (seed ${seed})`, async () => {
  const { addresses, http, faults } = service
  const authority = await createAuthority({ commonName: 'fuzz root', days: 9, keyType: 'ec', now: Date.now() })
  const device = await issueDeviceCertificate({
    authority,
    commonName: 'fuzz',
    days: 9,
    keyType: 'ec',
    now: Date.now(),
  })
  await put(addresses.dps, '/enrollmentGroups/fuzz?api-version=2021-10-01', {
    enrollmentGroupId: 'fuzz',
    attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: GROUP_KEY, secondaryKey: GROUP_KEY } },
  })
  const answered = new Map<number, number>()
  await fuzz({
    seed,
    inputs: HTTP_INPUTS,
    corpus: httpInputs({ ...addresses, groupKey: GROUP_KEY, hub: addresses.hubs[0]!, certificate: device.certificate }),
    make: mutatedRequest,
    serve: (stream) => http.serve(stream),
    check: ({ output }) => {
      for (const status of statusesIn(output)) answered.set(status, (answered.get(status) ?? 0) + 1)
      // A stranger's input is never our fault.
      const ours = statusesIn(output).find((status) => status >= 500)
      expect(ours, faults.splice(0).join()).toBeUndefined()
      expect(faults).toEqual([])
    },
  })
  console.info(Object.fromEntries([...answered].sort(([a], [b]) => a - b)))
  // The corpus must get past the doors often enough to test what is behind them.
  for (const status of [200, 400, 401, 404]) expect(answered.get(status)).toBeGreaterThan(HTTP_INPUTS / 1_000)
})

test(`the service survives ${MQTT_INPUTS} mutated MQTT sessions (seed ${seed})`, async () => {
  const { addresses, mqtt, faults } = service
  const { hostName } = addresses.hubs[0]!
  const deviceId = 'fuzz-mqtt'
  const authentication = { type: 'sas', symmetricKey: { primaryKey: DEVICE_KEY, secondaryKey: DEVICE_KEY } }
  await put(addresses.hubs[0]!, `/devices/${deviceId}?api-version=2021-04-12`, { deviceId, authentication })
  const username = `${hostName}/${deviceId}/?api-version=2021-04-12`
  const password = Buffer.from(sas(`${hostName}/devices/${deviceId}`, DEVICE_KEY))
  let accepted = 0
  await fuzz({
    seed,
    inputs: MQTT_INPUTS,
    corpus: mqttInputs({ username, password }, deviceId),
    // One device: every accepted CONNECT takes the session over from the one before.
    batch: 20,
    serve: (stream) => mqtt.serve(stream, { chain: [], address: 'memory', proved: () => undefined }),
    check: ({ output }) => {
      const [connack] = checkMqttOutput(output)
      if (connack?.cmd === 'connack' && connack.returnCode === 0) accepted += 1
      expect(faults).toEqual([])
    },
  })
  console.info(`${accepted} of ${MQTT_INPUTS} were accepted`)
  expect(accepted).toBeGreaterThan(MQTT_INPUTS / 20)
})
