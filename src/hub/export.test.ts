import { expect, test } from 'vitest'
import { hubWorld, operator, sasDevice } from '../../tests/support/hub-world.ts'
import { limits } from '../base/limits.ts'

test('a page of large twins ends early, so that whoever reads it can take it; none is left out', async () => {
  const { hub, iotHub } = await hubWorld()
  const { registry } = hub
  // Below every bound of a twin; with the metadata of every member a line has 280 KB.
  const tags = Object.fromEntries(Array.from({ length: 7 }, (_, n) => [`t${n}`, 'x'.repeat(1000)]))
  const desired = Object.fromEntries(Array.from({ length: 3000 }, (_, n) => [`p${n}`, 'y']))
  const names = Array.from({ length: 50 }, (_, n) => `d${String(n).padStart(2, '0')}`)
  const items = names.map((id) => ({ id, importMode: 'create', ...sasDevice(), tags, properties: { desired } }))
  expect(await registry.bulk(operator, iotHub, items)).toMatchObject({ isSuccessful: true })
  const pages: (readonly object[])[] = []
  for (let after: string | undefined = ''; after !== undefined; ) {
    const { lines, next } = await registry.deviceExport(iotHub, { after: after || undefined, keys: true })
    pages.push(lines)
    after = next
  }
  expect(pages.flat().map((line) => (line as { id: string }).id)).toEqual(names)
  const sizes = pages.map((lines) => JSON.stringify(lines).length)
  expect(sizes.length).toBe(2)
  expect(Math.max(...sizes)).toBeLessThan(2 * limits.exportPageBytes)
})
