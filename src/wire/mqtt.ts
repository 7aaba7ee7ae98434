import type { Duplex } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Connection } from './mqtt-connection.ts'

/** What a CONNECT packet said, nothing of it verified. */
export interface MqttConnect {
  clientId: string
  username: string | undefined
  password: Buffer | undefined
  clean: boolean
  /** Seconds, as sent; 0 is "off". */
  keepAlive: number
  will: MqttWill | undefined
  protocolLevel: number
}

export interface MqttWill {
  topic: string
  payload: Buffer
  qos: number
  retain: boolean
}

export interface MqttPublish {
  topic: string
  payload: Buffer
  qos: 0 | 1
  retain: boolean
  dup: boolean
}

/** The server's half of one connection, for the face that gives it meaning. */
export interface MqttSession {
  /**
   * Sends a PUBLISH. QoS 1: resolves 'acknowledged' with the client's PUBACK. QoS 0: 'sent' once handed to the
   * network. 'lost': the connection ended before. Nothing leaves before CONNACK, so it may be called at any time.
   * Never rejects for reasons of the connection; a topic that no packet can carry is a RangeError.
   */
  publish(topic: string, payload: Buffer | string, qos: 0 | 1): Promise<'acknowledged' | 'sent' | 'lost'>
  /**
   * The client has proved who it is: lifts the deadline, the ceiling and the small packet limit of strangers. Called
   * by the engine when CONNECT is accepted, unless the answer said `unproved` (a DPS session before its register message).
   */
  proved(): void
  /** Ends the connection from this side: what is already written still leaves. `reason` is for the log. */
  close(reason: string): void
}

/** What happens after the PUBACK of a message was written: DPS answers only then (dps.md 2.5, C# insists). */
export interface AfterAck {
  afterAck(): void
}

export interface MqttFace {
  /** Grants per filter, in their order; 128 refuses one. Later packets of the connection wait for it. */
  subscribe(filters: readonly { topic: string; qos: 0 | 1 | 2 }[]): Promise<readonly (0 | 1 | 128)[]>
  /** After SUBACK was written: from here on the client expects messages on these filters. */
  subscribed?(filters: readonly string[]): void
  unsubscribe(filters: readonly string[]): Promise<void>
  /**
   * Resolves after the commit; PUBACK follows, in order of arrival. Called in order of arrival without waiting for
   * earlier ones, at most `limits.mqttInFlight` at a time. A rejection closes the connection.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: most faces have nothing to say after the PUBACK
  publish(message: MqttPublish): Promise<AfterAck | void>
  /**
   * Once, after an accepted CONNECT: 'disconnect' the client took leave, after everything it sent before was answered
   * (no will); 'lost' network, keep-alive or a protocol violation; 'closed' by `session.close` or `stop`.
   */
  ended(how: 'disconnect' | 'lost' | 'closed'): void
}

export type ConnectAnswer =
  | { face: MqttFace; sessionPresent?: boolean; unproved?: boolean }
  /** CONNACK code (hub-device.md 1.8). */
  | { refuse: 1 | 2 | 3 | 4 | 5 }

export interface MqttNeeds {
  clock: Clock
  log: Log
  /** Source address, for the log. */
  remote: string
  /** Tells the listener that the connection is no stranger any more (`Peer.proved`). */
  proved(): void
  /** Judges a CONNECT. A thrown error is logged and answered with CONNACK 3, which SDKs retry. */
  connect(packet: MqttConnect, session: MqttSession): Promise<ConnectAnswer>
}

export interface MqttConnection {
  /** Answers what has been received, then closes: for the end of the process. */
  stop(): void
}

/** Speaks MQTT 3.1.1 as a server on any stream: TLS, WebSocket or memory. */
export function serveMqtt(stream: Duplex, needs: MqttNeeds): MqttConnection {
  return new Connection(stream, needs)
}
