import { expect, test } from 'vitest'
import { hubWorld } from '../../../tests/support/hub-world.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { managementEvents } from './management-events.ts'
import { createHttpEndpoint } from './server.ts'

const TOKEN = 'a-token-of-a-test'
const { hub, clock, control } = await hubWorld()
const { app } = await createHttpEndpoint({ clock, random: seededRandom(2), log: silentLog }, [
  managementEvents({ control, hub, log: silentLog, token: TOKEN, hosts: ['127.0.0.1'] }),
])

test.each([
  ['', 200],
  ['?limit=1', 200],
  ['?limit=1000', 200],
  ['?limit=0', 400],
  ['?limit=1001', 400],
  ['?from=-1', 400],
  ['?from=9007199254740992', 400],
  ['?from=9007199254740991', 200],
])('a page asked for with "%s" is answered with %i', async (query, status) => {
  const answer = await app.inject({
    method: 'GET',
    url: `/muster/hubs/hub1/partitions/0/events${query}`,
    headers: { host: '127.0.0.1:4711', authorization: `Bearer ${TOKEN}` },
  })
  expect([answer.statusCode, answer.payload]).toEqual([status, expect.any(String)])
})
