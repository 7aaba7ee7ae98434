import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../../tests/support/folders.ts'
import { TestClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { byteStream } from './byte-stream.ts'
import { TpmDeviceError } from './error.ts'
import { fileTransport, openTpm, parseTpmAddress } from './transport.ts'

const COMMAND = Buffer.from('80010000000c000001440000', 'hex')
const ANSWER = Buffer.from('80010000000a00000100', 'hex')

test.each([
  ['/dev/tpmrm0', { kind: 'file', path: '/dev/tpmrm0' }],
  ['tcp:127.0.0.1:2321', { kind: 'raw', at: { host: '127.0.0.1', port: 2321 } }],
  ['TCP:tpm.example:1', { kind: 'raw', at: { host: 'tpm.example', port: 1 } }],
  ['tcp:[::1]:2321', { kind: 'raw', at: { host: '::1', port: 2321 } }],
  ['unix:/run/tpm.sock', { kind: 'raw', at: { path: '/run/tpm.sock' } }],
  ['mssim:localhost:2321', { kind: 'mssim', host: 'localhost', port: 2321 }],
  ['', undefined],
  ['tpm', undefined],
  ['tcp:127.0.0.1', undefined],
  ['tcp:127.0.0.1:0', undefined],
  ['tcp:127.0.0.1:65536', undefined],
  ['unix:relative', undefined],
  ['swtpm:host=127.0.0.1,port=2321', undefined],
])('the address %j', (text, address) => {
  expect(parseTpmAddress(text)).toEqual(address)
})

/** A server on a free port, or at a path; `serve` gets its connections. */
async function listening(serve: (socket: Socket) => void, at: number | string = 0): Promise<number> {
  const server: Server = createServer(serve)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    if (typeof at === 'string') server.listen(at, resolve)
    else server.listen(at, '127.0.0.1', resolve)
  })
  onTestFinished(() => void server.close())
  const address = server.address()
  return typeof address === 'object' ? (address?.port ?? 0) : 0
}

const raw = (port: number) => ({ kind: 'raw', at: { host: '127.0.0.1', port } }) as const

test('raw: an answer may come in pieces; commands follow one another', async () => {
  const port = await listening((socket) => {
    socket.setNoDelay()
    socket.on('data', () => {
      socket.write(ANSWER.subarray(0, 3))
      setImmediate(() => socket.write(ANSWER.subarray(3)))
    })
  })
  const transport = await openTpm(raw(port), new TestClock())
  for (let round = 0; round < 3; round++) expect(await transport.exchange(COMMAND)).toEqual(ANSWER)
  await transport.close()
})

test('raw over a Unix socket', async () => {
  const path = join(temporaryFolder(), 'tpm.sock')
  await listening((socket) => void socket.on('data', () => socket.write(ANSWER)), path)
  const transport = await openTpm({ kind: 'raw', at: { path } }, new TestClock())
  expect(await transport.exchange(COMMAND)).toEqual(ANSWER)
  await transport.close()
})

test.each([
  ['HTTP/1.1 400 Bad Request', /expected an answer of 10 to 4096 bytes/],
  ['x'.repeat(9_000), /expected an answer|more than any TPM answers/],
])('raw: what is no TPM is refused', async (text, complaint) => {
  const port = await listening((socket) => void socket.on('data', () => socket.write(text)))
  const transport = await openTpm(raw(port), new TestClock())
  await expect(transport.exchange(COMMAND)).rejects.toThrow(complaint)
  await transport.close()
})

test('raw: nobody listens, a connection that ends, a TPM that stays silent', async () => {
  const folder = temporaryFolder()
  const nobody = { kind: 'raw', at: { path: join(folder, 'none.sock') } } as const
  await expect(openTpm(nobody, new TestClock())).rejects.toThrow(/cannot be reached/)
  const ending = await listening((socket) => void socket.on('data', () => socket.end()))
  const transport = await openTpm(raw(ending), new TestClock())
  await expect(transport.exchange(COMMAND)).rejects.toThrow(/closed the connection/)
  const clock = new TestClock()
  const silent = await openTpm(raw(await listening(() => {})), clock)
  const waiting = expect(silent.exchange(COMMAND)).rejects.toThrow(/no answer within 120 s/)
  clock.advance(limits.tpmAnswerMs)
  await waiting
})

test('a connection that was closed is closed, also where the other side keeps its half', async () => {
  const server = createServer({ allowHalfOpen: true }, (socket) => void socket.resume())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const address = server.address()
  const socket = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1')
  const closed = new Promise((resolve) => socket.once('close', resolve))
  const stream = await byteStream(socket, new TestClock())
  stream.close()
  await closed
})

/** Two servers on neighbouring ports. */
async function simulator(signal: number): Promise<{ port: number; seen: string[] }> {
  const seen: string[] = []
  for (let attempt = 0; attempt < 20; attempt++) {
    const port = await listening((socket) => {
      socket.on('data', (bytes: Buffer) => {
        seen.push(bytes.toString('hex'))
        const kind = bytes.readUInt32BE(0)
        if (kind === 15) socket.write(Buffer.from('000000010000000000000000', 'hex'))
        if (kind === 8) socket.write(Buffer.concat([Buffer.from('0000000a', 'hex'), ANSWER, Buffer.alloc(4)]))
      })
    })
    try {
      await listening((socket) => {
        socket.on('data', (bytes) => {
          seen.push(`platform ${bytes.toString('hex')}`)
          socket.write(Buffer.from([0, 0, 0, signal]))
        })
      }, port + 1)
      return { port, seen }
    } catch {
      // Somebody else has the neighbour.
    }
  }
  throw new Error('No two neighbouring ports are free.')
}

test('mssim: power, handshake, framed commands', async () => {
  const { port, seen } = await simulator(0)
  const transport = await openTpm({ kind: 'mssim', host: '127.0.0.1', port }, new TestClock())
  expect(transport.needsStartup).toBe(true)
  expect(await transport.exchange(ANSWER)).toEqual(ANSWER)
  expect(seen).toEqual([
    'platform 00000001',
    'platform 0000000b',
    '0000000f00000001',
    `00000008000000000a${ANSWER.toString('hex')}`,
  ])
  await transport.close()
})

test('mssim: a platform that refuses', async () => {
  const { port } = await simulator(1)
  const opening = openTpm({ kind: 'mssim', host: '127.0.0.1', port }, new TestClock())
  await expect(opening).rejects.toThrow(/the simulator answered 1 in place of 0/)
})

test('a character device: one write, one read', async () => {
  const written: Buffer[] = []
  const { exchange } = fileTransport({
    write: async (bytes, offset, length) => void written.push(bytes.subarray(offset, offset + length)),
    read: async (into) => ({ bytesRead: ANSWER.copy(into) }),
  })
  expect(await exchange(COMMAND)).toEqual(ANSWER)
  expect(written).toEqual([COMMAND])
})

test('a character device that fails, and one that is not there', async () => {
  const broken = async (): Promise<never> => {
    throw new Error('EBUSY: device or resource busy')
  }
  await expect(fileTransport({ write: broken, read: broken }).exchange(COMMAND)).rejects.toThrow(/EBUSY/)
  const absent = openTpm({ kind: 'file', path: join(temporaryFolder(), 'tpm9') }, new TestClock())
  await expect(absent).rejects.toThrow(TpmDeviceError)
})
