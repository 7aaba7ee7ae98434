import { createHash, createHmac } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { uploadCa } from '../support/control-plane.ts'
import { type Daemon, edge11, type Module, module, modules, sendAs } from '../support/edge-daemon.ts'
import { caReferences, newKey, symmetricKeys } from '../support/enrollments.ts'
import { deviceIn, firstHub, linkHubs, makeHub, type TestHub, twinIn } from '../support/linked-hubs.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { createPki, deviceCertificate, withoutRoot } from '../support/pki.ts'
import { connectDevice, sas } from '../support/raw-client.ts'
import { connectRaw, type RawTarget, requestText } from '../support/raw-https.ts'
import { type Enrolling, enrolling, succeeded } from '../support/service-client.ts'
import { derivedKey, dpsTokens, unixNow } from '../support/tokens.ts'

// The daemon of IoT Edge 1.1 starts again and again, asks DPS each time, and keeps its modules only where the substatus
// and its backup say that nothing changed (edge.md 1.6.1 to 1.6.3, 9 point 9). What it keeps has to be there.

let muster: TestMuster
let dps: Enrolling
let first: TestHub
let second: TestHub

beforeAll(async () => {
  muster = await startMuster()
  dps = enrolling(muster)
  first = firstHub(muster)
  second = await makeHub(muster, 'second-hub')
  await linkHubs(muster, second.connectionString)
})
afterAll(() => stopClean(muster))

interface Provisioned {
  readonly hub: TestHub
  readonly deviceId: string
  readonly substatus: string
}

/** The state that outlives a restart of the daemon: its backup, and the modules that run. */
interface Edge11 {
  readonly registrationId: string
  /** Of the symmetric key, or what stands for it with a certificate: the root of all module keys. */
  rootKey: string
  readonly certificate?: RawTarget['credential']
  /** SHA-256 of `cache/provisioning_backup.json`. */
  backup?: string
  /** Generations of its modules by name; empty: it has removed them all and begins anew. */
  modules: Map<string, string>
}

/** Both requests as the daemon writes them, without its ten seconds of waiting. */
async function provision(edge: Edge11): Promise<Provisioned> {
  const { registrationId, rootKey, certificate } = edge
  const { address, ports, idScope } = muster.addresses
  const token = dpsTokens['edge11']?.(idScope, registrationId, rootKey, unixNow())
  const authorization = certificate === undefined ? `\nauthorization: ${token}` : ''
  const path = `/${idScope}/registrations/${registrationId}`
  const connection = await connectRaw({ address, port: ports.https, ca: muster.ca, credential: certificate })
  const registered = await connection.exchange(
    requestText(
      `PUT ${path}/register?api-version=2019-04-15 HTTP/1.1
      host: global.azure-devices-provisioning.net
      content-type: application/json
      content-length: {length}${authorization}`,
      JSON.stringify({ registrationId }),
    ),
  )
  expect(registered.status, registered.body).toBeLessThan(300)
  const { operationId } = registered.json() as { operationId: string }
  for (;;) {
    const polled = await connection.exchange(
      requestText(
        `GET ${path}/operations/${operationId}?api-version=2019-04-15 HTTP/1.1
        host: global.azure-devices-provisioning.net${authorization}`,
      ),
    )
    const { status, registrationState } = polled.json() as { status: string; registrationState: Assigned }
    if (status === 'assigning') continue
    connection.close()
    expect(status, polled.body).toBe('assigned')
    const { assignedHub, deviceId, substatus } = registrationState
    return { hub: assignedHub === first.hostName ? first : second, deviceId, substatus }
  }
}

interface Assigned {
  readonly assignedHub: string
  readonly deviceId: string
  readonly substatus: string
}

/** One start: answers with whether the modules survived it. */
async function start(edge: Edge11): Promise<Provisioned & { readonly kept: boolean }> {
  const provisioned = await provision(edge)
  const { hub, deviceId, substatus } = provisioned
  const backup = createHash('sha256')
    .update(JSON.stringify({ device_id: deviceId, hub_name: hub.hostName }))
    .digest('hex')
  const kept = substatus === 'reprovisionedToInitialAssignment' && backup === edge.backup
  edge.backup = backup
  if (!kept) edge.modules = new Map()
  // $edgeAgent came with the device: the daemon gives it keys of its generation and starts it.
  await giveKeys(edge, provisioned, module(await send(edge, provisioned, 'GET', '/$edgeAgent')), '$edgeAgent')
  return { ...provisioned, kept }
}

function send(edge: Edge11, { hub, deviceId }: Provisioned, method: string, rest: string, sending: object = {}) {
  const { certificate, rootKey } = edge
  const daemon: Daemon = certificate === undefined ? edge11(hub.hostName, deviceId, rootKey) : { certificate }
  const hostName = hub.hostName
  return sendAs(muster, daemon, method, `/devices/${deviceId}/modules${rest}`, { ...sending, hostName })
}

const keyOf = ({ rootKey }: Edge11, moduleId: string, which: string, generationId: string): string =>
  createHmac('sha256', Buffer.from(rootKey, 'base64')).update(`${moduleId}${which}${generationId}`).digest('base64')

async function giveKeys(edge: Edge11, to: Provisioned, { generationId }: Module, moduleId: string): Promise<void> {
  const primaryKey = keyOf(edge, moduleId, 'primary', generationId)
  const secondaryKey = keyOf(edge, moduleId, 'secondary', generationId)
  const authentication = { symmetricKey: { primaryKey, secondaryKey }, type: 'sas' }
  const body = { moduleId, deviceId: to.deviceId, managedBy: 'iotEdge', generationId, authentication }
  const keyed = module(await send(edge, to, 'PUT', `/${moduleId}`, { body, ifMatch: '*' }))
  expect(keyed.generationId).toBe(generationId)
  edge.modules.set(moduleId, generationId)
}

/** What the agent deploys: an identity in two steps, and a module that reports. */
async function deploy(edge: Edge11, to: Provisioned, moduleId: string): Promise<void> {
  const body = { moduleId, deviceId: to.deviceId, managedBy: 'iotEdge', authentication: { type: 'none' } }
  await giveKeys(edge, to, module(await send(edge, to, 'PUT', `/${moduleId}`, { body })), moduleId)
}

/** The module connects with the keys of its identity; fails where they are not the hub's any more. */
async function reports(edge: Edge11, to: Provisioned, moduleId: string, reported: object): Promise<void> {
  const { address, ports } = muster.addresses
  const hubHost = to.hub.hostName
  const key = keyOf(edge, moduleId, 'primary', edge.modules.get(moduleId) ?? '')
  const login = { hubHost, deviceId: `${to.deviceId}/${moduleId}` }
  const password = sas(`${hubHost}/devices/${to.deviceId}/modules/${moduleId}`, key)
  const connection = await connectDevice({ host: address, port: ports.mqtts, ca: muster.ca }, { ...login, password })
  await connection.publish('$iothub/twin/PATCH/properties/reported/?$rid=1', JSON.stringify(reported))
  connection.end()
  await connection.closed
}

/** The identities and twins of all modules as the hub has them, without what connections leave behind. */
async function modulesIn(edge: Edge11, of: Provisioned): Promise<object[]> {
  const listed = modules(await send(edge, of, 'GET', ''))
  return Promise.all(
    listed.map(async ({ moduleId, generationId, managedBy, authentication }) => {
      const twin = await twinIn(of.hub, `${of.deviceId}/modules/${String(moduleId)}`)
      return { moduleId, generationId, managedBy, authentication, properties: twin['properties'] }
    }),
  )
}

/** First start, one deployed module, and what both report. */
async function deployed(edge: Edge11): Promise<Provisioned> {
  const provisioned = await start(edge)
  expect(provisioned).toMatchObject({ substatus: 'initialAssignment', kept: false })
  await deploy(edge, provisioned, 'tempSensor')
  await reports(edge, provisioned, 'tempSensor', { interval: 5 })
  await reports(edge, provisioned, '$edgeAgent', { modules: { tempSensor: 'running' } })
  return provisioned
}

const edgeDevice = { capabilities: { iotEdge: true }, allocationPolicy: 'static' }
const POLICIES = {
  migrate: { reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: true } },
  reset: { reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false } },
  never: { reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false } },
}

async function enrolled(registrationId: string, more: object): Promise<Edge11> {
  const rootKey = newKey()
  await dps.enroll(registrationId, { ...symmetricKeys(rootKey, newKey()), ...edgeDevice, ...more })
  return { registrationId, rootKey, modules: new Map() }
}

const placed = ({ hostName }: TestHub): object => ({ iotHubs: [hostName] })

async function keepsEverything(edge: Edge11, before: Provisioned): Promise<void> {
  const had = await modulesIn(edge, before)
  expect(had).toHaveLength(3)
  for (const _restart of [1, 2, 3]) {
    const again = await start(edge)
    expect(again).toMatchObject({ hub: before.hub, substatus: 'reprovisionedToInitialAssignment', kept: true })
    expect(await modulesIn(edge, again)).toEqual(had)
  }
  await reports(edge, before, 'tempSensor', { interval: 6 })
}

describe.each(Object.entries(POLICIES))('%s', (name, policy) => {
  test('the same hub: restarts keep every module, its keys and its twin', async () => {
    const edge = await enrolled(`edge-${name}`, { ...policy, ...placed(first) })
    await keepsEverything(edge, await deployed(edge))
  })

  test('the enrollment names another hub', async () => {
    const edge = await enrolled(`edge-sent-${name}`, { ...policy, ...placed(first) })
    const before = await deployed(edge)
    const document = { ...symmetricKeys(edge.rootKey, newKey()), ...edgeDevice, ...policy, ...placed(second) }
    await dps.enroll(edge.registrationId, document)
    if (name === 'never') return keepsEverything(edge, before)
    const sent = await start(edge)
    const substatus = name === 'migrate' ? 'deviceDataMigrated' : 'deviceDataReset'
    expect(sent).toMatchObject({ hub: second, substatus, kept: false })
    // Modules do not move (dps.md 8.5); the daemon has removed them and begins with what every Edge device has.
    const begun = await modulesIn(edge, sent)
    expect(begun.map((each) => (each as Module)['moduleId'])).toEqual(['$edgeAgent', '$edgeHub'])
    await deploy(edge, sent, 'tempSensor')
    await keepsEverything(edge, sent)
  })

  test('its hub has lost the device: it is told to begin anew', async () => {
    const edge = await enrolled(`edge-lost-${name}`, { ...policy, ...placed(first) })
    const { deviceId } = await deployed(edge)
    const path = `/devices/${deviceId}?api-version=2021-04-12`
    succeeded(await first.rest('DELETE', path, { headers: { 'If-Match': '*' } }))
    const again = await start(edge)
    expect(again).toMatchObject({ hub: first, substatus: 'initialAssignment', kept: false })
    await deploy(edge, again, 'tempSensor')
    await keepsEverything(edge, again)
  })
})

test('a device of a group', async () => {
  const groupKey = newKey()
  await dps.enrollGroup('edge-group', { ...symmetricKeys(groupKey, newKey()), ...edgeDevice, ...placed(first) })
  const edge = { registrationId: 'edge-of-group', rootKey: derivedKey(groupKey, 'edge-of-group'), modules: new Map() }
  await keepsEverything(edge, await deployed(edge))
})

test('a device with a certificate', async () => {
  const pki = await createPki('edge')
  await uploadCa(muster, 'edge-root', pki.root.certificate)
  await dps.enrollGroup('edge-x509', { ...caReferences('edge-root'), ...edgeDevice, ...placed(first) })
  const edge: Edge11 = {
    registrationId: 'edge-cert',
    rootKey: newKey(32),
    certificate: withoutRoot(await deviceCertificate('edge-cert', pki.second)),
    modules: new Map(),
  }
  await keepsEverything(edge, await deployed(edge))
})

test('an enrollment that is no Edge enrollment any more takes nothing from the device', async () => {
  const edge = await enrolled('edge-stays', placed(first))
  const before = await deployed(edge)
  const document = { ...symmetricKeys(edge.rootKey, newKey()), allocationPolicy: 'static' }
  await dps.enroll(edge.registrationId, { ...document, ...placed(first) })
  await keepsEverything(edge, before)
  await dps.enroll(edge.registrationId, { ...document, ...placed(second) })
  expect(await start(edge)).toMatchObject({ hub: second, substatus: 'deviceDataMigrated' })
  expect(await deviceIn(second, before.deviceId)).toMatchObject({ capabilities: { iotEdge: true } })
})
