import { expect } from 'vitest'
import { bytes, device, devices, item, note, notes, type Rule, work } from './store-fixtures.contract.ts'

export function queueRules(rule: Rule): void {
  rule('due items come earliest first, those of one moment by id, up to the limit', async (store) => {
    await store.commit({ enqueue: [item('c', 30), item('b', 10), item('a', 10), item('d', 40)] })
    expect((await store.due(work, 30, 10)).map(({ id, dueAt }) => [id, dueAt])).toEqual([
      ['a', 10],
      ['b', 10],
      ['c', 30],
    ])
    expect((await store.due(work, 30, 2)).map(({ id }) => id)).toEqual(['a', 'b'])
    expect(await store.due(work, 9, 10)).toEqual([])
  })

  rule('an item stays until it is deleted', async (store) => {
    await store.commit({ enqueue: [item('a', 1, 7)] })
    const [first] = await store.due(work, 1, 1)
    expect(first).toEqual({ id: 'a', version: first?.version, dueAt: 1, value: { step: 7 } })
    expect(await store.due(work, 1, 1)).toEqual([first])
    await store.commit({ delete: [{ in: work, id: 'a' }] })
    expect(await store.due(work, 1, 1)).toEqual([])
  })

  rule('putting an item again moves it and replaces what it carries', async (store) => {
    await store.commit({ enqueue: [item('a', 1, 1), item('b', 2, 1)] })
    await store.commit({ enqueue: [item('a', 3, 2)] })
    expect((await store.due(work, 9, 9)).map(({ id, dueAt, value }) => [id, dueAt, value.step])).toEqual([
      ['b', 2, 1],
      ['a', 3, 2],
    ])
  })

  rule('an expectation on an item keeps two workers from finishing it twice', async (store) => {
    await store.commit({ enqueue: [item('a', 1)] })
    const [found] = await store.due(work, 1, 1)
    const finish = () =>
      store.commit({
        expect: [{ in: work, id: 'a', version: found!.version }],
        delete: [{ in: work, id: 'a' }],
        append: [{ log: 'done', time: 1, value: bytes('a') }],
      })
    const results = await Promise.all([finish(), finish()])
    expect(results.map((each) => each.ok).toSorted()).toEqual([false, true])
    expect(await store.bounds('done')).toEqual({ first: 0, next: 1 })
  })

  rule('an item and a document of one id have nothing to do with each other', async (store) => {
    await store.commit({ put: [note('a'), device('a')], enqueue: [item('a', 1)] })
    await store.commit({ delete: [{ in: notes, id: 'a' }] })
    expect(await store.due(work, 1, 1)).toHaveLength(1)
    await store.commit({ delete: [{ in: work, id: 'a' }] })
    expect(await store.get(devices, 'a')).toBeDefined()
  })
}
