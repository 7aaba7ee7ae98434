import type { Duplex } from 'node:stream'
import type { Timer } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { assembly, FrameRefused, frameLimit, MQTT_HEADER_BYTES, mqttPacketSize } from './byte-limits.ts'
import type {
  ConnectAnswer,
  MqttConnect,
  MqttConnection,
  MqttFace,
  MqttNeeds,
  MqttPublish,
  MqttSession,
} from './mqtt.ts'
import { type Delivery, Outbox } from './mqtt-outbox.ts'
import {
  type ClientPacket,
  CONNECT_TYPE,
  connack,
  PINGRESP,
  ProtocolViolation,
  packetDecoder,
  puback,
  suback,
  unsuback,
} from './mqtt-packets.ts'
import { Replies, type Reply } from './mqtt-replies.ts'

/**
 * - `awaiting-connect`: nothing was said yet; the only packet allowed is CONNECT.
 * - `connecting`: the face judges CONNECT; nothing more is read.
 * - `connected`: packets go to the face.
 * - `subscribing`: connected, but later packets wait for a SUBSCRIBE or UNSUBSCRIBE, so that nothing that they cause
 *   can precede its answer (hub-device.md 2.5, 2.7).
 * - `leaving`: what was received is still being answered; nothing more is accepted.
 * - `closed`: over; the stream may still be sending its last bytes.
 */
type State = 'awaiting-connect' | 'connecting' | 'connected' | 'subscribing' | 'leaving' | 'closed'

type Ending = Parameters<MqttFace['ended']>[0]

/** One MQTT 3.1.1 connection: order, acknowledgement, time and bounds; no meaning. */
export class Connection implements MqttSession, MqttConnection {
  readonly #stream: Duplex
  readonly #needs: MqttNeeds
  readonly #outbox: Outbox
  readonly #replies: Replies
  readonly #frames = frameLimit(MQTT_HEADER_BYTES, mqttPacketSize, () => this.#packetLimit)
  readonly #assembly = assembly()
  readonly #decode = packetDecoder()
  #state: State = 'awaiting-connect'
  #packetLimit: number = limits.mqttConnectBytes
  #face: MqttFace | undefined
  /** For the log, once CONNECT was accepted. */
  #clientId: string | undefined
  #ending: Ending = 'lost'
  #timer: Timer
  /** Last time the client was heard or one of its packets was answered (ms); 0 before its first byte. */
  #alive = 0

  constructor(stream: Duplex, needs: MqttNeeds) {
    this.#stream = stream
    this.#needs = needs
    this.#outbox = new Outbox(stream, (reason) => this.#cut(reason))
    this.#replies = new Replies((packet) => this.#outbox.send(packet))
    this.#timer = needs.clock.after(limits.proveMs, () => this.#cut('no accepted CONNECT in time'))
    stream.on('data', (chunk: Buffer) => this.#received(chunk))
    stream.on('drain', () => this.#readOn())
    stream.on('end', () => this.#leave('lost'))
    stream.on('error', (error) => this.#note(error.message))
    stream.on('close', () => this.#gone())
  }

  publish(topic: string, payload: Buffer | string, qos: 0 | 1): Promise<Delivery> {
    return this.#outbox.publish(topic, payload, qos)
  }

  proved(): void {
    this.#packetLimit = limits.mqttPacketBytes
    this.#needs.proved()
  }

  close(reason: string): void {
    if (this.#state === 'closed') return
    this.#note(reason)
    this.#finish('closed')
  }

  stop(): void {
    this.#leave('closed')
  }

  // --- bytes to packets

  #received(chunk: Buffer): void {
    const first = this.#alive === 0
    this.#alive = this.#needs.clock.now()
    try {
      // [MQTT-3.1.0-1], seen at the first byte: other protocols need not be waited for.
      if (first && chunk[0] !== CONNECT_TYPE) throw new ProtocolViolation('The first packet is not CONNECT.')
      for (let at = 0; at < chunk.length; ) {
        if (this.#state === 'leaving' || this.#state === 'closed') return
        if (!this.#mayRead()) return void this.#holdBack(chunk.subarray(at))
        const end = this.#frames.advance(chunk, at)
        const piece = chunk.subarray(at, end)
        if (this.#frames.complete()) this.#accept(this.#assembly.finish(piece))
        else this.#assembly.add(piece)
        at = end
      }
    } catch (error) {
      if (error instanceof ProtocolViolation || error instanceof FrameRefused) this.#cut(error.message)
      else this.#failed(error)
    }
  }

  #mayRead(): boolean {
    if (this.#state === 'awaiting-connect') return true
    const { count, bytes } = this.#replies
    return (
      this.#state === 'connected' &&
      count < limits.mqttInFlight &&
      (count === 0 || bytes < limits.mqttInFlightBytes) &&
      !this.#outbox.full()
    )
  }

  /** Backpressure: what cannot be worked on now stays with the stream, which stops reading from the network. */
  #holdBack(rest: Buffer): void {
    this.#stream.pause()
    this.#stream.unshift(rest)
  }

  #readOn(): void {
    if (!this.#stream.isPaused()) return
    if (this.#mayRead() || this.#state === 'leaving' || this.#state === 'closed') this.#stream.resume()
  }

  // --- packets

  #accept(bytes: Buffer): void {
    const packet = this.#decode(bytes)
    if (this.#state === 'awaiting-connect') return void this.#first(packet)
    const face = this.#face
    if (face === undefined) return
    switch (packet.type) {
      case 'publish':
        return void this.#publish(face, packet.id, packet.message, bytes.length)
      case 'puback':
        return void this.#outbox.acknowledged(packet.id)
      case 'subscribe':
        return void this.#subscribe(face, packet.id, packet.filters)
      case 'unsubscribe':
        return void this.#unsubscribe(face, packet.id, packet.filters)
      case 'pingreq':
        return void this.#outbox.send(PINGRESP)
      case 'disconnect':
        return void this.#leave('disconnect')
      // [MQTT-3.1.0-2]
      case 'connect':
      case 'other-version':
        throw new ProtocolViolation('A second CONNECT.')
    }
  }

  /** [MQTT-3.1.0-1]: the first packet is CONNECT. */
  #first(packet: ClientPacket): void {
    switch (packet.type) {
      case 'connect':
        return void this.#connect(packet.connect)
      // [MQTT-3.1.2-2]
      case 'other-version':
        return void this.#refuse(1, `protocol level ${packet.level} is not MQTT 3.1.1`)
      default:
        throw new ProtocolViolation('A packet before CONNECT.')
    }
  }

  async #connect(connect: MqttConnect): Promise<void> {
    this.#state = 'connecting'
    try {
      this.#answer(connect, await this.#needs.connect(connect, this))
    } catch (error) {
      this.#needs.log.error({ remote: this.#needs.remote, err: error }, 'MQTT connect failed')
      // 3, "server unavailable": SDKs try again (hub-device.md 1.8).
      this.#refuse(3, 'an internal error occurred')
    }
  }

  #answer(connect: MqttConnect, answer: ConnectAnswer): void {
    if ('refuse' in answer) return void this.#refuse(answer.refuse, 'the face refused it')
    this.#face = answer.face
    if (this.#state !== 'connecting') return void this.#tellEnd()
    this.#clientId = connect.clientId
    this.#state = 'connected'
    this.#outbox.open(connack(0, answer.sessionPresent === true))
    this.#packetLimit = limits.mqttUnprovedPacketBytes
    if (answer.unproved !== true) this.proved()
    this.#watch(connect.keepAlive)
    this.#readOn()
  }

  #refuse(code: 1 | 2 | 3 | 4 | 5, reason: string): void {
    if (this.#state === 'closed') return
    this.#note(`CONNECT refused with code ${code}: ${reason}`)
    this.#outbox.refuse(connack(code))
    this.#finish('closed')
  }

  #publish(face: MqttFace, id: number, message: MqttPublish, bytes: number): void {
    const reply = this.#replies.expect(bytes)
    face.publish(message).then(
      (then) => this.#settle(reply, id === 0 ? undefined : puback(id), then ? () => then.afterAck() : undefined),
      (error: unknown) => this.#failed(error),
    )
  }

  async #subscribe(face: MqttFace, id: number, filters: { topic: string; qos: 0 | 1 | 2 }[]): Promise<void> {
    this.#state = 'subscribing'
    const reply = this.#replies.expect(0)
    try {
      const grants = await face.subscribe(filters)
      const granted = filters.filter((_, at) => grants[at] !== 128).map(({ topic }) => topic)
      this.#settle(reply, suback(id, grants), () => {
        this.#subscribed()
        face.subscribed?.(granted)
      })
    } catch (error) {
      this.#failed(error)
    }
  }

  async #unsubscribe(face: MqttFace, id: number, filters: string[]): Promise<void> {
    this.#state = 'subscribing'
    const reply = this.#replies.expect(0)
    try {
      await face.unsubscribe(filters)
      this.#settle(reply, unsuback(id), () => this.#subscribed())
    } catch (error) {
      this.#failed(error)
    }
  }

  #subscribed(): void {
    if (this.#state === 'subscribing') this.#state = 'connected'
  }

  #settle(reply: Reply, packet: Buffer | undefined, after: (() => void) | undefined): void {
    if (this.#state === 'closed') return
    this.#alive = this.#needs.clock.now()
    try {
      this.#replies.settle(reply, packet, after)
    } catch (error) {
      this.#failed(error)
    }
    this.#readOn()
  }

  // --- time

  /**
   * Silence of 1.5 times the keep-alive ends the connection ([MQTT-3.1.2-24]). 0 and values above the maximum count as
   * the maximum (hub-device.md 2.1). While the client waits for answers it counts from the last of these.
   */
  #watch(keepAlive: number): void {
    const most = limits.mqttKeepAliveSeconds
    const silence = 1_500 * (keepAlive === 0 ? most : Math.min(keepAlive, most))
    let due = this.#needs.clock.now()
    const look = (): void => {
      const now = this.#needs.clock.now()
      // The machine's clock was set, or stood still: it does not tell how long the client was silent, so that counts anew.
      if (Math.abs(now - due) > limits.clockStepMs) this.#alive = now
      const left = this.#alive + silence - now
      if (left <= 0) return void this.#cut('keep-alive ran out')
      due = now + left
      this.#timer = this.#needs.clock.after(left, look)
    }
    this.#timer.cancel()
    this.#alive = due
    look()
  }

  // --- the end

  /** Ends once everything received before is answered. */
  #leave(how: Ending): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return
    if (this.#face === undefined) return void this.#finish(how)
    this.#state = 'leaving'
    if (how !== 'closed') this.#outbox.answerOnly()
    this.#settle(this.#replies.expect(0), undefined, () => this.#finish(how))
  }

  /** A face threw or rejected: this connection ends, nothing else does. */
  #failed(error: unknown): void {
    if (this.#state === 'closed') return
    if (error instanceof ServiceError) this.#note(`${error.code}: ${error.message}`)
    else this.#needs.log.error({ ...this.#names(), err: error }, 'MQTT connection closed: an internal error occurred')
    this.#finish('lost')
  }

  /** At once: the peer breaks the protocol, or does not listen. */
  #cut(reason: string): void {
    if (this.#state === 'closed') return
    this.#note(reason)
    this.#finish('lost')
    this.#stream.destroy()
  }

  #finish(how: Ending): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#ending = how
    this.#timer.cancel()
    this.#outbox.close()
    this.#tellEnd()
    if (this.#stream.destroyed) return
    // What was written still leaves; what still comes is read and dropped, because unread bytes would make the
    // system reset the connection and take our last packet back.
    this.#stream.end()
    this.#stream.resume()
    this.#timer = this.#needs.clock.after(limits.closeGraceMs, () => this.#stream.destroy())
  }

  #tellEnd(): void {
    try {
      this.#face?.ended(this.#ending)
    } catch (error) {
      this.#needs.log.error({ ...this.#names(), err: error }, 'the end of an MQTT session was not handled')
    }
  }

  /** What the client sent before the network failed is still worked on; the face hears of the end after that. */
  #gone(): void {
    this.#outbox.close()
    if (this.#state === 'closed') this.#timer.cancel()
    else this.#leave('lost')
  }

  #names(): { remote: string; client?: string } {
    return { remote: this.#needs.remote, ...(this.#clientId === undefined ? {} : { client: this.#clientId }) }
  }

  /** Strangers cannot fill the log: what ends their connections is told to those who debug only. */
  #note(reason: string): void {
    const level = this.#clientId === undefined ? 'debug' : 'info'
    this.#needs.log[level]({ ...this.#names(), reason }, 'MQTT connection')
  }
}
