import type { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { bench, connectPacket, gate, publishPacket, settle } from '../../tests/wire-engine/device.ts'
import { ServiceError } from '../base/errors.ts'
import { createLog } from '../base/log.ts'
import type { AfterAck, ConnectAnswer, MqttConnect } from './mqtt.ts'

const commands = (packets: readonly { cmd: string }[]): string[] => packets.map(({ cmd }) => cmd)

/** A log whose lines a test can read. */
function recordedLog() {
  const lines: string[] = []
  return { lines, log: createLog('debug', { write: (line) => void lines.push(line) }) }
}

test('an accepted CONNECT is answered with 0, and the face gets what it said', async () => {
  const { connect, connects, received, provedTimes } = bench()
  await connect({
    clientId: 'd1/m1',
    username: 'hub/d1/m1/?api-version=2021-04-12',
    password: Buffer.from('SharedAccessSignature sr=x'),
    keepalive: 230,
    will: { topic: 'devices/d1/messages/events/', payload: Buffer.from('gone'), qos: 1, retain: false },
  })
  expect(received).toMatchObject([{ cmd: 'connack', returnCode: 0, sessionPresent: false }])
  expect(connects).toEqual<MqttConnect[]>([
    {
      clientId: 'd1/m1',
      username: 'hub/d1/m1/?api-version=2021-04-12',
      password: Buffer.from('SharedAccessSignature sr=x'),
      clean: false,
      keepAlive: 230,
      will: { topic: 'devices/d1/messages/events/', payload: Buffer.from('gone'), qos: 1, retain: false },
      protocolLevel: 4,
    },
  ])
  expect(provedTimes()).toBe(1)
})

test('a CONNECT without user name, password and will says so', async () => {
  const { write, connects } = bench()
  write(Buffer.from('100e00044d51545404020000000264 31'.replace(' ', ''), 'hex'))
  await settle()
  expect(connects).toEqual([
    {
      clientId: 'd1',
      username: undefined,
      password: undefined,
      clean: true,
      keepAlive: 0,
      will: undefined,
      protocolLevel: 4,
    },
  ])
})

test('session present is told', async () => {
  const { connect, received } = bench({ answer: (face) => ({ face, sessionPresent: true }) })
  await connect()
  expect(received).toMatchObject([{ returnCode: 0, sessionPresent: true }])
})

test.each([1, 2, 3, 4, 5] as const)('a refused CONNECT is answered with code %i and closed', async (refuse) => {
  const { connect, received, closed, face } = bench({ answer: () => ({ refuse }) })
  await connect()
  expect(received).toMatchObject([{ cmd: 'connack', returnCode: refuse, sessionPresent: false }])
  expect(closed()).toBe(true)
  expect(face.endings).toEqual([])
})

test('a fault while judging CONNECT is answered with 3 and logged', async () => {
  const { log, lines } = recordedLog()
  const { connect, received, closed } = bench({
    log,
    answer: () => {
      throw new TypeError('broken face')
    },
  })
  await connect()
  expect(received).toMatchObject([{ cmd: 'connack', returnCode: 3 }])
  expect(closed()).toBe(true)
  expect(lines.join()).toContain('broken face')
})

test('an answer that is none is a fault of that connection only', async () => {
  const { connect, received, closed } = bench({ answer: () => undefined as unknown as ConnectAnswer })
  await connect()
  expect(received).toMatchObject([{ cmd: 'connack', returnCode: 3 }])
  expect(closed()).toBe(true)
})

test('PUBACK follows the commit, never precedes it', async () => {
  const commit = gate()
  const { connect, send, received } = bench({ face: { publish: () => commit.promise } })
  await connect()
  send(publishPacket(7))
  await settle()
  expect(commands(received)).toEqual(['connack'])
  commit.open()
  await settle()
  expect(received.slice(1)).toMatchObject([{ cmd: 'puback', messageId: 7 }])
})

test('commits that end in any order are acknowledged in order of arrival, in one write per turn', async () => {
  const commits = [gate(), gate(), gate()]
  let next = 0
  const { connect, send, received, writes } = bench({ face: { publish: () => commits[next++]!.promise } })
  await connect()
  send(publishPacket(3), publishPacket(1), publishPacket(2))
  await settle()
  commits[2]!.open()
  commits[1]!.open()
  await settle()
  expect(commands(received)).toEqual(['connack'])
  commits[0]!.open()
  await settle()
  expect(received.slice(1).map(({ messageId }) => messageId)).toEqual([3, 1, 2])
  expect(writes.at(-1)).toHaveLength(12)
})

test('QoS 0 is handed over and not acknowledged', async () => {
  const { connect, send, received, face } = bench()
  await connect()
  send(publishPacket(0, 'hello'))
  await settle()
  expect(face.published).toMatchObject([{ topic: 'a/b', payload: Buffer.from('hello'), qos: 0 }])
  expect(commands(received)).toEqual(['connack'])
})

test('RETAIN and DUP reach the face, an empty payload too', async () => {
  const { connect, write, face } = bench()
  await connect()
  write(Buffer.from('3b0500016100 01'.replace(' ', ''), 'hex'))
  await settle()
  expect(face.published).toEqual([{ topic: 'a', payload: Buffer.alloc(0), qos: 1, retain: true, dup: true }])
})

test('what a face does after the acknowledgement follows it on the wire', async () => {
  const { connect, send, received, session, writes } = bench({
    face: {
      publish: async ({ payload }): Promise<AfterAck> => ({
        afterAck: () => void session().publish('answer', payload, 1),
      }),
    },
  })
  await connect()
  send(publishPacket(9, 'one'))
  await settle()
  expect(commands(received)).toEqual(['connack', 'puback', 'publish'])
  // Both leave in one write.
  expect(writes).toHaveLength(2)
})

test('SUBACK carries the grants in order; only granted filters are told as subscribed', async () => {
  const { connect, send, received, face } = bench({
    face: { subscribe: async (filters) => filters.map(({ topic, qos }) => (topic === 'x' ? 128 : qos === 0 ? 0 : 1)) },
  })
  await connect()
  send({
    cmd: 'subscribe',
    messageId: 5,
    subscriptions: [
      { topic: '$iothub/twin/res/#', qos: 0 },
      { topic: 'x', qos: 1 },
      { topic: 'devices/d1/messages/devicebound/#', qos: 2 },
    ],
  })
  await settle()
  expect(received.slice(1)).toMatchObject([{ cmd: 'suback', messageId: 5, granted: [0, 128, 1] }])
  expect(face.confirmed).toEqual(['$iothub/twin/res/#', 'devices/d1/messages/devicebound/#'])
})

test('nothing that follows a SUBSCRIBE is worked on before its SUBACK', async () => {
  const granted = gate<readonly (0 | 1 | 128)[]>()
  const order: string[] = []
  const { connect, send, received } = bench({
    face: {
      subscribe: () => granted.promise,
      subscribed: () => void order.push('subscribed'),
      publish: async () => void order.push('publish'),
    },
  })
  await connect()
  send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a/#', qos: 1 }] }, publishPacket(2))
  await settle()
  expect(order).toEqual([])
  granted.open([1])
  await settle()
  expect(order).toEqual(['subscribed', 'publish'])
  expect(commands(received)).toEqual(['connack', 'suback', 'puback'])
})

test('SUBACK waits for the acknowledgements of what came before it', async () => {
  const commit = gate()
  const { connect, send, received } = bench({ face: { publish: () => commit.promise } })
  await connect()
  send(publishPacket(1), { cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: 'a', qos: 1 }] }, publishPacket(3))
  await settle()
  expect(commands(received)).toEqual(['connack'])
  commit.open()
  await settle()
  expect(commands(received)).toEqual(['connack', 'puback', 'suback', 'puback'])
})

test('UNSUBSCRIBE is always answered', async () => {
  const { connect, send, received, face } = bench()
  await connect()
  send({ cmd: 'unsubscribe', messageId: 11, unsubscriptions: ['a/#', 'never/subscribed'] })
  await settle()
  expect(received.slice(1)).toMatchObject([{ cmd: 'unsuback', messageId: 11 }])
  expect(face.unsubscribed).toEqual(['a/#', 'never/subscribed'])
})

test('PINGREQ is answered, also while a commit is under way', async () => {
  const { connect, send, received } = bench({ face: { publish: () => gate().promise } })
  await connect()
  send(publishPacket(1), { cmd: 'pingreq' })
  await settle()
  expect(commands(received)).toEqual(['connack', 'pingresp'])
})

test('messages to the device: QoS 0 is sent, QoS 1 is acknowledged by its own identifier', async () => {
  const { connect, send, received, session } = bench()
  await connect()
  const done: string[] = []
  void session()
    .publish('one', 'first', 1)
    .then((how) => done.push(`one ${how}`))
  void session()
    .publish('two', Buffer.from('second'), 1)
    .then((how) => done.push(`two ${how}`))
  void session()
    .publish('three', '', 0)
    .then((how) => done.push(`three ${how}`))
  await settle()
  expect(done).toEqual(['three sent'])
  const [one, two, three] = received.slice(1)
  expect(one).toMatchObject({ topic: 'one', qos: 1, dup: false, retain: false, payload: Buffer.from('first') })
  expect(three).toMatchObject({ topic: 'three', qos: 0, payload: Buffer.alloc(0) })
  expect(one?.messageId).not.toBe(two?.messageId)
  send({ cmd: 'puback', messageId: two!.messageId! }, { cmd: 'puback', messageId: 999 })
  await settle()
  expect(done).toEqual(['three sent', 'two acknowledged'])
  send({ cmd: 'puback', messageId: one!.messageId! })
  await settle()
  expect(done).toEqual(['three sent', 'two acknowledged', 'one acknowledged'])
})

test('a large message to the device arrives whole', async () => {
  const { connect, received, session } = bench()
  await connect()
  const payload = Buffer.alloc(200_000, 'x')
  await session().publish('big', payload, 0)
  await settle()
  expect(received.at(-1)).toMatchObject({ topic: 'big', payload })
})

test('a topic that no packet can carry is an error of the caller', async () => {
  const { connect, session } = bench()
  await connect()
  await expect(session().publish('t'.repeat(65_536), '', 0)).rejects.toThrow(RangeError)
  await expect(session().publish('', '', 0)).rejects.toThrow(RangeError)
})

test('messages wait for CONNACK; a refused CONNECT loses them', async () => {
  const judged = gate()
  const done: string[] = []
  const accepted = bench({
    answer: async (face, session) => {
      void session.publish('early', '1', 0).then((how) => done.push(how))
      await judged.promise
      return { face }
    },
  })
  const refused = bench({
    answer: async (_, session) => {
      void session.publish('early', '1', 1).then((how) => done.push(how))
      await judged.promise
      return { refuse: 5 }
    },
  })
  await accepted.connect()
  await refused.connect()
  expect(accepted.received).toEqual([])
  judged.open()
  await settle()
  expect(commands(accepted.received)).toEqual(['connack', 'publish'])
  expect(commands(refused.received)).toEqual(['connack'])
  expect(done.sort()).toEqual(['lost', 'sent'])
})

test('packets in the segment of CONNECT wait for its answer and keep their order', async () => {
  const judged = gate()
  const { send, received, face } = bench({
    answer: async (face) => {
      await judged.promise
      return { face }
    },
  })
  send(
    connectPacket(),
    { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 1 }] },
    publishPacket(2),
    publishPacket(3),
  )
  await settle()
  expect(face.published).toEqual([])
  judged.open()
  await settle()
  expect(commands(received)).toEqual(['connack', 'suback', 'puback', 'puback'])
  expect(face.published.map(({ payload }) => payload.toString())).toEqual(['m2', 'm3'])
})

test('packets behind a refused CONNECT reach nobody', async () => {
  const { send, face, received } = bench({ answer: () => ({ refuse: 5 }) })
  send(connectPacket(), publishPacket(1))
  await settle()
  expect(face.published).toEqual([])
  expect(commands(received)).toEqual(['connack'])
})

test('DISCONNECT: what came before is answered, then the session ends without a loss', async () => {
  const commit = gate()
  const { connect, send, received, face, closed } = bench({ face: { publish: () => commit.promise } })
  await connect()
  send(publishPacket(1), { cmd: 'disconnect' }, publishPacket(2))
  await settle()
  expect(face.endings).toEqual([])
  commit.open()
  await settle()
  expect(face.endings).toEqual(['disconnect'])
  expect(commands(received)).toEqual(['connack', 'puback'])
  expect(closed()).toBe(true)
})

test('a device that vanishes is lost, after what it sent is worked on; its messages are lost at once', async () => {
  const commit = gate()
  const { connect, send, device, face, session } = bench({ face: { publish: () => commit.promise } })
  await connect()
  send(publishPacket(1))
  await settle()
  const delivery = session().publish('x', 'y', 1)
  device.destroy()
  await settle()
  expect(await delivery).toBe('lost')
  expect(face.endings).toEqual([])
  commit.open()
  await settle()
  expect(face.endings).toEqual(['lost'])
  expect(await session().publish('x', 'y', 1)).toBe('lost')
})

test('a device that vanishes while CONNECT is judged: the face hears of it', async () => {
  const judged = gate()
  const { connect, device, face } = bench({
    answer: async (face) => {
      await judged.promise
      return { face }
    },
  })
  await connect()
  device.destroy()
  await settle()
  judged.open()
  await settle()
  expect(face.endings).toEqual(['lost'])
})

test('close from our side: what was written still leaves, waiting messages are lost', async () => {
  const { connect, session, received, face, closed, send } = bench()
  await connect()
  const waiting = session().publish('x', '1', 1)
  session().close('another connection took over')
  expect(await waiting).toBe('lost')
  expect(face.endings).toEqual(['closed'])
  send(publishPacket(1))
  await settle()
  expect(commands(received)).toEqual(['connack', 'publish'])
  expect(face.published).toEqual([])
  expect(closed()).toBe(true)
  session().close('again')
  expect(face.endings).toEqual(['closed'])
})

test('close while CONNECT is still judged', async () => {
  const judged = gate()
  const { connect, face, session, closed } = bench({
    answer: async (face) => {
      await judged.promise
      return { face }
    },
  })
  await connect()
  session().close('taken over')
  judged.open()
  await settle()
  expect(face.endings).toEqual(['closed'])
  expect(closed()).toBe(true)
})

test('a device that does not close its side is cut after the grace', async () => {
  const { connect, session, server, clock, device } = bench()
  device.on('end', () => undefined)
  device.allowHalfOpen = true
  await connect()
  session().close('enough')
  await settle()
  clock.advance(2_000)
  expect(server.destroyed).toBe(true)
})

test('stop answers what was received, then closes', async () => {
  const commit = gate()
  const { connect, send, connection, received, face } = bench({ face: { publish: () => commit.promise } })
  await connect()
  send(publishPacket(1))
  await settle()
  connection.stop()
  await settle()
  expect(face.endings).toEqual([])
  commit.open()
  await settle()
  expect(commands(received)).toEqual(['connack', 'puback'])
  expect(face.endings).toEqual(['closed'])
})

test('stop closes a connection that has said nothing', async () => {
  const { connection, closed } = bench()
  connection.stop()
  await settle()
  expect(closed()).toBe(true)
})

test('a refusal of the face closes its connection and no other', async () => {
  const { log, lines } = recordedLog()
  const refusing = bench({
    log,
    face: { publish: () => Promise.reject(new ServiceError(401002, 'This topic belongs to another device.')) },
  })
  const other = bench()
  await refusing.connect()
  await other.connect()
  refusing.send(publishPacket(1))
  other.send(publishPacket(1))
  await settle()
  expect(refusing.closed()).toBe(true)
  expect(refusing.face.endings).toEqual(['lost'])
  expect(commands(refusing.received)).toEqual(['connack'])
  expect(lines.join()).toContain('This topic belongs to another device.')
  expect(commands(other.received)).toEqual(['connack', 'puback'])
})

const bug = (): never => {
  throw new TypeError('bug in a face')
}

test.each([
  ['publish', { publish: bug }],
  ['publish, later', { publish: async () => bug() }],
  ['subscribe', { subscribe: bug }],
  ['subscribed', { subscribed: bug }],
  ['unsubscribe', { unsubscribe: bug }],
  ['afterAck', { publish: async () => ({ afterAck: bug }) }],
])('a fault in %s closes its connection, is logged, and the face hears of the end', async (_, face) => {
  const { log, lines } = recordedLog()
  const each = bench({ log, face })
  await each.connect()
  each.send(publishPacket(1))
  each.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] })
  each.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['a'] })
  await settle()
  expect(each.closed()).toBe(true)
  expect(each.face.endings).toEqual(['lost'])
  expect(lines.join()).toContain('bug in a face')
})

test('a fault in ended is logged and goes no further', async () => {
  const { log, lines } = recordedLog()
  const { connect, send, closed } = bench({ log, face: { ended: bug } })
  await connect()
  send({ cmd: 'disconnect' })
  await settle()
  expect(closed()).toBe(true)
  expect(lines.join()).toContain('bug in a face')
})

test('a session that has not proved itself keeps the deadline until the face says so', async () => {
  const { connect, session, provedTimes } = bench({ answer: (face) => ({ face, unproved: true }) })
  await connect()
  expect(provedTimes()).toBe(0)
  session().proved()
  expect(provedTimes()).toBe(1)
})

test('an error of the stream is not unhandled', async () => {
  const { connect, server, face } = bench()
  await connect()
  server.destroy(new Error('read ECONNRESET'))
  await settle()
  expect(face.endings).toEqual(['lost'])
})

test('a stream that cannot be written any more is a loss, not a fault', async () => {
  const { connect, server, session } = bench()
  await connect()
  server._write = (_chunk, _encoding, done) => done(new Error('write EPIPE'))
  server._writev = null as unknown as Writable['_writev'] & null
  expect(await session().publish('x', 'y', 0)).toBe('lost')
})
