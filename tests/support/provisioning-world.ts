import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { stopClean } from './clean-stop.ts'
import { managed, uploadCa } from './control-plane.ts'
import { caReferences, initialTwin, newKey, signingCertificates, symmetricKeys } from './enrollments.ts'
import { hubOf } from './hub.ts'
import { type StartOptions, startMuster, type TestMuster } from './muster.ts'
import { createPki, type Pki } from './pki.ts'
import { type Rest, restOf } from './rest.ts'
import { type Enrolling, enrolling } from './service-client.ts'

/** A Muster with what the table of provisioning cases stands on (`provisioning-cases.ts`). */
export interface ProvisioningWorld {
  readonly muster: TestMuster
  readonly dps: Enrolling
  readonly hub: Rest
  /** Its root is verified; the group `factory` stands for it. */
  readonly factory: Pki
  /** Its intermediate is uploaded with the group `line`; its root is verified too, as dps.md 7.3 demands. */
  readonly line: Pki
  /** Of the group `keys`: primary, secondary. */
  readonly groupKeys: readonly [string, string]
  /** ID scope of another provisioning service here, in which nothing is enrolled. */
  readonly otherScope: string
  readonly webhook: Webhook
  stop(): Promise<void>
}

/** Sends every device to the first hub that it may choose, with a payload and a twin. */
export interface Webhook {
  readonly url: string
  /** What it was asked, by registration ID. */
  readonly asked: ReadonlyMap<string, unknown>
  stop(): void
}

export const welcome = { welcome: 'to the plant' }

/** @param hostName the name that clients dial, which the caller makes resolve; default: the address itself. */
export async function startProvisioningWorld({ hostName }: { hostName?: string } = {}): Promise<ProvisioningWorld> {
  const config: StartOptions['config'] = {
    registration: { assigningMs: 0, retryAfterSeconds: 1 },
    ...(hostName !== undefined && { hostNames: [hostName] }),
  }
  const muster = await startMuster({ standardPorts: true, config })
  const dps = enrolling(muster)
  const [factory, line, webhook] = await Promise.all([createPki('Factory'), createPki('Line'), startWebhook()])
  const groupKeys = [newKey(), newKey()] as const
  await uploadCa(muster, 'factory-root', factory.root.certificate)
  await uploadCa(muster, 'line-root', line.root.certificate)
  await dps.enrollGroup('factory', { ...caReferences('factory-root'), initialTwin })
  await dps.enrollGroup('line', { ...signingCertificates(line.first.certificate), initialTwin })
  await dps.enrollGroup('keys', { ...symmetricKeys(...groupKeys), initialTwin })
  return {
    ...{ muster, dps, factory, line, groupKeys, webhook },
    hub: restOf(muster, hubOf(muster).connectionString),
    otherScope: await anotherScope(muster),
    stop: async () => {
      webhook.stop()
      await stopClean(muster)
    },
  }
}

async function anotherScope(muster: TestMuster): Promise<string> {
  const { properties } = (await managed(muster, 'PUT', '/provisioningServices/other-dps', {
    body: { properties: { iotHubs: [{ connectionString: hubOf(muster).connectionString }] } },
  })) as { properties: { idScope: string } }
  return properties.idScope
}

async function startWebhook(): Promise<Webhook> {
  const asked = new Map<string, unknown>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as {
        deviceRuntimeContext: { registrationId: string }
        linkedHubs: string[]
      }
      asked.set(body.deviceRuntimeContext.registrationId, body.deviceRuntimeContext)
      response.end(JSON.stringify({ iotHubHostName: body.linkedHubs[0], initialTwin, payload: welcome }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/api/allocate?code=1`, asked, stop: () => void server.close() }
}
