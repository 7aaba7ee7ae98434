/** One packet of the client that is being worked on. */
export interface Reply {
  readonly bytes: number
  settled: boolean
  packet: Buffer | undefined
  after: (() => void) | undefined
}

/** Answers in the order in which the packets arrived (MQTT 3.1.1, 4.6), however their work ends. */
export class Replies {
  readonly #write: (packet: Buffer) => void
  #pending: Reply[] = []
  #bytes = 0

  constructor(write: (packet: Buffer) => void) {
    this.#write = write
  }

  get count(): number {
    return this.#pending.length
  }

  /** Size of the packets being worked on. */
  get bytes(): number {
    return this.#bytes
  }

  expect(bytes: number): Reply {
    const reply: Reply = { bytes, settled: false, packet: undefined, after: undefined }
    this.#pending.push(reply)
    this.#bytes += bytes
    return reply
  }

  /** `packet` is written once all earlier replies were, then `after` runs. */
  settle(reply: Reply, packet: Buffer | undefined, after?: () => void): void {
    reply.settled = true
    reply.packet = packet
    reply.after = after
    while (this.#pending[0]?.settled) {
      const next = this.#pending.shift()!
      this.#bytes -= next.bytes
      if (next.packet !== undefined) this.#write(next.packet)
      next.after?.()
    }
  }
}
