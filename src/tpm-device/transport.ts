import { open } from 'node:fs/promises'
import { connect, type NetConnectOpts } from 'node:net'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { type ByteStream, byteStream } from './byte-stream.ts'
import { TpmDeviceError } from './error.ts'

/** One command to a TPM and its answer, one after the other. */
export interface TpmTransport {
  exchange(command: Buffer): Promise<Buffer>
  close(): Promise<void>
  /** Nobody has started this TPM: a simulator has no firmware that does. */
  readonly needsStartup: boolean
}

/** Where a TPM is (attestation-crypto.md A8). */
export type TpmAddress =
  | { readonly kind: 'file'; readonly path: string }
  /** Commands and answers as they are: the data port of swtpm. */
  | { readonly kind: 'raw'; readonly at: NetConnectOpts }
  /** The frames of Microsoft's simulator; its platform port is the next one. */
  | { readonly kind: 'mssim'; readonly host: string; readonly port: number }

/** What commands are told to look for, in this order: the first goes through the kernel's resource manager. */
export const DEVICE_FILES = ['/dev/tpmrm0', '/dev/tpm0'] as const

export const TPM_ADDRESS_RULE = '/dev/<file>, tcp:<host>:<port>, unix:<path> (both swtpm) or mssim:<host>:<port>'

/** Reads an address; undefined where it is none. */
export function parseTpmAddress(text: string): TpmAddress | undefined {
  if (text.startsWith('/')) return { kind: 'file', path: text }
  if (text.startsWith('unix:/')) return { kind: 'raw', at: { path: text.slice('unix:'.length) } }
  const [, scheme, host, digits] = /^(tcp|mssim):(\[[0-9a-f:]+\]|[^:[\]]+):(\d{1,5})$/i.exec(text) ?? []
  const port = Number(digits)
  if (host === undefined || port < 1 || port > 65_535) return undefined
  const bare = host.replace(/^\[|\]$/g, '')
  return scheme?.toLowerCase() === 'mssim'
    ? { kind: 'mssim', host: bare, port }
    : { kind: 'raw', at: { host: bare, port } }
}

/** Throws TpmDeviceError where nothing answers there. */
export function openTpm(address: TpmAddress, clock: Clock): Promise<TpmTransport> {
  switch (address.kind) {
    case 'file':
      return openFile(address.path)
    case 'raw':
      return openRaw(address.at, clock)
    case 'mssim':
      return openSimulator(address, clock)
  }
}

/** The kernel takes a whole command in one write and gives a whole answer in one read. */
async function openFile(path: string): Promise<TpmTransport> {
  const file = await open(path, 'r+').catch((cause: unknown) => {
    throw new TpmDeviceError(`it cannot be opened: ${reasonOf(cause)}`, { cause })
  })
  return { ...fileTransport(file), close: () => file.close(), needsStartup: false }
}

/** What is needed of an open character device. */
export interface DeviceFile {
  write(bytes: Buffer, offset: number, length: number, position: null): Promise<unknown>
  read(into: Buffer, offset: number, length: number, position: null): Promise<{ readonly bytesRead: number }>
}

export const fileTransport = (file: DeviceFile): Pick<TpmTransport, 'exchange'> => ({
  async exchange(command) {
    const answer = Buffer.alloc(limits.tpmAnswerBytes)
    try {
      await file.write(command, 0, command.length, null)
      const { bytesRead } = await file.read(answer, 0, answer.length, null)
      return answer.subarray(0, bytesRead)
    } catch (cause) {
      throw new TpmDeviceError(`the TPM does not take commands: ${reasonOf(cause)}`, { cause })
    }
  },
})

async function openRaw(at: NetConnectOpts, clock: Clock): Promise<TpmTransport> {
  const stream = await byteStream(connect(at), clock)
  return {
    needsStartup: true,
    close: async () => stream.close(),
    async exchange(command) {
      stream.write(command)
      // Tag and size stand in front of every answer.
      const head = await stream.read(6)
      return Buffer.concat([head, await stream.read(boundedSize(head.readUInt32BE(2)) - head.length)])
    },
  }
}

const MSSIM = { powerOn: 1, sendCommand: 8, nvOn: 11, handshake: 15, sessionEnd: 20 } as const

async function openSimulator({ host, port }: { host: string; port: number }, clock: Clock): Promise<TpmTransport> {
  const platform = await byteStream(connect({ host, port: port + 1 }), clock)
  try {
    for (const signal of [MSSIM.powerOn, MSSIM.nvOn]) {
      platform.write(words(signal))
      await acknowledged(platform)
    }
  } finally {
    platform.close()
  }
  const stream = await byteStream(connect({ host, port }), clock)
  try {
    stream.write(words(MSSIM.handshake, 1))
    await stream.read(8)
    await acknowledged(stream)
  } catch (error) {
    stream.close()
    throw error
  }
  return {
    needsStartup: true,
    close: async () => {
      stream.write(words(MSSIM.sessionEnd))
      stream.close()
    },
    async exchange(command) {
      const locality = Buffer.alloc(1)
      stream.write(Buffer.concat([words(MSSIM.sendCommand), locality, words(command.length), command]))
      const answer = await stream.read(boundedSize((await stream.read(4)).readUInt32BE()))
      await acknowledged(stream)
      return answer
    },
  }
}

async function acknowledged(stream: ByteStream): Promise<void> {
  const code = (await stream.read(4)).readUInt32BE()
  if (code !== 0) throw new TpmDeviceError(`the simulator answered ${code} in place of 0`)
}

function boundedSize(size: number): number {
  if (size >= 10 && size <= limits.tpmAnswerBytes) return size
  throw new TpmDeviceError(`expected an answer of 10 to ${limits.tpmAnswerBytes} bytes, found ${size}: is this a TPM?`)
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value, 4 * at)
  return bytes
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
