import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { TestClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { createAuthority, issueServerCertificate } from '../crypto/issuing.ts'
import { createOutbound, type OutboundCall, OutboundError, type OutboundNeeds } from './outbound.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

const clock = new TestClock()
const outbound = (more: Partial<OutboundNeeds> = {}) =>
  createOutbound({ clock, managementPort: Promise.resolve(1), allowed: [], ca: undefined, ...more })

function listening(server: Server, host = '127.0.0.1'): Promise<number> {
  closers.push(() => void server.close())
  return new Promise((resolve) => {
    server.listen(0, host, () => resolve((server.address() as AddressInfo).port))
  })
}

const serving = (listener: RequestListener, host?: string): Promise<number> => listening(createServer(listener), host)

const get = (url: string, more: Partial<OutboundCall> = {}): OutboundCall => ({
  method: 'GET',
  url: new URL(url),
  answerBytes: 100,
  ...more,
})

async function failure(call: Promise<unknown>): Promise<OutboundError> {
  const thrown: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (thrown instanceof OutboundError) return thrown
  throw new Error(`An OutboundError was expected, found ${String(thrown)}.`)
}

test('one request with its query, headers and body; the answer as it came', async () => {
  const port = await serving((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method, url, headers } = request
      response.writeHead(201, { 'X-Told': String(headers['x-asked']) })
      response.end(`${method} ${url} ${headers.host} ${Buffer.concat(chunks).toString()}`)
    })
  })
  const call = { method: 'POST', headers: { 'X-Asked': 'yes' }, body: 'hello' }
  const answer = await outbound().send(get(`http://127.0.0.1:${port}/a/b?code=1`, call))
  expect(answer.status).toBe(201)
  expect(answer.headers['x-told']).toBe('yes')
  expect(answer.body.toString()).toBe(`POST /a/b?code=1 127.0.0.1:${port} hello`)
})

test('a redirect is an answer and is not followed', async () => {
  let asked = 0
  const port = await serving((_request, response) => {
    asked++
    response.writeHead(302, { Location: '/elsewhere' }).end()
  })
  expect((await outbound().send(get(`http://127.0.0.1:${port}/`))).status).toBe(302)
  expect(asked).toBe(1)
})

test('an answer over its bound is refused, announced or not', async () => {
  const port = await serving((request, response) => {
    if (request.url === '/announced') response.setHeader('Content-Length', 101)
    response.end('x'.repeat(101))
  })
  for (const path of ['announced', 'chunked'])
    expect((await failure(outbound().send(get(`http://127.0.0.1:${port}/${path}?sig=secret`)))).kind).toBe('oversized')
})

describe('time', () => {
  test.each([
    ['an answer that never begins', () => {}],
    ['an answer that never ends', (socket: { write(text: string): void }) => socket.write('HTTP/1.1 200 OK\r\n\r\nx')],
  ])('%s', async (_what, answer) => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => {})
      closers.push(() => socket.destroy())
      socket.once('data', () => {
        answer(socket)
        setImmediate(() => clock.advance(limits.outboundMs))
      })
    })
    const port = await listening(server)
    const { kind, message } = await failure(outbound().send(get(`http://127.0.0.1:${port}/slow?code=secret`)))
    expect(kind).toBe('late')
    expect(message).toBe(`http://127.0.0.1:${port}/slow gave no answer within 10 seconds.`)
  })

  test('closing ends what is running and refuses what comes', async () => {
    const out = outbound()
    const port = await serving(() => out.close())
    expect((await failure(out.send(get(`http://127.0.0.1:${port}/`)))).kind).toBe('closed')
    expect((await failure(out.send(get(`http://127.0.0.1:${port}/`)))).kind).toBe('closed')
  })
})

describe('the management listener', () => {
  test.each(['127.0.0.1', 'localhost', '0.0.0.0', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1'])(
    'is never called as %s, and gets no byte',
    async (host) => {
      const received: unknown[] = []
      const server = createTcpServer((socket) => {
        socket.on('error', () => {})
        socket.on('data', (chunk) => received.push(chunk))
      })
      const port = await listening(server)
      const out = outbound({ managementPort: Promise.resolve(port) })
      const { kind, message } = await failure(out.send(get(`http://${host}:${port}/x?code=secret`)))
      expect(kind).toBe('forbidden')
      expect(message).not.toContain('secret')
      expect(received).toEqual([])
    },
  )

  test('calls wait until its port is known', async () => {
    const known = Promise.withResolvers<number>()
    let asked = false
    const port = await serving((_request, response) => {
      asked = true
      response.end()
    })
    const answer = outbound({ managementPort: known.promise }).send(get(`http://127.0.0.1:${port}/`))
    await new Promise((resolve) => setImmediate(resolve))
    expect(asked).toBe(false)
    known.resolve(1)
    expect((await answer).status).toBe(200)
  })
})

test.each([
  [['127.0.0.1'], true],
  [['other.example', '127.0.0.1:PORT'], true],
  [['127.0.0.1:1'], false],
  [['*.0.0.1'], true],
  [['*.example'], false],
  [['27.0.0.1'], false],
])('allow-list %j', async (patterns, allowed) => {
  const port = await serving((_request, response) => void response.end())
  const out = outbound({ allowed: patterns.map((pattern) => pattern.replace('PORT', String(port))) })
  const outcome = await out.send(get(`http://127.0.0.1:${port}/`)).then(
    () => true,
    (thrown: OutboundError) => thrown.kind !== 'forbidden',
  )
  expect(outcome).toBe(allowed)
})

test('nobody there; a connection that breaks; no other scheme', async () => {
  const port = await serving((request) => request.socket.destroy())
  expect((await failure(outbound().send(get(`http://127.0.0.1:${port}/?code=secret`)))).kind).toBe('unreachable')
  const { kind, message } = await failure(outbound().send(get('http://127.0.0.1:1/?code=secret')))
  expect(kind).toBe('unreachable')
  expect(message).toContain('http://127.0.0.1:1/ could not be reached: ')
  expect(message).not.toContain('secret')
  expect((await failure(outbound().send(get('ftp://127.0.0.1/')))).kind).toBe('forbidden')
})

describe('TLS', () => {
  const now = Date.now()

  async function secure(names: string[]) {
    const authority = await createAuthority({ commonName: 'out CA', days: 30, keyType: 'ec', now })
    const { certificate, key } = await issueServerCertificate({ authority, names, keyType: 'ec', days: 30, now })
    const server = createSecureServer({ cert: certificate, key }, (_request, response) => void response.end('safe'))
    return { port: await listening(server), ca: authority.certificate }
  }

  test('is verified against the public authorities and those that are named, by address or name', async () => {
    const { port, ca } = await secure(['127.0.0.1', 'localhost'])
    const { kind, message } = await failure(outbound().send(get(`https://127.0.0.1:${port}/`)))
    expect(kind).toBe('unreachable')
    expect(message).toContain('outbound-ca')
    for (const host of ['127.0.0.1', 'localhost'])
      expect((await outbound({ ca }).send(get(`https://${host}:${port}/`))).body.toString()).toBe('safe')
  })

  test('a certificate for another name is refused', async () => {
    const { port, ca } = await secure(['other.example'])
    const { message } = await failure(outbound({ ca }).send(get(`https://127.0.0.1:${port}/`)))
    expect(message).toContain('127.0.0.1')
  })
})
