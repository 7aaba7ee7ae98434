import { expect } from 'vitest'
import { limits } from '../base/limits.ts'
import { collection, queue } from './store.ts'
import { bytes, device, devices, item, note, notes, type Rule, work } from './store-fixtures.contract.ts'

export function boundRules(rule: Rule): void {
  rule('a value may be as large as the limit and not larger', async (store) => {
    const text = 'x'.repeat(limits.storeValueBytes - 2) // and two quotes
    expect(await store.commit({ put: [note('a', text)] })).toMatchObject({ ok: true })
    expect((await store.get(notes, 'a'))?.value).toBe(text)
    await expect(store.commit({ put: [note('b', `${text}x`)] })).rejects.toThrow(/notes\/b has \d+ bytes.*at most \d+/)
    await expect(store.commit({ put: [note('b', 'é'.repeat(limits.storeValueBytes / 2))] })).rejects.toThrow(RangeError)
    const value = Buffer.alloc(limits.storeValueBytes + 1)
    await expect(store.commit({ append: [{ log: 'l', time: 1, value }] })).rejects.toThrow(RangeError)
    const enqueue = [{ queue: work, id: 'w', dueAt: 1, value: `${text}x` }]
    await expect(store.commit({ enqueue })).rejects.toThrow(RangeError)
    expect(await store.get(notes, 'b')).toBeUndefined()
  })

  rule('a commit may have as many parts as the limit and not more', async (store) => {
    const many = Array.from({ length: limits.storeBatch }, (_, at) => note(`n${at}`))
    expect(await store.commit({ put: many })).toMatchObject({ ok: true })
    await expect(store.commit({ put: [...many, note('more')] })).rejects.toThrow(`at most ${limits.storeBatch}`)
    expect(await store.count(notes)).toBe(limits.storeBatch)
  })

  rule('ids are text of one to the limit of characters', async (store) => {
    const longest = 'i'.repeat(limits.storeIdLength)
    expect(await store.commit({ put: [note(longest)] })).toMatchObject({ ok: true })
    for (const id of ['', `${longest}i`, 'a\0b', '\ud800', 'a\udc00b']) {
      await expect(store.commit({ put: [note(id)] })).rejects.toThrow(RangeError)
      await expect(store.commit({ enqueue: [item(id, 1)] })).rejects.toThrow(RangeError)
      expect(await store.get(notes, id)).toBeUndefined()
    }
    await store.commit({ put: [note('\ufffd')] })
    expect(await store.get(notes, '\ud800')).toBeUndefined()
  })

  rule('what is no JSON value is refused', async (store) => {
    for (const value of [undefined, () => 1, Symbol('s'), 1n])
      await expect(store.commit({ put: [{ collection: notes, id: 'a', value }] })).rejects.toThrow(TypeError)
  })

  rule('an indexed member that is neither text nor a number is refused', async (store) => {
    for (const rank of [true, {}, [], 2 ** 60]) {
      const put = [{ collection: devices, id: 'a', value: { rank } }]
      await expect(store.commit({ put })).rejects.toThrow(TypeError)
    }
  })

  rule('one commit writes a document or item once', async (store) => {
    await expect(store.commit({ put: [note('a', 1), note('a', 2)] })).rejects.toThrow(RangeError)
    await expect(store.commit({ put: [note('a')], delete: [{ in: notes, id: 'a' }] })).rejects.toThrow(RangeError)
    await expect(store.commit({ enqueue: [item('a', 1), item('a', 2)] })).rejects.toThrow(RangeError)
    expect(await store.commit({ put: [note('a'), device('a')], enqueue: [item('a', 1)] })).toMatchObject({ ok: true })
  })

  rule('times and moments are whole numbers', async (store) => {
    for (const time of [Number.NaN, 1.5, Number.POSITIVE_INFINITY]) {
      await expect(store.commit({ append: [{ log: 'l', time, value: bytes('x') }] })).rejects.toThrow(RangeError)
      await expect(store.commit({ enqueue: [item('a', time)] })).rejects.toThrow(RangeError)
      await expect(store.trim('l', time)).rejects.toThrow(RangeError)
      await expect(store.lease('l', 'a', time, 1)).rejects.toThrow(RangeError)
    }
  })

  rule('pages have one to the limit of items', async (store) => {
    for (const limit of [0, -1, 1.5, Number.NaN, limits.storePage + 1]) {
      await expect(store.scan(notes, { limit })).rejects.toThrow(RangeError)
      await expect(store.due(work, 1, limit)).rejects.toThrow(RangeError)
      await expect(store.read('l', 0, limit)).rejects.toThrow(RangeError)
    }
    const tooMany = Array.from({ length: limits.storePage + 1 }, (_, at) => `n${at}`)
    await expect(store.getMany(notes, tooMany)).rejects.toThrow(RangeError)
    expect(await store.scan(notes, { limit: limits.storePage })).toEqual({ items: [] })
  })

  rule('a page ends early when its bytes are many, and goes on after its cursor', async (store) => {
    const text = 'x'.repeat(limits.storeValueBytes - 2)
    const count = limits.storePageBytes / limits.storeValueBytes + 2
    for (let at = 0; at < count; at++)
      await store.commit({
        put: [note(`n${at}`, text)],
        append: [{ log: 'l', time: 1, value: bytes(text) }],
      })
    const first = await store.scan(notes, { limit: 100 })
    expect(first.items.length).toBeLessThan(count)
    const second = await store.scan(notes, { limit: 100, after: first.next })
    expect(first.items.length + second.items.length).toBe(count)
    const entries = await store.read('l', 0, 100)
    expect(entries.length).toBeLessThan(count)
    expect(await store.read('l', entries.length, 100)).toHaveLength(count - entries.length)
  })

  rule('what the schema does not declare is refused', async (store) => {
    const other = collection<string>('other')
    await expect(store.get(other, 'a')).rejects.toThrow(TypeError)
    await expect(store.scan(other, { limit: 1 })).rejects.toThrow(TypeError)
    await expect(store.commit({ put: [{ collection: other, id: 'a', value: 'x' }] })).rejects.toThrow(TypeError)
    await expect(store.commit({ enqueue: [{ queue: queue('others'), id: 'a', dueAt: 1, value: 1 }] })).rejects.toThrow(
      TypeError,
    )
    // The same declaration made elsewhere is the same collection.
    await store.commit({ put: [note('a')] })
    expect(await store.get(collection('notes'), 'a')).toBeDefined()
  })

  rule('a closed store refuses, and closing waits for what was asked before', async (store) => {
    const last = store.commit({ put: [note('a')] })
    await Promise.all([store.close(), store.close()])
    expect(await last).toMatchObject({ ok: true })
    await expect(store.get(notes, 'a')).rejects.toThrow(/closed/)
    await expect(store.commit({ put: [note('b')] })).rejects.toThrow(/closed/)
  })
}
