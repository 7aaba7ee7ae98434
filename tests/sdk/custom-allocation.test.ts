import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ProvisioningServiceClient } from 'azure-iot-provisioning-service'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { managed } from '../support/control-plane.ts'
import { newKey } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { byKey, provision, provisioningService, registryOf, useHub } from '../support/sdk.ts'

// A webhook sends a device to a hub on another Muster; enrollment, registration and life there with unmodified SDKs.

type IndividualEnrollment = Awaited<ReturnType<ProvisioningServiceClient['getIndividualEnrollment']>>['responseBody']

let muster: TestMuster
let elsewhere: TestMuster
let webhook: Server
const asked: Record<string, unknown>[] = []

beforeAll(async () => {
  elsewhere = await startMuster({ standardPorts: true })
  muster = await startMuster({
    standardPorts: true,
    config: { registration: { assigningMs: 0, retryAfterSeconds: 1 } },
  })
  const path = `/provisioningServices/${muster.addresses.dps.name}`
  const service = (await managed(muster, 'GET', path)) as { etag: string; properties: { iotHubs: object[] } }
  const iotHubs = [...service.properties.iotHubs, { connectionString: hubOf(elsewhere).connectionString }]
  await managed(muster, 'PUT', path, {
    headers: { 'If-Match': service.etag },
    body: { ...service, properties: { ...service.properties, iotHubs } },
  })
  webhook = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      asked.push(JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>)
      const initialTwin = { properties: { desired: { from: 'webhook' } } }
      const answer = { iotHubHostName: hubOf(elsewhere).hostName, initialTwin, payload: { welcome: 'far away' } }
      response.end(JSON.stringify(answer))
    })
  })
  await new Promise<void>((resolve) => webhook.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  webhook.close()
  await stopClean(muster)
  await stopClean(elsewhere)
})

test('enrolled with a webhook, registered with a payload, alive in the hub elsewhere', async () => {
  const key = newKey()
  const customAllocationDefinition = {
    webhookUrl: `http://127.0.0.1:${(webhook.address() as AddressInfo).port}/api/allocate?code=1`,
    apiVersion: '2019-03-31',
  }
  const enrollment = {
    registrationId: 'far',
    attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: key, secondaryKey: newKey() } },
    allocationPolicy: 'custom',
    customAllocationDefinition,
  }
  const { responseBody } = await provisioningService(muster).createOrUpdateIndividualEnrollment(
    enrollment as object as IndividualEnrollment,
  )
  expect(responseBody).toMatchObject({ allocationPolicy: 'custom', customAllocationDefinition })

  const credential = byKey(key)
  const result = await provision(muster, { registrationId: 'far', credential, payload: { model: 'x-1' } })
  expect(result).toMatchObject({ status: 'assigned', assignedHub: hubOf(elsewhere).hostName, deviceId: 'far' })
  expect((result as { payload?: unknown }).payload).toEqual({ welcome: 'far away' })
  expect(asked).toMatchObject([{ deviceRuntimeContext: { registrationId: 'far', payload: { model: 'x-1' } } }])

  expect(await useHub(result.assignedHub, result.deviceId, credential)).toMatchObject({ from: 'webhook' })
  const { responseBody: device } = await registryOf(elsewhere).get('far')
  expect(device.authentication?.symmetricKey?.primaryKey).toBe(key)
})
