import { expect, test } from 'vitest'
import { hubWorld, operator, sasDevice } from '../../tests/support/hub-world.ts'
import { parseIfMatch } from '../base/etags.ts'

const absent = parseIfMatch(undefined)
const edge = (parent?: string) =>
  sasDevice({ capabilities: { iotEdge: true }, ...(parent !== undefined && { parentScopes: [parent] }) })

test('an Edge device whose own parent was deleted still takes children; the deleted one takes none', async () => {
  const { hub, iotHub } = await hubWorld()
  const put = (id: string, body: object) => hub.registry.putDevice(operator, iotHub, id, body, absent)
  const top = (await put('top', edge())).deviceScope!
  const middle = (await put('middle', edge(top))).deviceScope!
  await hub.registry.removeDevice(operator, iotHub, 'top', parseIfMatch('*'))
  await put('top', edge())
  expect(await put('leaf', sasDevice({ deviceScope: middle }))).toMatchObject({ parentScopes: [middle] })
  expect(await put('lower', edge(middle))).toMatchObject({ parentScopes: [middle] })
  await expect(put('orphan', sasDevice({ deviceScope: top }))).rejects.toMatchObject({ code: 400028 })
})

test('an Edge device read, made a leaf and written back: its own scope is no parent', async () => {
  const { hub, iotHub } = await hubWorld()
  const parent = (await hub.registry.putDevice(operator, iotHub, 'parent', edge(), absent)).deviceScope!
  const read = await hub.registry.putDevice(operator, iotHub, 'd', edge(parent), absent)
  const body = { ...read, capabilities: { iotEdge: false } }
  const leaf = await hub.registry.putDevice(operator, iotHub, 'd', body, parseIfMatch('*'))
  expect(leaf).toMatchObject({ capabilities: { iotEdge: false }, deviceScope: parent, parentScopes: [parent] })
  const again = { ...leaf, deviceScope: read.deviceScope }
  await expect(hub.registry.putDevice(operator, iotHub, 'd', again, parseIfMatch('*'))).rejects.toMatchObject({
    code: 400028,
  })
})
