import type { Duplex } from 'node:stream'
import { limits } from '../base/limits.ts'
import { publishPacket } from './mqtt-packets.ts'

export type Delivery = 'acknowledged' | 'sent' | 'lost'

/**
 * What one connection sends. Packets of one turn of the event loop leave in one write, because a TLS record and its
 * system call cost five times a PUBACK (dependencies.md 2.4). Nothing leaves before `open`.
 */
export class Outbox {
  readonly #stream: Duplex
  readonly #overflow: (reason: string) => void
  /** `answering`: the client takes no more messages, but what it sent before is still acknowledged. */
  #state: 'held' | 'open' | 'answering' | 'closed' = 'held'
  #flushing = false
  #queue: Buffer[] = []
  #queuedBytes = 0
  /** QoS 0 messages in the queue. */
  #leaving: ((how: Delivery) => void)[] = []
  /** QoS 0 messages handed to the stream, per write. */
  #written: Set<((how: Delivery) => void)[]> | undefined
  #unacknowledged: Map<number, (how: Delivery) => void> | undefined
  #lastId = 0

  /** @param overflow the client does not take what it is sent: the connection must be cut */
  constructor(stream: Duplex, overflow: (reason: string) => void) {
    this.#stream = stream
    this.#overflow = overflow
  }

  /** Sends CONNACK and, after it, whatever was waiting. */
  open(connack: Buffer): void {
    if (this.#state !== 'held') return
    this.#state = 'open'
    this.#queue.unshift(connack)
    this.#queuedBytes += connack.length
    this.#schedule()
  }

  /** Sends the CONNACK of a refusal and nothing else. */
  refuse(connack: Buffer): void {
    this.#queue = []
    this.#queuedBytes = 0
    this.#loseMessages()
    this.open(connack)
  }

  /** The client takes less than it is sent: stop asking it for more. */
  full(): boolean {
    return this.#stream.writableNeedDrain
  }

  /** False if the connection had to be given up. */
  send(packet: Buffer): boolean {
    if (this.#state === 'closed') return false
    if (this.#stream.writableLength + this.#queuedBytes + packet.length > limits.mqttOutgoingBytes) {
      this.#overflow('the client does not read what it is sent')
      return false
    }
    this.#queue.push(packet)
    this.#queuedBytes += packet.length
    this.#schedule()
    return true
  }

  publish(topic: string, payload: Buffer | string, qos: 0 | 1): Promise<Delivery> {
    if (this.#state === 'closed' || this.#state === 'answering') return Promise.resolve('lost')
    return new Promise((resolve, reject) => {
      const id = qos === 0 ? undefined : this.#nextId()
      if (qos === 1 && id === undefined) {
        this.#overflow('the client does not acknowledge what it is sent')
        return resolve('lost')
      }
      try {
        if (!this.send(publishPacket(topic, payload, id))) return resolve('lost')
      } catch (error) {
        return reject(error)
      }
      if (id === undefined) this.#leaving.push(resolve)
      else this.#waiting().set(id, resolve)
    })
  }

  /** An identifier that nobody waits for is ignored: it belongs to an earlier connection. */
  acknowledged(id: number): void {
    const resolve = this.#unacknowledged?.get(id)
    this.#unacknowledged?.delete(id)
    resolve?.('acknowledged')
  }

  flush(): void {
    this.#flushing = false
    if (this.#state === 'held' || this.#state === 'closed' || this.#queue.length === 0) return
    const bytes = this.#queue.length === 1 ? this.#queue[0]! : Buffer.concat(this.#queue, this.#queuedBytes)
    const leaving = this.#leaving
    this.#queue = []
    this.#queuedBytes = 0
    if (leaving.length === 0) return void this.#stream.write(bytes)
    this.#leaving = []
    this.#written ??= new Set()
    this.#written.add(leaving)
    this.#stream.write(bytes, (error) => {
      this.#written?.delete(leaving)
      for (const resolve of leaving) resolve(error ? 'lost' : 'sent')
    })
  }

  /** The client has taken leave: it acknowledges no more. */
  answerOnly(): void {
    if (this.#state === 'closed') return
    this.#state = 'answering'
    this.#loseMessages()
  }

  /** Writes what is queued, then gives up on everything unacknowledged. */
  close(): void {
    if (this.#state === 'closed') return
    if (!this.#stream.destroyed) this.flush()
    this.#state = 'closed'
    this.#loseMessages()
    this.#queue = []
  }

  #loseMessages(): void {
    for (const resolve of [this.#leaving, ...(this.#written ?? [])].flat()) resolve('lost')
    for (const resolve of this.#unacknowledged?.values() ?? []) resolve('lost')
    this.#leaving = []
    this.#written = undefined
    this.#unacknowledged = undefined
  }

  #schedule(): void {
    if (this.#flushing || this.#state === 'held') return
    this.#flushing = true
    // After every promise that is settled by now, so that all answers of one commit leave together.
    process.nextTick(() => this.flush())
  }

  #waiting(): Map<number, (how: Delivery) => void> {
    this.#unacknowledged ??= new Map()
    return this.#unacknowledged
  }

  #nextId(): number | undefined {
    const waiting = this.#waiting()
    if (waiting.size >= limits.mqttUnacknowledged) return undefined
    do this.#lastId = (this.#lastId % 65_535) + 1
    while (waiting.has(this.#lastId))
    return this.#lastId
  }
}
