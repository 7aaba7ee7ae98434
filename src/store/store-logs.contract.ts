import { expect } from 'vitest'
import type { Store } from './store.ts'
import { bytes, notes, type Rule } from './store-fixtures.contract.ts'

export function logRules(rule: Rule): void {
  const append = (store: Store, log: string, ...texts: string[]) =>
    store.commit({ append: texts.map((text, at) => ({ log, time: 1000 + at, value: bytes(text) })) })

  rule('positions begin at 0 and have no gaps, each log by itself', async (store) => {
    expect(await store.bounds('l')).toEqual({ first: 0, next: 0 })
    expect(await store.read('l', 0, 10)).toEqual([])
    expect(await append(store, 'l', 'a', 'b')).toMatchObject({ positions: [0, 1] })
    expect(await append(store, 'm', 'x')).toMatchObject({ positions: [0] })
    expect(await append(store, 'l', 'c')).toMatchObject({ positions: [2] })
    expect(await store.bounds('l')).toEqual({ first: 0, next: 3 })
    const entries = await store.read('l', 0, 10)
    expect(entries).toEqual([
      { position: 0, time: 1000, value: bytes('a') },
      { position: 1, time: 1001, value: bytes('b') },
      { position: 2, time: 1000, value: bytes('c') },
    ])
    expect(entries.every(({ value }) => Buffer.isBuffer(value))).toBe(true)
  })

  rule('entries are bytes, also none and all of them', async (store) => {
    const every = Buffer.from(Array.from({ length: 256 }, (_, at) => at))
    const view = Buffer.concat([bytes('before'), every, bytes('after')]).subarray(6, 262)
    await store.commit({
      append: [
        { log: 'l', time: 1, value: view },
        { log: 'l', time: 1, value: new Uint8Array(0) },
      ],
    })
    expect((await store.read('l', 0, 10)).map(({ value }) => value)).toEqual([every, Buffer.alloc(0)])
  })

  rule('a refused commit leaves no gap', async (store) => {
    await append(store, 'l', 'a')
    const refused = store.commit({
      expect: [{ in: notes, id: 'none', version: 3 }],
      append: [{ log: 'l', time: 1, value: bytes('lost') }],
    })
    const [result, later] = await Promise.all([refused, append(store, 'l', 'b')])
    expect(result.ok).toBe(false)
    expect(later).toMatchObject({ positions: [1] })
  })

  rule('many writers at once get every position once', async (store) => {
    const results = await Promise.all(Array.from({ length: 100 }, (_, at) => append(store, 'l', `e${at}`)))
    const positions = results.flatMap((each) => (each.ok ? each.positions : []))
    expect(positions.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, at) => at))
    const entries = await store.read('l', 0, 100)
    expect(entries.map(({ value }) => String(value))).toEqual(
      entries.map(({ position }) => `e${positions.indexOf(position)}`),
    )
  })

  rule('reading begins anywhere and takes at most what was asked for', async (store) => {
    await append(store, 'l', 'a', 'b', 'c', 'd')
    expect((await store.read('l', 1, 2)).map(({ position }) => position)).toEqual([1, 2])
    expect(await store.read('l', 4, 10)).toEqual([])
    expect(await store.read('l', 99, 10)).toEqual([])
  })

  rule('trimming forgets the entries before a position, and only them', async (store) => {
    await append(store, 'l', 'a', 'b', 'c', 'd')
    await append(store, 'm', 'x')
    await store.trim('l', 2)
    expect(await store.bounds('l')).toEqual({ first: 2, next: 4 })
    expect((await store.read('l', 0, 10)).map(({ position }) => position)).toEqual([2, 3])
    await store.trim('l', 1)
    expect(await store.bounds('l')).toEqual({ first: 2, next: 4 })
    await store.trim('l', 99)
    expect(await store.bounds('l')).toEqual({ first: 4, next: 4 })
    expect(await append(store, 'l', 'e')).toMatchObject({ positions: [4] })
    expect((await store.read('l', 0, 10)).map(({ value }) => String(value))).toEqual(['e'])
    expect(await store.bounds('m')).toEqual({ first: 0, next: 1 })
    await store.trim('never', 5)
    expect(await store.bounds('never')).toEqual({ first: 0, next: 0 })
  })

  rule('seek finds where reading begins to see a time', async (store) => {
    const times = [100, 200, 200, 300]
    await store.commit({ append: times.map((time) => ({ log: 'l', time, value: bytes('x') })) })
    for (const [time, position] of [
      [0, 0],
      [100, 0],
      [101, 1],
      [200, 1],
      [201, 3],
      [300, 3],
      [301, 4],
    ] as const)
      expect(await store.seek('l', time)).toBe(position)
    await store.trim('l', 2)
    expect(await store.seek('l', 0)).toBe(2)
    expect(await store.seek('none', 5)).toBe(0)
  })

  rule('seek finds the first entry of a time also where clocks went back', async (store) => {
    const times = [100, 300, 150, 250, 400, 50, 500]
    await store.commit({ append: times.map((time) => ({ log: 'l', time, value: bytes('x') })) })
    for (const time of [...times, 0, 301, 501]) {
      const first = times.findIndex((each) => each >= time)
      expect(await store.seek('l', time)).toBe(first === -1 ? times.length : first)
    }
    expect((await store.read('l', 0, 10)).map((entry) => entry.time)).toEqual(times)
  })
}

export function leaseRules(rule: Rule): void {
  rule('one holder at a time, until it runs out', async (store) => {
    const first = await store.lease('l', 'a', 1000, 500)
    expect(first).toEqual({ holder: 'a', fence: first?.fence, until: 1500 })
    expect(await store.lease('l', 'b', 1499, 500)).toBeUndefined()
    expect(await store.leaseOf('l')).toEqual(first)
    const second = await store.lease('l', 'b', 1500, 500)
    expect(second).toMatchObject({ holder: 'b', until: 2000 })
    expect(second!.fence).toBeGreaterThan(first!.fence)
    expect(await store.lease('l', 'a', 1600, 500)).toBeUndefined()
  })

  rule('its holder prolongs it under the same fence, also after it ran out', async (store) => {
    const first = await store.lease('l', 'a', 1000, 500)
    expect(await store.lease('l', 'a', 1400, 500)).toEqual({ ...first, until: 1900 })
    expect(await store.lease('l', 'a', 9000, 500)).toEqual({ ...first, until: 9500 })
  })

  rule('a lease that ran out is still shown', async (store) => {
    const lease = await store.lease('l', 'a', 1000, 1)
    expect(await store.leaseOf('l')).toEqual(lease)
    expect(await store.leaseOf('other')).toBeUndefined()
  })

  rule('only its holder releases it, and the next fence is greater', async (store) => {
    const first = await store.lease('l', 'a', 1000, 500)
    await store.release('l', 'b')
    expect(await store.leaseOf('l')).toEqual(first)
    await store.release('l', 'a')
    expect(await store.leaseOf('l')).toBeUndefined()
    const again = await store.lease('l', 'a', 1001, 500)
    expect(again!.fence).toBeGreaterThan(first!.fence)
    await store.release('never', 'a')
  })

  rule('of many that ask at once one gets it', async (store) => {
    const holders = Array.from({ length: 10 }, (_, at) => `h${at}`)
    const leases = await Promise.all(holders.map((holder) => store.lease('l', holder, 1000, 500)))
    expect(leases.filter((each) => each !== undefined)).toHaveLength(1)
  })
}
