import { expect, test } from 'vitest'
import { temporaryStore } from '../../tests/support/store.ts'
import { createDraft, STAGED } from './draft.ts'
import { collection } from './store.ts'

const things = collection<{ readonly n: number }>('things')
const put = (id: string, n: number) => ({ collection: things, id, value: { n } })

async function world() {
  const store = await temporaryStore({ collections: [things], queues: [] })
  await store.commit({ put: [put('a', 1)] })
  return store
}

test('later changes see the earlier ones, and the commit expects what was read first', async () => {
  const store = await world()
  const draft = createDraft(store, true)
  expect(await draft.get(things, 'a')).toMatchObject({ version: 1, value: { n: 1 } })
  draft.put([put('a', 2)])
  expect(await draft.get(things, 'a')).toEqual({ id: 'a', version: STAGED, value: { n: 2 } })
  draft.delete([{ in: things, id: 'a' }])
  expect(await draft.get(things, 'a')).toBeUndefined()
  draft.put([put('a', 3)])
  expect(draft.change()).toEqual({ expect: [{ in: things, id: 'a', version: 1 }], put: [put('a', 3)], delete: [] })
  expect((await store.commit(draft.change())).ok).toBe(true)
  expect(await store.get(things, 'a')).toMatchObject({ value: { n: 3 } })
})

test('what is dropped leaves nothing behind, not in the counts either', async () => {
  const draft = createDraft(await world(), true)
  draft.put([put('b', 1)])
  draft.keep()
  const before = { change: draft.change(), parts: draft.parts }
  await draft.get(things, 'a')
  draft.put([put('b', 2), put('c', 3)])
  draft.delete([{ in: things, id: 'a' }])
  draft.expect([{ in: things, id: 'd', version: 7 }])
  expect(draft.parts).toBeGreaterThan(before.parts)
  draft.drop()
  expect({ change: draft.change(), parts: draft.parts }).toEqual(before)
})

test('taken for new without looking: the commit finds out', async () => {
  const store = await world()
  const draft = createDraft(store, false)
  expect(await draft.getNew(things, 'a')).toBeUndefined()
  expect(draft.blind).toBe(true)
  draft.put([put('a', 2)])
  expect(await store.commit(draft.change())).toEqual({ ok: false, conflicts: [{ in: things, id: 'a', version: 1 }] })
  const looking = createDraft(store, true)
  expect(await looking.getNew(things, 'a')).toMatchObject({ value: { n: 1 } })
  expect(looking.blind).toBe(false)
})

test('an expectation of something that was read changes nothing; one that was not is read when it is asked for', async () => {
  const store = await world()
  const draft = createDraft(store, true)
  await draft.get(things, 'a')
  draft.expect([{ in: things, id: 'a', version: 99 }])
  draft.expect([{ in: things, id: 'b', version: 5 }])
  expect(draft.change().expect).toEqual([
    { in: things, id: 'a', version: 1 },
    { in: things, id: 'b', version: 5 },
  ])
  expect(await draft.get(things, 'b')).toBeUndefined()
  expect((await store.commit(draft.change())).ok).toBe(false)
})
