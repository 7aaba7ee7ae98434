import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hubWorld, identityOf, openSession } from '../../tests/support/hub-world.ts'
import { limits } from '../base/limits.ts'
import { seededRandom } from '../base/random.ts'
import { decodeEvent, encodeEvent, type HubEvent } from './events.ts'
import { logOf, partitionOf } from './telemetry.ts'

const message = (body: string, more: object = {}) => ({ system: {}, application: {}, body: Buffer.from(body), ...more })

test('an event keeps everything that readers and routes need', () => {
  const event: HubEvent = {
    source: 'Telemetry',
    enqueuedTime: 1_767_225_600_123,
    deviceId: 'd',
    moduleId: 'm',
    generationId: '639028224000000000',
    authMethod: '{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}',
    modelId: 'dtmi:com:example;1',
    system: { 'message-id': 'ü', 'content-type': 'application/json' },
    application: JSON.parse('{"__proto__":"x","p q":"v&w"}') as Record<string, string>,
    body: Buffer.from([0, 255, 128]),
  }
  expect(decodeEvent(encodeEvent(event))).toEqual(event)
  const { moduleId: _, modelId: __, ...bare } = event
  expect(decodeEvent(encodeEvent({ ...bare, system: {}, application: {}, body: Buffer.alloc(0) }))).toEqual({
    ...bare,
    system: {},
    application: {},
    body: Buffer.alloc(0),
  })
})

test('an event of a later version is refused, not guessed at', () => {
  const entry = encodeEvent({
    source: 'x',
    enqueuedTime: 0,
    deviceId: 'd',
    generationId: '1',
    authMethod: '',
    system: {},
    application: {},
    body: Buffer.alloc(0),
  })
  entry[0] = 2
  expect(() => decodeEvent(entry)).toThrow('version 2; this release reads version 1')
})

test('any properties and body come back as they were', () => {
  const strings = fc.dictionary(fc.string(), fc.string())
  fc.assert(
    fc.property(strings, strings, fc.uint8Array(), (system, application, body) => {
      const event = {
        source: 'Telemetry',
        enqueuedTime: 1,
        deviceId: 'd',
        generationId: '1',
        authMethod: '{}',
        system,
        application,
        body: Buffer.from(body),
      }
      const read = decodeEvent(encodeEvent(event))
      expect(Object.entries(read.system)).toEqual(Object.entries(system))
      expect(Object.entries(read.application)).toEqual(Object.entries(application))
      expect(read.body.equals(body)).toBe(true)
    }),
    { seed: 3 },
  )
})

test('partitions: fixed for ever, spread evenly', () => {
  // These values are a contract with every log already written.
  expect(['', 'd1', 'device-42', 'ü'].map((id) => partitionOf(id, 32))).toMatchInlineSnapshot(`
    [
      11,
      31,
      26,
      17,
    ]
  `)
  const random = seededRandom(5)
  const ids = Array.from({ length: 4_000 }, () => random.uuid())
  for (const partitions of [2, 4, 32]) {
    const counts = new Array<number>(partitions).fill(0)
    for (const id of ids) counts[partitionOf(id, partitions)]! += 1
    for (const count of counts)
      expect(Math.abs(count - 4_000 / partitions)).toBeLessThan(4 * Math.sqrt(4_000 / partitions))
  }
})

test('sent messages are in the log of their partition, in order, with the stamps of the connection', async () => {
  const world = await hubWorld()
  const { session } = await openSession(world.hub, await identityOf(world, 'd1'), 'dtmi:x;1')
  world.clock.advance(250)
  await Promise.all(
    Array.from({ length: 50 }, (_, n) =>
      world.hub.telemetry.send(session, message(`${n}`, { application: { n: `${n}` } })),
    ),
  )
  const partition = partitionOf('d1', world.iotHub.partitions)
  const events = await world.hub.telemetry.read(world.iotHub, partition, 0, 100)
  expect(events.map(({ position }) => position)).toEqual(Array.from({ length: 50 }, (_, n) => n))
  expect(events.map(({ event }) => event.body.toString())).toEqual(Array.from({ length: 50 }, (_, n) => `${n}`))
  expect(events[7]!.event).toEqual({
    source: 'Telemetry',
    enqueuedTime: world.clock.now(),
    deviceId: 'd1',
    generationId: session.identity.generationId,
    authMethod: '{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}',
    modelId: 'dtmi:x;1',
    system: {},
    application: { n: '7' },
    body: Buffer.from('7'),
  })
  expect(await world.hub.telemetry.bounds(world.iotHub, partition)).toEqual({ first: 0, next: 50 })
})

test('256 KB of body and properties fit, a byte more does not; an empty body is a message', async () => {
  const world = await hubWorld()
  const { session } = await openSession(world.hub, await identityOf(world, 'd1'))
  const { telemetry } = world.hub
  const sized = (bytes: number) =>
    message('', { body: Buffer.alloc(bytes), system: { 'message-id': 'four' }, application: { ab: 'cd' } })
  await telemetry.send(session, sized(limits.telemetryMessageBytes - 8))
  await expect(telemetry.send(session, sized(limits.telemetryMessageBytes - 7))).rejects.toMatchObject({ code: 413001 })
  await telemetry.send(session, message(''))
  await expect(
    telemetry.send(session, message('', { system: { 'message-id': 'x'.repeat(129) } })),
  ).rejects.toMatchObject({ code: 400004 })
})

test('a send whose commit fails is not acknowledged', async () => {
  const world = await hubWorld()
  const { session } = await openSession(world.hub, await identityOf(world, 'd1'))
  await world.telemetry.close()
  await expect(world.hub.telemetry.send(session, message('lost'))).rejects.toThrow()
})

test('each hub keeps its events as long as it says, and positions go on', async () => {
  const world = await hubWorld()
  const day = 24 * 3600_000
  const { session } = await openSession(world.hub, {
    ...(await identityOf(world, 'd1')),
    expiresAt: Number.POSITIVE_INFINITY,
  })
  const { telemetry } = world.hub
  const partition = partitionOf('d1', world.iotHub.partitions)
  await telemetry.send(session, message('old'))
  world.clock.advance(world.iotHub.retentionDays * day)
  await telemetry.send(session, message('new'))
  await telemetry.trim()
  expect(await telemetry.bounds(world.iotHub, partition)).toEqual({ first: 0, next: 2 })
  world.clock.advance(1)
  await telemetry.trim()
  expect(await telemetry.bounds(world.iotHub, partition)).toEqual({ first: 1, next: 2 })
  const [event] = await telemetry.read(world.iotHub, partition, 0, 10)
  expect([event?.position, event?.event.body.toString()]).toEqual([1, 'new'])
  expect(logOf('hub1', partition)).toBe(`hub1/events/${partition}`)
})
