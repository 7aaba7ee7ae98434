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
