import type { Socket } from 'node:net'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { TpmDeviceError } from './error.ts'

/** A connection that is read in pieces of known length, one read at a time. */
export interface ByteStream {
  write(bytes: Buffer): void
  /** Exactly so many bytes; throws TpmDeviceError when they do not come in time. */
  read(count: number): Promise<Buffer>
  close(): void
}

/** Waits until the socket is connected. */
export async function byteStream(socket: Socket, clock: Clock): Promise<ByteStream> {
  let received = Buffer.alloc(0)
  let failure: TpmDeviceError | undefined
  let wake = (): void => {}
  let connected = false

  const fail = (message: string, cause?: unknown): void => {
    failure ??= new TpmDeviceError(message, { cause })
    socket.destroy()
    wake()
  }
  socket.on('connect', () => {
    connected = true
    wake()
  })
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    if (received.length > 2 * limits.tpmAnswerBytes) fail('it sends more than any TPM answers')
    wake()
  })
  socket.on('error', (error) => fail(`it cannot be reached: ${error.message}`, error))
  socket.on('close', () => fail('it closed the connection'))

  const until = async (holds: () => boolean): Promise<void> => {
    const timer = clock.after(limits.tpmAnswerMs, () => fail(`no answer within ${limits.tpmAnswerMs / 1000} s`))
    try {
      while (!holds()) {
        if (failure !== undefined) throw failure
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    } finally {
      timer.cancel()
    }
  }

  await until(() => connected)
  return {
    write: (bytes) => void socket.write(bytes),
    async read(count) {
      await until(() => received.length >= count)
      const bytes = received.subarray(0, count)
      received = received.subarray(count)
      return bytes
    },
    // Not half: whoever keeps his half open would keep the command from ending.
    close: () => socket.destroySoon(),
  }
}
