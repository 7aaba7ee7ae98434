import { createHmac } from 'node:crypto'
import { type Agent, request } from 'node:https'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import mqtt from 'mqtt-packet'

/** Small clients of our own, for load and faults: they know exactly what was acknowledged. Real SDKs judge compatibility. */

export interface Target {
  readonly host: string
  readonly port: number
  readonly ca: string
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: unknown
}

export interface Asking {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly cert?: string
  readonly key?: string
  readonly agent?: Agent
  /** The source address. */
  readonly localAddress?: string
}

/** One HTTPS request; rejects when the connection fails before a whole answer came. */
export function ask(target: Target, asking: Asking): Promise<Answer> {
  const { method, path, headers = {}, body, agent, ...identity } = asking
  const text = body === undefined ? undefined : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: target.host,
        // The certificate is checked against the address that is dialled, not against whatever Host says.
        servername: '',
        port: target.port,
        ca: target.ca,
        method,
        path,
        headers: { ...(text === undefined ? {} : { 'content-type': 'application/json; charset=utf-8' }), ...headers },
        timeout: 30_000,
        ...identity,
        ...(agent === undefined ? {} : { agent }),
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          if (!response.complete) return reject(new Error('The answer was cut off.'))
          const raw = Buffer.concat(chunks).toString()
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed(raw) })
        })
      },
    )
    sent.on('timeout', () => sent.destroy(new Error('No answer within 30 s.')))
    sent.on('error', reject)
    sent.end(text)
  })
}

function parsed(text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}

/** A SAS token over `resource`, percent-encoded, valid for an hour. `key` is base64. */
export function sas(resource: string, key: string, policy?: string): string {
  const sr = encodeURIComponent(resource)
  const se = Math.floor(Date.now() / 1000) + 3600
  const sig = createHmac('sha256', Buffer.from(key, 'base64')).update(`${sr}\n${se}`).digest('base64')
  return `SharedAccessSignature sr=${sr}&sig=${encodeURIComponent(sig)}&se=${se}${policy === undefined ? '' : `&skn=${policy}`}`
}

export const derivedKey = (groupKey: string, registrationId: string): string =>
  createHmac('sha256', Buffer.from(groupKey, 'base64')).update(registrationId).digest('base64')

/** `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…` as an Authorization header's value. */
export function serviceToken(connectionString: string): string {
  const parts = Object.fromEntries(
    connectionString.split(';').map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]),
  )
  return sas(parts['HostName'] ?? '', parts['SharedAccessKey'] ?? '', parts['SharedAccessKeyName'])
}

/** An MQTT device that counts what was acknowledged. */
export interface RawDevice {
  /** Resolves when PUBACK arrived; rejects when the connection ended before. */
  publish(topic: string, payload: string): Promise<void>
  end(): void
  readonly closed: Promise<void>
}

export interface DeviceLogin {
  readonly hubHost: string
  readonly deviceId: string
  readonly password?: string
  readonly cert?: string
  readonly key?: string
}

/** Connects (CONNACK 0) or rejects with the CONNACK code or the network's error. */
export async function connectDevice(target: Target, login: DeviceLogin): Promise<RawDevice> {
  const socket = connectTls({
    host: target.host,
    port: target.port,
    ca: target.ca,
    ...(login.cert === undefined ? {} : { cert: login.cert }),
    ...(login.key === undefined ? {} : { key: login.key }),
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>()
  await accepted(socket, login, waiting)
  void closed.then(() => {
    for (const each of waiting.values()) each.reject(new Error('The connection ended.'))
    waiting.clear()
  })
  let nextId = 0
  return {
    closed,
    end: () => socket.end(mqtt.generate({ cmd: 'disconnect' })),
    publish: (topic, payload) => {
      nextId = (nextId % 65_535) + 1
      const messageId = nextId
      return new Promise((resolve, reject) => {
        if (socket.destroyed) return reject(new Error('The connection ended.'))
        waiting.set(messageId, { resolve, reject })
        socket.write(mqtt.generate({ cmd: 'publish', topic, payload, qos: 1, messageId, dup: false, retain: false }))
      })
    },
  }
}

function accepted(
  socket: TLSSocket,
  login: DeviceLogin,
  waiting: Map<number, { resolve: () => void; reject: (error: Error) => void }>,
): Promise<void> {
  const parser = mqtt.parser()
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('Closed before CONNACK.')))
    socket.on('data', (chunk: Buffer) => parser.parse(chunk))
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connack') {
        if (packet.returnCode === 0) resolve()
        else reject(Object.assign(new Error(`CONNACK ${packet.returnCode}`), { returnCode: packet.returnCode }))
      } else if (packet.cmd === 'puback') {
        waiting.get(packet.messageId ?? 0)?.resolve()
        waiting.delete(packet.messageId ?? 0)
      }
    })
    socket.once('secureConnect', () => {
      const { hubHost, deviceId, password } = login
      socket.write(
        mqtt.generate({
          cmd: 'connect',
          protocolId: 'MQTT',
          protocolVersion: 4,
          clean: false,
          clientId: deviceId,
          keepalive: 60,
          username: `${hubHost}/${deviceId}/?api-version=2021-04-12`,
          ...(password === undefined ? {} : { password: Buffer.from(password) }),
        }),
      )
    })
  })
}
