import { expect, test } from 'vitest'
import { hubWorld, identityOf, openSession, operator, sasDevice } from '../../tests/support/hub-world.ts'
import { parseIfMatch } from '../base/etags.ts'
import type { Collection, Store } from '../store/store.ts'
import { twins } from './records.ts'

/** A connected device that is deleted and made again just before its connection reads the twin. */
async function replaced() {
  const world = await hubWorld()
  let then = async () => {}
  const store: Store = {
    ...world.store,
    get: async <T>(from: Collection<T>, id: string) => {
      const happening = then
      if (from.name === twins.name) then = async () => {}
      if (from.name === twins.name) await happening()
      return world.store.get(from, id)
    },
  }
  const node = await world.node('node2', { store })
  const { session } = await openSession(node, await identityOf(world, 'd1'))
  then = async () => {
    await world.hub.registry.removeDevice(operator, world.iotHub, 'd1', parseIfMatch('*'))
    await world.hub.registry.putDevice(operator, world.iotHub, 'd1', sasDevice(), parseIfMatch(undefined))
  }
  return { ...world, node, session }
}

test('a patch never lands in the twin of the next device of that name', async () => {
  const { hub, iotHub, node, session } = await replaced()
  await expect(node.twins.patchReported(session, Buffer.from('{"of":"the old one"}'), undefined)).rejects.toMatchObject(
    {
      code: 404001,
    },
  )
  expect((await hub.twins.get(iotHub, 'd1')).properties.reported).not.toHaveProperty('of')
})

test('nor is that twin read by it', async () => {
  const { node, session } = await replaced()
  await expect(node.twins.getForDevice(session)).rejects.toMatchObject({ code: 404001 })
})
