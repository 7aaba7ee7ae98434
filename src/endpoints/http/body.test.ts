import { duplexPair } from 'node:stream'
import { expect, test } from 'vitest'
import { settle } from '../../../tests/wire-engine/device.ts'
import { systemClock } from '../../base/clock.ts'
import { limits } from '../../base/limits.ts'
import { createLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { createHttpEndpoint } from './server.ts'

const HEAD = 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n'

/** A connection in memory to an endpoint with one route, which answers with what it was sent. */
async function connect() {
  const errors: string[] = []
  const log = createLog('error', { write: (line) => void errors.push(line) })
  const needs = { clock: systemClock, random: systemRandom, log }
  const http = await createHttpEndpoint(needs, [(app) => app.post('/echo', async ({ body }) => body)])
  const [client, server] = duplexPair()
  let answer = ''
  client.on('data', (bytes: Buffer) => {
    answer += bytes.toString()
  })
  http.serve(server)
  const send = async (bytes: string): Promise<void> => {
    client.write(bytes)
    await settle()
  }
  return { client, send, errors, answer: () => answer }
}

const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`

test('a body is what was sent, in one piece or in some', async () => {
  const { send, answer } = await connect()
  await send(`${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunk('{"a":')}`)
  await send(`${chunk('"')}${chunk('b')}`)
  await send(`${chunk('"}')}0\r\n\r\n`)
  expect(answer()).toMatch(/^HTTP\/1.1 200 .*\r\n\r\n{"a":"b"}$/s)
  await send(`${HEAD}Content-Length: 2\r\n\r\n{}`)
  expect(answer()).toMatch(/\r\n\r\n{}$/)
})

test('a body in crumbs is refused, and the connection closed: each crumb costs far more than it holds', async () => {
  const { client, send, answer } = await connect()
  await send(`${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunk('x').repeat(limits.httpBodyPieces)}`)
  expect(answer()).toBe('')
  await send(chunk('x'))
  expect(answer()).toMatch(/^HTTP\/1.1 400 .*\r\nconnection: close\r\n.*pieces\. Send larger ones/is)
  expect(client.readableEnded).toBe(true)
})

test('who goes away while it sends a body is no fault of ours', async () => {
  const { client, send, errors } = await connect()
  await send(`${HEAD}Content-Length: 100\r\n\r\n{`)
  client.destroy()
  await settle()
  expect(errors).toEqual([])
})
