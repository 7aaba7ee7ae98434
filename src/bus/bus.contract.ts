import { describe, expect, onTestFinished, test } from 'vitest'
import { limits } from '../base/limits.ts'
import type { Bus } from './bus.ts'

/**
 * What the port promises, so little that a network can keep it: every adapter runs these. `open` gives the buses of two
 * nodes; where one bus serves all nodes, twice the same.
 */
export function busContract(adapter: string, open: () => Promise<readonly [Bus, Bus]>): void {
  const rule = (name: string, run: (here: Bus, there: Bus) => Promise<void>) =>
    test(name, async () => {
      const [here, there] = await open()
      onTestFinished(async () => {
        await here.close()
        await there.close()
      })
      await run(here, there)
    })

  describe(adapter, () => {
    rule('a hint reaches every node, the one that gives it included', async (here, there) => {
      const heard = [next(here, 'topic'), next(there, 'topic')]
      here.publish('topic', { id: 'ä😀', list: [1, null, true] })
      for (const each of heard) expect(await each).toEqual({ id: 'ä😀', list: [1, null, true] })
    })

    rule('every listener of a topic hears, those of others do not', async (here, there) => {
      const heard: string[] = []
      there.subscribe('topic', (hint) => heard.push(`one ${hint}`))
      there.subscribe('topic', (hint) => heard.push(`two ${hint}`))
      there.subscribe('Topic', (hint) => heard.push(`other ${hint}`))
      await settle(here, there)
      here.publish('topic', 1)
      await settle(here, there)
      expect(heard.toSorted()).toEqual(['one 1', 'two 1'])
    })

    rule('who stopped listening hears nothing more; others of that topic still do', async (here, there) => {
      const heard: string[] = []
      const listener = (hint: unknown) => heard.push(`a ${hint}`)
      const stop = there.subscribe('topic', listener)
      there.subscribe('topic', listener)
      stop()
      stop()
      await settle(here, there)
      here.publish('topic', 1)
      await settle(here, there)
      expect(heard).toEqual(['a 1'])
    })

    rule('a listener that throws keeps nobody from hearing', async (here, there) => {
      there.subscribe('topic', () => {
        throw new Error('listener')
      })
      const heard = next(there, 'topic')
      here.publish('topic', 1)
      expect(await heard).toBe(1)
    })

    rule('listeners are called later, each with its own copy', async (here) => {
      const hint = { list: [1] }
      const heard: { list: number[] }[] = []
      const done = new Promise<void>((resolve) => {
        for (const _ of [1, 2])
          here.subscribe('topic', (value) => {
            const copy = value as { list: number[] }
            copy.list.push(2)
            if (heard.push(copy) === 2) resolve()
          })
      })
      here.publish('topic', hint)
      expect(heard).toEqual([])
      await done
      expect(hint).toEqual({ list: [1] })
      expect(heard).toEqual([{ list: [1, 2] }, { list: [1, 2] }])
    })

    rule('publishing never throws: what cannot travel is lost', async (here, there) => {
      const circular: { self?: unknown } = {}
      circular.self = circular
      const heard = next(there, 'topic')
      for (const hint of [circular, undefined, 1n, () => 1, 'x'.repeat(limits.busHintLength)])
        here.publish('topic', hint)
      here.publish('topic', 'last')
      expect(await heard).toBe('last')
    })

    rule('a closed bus hears nothing and publishes nothing', async (here, there) => {
      const heard: unknown[] = []
      here.subscribe('topic', (hint) => heard.push(hint))
      await here.close()
      await here.close()
      here.publish('topic', 1)
      there.publish('topic', 2)
      if (here !== there) await settle(there, there)
      await new Promise((resolve) => setImmediate(resolve))
      expect(heard).toEqual([])
    })
  })
}

/** The next hint of a topic. */
const next = (bus: Bus, topic: string): Promise<unknown> => new Promise((resolve) => bus.subscribe(topic, resolve))

let rounds = 0

/** Until a hint has gone all the way: what was published before it has arrived, on the buses that keep the order. */
async function settle(from: Bus, to: Bus): Promise<void> {
  const topic = `settle ${rounds++}`
  const arrived = next(to, topic)
  from.publish(topic, null)
  await arrived
}
