import { existsSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import azureIotDevice from 'azure-iot-device'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createAuthority, issueDeviceCertificate, type Muster, startMuster } from '../../src/testing/index.ts'
import { muster as command } from '../support/command-line.ts'
import { newKey, symmetricKeys } from '../support/enrollments.ts'
import type { Running } from '../support/hub.ts'
import { withoutRoot } from '../support/pki.ts'
import { connectMqtt, type RawMqtt, rawConnect } from '../support/raw-mqtt.ts'
import { byCertificate, byKey, type Credential, deviceClient, provision, sdkError } from '../support/sdk.ts'
import { derivedKey, sasToken, unixNow } from '../support/tokens.ts'

// The test kit as its users have it: unmodified SDKs, free ports, the clock in the test's hand.

const deviceKey = newKey()
const groupKey = newKey()
const seed = {
  provisioningService: { idScope: '0ne0000CAFE' },
  hubs: [
    {
      name: 'muster-hub',
      eventHubEndpoints: { events: { retentionTimeInDays: 1 } },
      devices: [
        {
          id: 'thermostat',
          authentication: { type: 'sas', symmetricKey: { primaryKey: deviceKey, secondaryKey: newKey() } },
          tags: { room: 'lab' },
          properties: { desired: { interval: 5 } },
        },
      ],
    },
    { name: 'east', applyAllocationPolicy: false },
  ],
  enrollmentGroups: [{ enrollmentGroupId: 'line', ...symmetricKeys(groupKey, newKey()) }],
  enrollments: [
    {
      registrationId: 'eastern',
      ...symmetricKeys(deviceKey, newKey()),
      allocationPolicy: 'static',
      iotHubs: ['east'],
    },
  ],
}

const running = (muster: Muster): Running => ({ addresses: muster as Running['addresses'], ca: muster.ca })
const hostOf = (muster: Muster, name: string): string => muster.hubs.find((hub) => hub.name === name)!.hostName

async function send(hub: string, deviceId: string, credential: Credential, body: unknown): Promise<void> {
  const client = await deviceClient(hub, deviceId, credential)
  await client.open()
  try {
    await client.sendEvent(new azureIotDevice.Message(JSON.stringify(body)))
  } finally {
    await client.close()
  }
}

/** A hub connection as it is on the wire, with a token of an hour. */
async function connected(muster: Muster, deviceId = 'thermostat'): Promise<RawMqtt> {
  const connection = await connectMqtt({ address: muster.address, port: muster.ports.mqtts, ca: muster.ca })
  const host = hostOf(muster, 'muster-hub')
  const password = sasToken({ sr: `${host}/devices/${deviceId}`, key: deviceKey, se: unixNow() + 3600 })
  const username = `${host}/${deviceId}/?api-version=2021-04-12`
  connection.write(rawConnect({ clientId: deviceId, username, password, clean: true, keepAlive: 60 }))
  expect((await connection.next()).toString('hex')).toBe('20020000')
  return connection
}

describe('one service, reset after each test', () => {
  let muster: Muster
  beforeAll(async () => {
    muster = await startMuster({ seed })
  })
  afterEach(() => muster.reset())
  afterAll(() => muster.stop())

  test('a device provisions over MQTT, sends, and the test has its event', async () => {
    const credential = byKey(derivedKey(groupKey, 'device-1'))
    const { assignedHub, deviceId } = await provision(running(muster), {
      registrationId: 'device-1',
      credential,
      transport: 'mqtt',
    })
    const waiting = muster.events({ deviceId: 'device-1', atLeast: 2 })
    await send(assignedHub, deviceId, credential, { temperature: 21 })
    await send(assignedHub, deviceId, credential, { temperature: 22 })
    const events = await waiting
    expect(events.map((event) => event.json())).toEqual([{ temperature: 21 }, { temperature: 22 }])
    expect(events[0]).toMatchObject({ hub: 'muster-hub', deviceId: 'device-1' })
  })

  test('waiting for events is bounded, and says what there was', async () => {
    await send(hostOf(muster, 'muster-hub'), 'thermostat', byKey(deviceKey), 'one')
    await expect(muster.events({ atLeast: 2, withinMs: 20 })).rejects.toThrow(
      'Expected at least 2 events in hub muster-hub within 20 ms, found 1.',
    )
    await expect(muster.events({ hub: 'west' })).rejects.toThrow('(east, muster-hub), found "west"')
  })

  test('a certificate that has expired by the clock is refused, and the trace says so', async () => {
    const common = { keyType: 'ec', now: Date.now() } as const
    const root = await createAuthority({ ...common, commonName: 'Factory', days: 3650 })
    const device = await issueDeviceCertificate({ ...common, authority: root, commonName: 'dated', days: 30 })
    await muster.seed({ certificates: [{ name: 'factory', certificate: root.certificate }] })
    // Names what an earlier seed has made.
    const attestation = { type: 'x509', x509: { caReferences: { primary: 'factory' } } }
    await muster.seed({ enrollmentGroups: [{ enrollmentGroupId: 'factory', attestation }] })
    const registering = {
      registrationId: 'dated',
      credential: byCertificate(withoutRoot(device)),
      transport: 'mqtt',
    } as const
    const admitted = await provision(running(muster), registering)
    expect(admitted.deviceId).toBe('dated')

    await muster.clock.advance({ days: 31 })
    expect(await sdkError(provision(running(muster), registering))).toMatchObject({ answer: { errorCode: 401002 } })
    const [newest] = await muster.explain('dated')
    expect(newest).toMatchObject({ outcome: 'refused', errorCode: 401002 })
    expect(newest?.cause).toMatch(/expired|no longer valid/i)
    const reconnecting = send(admitted.assignedHub, 'dated', registering.credential, 'late')
    expect((await sdkError(reconnecting)).message).toMatch(/not authorized|unauthorized/i)
  })

  test('a session is cut ten minutes after its token ran out, and connections feel no other time', async () => {
    const connection = await connected(muster)
    // Far beyond the keep-alive of 60 s: the connection's deadlines are real time.
    await muster.clock.advance({ minutes: 69 })
    connection.write(Buffer.from([0xc0, 0x00]))
    expect((await connection.next()).toString('hex')).toBe('d000')
    await muster.clock.advance({ minutes: 2 })
    expect((await connection.ended()).toString('hex')).toBe('')
  })

  test('telemetry is forgotten when its retention is over', async () => {
    await send(hostOf(muster, 'muster-hub'), 'thermostat', byKey(deviceKey), 'old')
    await muster.clock.advance({ hours: 23 })
    expect(await muster.events()).toHaveLength(1)
    await muster.clock.advance({ hours: 2 })
    expect(await muster.events()).toHaveLength(0)
  })

  test('every hub of the seed is reached by the unmodified client', async () => {
    const registering = { registrationId: 'eastern', credential: byKey(deviceKey), transport: 'mqtt' } as const
    const { assignedHub } = await provision(running(muster), registering)
    expect(assignedHub).toBe(hostOf(muster, 'east'))
    await send(assignedHub, 'eastern', byKey(deviceKey), 'hello')
    expect(await muster.events({ hub: 'east' })).toHaveLength(1)
    expect(await muster.events()).toHaveLength(0)
  })

  test('a seeded device has its first twin', async () => {
    const client = await deviceClient(hostOf(muster, 'muster-hub'), 'thermostat', byKey(deviceKey))
    await client.open()
    const twin = await client.getTwin()
    expect(twin.properties.desired).toMatchObject({ interval: 5 })
    await client.close()
  })

  test('reset: sessions cut, content, keys, time and addresses as at the start', async () => {
    const before = readFileSync(muster.readyFile, 'utf8')
    const session = await connected(muster)
    const mine = await muster.enroll({ registrationId: 'mine', attestation: { type: 'symmetricKey' } })
    expect(mine).toMatchObject({ attestation: { symmetricKey: { primaryKey: expect.any(String) } } })
    await send(hostOf(muster, 'muster-hub'), 'thermostat', byKey(deviceKey), 'gone')
    await muster.seed({ hubs: [{ name: 'west' }] })
    expect(muster.hubs.map(({ name }) => name)).toEqual(['muster-hub', 'east', 'west'])
    await muster.clock.advance({ days: 400 })

    await muster.reset()
    await session.ended()
    expect(readFileSync(muster.readyFile, 'utf8')).toBe(before)
    expect(muster.hubs.map(({ name }) => name)).toEqual(['muster-hub', 'east'])
    expect(muster.idScope).toBe('0ne0000CAFE')
    expect(await muster.events()).toEqual([])
    expect(Math.abs(muster.clock.now().getTime() - Date.now())).toBeLessThan(5_000)
    // It can be made again: it is gone.
    await muster.enrollGroup({ enrollmentGroupId: 'mine', attestation: { type: 'symmetricKey' } })
    await muster.enroll({ registrationId: 'mine', attestation: { type: 'symmetricKey' } })
    ;(await connected(muster)).close()
  })

  test('a seed that is refused makes nothing, and is told with its place', async () => {
    const refused = muster.seed({
      enrollments: [
        { registrationId: 'good', attestation: { type: 'symmetricKey' } },
        { registrationId: 'bad', attestation: { type: 'password' } },
      ],
    })
    await expect(refused).rejects.toThrow(
      /^seed\.enrollments\[1\] \(bad\): .*attestation\.type must be one of .*"password"/,
    )
    const { made, kept } = await muster.seed({
      enrollments: [
        { registrationId: 'good', attestation: { type: 'symmetricKey' } },
        { registrationId: 'eastern', attestation: { type: 'symmetricKey' } },
      ],
    })
    expect({ made, kept }).toEqual({ made: 1, kept: ['seed.enrollments[1]'] })
  })
})

test('the clock can be set, and goes back', async () => {
  await using muster = await startMuster({ now: '2031-05-01T00:00:00Z' })
  expect(muster.clock.now().toISOString()).toMatch(/^2031-05-01T00:00/)
  await muster.clock.set('2030-01-01T00:00:00Z')
  expect(muster.clock.now().toISOString()).toMatch(/^2030-01-01T00:00/)
  await expect(muster.clock.advance(-1)).rejects.toThrow(RangeError)
  await expect(muster.clock.set('soon')).rejects.toThrow('found soon')
  await muster.reset()
  expect(muster.clock.now().toISOString()).toMatch(/^2031-05-01T00:00/)
})

test('twenty at once in one process, each on its own; started in less than a second', async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => startMuster()))
  try {
    expect(new Set(all.map(({ idScope }) => idScope)).size).toBe(20)
    expect(new Set(all.map(({ ports }) => ports.https)).size).toBe(20)
    await all[0]!.enroll({ registrationId: 'own', attestation: { type: 'symmetricKey' } })
    await all[1]!.enroll({ registrationId: 'own', attestation: { type: 'symmetricKey' } })
    // The best of three: other suites share the machine.
    const took: number[] = []
    for (let time = 0; time < 3; time++) {
      const began = performance.now()
      const another = await startMuster()
      took.push(performance.now() - began)
      await another.stop()
    }
    expect(Math.min(...took)).toBeLessThan(1_000)
  } finally {
    await Promise.all(all.map((muster) => muster.stop()))
  }
  expect(all.some(({ readyFile }) => existsSync(dirname(readyFile)))).toBe(false)
  await expect(all[0]!.reset()).rejects.toThrow('stopped')
  await all[0]!.stop()
})

test('the ports that clients insist on, on an address of its own', async () => {
  await using muster = await startMuster({ ports: 'standard' })
  await using another = await startMuster({ ports: 'standard' })
  expect(muster.ports).toEqual({ https: 443, mqtts: 8883 })
  expect(muster.address).toMatch(/^127\./)
  expect(another.address).not.toBe(muster.address)
  const key = newKey()
  await muster.enroll({ registrationId: 'http', ...symmetricKeys(key, newKey()) })
  const { assignedHub } = await provision(running(muster), { registrationId: 'http', credential: byKey(key) })
  expect(assignedHub).toBe(muster.address)
})

test.each([
  [{ port: 1 }, 'found "port"'],
  [{ ports: 'any' }, 'found "any"'],
  [{ address: 'localhost' }, 'found "localhost"'],
  [{ seed: { hub: [] } }, 'seed must have no other members than'],
  [{ seed: 'nowhere.json' }, 'found no such file'],
])('options %j are refused: %s', async (options, message) => {
  await expect(startMuster(options as object)).rejects.toThrow(message)
})

test('commands and other processes find it by its ready file', async () => {
  await using muster = await startMuster()
  await muster.enroll({ registrationId: 'listed', attestation: { type: 'symmetricKey' } })
  const { out } = await command(['dps', 'enrollment', 'list', '--output', 'json'], { readyFile: muster.readyFile })
  expect(out).toContain('"listed"')
  // A hub that a command makes is reached too.
  const run = (...words: string[]) => command(['hub', ...words], { readyFile: muster.readyFile })
  expect((await run('create', '-n', 'later', '-o', 'none')).code).toBe(0)
  expect(await run('device-identity', 'show', '-n', 'later', '-d', 'nobody')).toMatchObject({ code: 3 })
})
