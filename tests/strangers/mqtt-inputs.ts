import mqttPacket, { type IConnectPacket, type Packet } from 'mqtt-packet'

const session = (...packets: Packet[]): Buffer => Buffer.concat(packets.map((packet) => mqttPacket.generate(packet)))

const publish = (topic: string, payload: string, qos: 0 | 1, messageId?: number): Packet => ({
  cmd: 'publish',
  topic,
  payload,
  qos,
  dup: false,
  retain: false,
  ...(messageId === undefined ? {} : { messageId }),
})

/** Sessions as real clients hold them, to be mutated. `connect` is completed with what names the device. */
export function mqttInputs(identity: Partial<IConnectPacket>, deviceId: string): Buffer[] {
  const connect = (packet: Partial<IConnectPacket> = {}): Packet => ({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: false,
    keepalive: 60,
    clientId: deviceId,
    ...identity,
    ...packet,
  })
  const events = `devices/${deviceId}/messages/events/`
  return [
    session(connect()),
    session(connect({ clean: true, keepalive: 0 }), { cmd: 'pingreq' }, { cmd: 'disconnect' }),
    session(
      connect({ will: { topic: events, payload: Buffer.from('gone'), qos: 1, retain: false } }),
      publish(`${events}%24.mid=1&%24.ct=application%2Fjson&%24.ce=utf-8&a=b`, '{"t":21.5}', 1, 1),
      publish(`${events}rate=100%&x=%zz`, 'x'.repeat(300), 1, 2),
      publish(events, '', 0),
      publish(events, 'three', 1, 3),
    ),
    session(
      connect(),
      { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$iothub/twin/res/#', qos: 0 }] },
      publish('$iothub/twin/GET/?$rid=1', ' ', 0),
      publish('$iothub/twin/PATCH/properties/reported/?$rid=2', '{"a":{"b":[1,2,{"c":null}]},"d":"text"}', 1, 2),
      publish('$iothub/methods/res/200/?$rid=3', 'null', 0),
      { cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['$iothub/twin/res/#'] },
    ),
    session(
      connect(),
      {
        cmd: 'subscribe',
        messageId: 9,
        subscriptions: [
          { topic: `devices/${deviceId}/messages/devicebound/#`, qos: 1 },
          { topic: '$iothub/methods/POST/#', qos: 2 },
          { topic: '$iothub/twin/PATCH/properties/desired/#', qos: 0 },
        ],
      },
      { cmd: 'puback', messageId: 7 },
      publish(events, 'y'.repeat(2_000), 1, 65_535),
      { cmd: 'pingreq' },
    ),
    session(connect(), connect()),
    session(connect({ protocolVersion: 3, protocolId: 'MQIsdp' })),
    session(connect(), { cmd: 'publish', topic: 'a', payload: 'b', qos: 2, messageId: 1, dup: true, retain: true }),
    session({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      keepalive: 180,
      clientId: 'dev-001',
      username: '0ne00000001/registrations/dev-001/api-version=2019-03-31&ClientVersion=azure%2F1.9.1',
      password: Buffer.from(
        'SharedAccessSignature sr=0ne00000001%2Fregistrations%2Fdev-001&sig=AAAA&skn=registration&se=1',
      ),
    }),
  ]
}

/** Throws unless `output` consists of whole packets that a server may send, CONNACK first and once. */
export function checkMqttOutput(output: Buffer): Packet[] {
  const packets: Packet[] = []
  const parser = mqttPacket.parser({ protocolVersion: 4 })
  parser.on('packet', (packet) => packets.push(packet))
  parser.on('error', (error) => {
    throw new Error(`the server wrote a malformed packet: ${error.message}`)
  })
  const left = parser.parse(output)
  if (left !== 0) throw new Error('the server wrote half a packet')
  const commands = packets.map(({ cmd }) => cmd)
  if (commands.length > 0 && commands.indexOf('connack') !== 0) throw new Error('something precedes CONNACK')
  if (commands.lastIndexOf('connack') > 0) throw new Error('CONNACK was sent twice')
  const wrong = commands.find(
    (cmd) => !['connack', 'puback', 'suback', 'unsuback', 'pingresp', 'publish'].includes(cmd),
  )
  if (wrong !== undefined) throw new Error(`the server sent ${wrong}`)
  return packets
}
