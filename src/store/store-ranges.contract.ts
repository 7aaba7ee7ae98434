import { expect } from 'vitest'
import type { Scan, Store } from './store.ts'
import { device, devices, pages, type Rule } from './store-fixtures.contract.ts'

export function rangeRules(rule: Rule): void {
  const ids = async (store: Store, scan: Partial<Scan> = {}): Promise<string[]> =>
    (await pages(store, { limit: 2, ...scan })).flat()

  rule('without an index documents come in the order of their ids, byte by byte', async (store) => {
    // U+FB00 sorts before U+1F600 in UTF-8, after it in UTF-16
    const sorted = ['A', 'B', 'a', 'aa', 'ab', 'b', 'é', '\ufb00', '😀']
    await store.commit({ put: sorted.toReversed().map((id) => device(id)) })
    expect(await ids(store)).toEqual(sorted)
    expect(await ids(store, { from: 'a', to: 'b' })).toEqual(['a', 'aa', 'ab'])
    expect(await ids(store, { equals: 'aa' })).toEqual(['aa'])
    expect(await store.count(devices, { from: 'a' })).toBe(7)
  })

  rule('a prefix takes exactly the ids that begin so', async (store) => {
    const all = ['a', 'a%', 'a%b', 'a_b', 'ab', 'abc', 'aB', 'b', 'a\ud7ff', 'a\ue000', 'a\u{10ffff}', 'a\u{10ffff}x']
    await store.commit({ put: all.map((id) => device(id)) })
    for (const prefix of ['', 'a', 'a%', 'a_', 'ab', 'abc', 'abcd', 'a\ud7ff', 'a\u{10ffff}', '\u{10ffff}']) {
      const expected = all.filter((id) => id.startsWith(prefix))
      expect([...(await ids(store, { prefix }))].sort()).toEqual(expected.sort())
      expect(await store.count(devices, { prefix })).toBe(expected.length)
    }
    expect(await ids(store, { prefix: 'a', from: 'ab', to: 'abd' })).toEqual(['ab', 'abc'])
  })

  rule('an index orders by value, then id, and holds only documents that have the member', async (store) => {
    await store.commit({
      put: [
        device('z', { name: 'one' }),
        device('c', { name: 'two' }),
        device('b', { name: 'two' }),
        device('a', { name: 'two' }),
        device('x', { name: '' }),
        device('none'),
        device('null', { name: null }),
      ],
    })
    expect(await ids(store, { index: 'name' })).toEqual(['x', 'z', 'a', 'b', 'c'])
    expect(await ids(store, { index: 'name', equals: 'two' })).toEqual(['a', 'b', 'c'])
    expect(await ids(store, { index: 'name', equals: '' })).toEqual(['x'])
    expect(await ids(store, { index: 'name', from: 'one', to: 'two' })).toEqual(['z'])
    expect(await store.count(devices, { index: 'name' })).toBe(5)
    expect(await store.count(devices, { index: 'name', equals: 'two' })).toBe(3)
    expect(await store.count(devices)).toBe(7)
  })

  rule('an index over numbers orders them as numbers', async (store) => {
    const ranks = [10, 9, -1, 0, 0.5, 1e15, -1e-9]
    await store.commit({ put: ranks.map((rank) => device(`r${rank}`, { rank })) })
    expect(await ids(store, { index: 'rank' })).toEqual(ranks.toSorted((a, b) => a - b).map((rank) => `r${rank}`))
    expect(await ids(store, { index: 'rank', equals: 0.5 })).toEqual(['r0.5'])
    expect(await ids(store, { index: 'rank', from: 0, to: 10 })).toEqual(['r0', 'r0.5', 'r9'])
    expect(await store.count(devices, { index: 'rank', from: 9 })).toBe(3)
  })

  rule('an index may be on a member of a member', async (store) => {
    await store.commit({ put: [device('a', { at: { site: 'x' } }), device('b', { at: {} }), device('c')] })
    expect(await ids(store, { index: 'site' })).toEqual(['a'])
  })

  rule('an index may be on an item of a list', async (store) => {
    const odd = { collection: devices, id: 'd', value: { list: { 0: 'x' } } }
    await store.commit({ put: [device('a', { list: ['x', 'y'] }), device('b', { list: [] }), device('c'), odd] })
    expect(await ids(store, { index: 'first' })).toEqual(['a'])
    expect(await ids(store, { index: 'first', equals: 'y' })).toEqual([])
    await store.commit({ put: [device('a', { list: ['y'] })] })
    expect(await ids(store, { index: 'first', equals: 'y' })).toEqual(['a'])
  })

  rule('numbers and text in one index are ranges apart', async (store) => {
    const odd = (id: string, rank: unknown) => ({ collection: devices, id, value: { rank } })
    await store.commit({ put: [odd('n', 5), odd('t', 'five'), odd('e', '')] })
    expect(await ids(store, { index: 'rank', from: 1 })).toEqual(['n'])
    expect(await ids(store, { index: 'rank', to: 'z' })).toEqual(['e', 't'])
    expect((await ids(store, { index: 'rank' })).toSorted()).toEqual(['e', 'n', 't'])
  })

  rule('a changed document moves in its indexes, a deleted one leaves them', async (store) => {
    await store.commit({ put: [device('a', { name: 'x' }), device('b', { name: 'x' })] })
    await store.commit({ put: [device('a', { name: 'y' })], delete: [{ in: devices, id: 'b' }] })
    expect(await ids(store, { index: 'name', equals: 'x' })).toEqual([])
    expect(await ids(store, { index: 'name', equals: 'y' })).toEqual(['a'])
  })

  rule('pages are full but for the last, and there is no empty page after a full one', async (store) => {
    await store.commit({ put: Array.from({ length: 6 }, (_, at) => device(`d${at}`, { name: 'same', rank: at % 2 })) })
    for (const by of [{}, { index: 'name' }, { index: 'rank' }, { index: 'name', equals: 'same' }, { prefix: 'd' }]) {
      expect((await pages(store, { limit: 3, ...by })).map((page) => page.length)).toEqual([3, 3])
      expect((await pages(store, { limit: 4, ...by })).map((page) => page.length)).toEqual([4, 2])
      expect((await pages(store, { limit: 6, ...by })).map((page) => page.length)).toEqual([6])
    }
    expect(await pages(store, { limit: 5, prefix: 'none' })).toEqual([[]])
  })

  rule('a cursor keeps its place while documents come and go around it', async (store) => {
    await store.commit({ put: ['b', 'd', 'f', 'h'].map((id) => device(id, { name: 'n' })) })
    for (const by of [{}, { index: 'name' }, { index: 'name', equals: 'n' }]) {
      const first = await store.scan(devices, { ...by, limit: 2 })
      expect(first.items.map(({ id }) => id)).toEqual(['b', 'd'])
      await store.commit({
        put: [device('a', { name: 'n' }), device('e', { name: 'n' })],
        delete: [
          { in: devices, id: 'd' },
          { in: devices, id: 'f' },
        ],
      })
      const second = await store.scan(devices, { ...by, limit: 5, after: first.next })
      expect(second.items.map(({ id }) => id)).toEqual(['e', 'h'])
      expect(second.next).toBeUndefined()
      await store.commit({
        put: [device('d', { name: 'n' }), device('f', { name: 'n' })],
        delete: [
          { in: devices, id: 'a' },
          { in: devices, id: 'e' },
        ],
      })
    }
  })

  rule('while others insert, a scan of many pages sees each old document once', async (store) => {
    const old = Array.from({ length: 60 }, (_, at) => `m${String(at).padStart(2, '0')}`)
    await store.commit({ put: old.map((id, at) => device(id, { name: 'n', rank: at % 7 })) })
    for (const by of [{}, { index: 'rank' }, { index: 'name', equals: 'n' }]) {
      const insert = async (from: number) => {
        for (let n = from; n < from + 20; n++)
          await store.commit({ put: [device(`x${n * 37}`, { name: 'n', rank: n % 7 })] })
      }
      const [seen] = await Promise.all([pages(store, { ...by, limit: 7 }), insert(0), insert(100)])
      expect(
        seen
          .flat()
          .filter((id) => id.startsWith('m'))
          .toSorted(),
      ).toEqual(old)
      expect(new Set(seen.flat()).size).toBe(seen.flat().length)
    }
  })

  rule('a malformed cursor is refused with a RangeError', async (store) => {
    await store.commit({ put: [device('a', { name: 'n' }), device('b', { name: 'n' })] })
    const plain = (await store.scan(devices, { limit: 1 })).next!
    const named = (await store.scan(devices, { index: 'name', limit: 1 })).next!
    const rubbish = [
      '',
      'x',
      '%%%',
      `${plain}A`,
      plain.slice(1),
      Buffer.from('[]').toString('base64url'),
      Buffer.from('[1]').toString('base64url'),
      '😀',
    ]
    for (const after of [...rubbish, named])
      await expect(store.scan(devices, { limit: 1, after })).rejects.toThrow(RangeError)
    for (const after of [...rubbish, plain])
      await expect(store.scan(devices, { index: 'name', limit: 1, after })).rejects.toThrow(RangeError)
    await expect(store.scan(devices, { index: 'rank', limit: 1, after: named })).rejects.toThrow(RangeError)
  })

  rule('a range that makes no sense is refused with a RangeError', async (store) => {
    const refused = async (range: Omit<Scan, 'limit'>) => {
      await expect(store.scan(devices, { ...range, limit: 1 })).rejects.toThrow(RangeError)
      await expect(store.count(devices, range)).rejects.toThrow(RangeError)
    }
    await refused({ index: 'unknown' })
    await refused({ index: 'name', prefix: 'a' })
    await refused({ index: 'name', from: 1, to: 'b' })
    await refused({ from: 1 })
  })
}
