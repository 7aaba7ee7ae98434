import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import {
  type Daemon,
  edge11 as edge11Of,
  identityd as identitydOf,
  module,
  modules,
  type Sending,
  sendAs,
} from '../support/edge-daemon.ts'
import { clientCertificates } from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { deviceCertificate, leafOnly } from '../support/pki.ts'
import { connectRaw, exchangeRaw, type RawAnswer, type RawTarget, requestText } from '../support/raw-https.ts'
import { type Rest, restOf } from '../support/rest.ts'
import { type Enrolling, enrolling, succeeded } from '../support/service-client.ts'
import { sasToken, unixNow } from '../support/tokens.ts'

// The hub calls of the Edge daemons, with the device's own credentials (edge.md 1.6.3, 4.5 and 9).

let muster: TestMuster
let hub: Rest
let dps: Enrolling
/** May carry a port, and then tokens do too (edge.md 9, point 3). */
let hostName: string

beforeAll(async () => {
  muster = await startMuster()
  hostName = hubOf(muster).hostName
  hub = restOf(muster, hubOf(muster).connectionString)
  dps = enrolling(muster)
})
afterAll(() => stopClean(muster))

const SERVICE = 'api-version=2021-04-12'
const VERSION = 'api-version=2017-11-08-preview'

interface Keys {
  readonly primaryKey: string
  readonly secondaryKey: string
}

async function edgeDevice(deviceId: string, more: object = {}): Promise<Keys> {
  const device = succeeded(
    await hub('PUT', `/devices/${deviceId}?${SERVICE}`, {
      body: { deviceId, capabilities: { iotEdge: true }, ...more },
    }),
  )
  return (device['authentication'] as { symmetricKey: Keys }).symmetricKey
}

const identityd = (deviceId: string, key: string): Daemon => identitydOf(hostName, deviceId, key)
const edge11 = (deviceId: string, key: string): Daemon => edge11Of(hostName, deviceId, key)
const send = (daemon: Daemon, method: string, path: string, sending?: Sending): Promise<RawAnswer> =>
  sendAs(muster, daemon, method, path, sending)

function expectRefused(answer: RawAnswer, status: number, name: string): void {
  expect(answer.status, answer.body).toBe(status)
  expect(answer.header('content-type')).toContain('application/json')
  expect(answer.header('iothub-errorcode')).toBe(name)
  expect(answer.json()).toMatchObject({ Message: expect.stringMatching(new RegExp(`^ErrorCode:${name};.`)) })
}

const moduleKeys = (letter: string) => ({
  symmetricKey: {
    primaryKey: Buffer.alloc(32, letter).toString('base64'),
    secondaryKey: Buffer.alloc(32, `${letter}2`).toString('base64'),
  },
  type: 'sas',
})

/** The reconciliation of identityd against the hub, step by step. */
async function reconcile(daemon: Daemon, deviceId: string): Promise<void> {
  const path = `/devices/${deviceId}/modules`
  const listed = modules(await send(daemon, 'GET', path))
  expect(listed.map(({ moduleId }) => moduleId)).toEqual(expect.arrayContaining(['$edgeAgent', '$edgeHub']))

  const created = module(
    await send(daemon, 'PUT', `${path}/thermostat`, { body: { moduleId: 'thermostat', deviceId } }),
  )
  const authentication = moduleKeys('k')
  const keyed = module(
    await send(daemon, 'PUT', `${path}/thermostat`, {
      body: { moduleId: 'thermostat', deviceId, authentication },
      ifMatch: '*',
    }),
  )
  expect(keyed.generationId).toBe(created.generationId)
  expect(keyed).toMatchObject({ authentication })
  expect(module(await send(daemon, 'GET', `${path}/thermostat`))).toEqual(keyed)

  // The daemon never creates $edgeAgent: it updates what came with the device.
  const agent = module(await send(daemon, 'GET', `${path}/%24edgeAgent`))
  const updated = module(
    await send(daemon, 'PUT', `${path}/$edgeAgent`, {
      body: { moduleId: '$edgeAgent', deviceId, authentication },
      ifMatch: '*',
    }),
  )
  expect(updated.generationId).toBe(agent.generationId)
  expect(updated).toMatchObject({ authentication })

  // Made on the hub but not in the daemon's previous state: deleted and created again.
  expect((await send(daemon, 'DELETE', `${path}/thermostat`, { ifMatch: '*' })).statusLine).toBe(
    'HTTP/1.1 204 No Content',
  )
  expectRefused(await send(daemon, 'GET', `${path}/thermostat`), 404, 'ModuleNotFound')
  const again = module(await send(daemon, 'PUT', `${path}/thermostat`, { body: { moduleId: 'thermostat', deviceId } }))
  expect(again.generationId).not.toBe(created.generationId)
}

describe('identityd (IoT Edge 1.2 and later)', () => {
  test('manages its modules with the device key: audience in lower case, raw slashes, port included', async () => {
    const { primaryKey } = await edgeDevice('Edge-Device.1')
    await reconcile(identityd('Edge-Device.1', primaryKey), 'Edge-Device.1')
  })

  test('with the secondary key', async () => {
    const { secondaryKey } = await edgeDevice('edge-secondary')
    expect(
      modules(await send(identityd('edge-secondary', secondaryKey), 'GET', '/devices/edge-secondary/modules')),
    ).toHaveLength(2)
  })

  test('provisioned by DPS with a certificate, it manages its modules with that certificate', async () => {
    const issued = await deviceCertificate('Edge-X509', undefined, { keyType: 'rsa' })
    await dps.enroll('Edge-X509', { ...clientCertificates(issued.certificate), capabilities: { iotEdge: true } })
    const certificate = leafOnly(issued)
    const { deviceId, assignedHub } = await registerAsRust('Edge-X509', certificate)
    expect({ deviceId, assignedHub }).toEqual({ deviceId: 'Edge-X509', assignedHub: hostName })
    await reconcile({ certificate }, 'Edge-X509')
  })

  test('a device of DPS that is no Edge device has no modules, and may have some', async () => {
    const issued = await deviceCertificate('plain-x509')
    await dps.enroll('plain-x509', clientCertificates(issued.certificate))
    await registerAsRust('plain-x509', leafOnly(issued))
    expect(modules(await send({ certificate: leafOnly(issued) }, 'GET', '/devices/plain-x509/modules'))).toEqual([])
  })
})

/** Register, then poll, as identityd does, without its five seconds of waiting. */
async function registerAsRust(
  registrationId: string,
  credential: NonNullable<RawTarget['credential']>,
): Promise<{ deviceId: string; assignedHub: string }> {
  const { address, ports, idScope } = muster.addresses
  const connection = await connectRaw({ address, port: ports.https, ca: muster.ca, credential })
  const path = `/${idScope}/registrations/${registrationId}`
  const registered = await connection.exchange(
    requestText(
      `PUT ${path}/register?api-version=2021-06-01 HTTP/1.1
      host: ${hostName}
      content-type: application/json
      content-length: {length}`,
      JSON.stringify({ registrationId }),
    ),
  )
  expect(registered.status).toBe(202)
  const { operationId } = registered.json() as { operationId: string }
  for (;;) {
    const polled = await connection.exchange(
      requestText(`GET ${path}/operations/${operationId}?api-version=2021-06-01 HTTP/1.1\nhost: ${hostName}`),
    )
    const { status, registrationState } = polled.json() as {
      status: string
      registrationState: { deviceId: string; assignedHub: string }
    }
    if (status === 'assigning') continue
    connection.close()
    expect(status).toBe('assigned')
    return registrationState
  }
}

describe('the daemon of IoT Edge 1.1', () => {
  test('creates a module in the state none, then gives it keys', async () => {
    const { primaryKey } = await edgeDevice('Edge11')
    const daemon = edge11('Edge11', primaryKey)
    const path = '/devices/Edge11/modules/tempSensor'
    const body = { moduleId: 'tempSensor', deviceId: 'Edge11', managedBy: 'IotEdge', authentication: { type: 'none' } }
    const created = module(await send(daemon, 'PUT', path, { body }))
    expect(created).toMatchObject({ managedBy: 'IotEdge', authentication: { type: 'none' } })
    expect(modules(await send(daemon, 'GET', '/devices/Edge11/modules'))).toHaveLength(3)

    const authentication = moduleKeys('q')
    const keyed = module(
      await send(daemon, 'PUT', path, {
        body: { ...body, generationId: created.generationId, authentication },
        ifMatch: '*',
      }),
    )
    expect(keyed).toMatchObject({ generationId: created.generationId, managedBy: 'IotEdge', authentication })
    expect((await send(daemon, 'DELETE', path, { ifMatch: '*' })).status).toBe(204)
  })
})

describe('every spelling of the resource in a device’s token', () => {
  const deviceId = 'Odd#1%2Fx'
  const twice = encodeURIComponent(deviceId)
  const path = `/devices/${twice}/modules`

  test.for([
    ['raw (C)', () => `${hostName}/devices/${deviceId}`],
    ['the id encoded, raw slashes (Java)', () => `${hostName}/devices/${twice}`],
    ['encoded as a whole (Node, Python)', () => encodeURIComponent(`${hostName}/devices/${deviceId}`)],
    ['the id encoded twice (C#)', () => encodeURIComponent(`${hostName}/devices/${twice}`)],
    ['in lower case (identityd)', () => `${hostName}/devices/${deviceId}`.toLowerCase()],
    ['without the port', () => `${hostName.split(':')[0]}/devices/${deviceId}`],
  ] as const)('%s', async ([, sr]) => {
    const found = await hub('GET', `/devices/${twice}?${SERVICE}`)
    if (found.status === 404)
      succeeded(
        await hub('PUT', `/devices/${twice}?${SERVICE}`, { body: { deviceId, capabilities: { iotEdge: true } } }),
      )
    const device = succeeded(await hub('GET', `/devices/${twice}?${SERVICE}`))
    const { primaryKey } = (device['authentication'] as { symmetricKey: Keys }).symmetricKey
    const token = (): string => sasToken({ sr: sr(), key: primaryKey, se: unixNow() + 30 })
    expect(modules(await send({ token }, 'GET', path))).toHaveLength(2)
  })
})

describe('how far a device’s own credentials reach', () => {
  test('its own modules, and nothing else', async () => {
    const { primaryKey } = await edgeDevice('edge-own')
    await edgeDevice('edge-other')
    await edgeDevice('edge-own-2')
    const daemon = identityd('edge-own', primaryKey)
    const steal = { body: { moduleId: 'm', deviceId: 'edge-other' } }
    for (const [method, path, sending] of [
      ['GET', '/devices/edge-other/modules', {}],
      ['GET', '/devices/edge-own-2/modules', {}],
      ['PUT', '/devices/edge-other/modules/m', steal],
      ['DELETE', '/devices/edge-other/modules/$edgeHub', { ifMatch: '*' }],
      ['GET', '/devices/edge-own', {}],
      ['PUT', '/devices/edge-own', { body: { deviceId: 'edge-own' }, ifMatch: '*' }],
      ['DELETE', '/devices/edge-own', { ifMatch: '*' }],
      ['GET', '/devices', {}],
      ['GET', '/statistics/devices', {}],
      ['GET', '/twins/edge-own', {}],
    ] as const)
      expect((await send(daemon, method, path, sending)).status, `${method} ${path}`).toBe(401)
    expect((await hub('GET', `/devices/edge-other/modules?${SERVICE}`)).body).toHaveLength(2)
    expect((await hub('GET', `/devices/edge-own?${SERVICE}`)).status).toBe(200)
  })

  test('a wrong key, a stranger’s certificate, no credential at all', async () => {
    await edgeDevice('edge-guarded')
    const path = '/devices/edge-guarded/modules'
    const wrong = identityd('edge-guarded', Buffer.alloc(32, 1).toString('base64'))
    expect((await send(wrong, 'GET', path)).status).toBe(401)
    const certificate = leafOnly(await deviceCertificate('edge-guarded'))
    expect((await send({ certificate }, 'GET', path)).status).toBe(401)
    const { address, ports } = muster.addresses
    const bare = requestText(`GET ${path}?${VERSION} HTTP/1.1\nhost: ${hostName}`)
    expect((await exchangeRaw({ address, port: ports.https, ca: muster.ca }, bare)).status).toBe(401)
  })

  test('not at all while the device is disabled', async () => {
    const { primaryKey } = await edgeDevice('edge-off')
    const device = succeeded(await hub('GET', `/devices/edge-off?${SERVICE}`))
    const body = { ...device, status: 'disabled' }
    succeeded(await hub('PUT', `/devices/edge-off?${SERVICE}`, { body, headers: { 'If-Match': '*' } }))
    const daemon = identityd('edge-off', primaryKey)
    expect((await send(daemon, 'GET', '/devices/edge-off/modules')).status).toBe(401)
  })

  test('errors come as JSON with a Message, never as a 500', async () => {
    const { primaryKey } = await edgeDevice('edge-errors')
    const daemon = identityd('edge-errors', primaryKey)
    const path = '/devices/edge-errors/modules/there'
    const body = { moduleId: 'there', deviceId: 'edge-errors' }
    module(await send(daemon, 'PUT', path, { body }))
    expectRefused(await send(daemon, 'PUT', path, { body }), 409, 'ModuleAlreadyExistsOnDevice')
    expectRefused(
      await send(daemon, 'PUT', '/devices/edge-errors/modules/absent', {
        body: { moduleId: 'absent', deviceId: 'edge-errors' },
        ifMatch: '*',
      }),
      404,
      'ModuleNotFound',
    )
    expectRefused(
      await send(daemon, 'DELETE', '/devices/edge-errors/modules/absent', { ifMatch: '*' }),
      404,
      'ModuleNotFound',
    )
  })
})
