import { createServer } from 'node:http'
import { duplexPair } from 'node:stream'
import { expect, test } from 'vitest'
import { byFirstByte, MQTT_CONNECT } from './first-byte.ts'

test('the first byte is seen and still there for whoever takes the stream', async () => {
  const [client, server] = duplexPair()
  const { promise, resolve } = Promise.withResolvers<Buffer>()
  byFirstByte(server, (byte) => {
    expect(byte).toBe(MQTT_CONNECT)
    server.on('data', resolve)
  })
  client.write(Buffer.from([0x10, 0x02, 0x03]))
  expect(await promise).toEqual(Buffer.from([0x10, 0x02, 0x03]))
})

test('an HTTP server takes over a stream whose first byte was read', async () => {
  const [client, server] = duplexPair()
  const http = createServer((request, response) => response.end(`hello ${request.url}`))
  byFirstByte(server, () => http.emit('connection', server))
  client.write('GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  let text = ''
  for await (const chunk of client) text += String(chunk)
  expect(text).toContain('hello /a')
})

test('a connection that ends before its first byte is handed to nobody', async () => {
  const [client, server] = duplexPair()
  let taken = false
  byFirstByte(server, () => {
    taken = true
  })
  const closed = new Promise<void>((resolve) => server.once('close', () => resolve()))
  client.end()
  await closed
  expect(taken).toBe(false)
})
