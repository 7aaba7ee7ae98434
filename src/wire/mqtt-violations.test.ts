import mqttPacket from 'mqtt-packet'
import { expect, test } from 'vitest'
import { bench, connectPacket, publishPacket, settle } from '../../tests/wire-engine/device.ts'

// Every protocol violation ends in a closed connection: 3.1.1 has no error packet (hub-device.md 2.1). The inputs are
// written by hand, because no client library produces them.

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')

/** CONNECT with name, level, flags and payload as hex. */
const connect = (name: string, level: string, flags: string, payload: string): Buffer => {
  const body = hex(`${name}${level}${flags}003c${payload}`)
  return Buffer.concat([Buffer.from([0x10, body.length]), body])
}

const MQTT = '0004 4d515454'
const D1 = '0002 6431'

test.each([
  ['nothing but an invalid type 0', hex('00 00')],
  ['AUTH of MQTT 5', hex('f0 00')],
  ['a TLS-like record', hex('16 03 01 02 00 01')],
  ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['PUBLISH first', mqttPacket.generate(publishPacket(1))],
  ['PINGREQ first', hex('c0 00')],
  ['DISCONNECT first', hex('e0 00')],
  ['SUBSCRIBE first', hex('82 06 0001 0001 61 00')],
  ['an empty CONNECT', hex('10 00')],
  ['a length of five bytes', hex('10 ff ff ff ff 01')],
  ['256 MiB announced', hex('10 ff ff ff 7f')],
  ['flags in the fixed header of CONNECT', hex('11 0e 00044d515454 04 02 003c 0002 6431')],
  ['another protocol name', connect('0004 4d515458', '04', '02', D1)],
  ['a protocol name in lower case', connect('0004 6d717474', '04', '02', D1)],
  ['the old protocol name with the new level', connect('0006 4d5149736470', '04', '02', D1)],
  ['the reserved connect flag', connect(MQTT, '04', '03', D1)],
  ['will QoS without a will', connect(MQTT, '04', '0a', D1)],
  ['will retain without a will', connect(MQTT, '04', '22', D1)],
  ['will QoS 3', connect(MQTT, '04', '1e', `${D1} 0001 61 0001 62`)],
  ['a password without a user name', connect(MQTT, '04', '42', `${D1} 0001 70`)],
  ['no client id', connect(MQTT, '04', '02', '')],
  ['a client id that is cut', connect(MQTT, '04', '02', '0005 6431')],
  ['no user name though announced', connect(MQTT, '04', '82', D1)],
  ['no password though announced', connect(MQTT, '04', 'c2', `${D1} 0001 75`)],
  ['no will though announced', connect(MQTT, '04', '06', D1)],
  ['bytes left over', connect(MQTT, '04', '02', `${D1} 00`)],
  ['a client id that is no UTF-8', connect(MQTT, '04', '02', '0002 c328')],
  ['a client id with U+0000', connect(MQTT, '04', '02', '0002 6400')],
  ['a user name that is no UTF-8', connect(MQTT, '04', '82', `${D1} 0001 ff`)],
  ['a will topic with half a surrogate pair', connect(MQTT, '04', '06', `${D1} 0003 eda080 0000`)],
])('before an accepted CONNECT: %s closes, without an answer', async (_, bytes) => {
  const { write, server, received, connects } = bench()
  write(bytes)
  await settle()
  expect(server.destroyed).toBe(true)
  expect(received).toEqual([])
  expect(connects).toEqual([])
})

test.each([
  ['3.1', connect('0006 4d5149736470', '03', '02', D1)],
  ['5', connect(MQTT, '05', '02', `00 ${D1}`)],
  ['level 3 under the new name', connect(MQTT, '03', '02', D1)],
  ['level 0', connect(MQTT, '00', '02', D1)],
  ['level 255', connect(MQTT, 'ff', '02', D1)],
  ['a bridge (level 4 with the top bit)', connect(MQTT, '84', '02', D1)],
])('MQTT %s is answered with code 1 and closed', async (_, bytes) => {
  const { write, closed, writes, connects } = bench()
  write(bytes)
  await settle()
  expect(Buffer.concat(writes).toString('hex')).toBe('20020001')
  expect(closed()).toBe(true)
  expect(connects).toEqual([])
})

const CONNECT = mqttPacket.generate(connectPacket())

test.each([
  ['a second CONNECT', CONNECT],
  ['a second CONNECT of MQTT 5', connect(MQTT, '05', '02', `00 ${D1}`)],
  ['CONNACK', hex('20 02 00 00')],
  ['SUBACK', hex('90 03 0001 00')],
  ['UNSUBACK', hex('b0 02 0001')],
  ['PINGRESP', hex('d0 00')],
  ['PUBLISH of QoS 2', hex('34 06 0001 61 0001 78')],
  ['PUBLISH of QoS 3', hex('36 06 0001 61 0001 78')],
  ['PUBLISH QoS 0 with DUP', hex('38 04 0001 61 78')],
  ['PUBLISH without a topic', hex('30 02 0000')],
  ['PUBLISH without a topic length', hex('30 01 00')],
  ['PUBLISH of no bytes', hex('30 00')],
  ['PUBLISH with a topic longer than the packet', hex('30 04 0009 61 78')],
  ['PUBLISH to a filter with +', hex('30 05 0003 612f2b')],
  ['PUBLISH to a filter with #', hex('30 05 0003 612f23')],
  ['PUBLISH to a topic with U+0000', hex('30 04 0002 6100')],
  ['PUBLISH to a topic that is no UTF-8', hex('30 04 0002 61ff')],
  ['PUBLISH QoS 1 with identifier 0', hex('32 05 0001 61 0000')],
  ['PUBLISH QoS 1 without identifier', hex('32 03 0001 61')],
  ['PUBLISH QoS 1 with half an identifier', hex('32 04 0001 61 00')],
  ['PUBLISH QoS 1 without identifier, another packet behind it', hex('32 03 0001 61 c000 c000')],
  ['PUBREC', hex('50 02 0001')],
  ['PUBREL', hex('62 02 0001')],
  ['PUBCOMP', hex('70 02 0001')],
  ['PUBACK with identifier 0', hex('40 02 0000')],
  ['PUBACK of three bytes', hex('40 03 0001 00')],
  ['PUBACK of one byte', hex('40 01 00')],
  ['PUBACK with flags', hex('41 02 0001')],
  ['SUBSCRIBE without reserved flag', hex('80 06 0001 0001 61 00')],
  ['SUBSCRIBE with identifier 0', hex('82 06 0000 0001 61 00')],
  ['SUBSCRIBE without identifier', hex('82 00')],
  ['SUBSCRIBE without filters', hex('82 02 0001')],
  ['SUBSCRIBE with an empty filter', hex('82 05 0001 0000 00')],
  ['SUBSCRIBE with # before the end', hex('82 08 0001 0003 232f61 00')],
  ['SUBSCRIBE with # behind text', hex('82 07 0001 0002 6123 00')],
  ['SUBSCRIBE with + behind text', hex('82 07 0001 0002 612b 00')],
  ['SUBSCRIBE for QoS 3', hex('82 06 0001 0001 61 03')],
  ['SUBSCRIBE with reserved bits of QoS', hex('82 06 0001 0001 61 04')],
  ['SUBSCRIBE without QoS', hex('82 05 0001 0001 61')],
  ['SUBSCRIBE to text that is no UTF-8', hex('82 06 0001 0001 ff 00')],
  ['SUBSCRIBE with too many filters', Buffer.concat([hex('82 ce 01 0001'), Buffer.alloc(51 * 4, hex('0001 61 00'))])],
  ['UNSUBSCRIBE without reserved flag', hex('a0 05 0001 0001 61')],
  ['UNSUBSCRIBE without filters', hex('a2 02 0001')],
  ['UNSUBSCRIBE with identifier 0', hex('a2 05 0000 0001 61')],
  ['UNSUBSCRIBE with an empty filter', hex('a2 04 0001 0000')],
  ['UNSUBSCRIBE with a filter that is cut', hex('a2 05 0001 0009 61')],
  ['PINGREQ with flags', hex('c1 00')],
  ['PINGREQ with a body', hex('c0 01 00')],
  ['DISCONNECT with flags', hex('e1 00')],
  ['DISCONNECT with a body, as in MQTT 5', hex('e0 01 00')],
  ['a packet of an invalid type', hex('00 00')],
])('after it: %s closes, as a loss, and nothing of it reaches the face', async (_, bytes) => {
  const { write, server, received, face } = bench()
  write(Buffer.concat([CONNECT, bytes, mqttPacket.generate(publishPacket(77))]))
  await settle()
  expect(server.destroyed).toBe(true)
  expect(received.filter(({ cmd }) => cmd !== 'connack')).toEqual([])
  expect(face.published).toEqual([])
  expect(face.endings).toEqual(['lost'])
})

test('a topic that really has U+FFFD in it is accepted', async () => {
  const { write, received, face } = bench()
  write(Buffer.concat([CONNECT, mqttPacket.generate(publishPacket(1, 'x', 'a/\ufffd'))]))
  await settle()
  expect(face.published).toMatchObject([{ topic: 'a/\ufffd' }])
  expect(received).toMatchObject([{ cmd: 'connack' }, { cmd: 'puback' }])
})

test.each(['#', '+', '/', '+/+', 'a/+/b', 'a/#', '+/#', '/#', '$iothub/twin/res/#'])(
  'filter %s is well-formed',
  async (topic) => {
    const { write, received } = bench()
    write(
      Buffer.concat([
        CONNECT,
        mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] }),
      ]),
    )
    await settle()
    expect(received.at(-1)).toMatchObject({ cmd: 'suback', granted: [0] })
  },
)

test('as many filters as a session may hold are accepted in one packet', async () => {
  const { write, received } = bench()
  write(Buffer.concat([CONNECT, hex('82 ca 01 0001'), Buffer.alloc(50 * 4, hex('0001 61 00'))]))
  await settle()
  expect(received.at(-1)).toMatchObject({ cmd: 'suback', messageId: 1 })
})
