import { X509Certificate } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { initialTwin, newKey, symmetricKeys } from './enrollments.ts'
import { hubOf, type Running } from './hub.ts'
import { type Admission, admitted, refused } from './provisioning-cases.ts'
import { type ProvisioningWorld, welcome } from './provisioning-world.ts'
import { byKey, type Credential, type Registering } from './sdk.ts'
import { derivedKey } from './tokens.ts'

/** An unmodified provisioning client on one transport, and its device client. */
export interface ProvisioningClient {
  /** Begins every registration ID, so that several clients can share one service. */
  readonly prefix: string
  readonly transport: 'http' | 'mqtt' | 'mqtt-ws'
  /** Rejects as the client does. */
  register(muster: Running, registering: Registering): Promise<Registered>
  /** Connects, sends one message, answers with the desired properties of the twin. */
  useHub(hub: string, deviceId: string, credential: Credential): Promise<unknown>
  /** What the client makes of a 401 with this answer. */
  expectRefused(registering: Promise<unknown>, answer: { errorCode: number; message: string }): Promise<void>
  expectDisabled(registering: Promise<unknown>): Promise<void>
  /** How the client words this substatus; default: as the service. */
  readonly initialAssignment?: string
  /** A payload as the client sends it; default: as it is. */
  readonly sent?: (payload: object) => unknown
}

export interface Registered {
  readonly status: string
  readonly substatus: string
  readonly assignedHub: string
  readonly deviceId: string
  readonly payload?: unknown
}

const seconds = 1_000

/** Every case of the table with this client: what it says, and what became of it in the service and in the hub. */
export function provisioningMatrix(title: string, client: ProvisioningClient, current: () => ProvisioningWorld): void {
  const named = (id: string): string => `${client.prefix}-${id}`
  const inHub = async (deviceId: string) => {
    const { status, body } = await current().hub('GET', `/devices/${deviceId}?api-version=2021-04-12`)
    return { status, authentication: (body as { authentication?: Authentication }).authentication }
  }

  /** Registers, then lives: assigned where and as whom it should be, connected, one message sent, the first twin read. */
  async function expectAssigned(id: string, credential: Credential, expected: Partial<Admission> = {}): Promise<void> {
    const { deviceId = id, hubKeys } = expected
    const registered = await client.register(current().muster, { registrationId: id, credential })
    const { hostName } = hubOf(current().muster)
    expect(registered).toMatchObject({
      ...{ status: 'assigned', substatus: client.initialAssignment ?? 'initialAssignment' },
      ...{ assignedHub: hostName, deviceId },
    })
    const { authentication } = await inHub(deviceId)
    if (credential.kind === 'x509') expect(authentication).toMatchObject(thumbprintOf(credential.cert))
    if (hubKeys !== undefined) expect(authentication).toMatchObject({ type: 'sas', symmetricKey: hubKeys })
    expect(await client.useHub(hostName, deviceId, credential)).toMatchObject(initialTwin.properties.desired)
  }

  describe.concurrent(title, { timeout: 120 * seconds }, () => {
    test.for(admitted)('$title', async ({ id, arrange }) => {
      const { credentials, ...expected } = await arrange(current(), named(id))
      for (const credential of credentials) await expectAssigned(named(id), credential, expected)
    })

    test.for(refused)('refused: $title', async ({ id, because, arrange }) => {
      const registrationId = named(id)
      const { credential, idScope, mend } = await arrange(current(), registrationId)
      const scope = idScope === undefined ? {} : { idScope }
      const registering = client.register(current().muster, { registrationId, credential, ...scope })
      if (because === 'disabled') {
        await client.expectDisabled(registering)
        const record = await current().dps.rest('GET', `/registrations/${registrationId}?api-version=2021-10-01`)
        expect(record.body).toMatchObject({ registrationId, status: 'disabled', etag: expect.any(String) })
      } else {
        // Over MQTT a refused key has a code of its own (dps.md 2.2).
        const errorCode = credential.kind === 'sas' && client.transport !== 'http' ? 401000 : 401002
        await client.expectRefused(registering, { errorCode, message: because })
      }
      expect(await inHub(registrationId)).toMatchObject({ status: 404 })
      await mend?.()
      if (mend !== undefined) await expectAssigned(registrationId, credential)
    })

    test('a payload is accepted and dropped', async () => {
      const [registrationId, key] = [named('payload'), newKey()]
      await current().dps.enroll(registrationId, symmetricKeys(key, newKey()))
      const payload = { model: 'x1', nested: { list: [1, 2] } }
      const result = await client.register(current().muster, { registrationId, credential: byKey(key), payload })
      expect(result).toMatchObject({ status: 'assigned', deviceId: registrationId })
      expect(result.payload ?? undefined).toBeUndefined()
    })

    test('a payload to the webhook and one back', async () => {
      const { dps, webhook } = current()
      const [registrationId, key] = [named('webhook'), newKey()]
      const customAllocationDefinition = { webhookUrl: webhook.url, apiVersion: '2019-03-31' }
      const allocation = { allocationPolicy: 'custom', customAllocationDefinition }
      await dps.enroll(registrationId, { ...symmetricKeys(key, newKey()), ...allocation })
      const payload = { model: 'x-1' }
      const result = await client.register(current().muster, { registrationId, credential: byKey(key), payload })
      expect(result).toMatchObject({ status: 'assigned', deviceId: registrationId, payload: welcome })
      expect(webhook.asked.get(registrationId)).toMatchObject({ payload: client.sent?.(payload) ?? payload })
    })

    test('twenty devices at once', async () => {
      const ids = Array.from({ length: 20 }, (_, at) => named(`fleet-${at}`))
      const results = await Promise.all(
        ids.map((id) => {
          const credential = byKey(derivedKey(current().groupKeys[0], id))
          return client.register(current().muster, { registrationId: id, credential })
        }),
      )
      expect(results).toMatchObject(ids.map((deviceId) => ({ status: 'assigned', deviceId })))
    })
  })
}

type Authentication = Readonly<Record<string, unknown>>

/** How a hub holds a device that came with this certificate. */
const thumbprintOf = (cert: string): Authentication => ({
  type: 'selfSigned',
  x509Thumbprint: { primaryThumbprint: new X509Certificate(cert).fingerprint256.replaceAll(':', '') },
})
