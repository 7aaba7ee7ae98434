import { createServer, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { stopClean } from '../support/clean-stop.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import { deviceIn, firstHub, isIn, linkHubs as link, linkName, type TestHub, twinIn } from '../support/linked-hubs.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { register as registerIn, registeringDevice } from '../support/registering.ts'
import { type Enrolling, enrolling, succeeded } from '../support/service-client.ts'

// One Muster provisions, another one is a hub somewhere else that is linked to it; webhooks choose between them.

let dps: TestMuster
let elsewhere: TestMuster
let service: Enrolling
let local: TestHub
let remote: TestHub

beforeAll(async () => {
  // Another address: names are stored without our port, so two Musters under one name could not tell themselves apart.
  elsewhere = await startMuster({ config: { address: '127.0.0.2', hostNames: ['127.0.0.2'] } })
  dps = await startMuster({
    config: { outbound: { allow: ['127.0.0.2', 'localhost'], caFile: join(elsewhere.folder, 'data', 'ca.pem') } },
  })
  service = enrolling(dps)
  local = firstHub(dps)
  remote = firstHub(elsewhere)
  await link(dps, remote.connectionString)
})
afterAll(async () => {
  await stopClean(dps)
  await stopClean(elsewhere)
})

const register = (registrationId: string, key: string, body?: object) => registerIn(dps, registrationId, key, body)

const twin = (site: string): object => ({ initialTwin: { tags: { site }, properties: { desired: { site } } } })
const enroll = (id: string, key: string, more: object) =>
  service.enroll(id, { ...symmetricKeys(key, newKey()), allocationPolicy: 'static', ...more })

describe('a hub somewhere else', () => {
  test('gets the device with its first twin, and later its new keys', async () => {
    const key = newKey()
    await enroll('far', key, { iotHubs: [remote.hostName], ...twin('old') })
    expect(await register('far', key)).toMatchObject({ status: 'assigned', assignedHub: remote.hostName })
    expect(await deviceIn(remote, 'far')).toMatchObject({
      status: 'enabled',
      authentication: { type: 'sas', symmetricKey: { primaryKey: key } },
    })
    expect(await isIn(local, 'far')).toBe(false)
    const renewed = newKey()
    await enroll('far', renewed, { iotHubs: [remote.hostName], ...twin('new') })
    expect(await register('far', renewed)).toMatchObject({ substatus: 'reprovisionedToInitialAssignment' })
    expect(await deviceIn(remote, 'far')).toMatchObject({ authentication: { symmetricKey: { primaryKey: renewed } } })
    expect(await twinIn(remote, 'far')).toMatchObject({
      tags: { site: 'old' },
      properties: { desired: { site: 'old' } },
    })
  })

  test.each([
    ['migrate', true, 'deviceDataMigrated', 'old'],
    ['reset', false, 'deviceDataReset', 'new'],
  ])('moves there and back: %s', async (name, migrateDeviceData, substatus, site) => {
    const key = newKey()
    const reprovisionPolicy = { updateHubAssignment: true, migrateDeviceData }
    await enroll(name, key, { reprovisionPolicy, iotHubs: [local.hostName], ...twin('old') })
    await register(name, key)
    for (const [to, from] of [
      [remote, local],
      [local, remote],
    ] as const) {
      await enroll(name, key, { reprovisionPolicy, iotHubs: [to.hostName], ...twin('new') })
      expect(await register(name, key)).toMatchObject({ substatus, assignedHub: to.hostName })
      expect(await twinIn(to, name)).toMatchObject({ tags: { site }, properties: { desired: { site } } })
      expect(await isIn(from, name)).toBe(false)
    }
  })

  test('that refuses our key fails the registration with what to do, and names no key', async () => {
    const wrong = newKey(32)
    await link(dps, `HostName=${remote.hostName};SharedAccessKeyName=iothubowner;SharedAccessKey=${wrong}`)
    const key = newKey()
    await enroll('locked', key, { iotHubs: [remote.hostName] })
    const state = await register('locked', key)
    expect(state).toMatchObject({ status: 'failed', errorCode: 400209 })
    expect(state.errorMessage).toContain('RegistryWrite and ServiceConnect')
    await link(dps, remote.connectionString)
    expect(await register('locked', key)).toMatchObject({ status: 'assigned' })
    expect(dps.logged.join('')).not.toContain(wrong)
  })

  test('that is not linked any more fails the registration', async () => {
    const key = newKey()
    await enroll('unlinked', key, { iotHubs: [remote.hostName] })
    await link(dps)
    expect(await register('unlinked', key)).toMatchObject({ status: 'failed', errorCode: 400208 })
    await link(dps, remote.connectionString)
  })

  test('on the port of the management API is never called', async () => {
    const hostName = `localhost:${dps.addresses.ports.management}`
    await link(dps, remote.connectionString, `HostName=${hostName};SharedAccessKeyName=x;SharedAccessKey=${newKey(32)}`)
    const key = newKey()
    await enroll('inside', key, { iotHubs: [hostName] })
    expect(await register('inside', key)).toMatchObject({ status: 'failed', errorCode: 400209 })
    await link(dps, remote.connectionString)
  })
})

describe('a hub that does not answer', () => {
  const clock = new TestClock()
  let slow: TestMuster
  const sockets: Socket[] = []
  const silent = createTcpServer((socket) => {
    socket.on('error', () => {})
    sockets.push(socket)
  })

  beforeAll(async () => {
    slow = await startMuster({ world: { clock } })
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  })
  afterAll(async () => {
    for (const socket of sockets) socket.destroy()
    silent.close()
    await slow.stop()
  })

  test.each([
    ['gone', () => 1, /could not be reached/],
    ['silent', () => (silent.address() as AddressInfo).port, /no answer within 10 seconds/],
  ])('%s: it is asked again, and after the last try the registration fails', async (name, port, message) => {
    const hostName = `localhost:${port()}`
    await link(slow, `HostName=${hostName};SharedAccessKeyName=x;SharedAccessKey=${newKey(32)}`)
    const key = newKey()
    const document = { ...symmetricKeys(key, newKey()), allocationPolicy: 'static', iotHubs: [hostName] }
    await enrolling(slow).enroll(name, document)
    const pause = async (): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve))
      clock.advance(limits.assignmentRetryMs)
    }
    const state = await registeringDevice(slow, { registrationId: name, key, pause }).register()
    expect(state).toMatchObject({ status: 'failed', errorCode: 503001 })
    expect(state.errorMessage).toMatch(message)
  })
})

describe('a webhook', () => {
  let webhook: Server
  let url: string
  const asked: Record<string, unknown>[] = []
  let answer: { status: number; body: string; headers?: Record<string, string> } = { status: 200, body: '' }

  beforeAll(async () => {
    webhook = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        asked.push(JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>)
        response.writeHead(answer.status, answer.headers).end(answer.body)
      })
    })
    await new Promise<void>((resolve) => webhook.listen(0, '127.0.0.1', resolve))
    url = `http://localhost:${(webhook.address() as AddressInfo).port}/api/allocate?code=very-secret-key`
  })
  afterAll(() => void webhook.close())

  const custom = (webhookUrl = url) => ({
    allocationPolicy: 'custom',
    customAllocationDefinition: { webhookUrl, apiVersion: '2019-03-31' },
  })

  test('chooses the hub, gives the twin, and talks with the device', async () => {
    const key = newKey()
    await enroll('asked', key, { ...custom(), ...twin('enrollment') })
    const initialTwin = { tags: { site: 'webhook' }, properties: { desired: { level: 5 } } }
    answer = { status: 200, body: JSON.stringify({ iotHubHostName: remote.hostName, initialTwin, payload: { hi: 1 } }) }
    expect(await register('asked', key, { registrationId: 'asked', payload: { model: 'x' } })).toMatchObject({
      status: 'assigned',
      assignedHub: remote.hostName,
      payload: { hi: 1 },
    })
    expect(asked.at(-1)).toMatchObject({
      individualEnrollment: { registrationId: 'asked', attestation: { type: 'symmetricKey' } },
      deviceRuntimeContext: { registrationId: 'asked', symmetricKey: {}, payload: { model: 'x' } },
      linkedHubs: [linkName(local), remote.hostName],
    })
    expect(await twinIn(remote, 'asked')).toMatchObject({
      tags: { site: 'webhook' },
      properties: { desired: { level: 5 } },
    })
    const record = succeeded(await service.rest('GET', '/registrations/asked?api-version=2021-10-01'))
    expect(record).toMatchObject({ status: 'assigned', payload: { hi: 1 } })
  })

  test.each([
    [
      'another status',
      () => ({ status: 500, body: 'boom' }),
      400207,
      /^Custom allocation failed with status code: 500$/,
    ],
    ['a redirect', () => ({ status: 302, body: '', headers: { Location: url } }), 400207, /status code: 302$/],
    ['too much', () => ({ status: 200, body: 'x'.repeat(100_000) }), 400207, /more than/],
    ['no JSON', () => ({ status: 200, body: '<html>' }), 400207, /not JSON/],
    ['no hub', () => ({ status: 200, body: '{}' }), 400208, /iotHubHostName/],
  ])('that answers with %s fails the registration', async (what, answered, errorCode, message) => {
    answer = answered()
    const [key, id] = [newKey(), `fails-${what.replaceAll(' ', '-')}`]
    await enroll(id, key, custom())
    const before = asked.length
    const state = await register(id, key)
    expect(state).toMatchObject({ status: 'failed', errorCode })
    expect(state.errorMessage).toMatch(message)
    expect(asked.length - before).toBe(1)
  })

  test.each([
    ['on the port of the management API', () => `http://127.0.0.1:${dps.addresses.ports.management}/?code=very-secret`],
    ['on a host that is not allowed', () => 'http://127.0.0.2:7071/api?code=very-secret-key'],
    ['that is not there', () => 'http://127.0.0.1:1/api?code=very-secret-key'],
  ])('%s fails the registration', async (what, webhookUrl) => {
    const [key, id] = [newKey(), `no-${what.replaceAll(' ', '-')}`]
    await enroll(id, key, custom(webhookUrl()))
    const state = await register(id, key)
    expect(state).toMatchObject({ status: 'failed', errorCode: 400207 })
    expect(state.errorMessage).not.toContain('very-secret')
  })

  test('leaves traces in the log, and never its key', () => {
    const log = dps.logged.join('')
    expect(log).toContain('webhook chose the hub')
    expect(log).toContain('custom allocation failed')
    expect(log).not.toContain('very-secret')
  })
})
