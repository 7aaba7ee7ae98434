import { expect } from 'vitest'
import type { Stored } from './store.ts'
import { bytes, device, devices, item, note, notes, type Rule, versionOf, work } from './store-fixtures.contract.ts'

export function documentRules(rule: Rule): void {
  rule('a document is read as it was written, by its id alone', async (store) => {
    const value = { name: 'pump', at: { site: 'north' }, nested: [1, 2.5, null, true, { 'odd "name"': '\u0000é😀' }] }
    expect(await store.get(notes, 'a')).toBeUndefined()
    const result = await store.commit({ put: [note('a', value)] })
    expect(result).toMatchObject({ ok: true, positions: [], queued: [] })
    const [version] = result.ok ? result.versions : []
    expect(version).toBeGreaterThan(0)
    expect(await store.get(notes, 'a')).toEqual({ id: 'a', version, value })
    expect(await store.get(devices, 'a')).toBeUndefined()
  })

  rule('any JSON value is a document', async (store) => {
    const values = [null, false, 0, -1.5e-7, '', 'text', [], {}, [[]]]
    await store.commit({ put: values.map((value, at) => note(`v${at}`, value)) })
    const found = await store.getMany(
      notes,
      values.map((_, at) => `v${at}`),
    )
    expect(found.map((each) => each?.value)).toEqual(values)
  })

  rule('putting again replaces the whole document', async (store) => {
    await store.commit({ put: [device('a', { name: 'old', rank: 1 })] })
    await store.commit({ put: [device('a', { name: 'new' })] })
    expect((await store.get(devices, 'a'))?.value).toEqual({ name: 'new' })
    expect(await store.count(devices)).toBe(1)
  })

  rule('several are read in the order asked for, with gaps and repetitions', async (store) => {
    await store.commit({ put: [note('a'), note('b')] })
    const found = await store.getMany(notes, ['b', 'none', 'a', 'b'])
    expect(found.map((each) => each?.id)).toEqual(['b', undefined, 'a', 'b'])
    expect(await store.getMany(notes, [])).toEqual([])
  })

  rule('ids keep case, accents, blanks and signs apart', async (store) => {
    const ids = [
      'a',
      'A',
      'ä',
      'a\u0308',
      ' a',
      'a ',
      'a/b',
      'a%',
      'a_',
      "a'",
      'a"',
      'a\\',
      '😀',
      '\u{10ffff}',
      'ﬀ',
      'ß',
      'SS',
      '1',
      '01',
    ]
    await store.commit({ put: ids.map((id) => note(id)) })
    for (const id of ids) expect((await store.get(notes, id))?.value).toBe(id)
    expect(await store.count(notes)).toBe(ids.length)
  })

  rule('a deleted document is gone; deleting what is not there is fine', async (store) => {
    await store.commit({ put: [note('a')] })
    expect(await store.commit({ delete: [{ in: notes, id: 'a' }] })).toMatchObject({ ok: true })
    expect(await store.commit({ delete: [{ in: notes, id: 'a' }] })).toMatchObject({ ok: true })
    expect(await store.get(notes, 'a')).toBeUndefined()
    expect(await store.count(notes)).toBe(0)
  })

  rule('versions grow over the whole store and never come again, also after delete and put', async (store) => {
    const seen: number[] = []
    for (let round = 0; round < 5; round++) {
      const result = await store.commit({ put: [note('a'), device('b')], enqueue: [item('w', 1)] })
      if (result.ok) seen.push(...result.versions, ...result.queued)
      await store.commit({
        delete: [
          { in: notes, id: 'a' },
          { in: work, id: 'w' },
        ],
      })
    }
    expect(seen).toHaveLength(15)
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b))
  })

  rule('a reader sees what was answered before it asked', async (store) => {
    for (let step = 0; step < 50; step++) {
      await store.commit({ put: [note('a', step)] })
      expect((await store.get(notes, 'a'))?.value).toBe(step)
    }
  })
}

export function commitRules(rule: Rule): void {
  rule('create-only refuses an existing document and shows its version', async (store) => {
    const first = await store.commit({ expect: [{ in: notes, id: 'a', version: 0 }], put: [note('a', 1)] })
    expect(first).toMatchObject({ ok: true })
    const second = await store.commit({ expect: [{ in: notes, id: 'a', version: 0 }], put: [note('a', 2)] })
    expect(second).toEqual({ ok: false, conflicts: [{ in: notes, id: 'a', version: versionOf(first) }] })
    expect((await store.get(notes, 'a'))?.value).toBe(1)
  })

  rule('an expected version that is not there is a conflict with version 0', async (store) => {
    const result = await store.commit({ expect: [{ in: notes, id: 'a', version: 7 }], put: [note('a')] })
    expect(result).toEqual({ ok: false, conflicts: [{ in: notes, id: 'a', version: 0 }] })
  })

  rule('two writers at one version: one wins', async (store) => {
    const version = versionOf(await store.commit({ put: [note('a', 'start')] }))
    const change = (value: string) =>
      store.commit({ expect: [{ in: notes, id: 'a', version }], put: [note('a', value)] })
    const results = await Promise.all([change('x'), change('y'), change('z')])
    expect(results.filter((each) => each.ok)).toHaveLength(1)
    expect((await store.get(notes, 'a'))?.value).toBe(['x', 'y', 'z'][results.findIndex((each) => each.ok)])
  })

  rule('every conflict is listed and nothing of the commit is written', async (store) => {
    const a = versionOf(await store.commit({ put: [note('a')] }))
    const b = versionOf(await store.commit({ put: [note('b')] }))
    const result = await store.commit({
      expect: [
        { in: notes, id: 'a', version: 0 },
        { in: notes, id: 'b', version: b },
        { in: notes, id: 'c', version: 5 },
        { in: work, id: 'w', version: 9 },
      ],
      put: [note('new'), device('new')],
      delete: [{ in: notes, id: 'b' }],
      append: [{ log: 'l', time: 1, value: bytes('x') }],
      enqueue: [item('w', 1)],
    })
    expect(result).toEqual({
      ok: false,
      conflicts: [
        { in: notes, id: 'a', version: a },
        { in: notes, id: 'c', version: 0 },
        { in: work, id: 'w', version: 0 },
      ],
    })
    expect(await store.getMany(notes, ['new'])).toEqual([undefined])
    expect(await store.get(devices, 'new')).toBeUndefined()
    expect(await store.get(notes, 'b')).toBeDefined()
    expect(await store.bounds('l')).toEqual({ first: 0, next: 0 })
    expect(await store.due(work, 10, 10)).toEqual([])
  })

  rule('a commit may do everything at once, and answers in the order it was asked', async (store) => {
    await store.commit({ put: [note('old')] })
    const result = await store.commit({
      put: [note('b'), device('a')],
      delete: [{ in: notes, id: 'old' }],
      append: [
        { log: 'l', time: 1, value: bytes('x') },
        { log: 'm', time: 1, value: bytes('y') },
        { log: 'l', time: 1, value: bytes('z') },
      ],
      enqueue: [item('w2', 2), item('w1', 1)],
    })
    if (!result.ok) throw new Error('conflict')
    expect(result.versions).toEqual([(await store.get(notes, 'b'))?.version, (await store.get(devices, 'a'))?.version])
    expect(result.positions).toEqual([0, 0, 1])
    const due = await store.due(work, 2, 10)
    expect(due.map(({ id, version }) => [id, version])).toEqual([
      ['w1', result.queued[1]],
      ['w2', result.queued[0]],
    ])
  })

  rule('expectations alone are a check; an empty commit is fine', async (store) => {
    const version = versionOf(await store.commit({ put: [note('a')] }))
    expect(await store.commit({ expect: [{ in: notes, id: 'a', version }] })).toMatchObject({ ok: true })
    expect(await store.commit({ expect: [{ in: notes, id: 'a', version: 0 }] })).toMatchObject({ ok: false })
    expect(await store.commit({})).toEqual({ ok: true, versions: [], positions: [], queued: [] })
  })

  rule('a commit is judged against all that were asked for before it', async (store) => {
    const create = (value: number) =>
      store.commit({ expect: [{ in: notes, id: 'a', version: 0 }], put: [note('a', value)] })
    const [first, second, third, fourth] = await Promise.all([
      create(1),
      create(2),
      store.commit({ delete: [{ in: notes, id: 'a' }] }),
      create(4),
    ])
    expect([first.ok, second.ok, third.ok, fourth.ok]).toEqual([true, false, true, true])
    expect((await store.get(notes, 'a'))?.value).toBe(4)
  })

  rule('many writers that read, change and try again lose no change', async (store) => {
    await store.commit({ put: [note('sum', 0)] })
    const addOne = async (): Promise<void> => {
      const { version, value } = (await store.get(notes, 'sum')) as Stored<number>
      const put = [note('sum', value + 1)]
      if (!(await store.commit({ expect: [{ in: notes, id: 'sum', version }], put })).ok) await addOne()
    }
    await Promise.all(Array.from({ length: 20 }, addOne))
    expect((await store.get(notes, 'sum'))?.value).toBe(20)
  })
}
