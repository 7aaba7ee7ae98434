import { duplexPair } from 'node:stream'
import { expect, test } from 'vitest'
import { settle } from '../../../tests/wire-engine/device.ts'
import { TestClock } from '../../base/clock.ts'
import { limits } from '../../base/limits.ts'
import { silentLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { createHttpEndpoint } from './server.ts'

/** An endpoint in memory with one route, which answers when it is told to. */
async function start() {
  const clock = new TestClock()
  const commit = Promise.withResolvers<void>()
  const http = await createHttpEndpoint({ clock, log: silentLog, random: systemRandom }, [
    (app) =>
      app.put('/slow', async () => {
        await commit.promise
        return { committed: true }
      }),
  ])
  const connect = async (request: string) => {
    const [client, server] = duplexPair()
    let answer = ''
    client.on('data', (bytes: Buffer) => {
      answer += bytes.toString()
    })
    client.on('error', () => {})
    http.serve(server)
    client.write(request)
    await settle()
    return { answer: () => answer, gone: () => server.destroyed, lose: () => server.destroy() }
  }
  let closed = false
  const close = (): Promise<void> =>
    http.close().then(() => {
      closed = true
    })
  return { clock, commit: commit.resolve, connect, close, closed: () => closed }
}

const SLOW = 'PUT /slow HTTP/1.1\r\nHost: a\r\n\r\n'

test('close answers what is under way, and ends every other connection at once', async () => {
  const { connect, commit, close, closed } = await start()
  const busy = await connect(SLOW)
  const idle = await connect('GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n')
  const [silent, halfway] = [await connect(''), await connect(SLOW.slice(0, 20))]
  const ending = close()
  await settle()
  expect([idle, silent, halfway].map(({ gone }) => gone())).toEqual([true, true, true])
  expect([busy.gone(), closed()]).toEqual([false, false])
  commit()
  await ending
  expect(busy.answer()).toMatch(/^HTTP\/1.1 200 .*\r\nConnection: close\r\n.*{"committed":true}$/s)
  expect(busy.gone()).toBe(true)
})

test('close waits so long for an answer and no longer', async () => {
  const { clock, connect, close } = await start()
  const busy = await connect(SLOW)
  const ending = close()
  await settle()
  clock.advance(limits.closeGraceMs)
  await ending
  expect(busy.gone()).toBe(true)
})

test('requests behind one another are all answered; whoever left is not waited for', async () => {
  const { commit, connect, close } = await start()
  const busy = await connect(SLOW.repeat(3))
  const left = await connect(SLOW.repeat(3))
  left.lose()
  await settle()
  const ending = close()
  commit()
  await ending
  expect(busy.answer().match(/"committed":true/g)).toHaveLength(3)
  expect(busy.answer().match(/Connection: keep-alive/g)).toHaveLength(2)
})
