import mqttPacket, { type Packet } from 'mqtt-packet'
import { expect, test, vi } from 'vitest'
import { bench, connectPacket, type Gate, gate, publishPacket, settle } from '../../tests/wire-engine/device.ts'
import { limits } from '../base/limits.ts'
import { createLog } from '../base/log.ts'

// Time and bounds of an MQTT connection: deadlines, keep-alive, backpressure both ways.

const CONNECT = mqttPacket.generate(connectPacket({ password: Buffer.from('SharedAccessSignature sr=secret') }))

test('who does not say CONNECT in time is cut', async () => {
  const { clock, server, closed } = bench()
  clock.advance(limits.proveMs - 1)
  expect(closed()).toBe(false)
  clock.advance(1)
  expect(server.destroyed).toBe(true)
})

test('a CONNECT byte by byte works, but only within the deadline', async () => {
  const patient = bench()
  for (const byte of CONNECT) {
    patient.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await settle()
  expect(patient.received).toMatchObject([{ cmd: 'connack', returnCode: 0 }])

  const slow = bench()
  for (const byte of CONNECT) {
    slow.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
    slow.clock.advance(1_000)
  }
  expect(slow.server.destroyed).toBe(true)
  expect(slow.connects).toEqual([])
})

test('judging a CONNECT is bound by the same deadline', async () => {
  const judged = gate()
  const { connect, clock, server, received, face } = bench({
    answer: async (face) => {
      await judged.promise
      return { face }
    },
  })
  await connect()
  clock.advance(limits.proveMs)
  expect(server.destroyed).toBe(true)
  judged.open()
  await settle()
  expect(received).toEqual([])
  expect(face.endings).toEqual(['lost'])
})

test('a whole session cut at every position is the same session', async () => {
  const bytes = Buffer.concat([
    CONNECT,
    ...(
      [
        { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a/#', qos: 1 }] } as const,
        publishPacket(2, 'x'.repeat(150)),
        publishPacket(0),
        { cmd: 'pingreq' } as const,
        publishPacket(3, ''),
        { cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['a/#'] } as const,
        { cmd: 'disconnect' } as const,
      ] satisfies Packet[]
    ).map((packet) => mqttPacket.generate(packet)),
  ])
  for (let cut = 1; cut < bytes.length; cut++) {
    const each = bench()
    each.write(bytes.subarray(0, cut))
    await settle()
    each.write(bytes.subarray(cut))
    await settle()
    const answers = each.received
      .map(({ cmd, messageId }) => `${cmd}${messageId ?? ''}`)
      .filter((a) => a !== 'pingresp')
    expect(answers, `cut at ${cut}`).toEqual(['connack', 'suback1', 'puback2', 'puback3', 'unsuback4'])
    expect(each.face.published.map(({ payload }) => payload.length)).toEqual([150, 2, 0])
    expect(each.face.endings).toEqual(['disconnect'])
  }
})

test.each([
  [60, 90_000],
  [1, 1_500],
  [limits.mqttKeepAliveSeconds, 1_765_500],
  [limits.mqttKeepAliveSeconds + 1, 1_765_500],
  [65_535, 1_765_500],
  [0, 1_765_500],
])('keep-alive %i s: silence of %i ms ends the connection', async (keepalive, silence) => {
  const { connect, clock, server, send, face } = bench()
  await connect({ keepalive })
  clock.advance(silence - 1)
  expect(server.destroyed).toBe(false)
  send({ cmd: 'pingreq' })
  await settle()
  clock.advance(silence - 1)
  expect(server.destroyed).toBe(false)
  clock.advance(1)
  expect(server.destroyed).toBe(true)
  expect(face.endings).toEqual(['lost'])
})

test.each([
  ['forward', 60 * 60 * 1000],
  ['back', -60 * 60 * 1000],
])('a clock that is set %s cuts nobody who speaks, and keeps nobody who does not', async (_, step) => {
  const { connect, clock, server, send } = bench()
  await connect({ keepalive: 60 })
  clock.advance(60_000)
  send({ cmd: 'pingreq' })
  await settle()
  const now = clock.now.bind(clock)
  vi.spyOn(clock, 'now').mockImplementation(() => now() + step)
  clock.advance(60_000)
  expect(server.destroyed).toBe(false)
  send({ cmd: 'pingreq' })
  await settle()
  clock.advance(89_999)
  expect(server.destroyed).toBe(false)
  clock.advance(90_000)
  expect(server.destroyed).toBe(true)
})

test('waiting for a commit is no silence once it ends, and no excuse if it never does', async () => {
  const commits = [gate(), gate()]
  let next = 0
  const { connect, clock, server, send, face } = bench({ face: { publish: () => commits[next++]!.promise } })
  await connect({ keepalive: 10 })
  send(publishPacket(1))
  await settle()
  clock.advance(14_000)
  commits[0]!.open()
  await settle()
  clock.advance(14_000)
  expect(server.destroyed).toBe(false)
  send(publishPacket(2))
  await settle()
  clock.advance(15_000)
  expect(server.destroyed).toBe(true)
  expect(face.endings).toEqual(['lost'])
})

/** A device that sends `count` messages at once to a face whose commits stand still. */
async function flood(count: number, payload: string) {
  const commits: Gate<void>[] = []
  const each = bench({
    face: {
      publish: () => {
        const commit = gate()
        commits.push(commit)
        return commit.promise
      },
    },
  })
  await each.connect()
  each.send(...Array.from({ length: count }, (_, at) => publishPacket(at + 1, payload)))
  await settle()
  return { ...each, commits }
}

test('so many commits are under way at once, then the connection is not read on', async () => {
  const count = 3 * limits.mqttInFlight
  const { commits, server, received } = await flood(count, 'x')
  expect(commits).toHaveLength(limits.mqttInFlight)
  expect(server.isPaused()).toBe(true)
  commits[1]!.open()
  await settle()
  // In order of arrival: the first still holds its place.
  expect(commits).toHaveLength(limits.mqttInFlight)
  commits[0]!.open()
  await settle()
  expect(commits).toHaveLength(limits.mqttInFlight + 2)
  for (let at = 0; at < count; at++) {
    commits[at]!.open()
    await settle()
  }
  expect(received.slice(1).map(({ messageId }) => messageId)).toEqual(Array.from({ length: count }, (_, at) => at + 1))
  expect(server.isPaused()).toBe(false)
})

test('so many bytes are under way at once', async () => {
  const { commits } = await flood(20, 'x'.repeat(128 * 1024))
  // The eighth reaches a mebibyte with its header.
  expect(commits).toHaveLength(8)
})

test('who does not read what it is sent is cut before it costs more than its bound', async () => {
  const { connect, device, session, server, face } = bench()
  await connect()
  device.pause()
  const sent = Array.from({ length: 40 }, (_, at) => session().publish('a', Buffer.alloc(64 * 1024, at), 0))
  const results = await Promise.all(sent)
  expect(server.destroyed).toBe(true)
  expect(results.at(-1)).toBe('lost')
  expect(face.endings).toEqual(['lost'])
  expect(server.writableLength).toBeLessThanOrEqual(limits.mqttOutgoingBytes)
})

test('who sends without reading its acknowledgements is not read any more', async () => {
  const { connect, device, server, face } = bench()
  await connect()
  device.pause()
  const packets = Buffer.concat(
    Array.from({ length: 60_000 }, (_, at) => mqttPacket.generate(publishPacket((at % 60_000) + 1, ''))),
  )
  device.write(packets)
  for (let turn = 0; turn < 500; turn++) await settle()
  const before = face.published.length
  expect(before).toBeLessThan(60_000)
  expect(server.destroyed).toBe(false)
  device.resume()
  for (let turn = 0; turn < 2_000 && face.published.length < 60_000; turn++) await settle()
  expect(face.published).toHaveLength(60_000)
})

test('who never acknowledges is cut', async () => {
  const { connect, session, server } = bench()
  await connect()
  const waiting = Array.from({ length: limits.mqttUnacknowledged }, () => session().publish('a', '', 1))
  await settle()
  expect(server.destroyed).toBe(false)
  expect(await session().publish('a', '', 1)).toBe('lost')
  expect(server.destroyed).toBe(true)
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(['lost']))
})

test('packet identifiers in use are passed over, also after 65,535', async () => {
  const { connect, session, received, send } = bench()
  await connect()
  void session().publish('first', '', 1)
  await settle()
  const first = received.at(-1)!.messageId!
  for (let sent = 0; sent < 65_540; sent += 500) {
    received.length = 0
    for (let at = 0; at < 500; at++) void session().publish('a', '', 1)
    await settle()
    const ids = received.map(({ messageId }) => messageId!)
    expect(ids).not.toContain(first)
    expect(ids).not.toContain(0)
    send(...ids.map((messageId) => ({ cmd: 'puback', messageId }) as const))
    await settle()
  }
})

test.each([
  ['before CONNECT is accepted', undefined, limits.mqttConnectBytes],
  ['before the client proved itself', { unproved: true }, limits.mqttUnprovedPacketBytes],
  ['after', {}, limits.mqttPacketBytes],
])('largest packet %s', async (_, accepted, limit) => {
  // Header of four bytes, then topic "a" or as much of a CONNECT as fits: only the announcement counts.
  const announcing = (size: number): Buffer => {
    const rest = size - 4
    return Buffer.from([accepted ? 0x30 : 0x10, (rest & 0x7f) | 0x80, ((rest >> 7) & 0x7f) | 0x80, rest >> 14])
  }
  for (const [size, cut] of [
    [limit, false],
    [limit + 1, true],
  ] as const) {
    const each = bench({ answer: (face) => ({ face, ...accepted }) })
    if (accepted !== undefined) await each.connect()
    each.write(announcing(size))
    await settle()
    expect(each.server.destroyed).toBe(cut)
  }
})

test('proof lifts the packet limit', async () => {
  const { connect, session, send, face } = bench({ answer: (face) => ({ face, unproved: true }) })
  await connect()
  session().proved()
  send(publishPacket(1, 'x'.repeat(limits.telemetryMessageBytes)))
  await settle()
  expect(face.published).toHaveLength(1)
})

test('nothing that a stranger sent is in the log', async () => {
  const lines: string[] = []
  const log = createLog('debug', { write: (line) => void lines.push(line) })
  const inputs = [
    Buffer.concat([CONNECT, CONNECT]),
    Buffer.from('GET /secret HTTP/1.1\r\n\r\n'),
    mqttPacket.generate(publishPacket(1, 'secret', 'secret')),
    Buffer.concat([CONNECT.subarray(0, -3), Buffer.from('zzz'), Buffer.from([0x3f, 6]), Buffer.from('secret')]),
    mqttPacket.generate(connectPacket({ clientId: 'secret', username: 'secret', password: Buffer.from('secret') })),
  ]
  for (const [at, input] of inputs.entries()) {
    const each = bench({ log, answer: (face) => (at === 4 ? { refuse: 5 } : { face }) })
    each.write(input)
    await settle()
  }
  expect(lines.length).toBeGreaterThan(3)
  expect(lines.join()).not.toContain('secret')
})
