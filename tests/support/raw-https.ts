import { once } from 'node:events'
import tls from 'node:tls'

/** An HTTP answer as it stood on the wire. */
export interface RawAnswer {
  readonly statusLine: string
  readonly status: number
  /** In the order and the spelling of the wire. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
  /** The only value of a header; several are an error, because clients take one of them at random. */
  header(name: string): string | undefined
  json(): unknown
}

export interface RawConnection {
  /** Writes the request as it is and reads one whole answer; requests may follow one another. */
  exchange(request: string): Promise<RawAnswer>
  close(): void
}

export interface RawTarget {
  readonly address: string
  readonly port: number
  readonly ca: string
  /** What the client presents in TLS. */
  readonly credential?: { readonly cert: string; readonly key: string } | undefined
}

/** A TLS connection on which the test writes HTTP itself, byte for byte as a client that cannot run here does. */
export async function connectRaw({ address, port, ca, credential }: RawTarget): Promise<RawConnection> {
  const socket = tls.connect({ host: address, port, ca, ...credential })
  await once(socket, 'secureConnect')
  let received = Buffer.alloc(0)
  let wake = (): void => {}
  let ended: Error | undefined
  const end = (reason: Error): void => {
    ended ??= reason
    wake()
  }
  socket.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes])
    wake()
  })
  socket.on('error', end)
  socket.on('close', () => end(new Error('The server closed the connection.')))

  const more = (): Promise<void> => {
    if (ended !== undefined) throw ended
    return new Promise((resolve) => {
      wake = resolve
    })
  }
  const exchange = async (request: string): Promise<RawAnswer> => {
    socket.write(request)
    for (;;) {
      const parsed = parse(received)
      if (parsed !== undefined) {
        received = received.subarray(parsed.length)
        return parsed.answer
      }
      await more()
    }
  }
  return { exchange, close: () => void socket.destroy() }
}

/** One request on a connection of its own. */
export async function exchangeRaw(target: RawTarget, request: string): Promise<RawAnswer> {
  const connection = await connectRaw(target)
  try {
    return await connection.exchange(request)
  } finally {
    connection.close()
  }
}

/**
 * Request text from a readable block: lines are trimmed and end with CRLF, `{length}` becomes the body's length in bytes.
 */
export function requestText(head: string, body = ''): string {
  const lines = head
    .trim()
    .split('\n')
    .map((line) => line.trim().replace('{length}', String(Buffer.byteLength(body))))
  return `${lines.join('\r\n')}\r\n\r\n${body}`
}

/** The first answer in `bytes` and how long it is; undefined while it is incomplete. */
function parse(bytes: Buffer): { answer: RawAnswer; length: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const [statusLine = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n')
  const status = Number(statusLine.split(' ')[1])
  const headers = lines.map((line) => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1).trim()] as const
  })
  const header = (name: string): string | undefined => {
    const values = headers.filter(([each]) => each.toLowerCase() === name.toLowerCase())
    if (values.length > 1) throw new Error(`The answer carries ${name} ${values.length} times.`)
    return values[0]?.[1]
  }
  const body = readBody(bytes.subarray(headEnd + 4), status, header)
  if (body === undefined) return undefined
  const answer = { statusLine, status, headers, body: body.text, header, json: () => JSON.parse(body.text) as unknown }
  return { answer, length: headEnd + 4 + body.length }
}

function readBody(
  rest: Buffer,
  status: number,
  header: (name: string) => string | undefined,
): { text: string; length: number } | undefined {
  if (status < 200 || status === 204 || status === 304) return { text: '', length: 0 }
  if (header('transfer-encoding') !== undefined) throw new Error('Chunked answers are not expected: bodies are known.')
  const length = Number(header('content-length') ?? 0)
  if (rest.length < length) return undefined
  return { text: rest.subarray(0, length).toString('utf8'), length }
}
