import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
import { caReferences, clientCertificates, initialTwin, newKey, symmetricKeys } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import {
  type ClientCertificate,
  createPki,
  deviceCertificate,
  leafOnly,
  type Pki,
  withoutRoot,
} from '../support/pki.ts'
import { hasPython, pythonWithSdk, runDevice } from '../support/python.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import { derivedKey } from '../support/tokens.ts'

// The unmodified Python SDK, provisioning and device client, over its two transports (dps.md 2). It pins TLS 1.2.

let muster: TestMuster
let dps: Enrolling
let pki: Pki
let python: string
const groupKeys = [newKey(), newKey()] as const

describe.skipIf(!hasPython())('Python', () => {
  beforeAll(async () => {
    python = pythonWithSdk()
    muster = await startMuster({
      standardPorts: true,
      config: { registration: { assigningMs: 0, retryAfterSeconds: 1 } },
    })
    dps = enrolling(muster)
    pki = await createPki('Factory')
    await uploadCa(muster, 'factory-root', pki.root.certificate)
    await dps.enrollGroup('factory', { ...caReferences('factory-root'), initialTwin })
    await dps.enrollGroup('keys', { ...symmetricKeys(...groupKeys), initialTwin })
  }, 300_000)
  afterAll(() => stopClean(muster))

  describe.each([
    ['MQTT', false],
    ['MQTT in a WebSocket', true],
  ] as const)('over %s', (_, webSockets) => {
    const named = (name: string): string => `py-${webSockets ? 'ws' : 'mqtt'}-${name}`

    const run = (registrationId: string, credential: { key: string } | ClientCertificate) => {
      const { dps: service, idScope } = muster.addresses
      const shown = 'cert' in credential ? files(registrationId, credential) : credential
      const device = { host: service.hostName, idScope, registrationId, webSockets, ...shown }
      return runDevice(python, muster.app.caFile, device)
    }

    const files = (name: string, { cert, key }: ClientCertificate) => {
      const certFile = join(muster.folder, `${name}.pem`)
      const keyFile = join(muster.folder, `${name}.key`)
      writeFileSync(certFile, cert)
      writeFileSync(keyFile, key)
      return { certFile, keyFile }
    }

    const assigned = (deviceId: string) => ({
      status: 'assigned',
      operationId: expect.stringMatching(/^5\./),
      assignedHub: hubOf(muster).hostName,
      deviceId,
      subStatus: 'initialAssignment',
      twin: { desired: initialTwin.properties.desired },
    })

    test('symmetric key, individual', async () => {
      const key = newKey()
      await dps.enroll(named('key'), { ...symmetricKeys(key, newKey()), initialTwin })
      expect(await run(named('key'), { key })).toMatchObject(assigned(named('key')))
    })

    test('symmetric key, group', async () => {
      const key = derivedKey(groupKeys[1], named('derived'))
      expect(await run(named('derived'), { key })).toMatchObject(assigned(named('derived')))
    })

    test('X.509, individual', async () => {
      const issued = await deviceCertificate(named('cert'), undefined, { keyType: 'rsa' })
      await dps.enroll(named('cert'), { ...clientCertificates(issued.certificate), initialTwin })
      expect(await run(named('cert'), leafOnly(issued))).toMatchObject(assigned(named('cert')))
    })

    test('X.509, group: a chain through two intermediates', async () => {
      const issued = await deviceCertificate(named('chain'), pki.second)
      expect(await run(named('chain'), withoutRoot(issued))).toMatchObject(assigned(named('chain')))
    })

    test('a wrong key: the words that the az CLI looks for', async () => {
      await dps.enroll(named('wrong'), symmetricKeys(newKey(), newKey()))
      const { error } = (await run(named('wrong'), { key: newKey() })) as { error: string[] }
      expect(error.join()).toContain('register request returned a service error status code 401')
    })

    test('a certificate that nobody enrolled', async () => {
      const issued = await deviceCertificate(named('stranger'))
      const { error } = (await run(named('stranger'), leafOnly(issued))) as { error: string[] }
      expect(error.join()).toContain('register request returned a service error status code 401')
    })

    test('a disabled enrollment: the words that the az CLI looks for', async () => {
      const key = newKey()
      await dps.enroll(named('off'), { ...symmetricKeys(key, newKey()), provisioningStatus: 'disabled' })
      const { error } = (await run(named('off'), { key })) as { error: string[] }
      expect(error.join()).toContain('invalid registration status disabled with a status code of 200')
    })
  })
})
