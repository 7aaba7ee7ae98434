import type { MusterProcess } from './process.ts'

interface EventsPage {
  readonly next: number
  readonly events: readonly { readonly body: string }[]
}

/**
 * Message bodies of the first hub's telemetry log, from where the last call stopped, over the management API.
 * @param positions partition -> next position; brought forward by the call
 */
export async function* readEvents(muster: MusterProcess, positions: Map<number, number>): AsyncGenerator<string> {
  const base = `${muster.ready.management.url}/muster/hubs/${muster.ready.hubs[0]?.name}/partitions`
  const headers = { authorization: `Bearer ${muster.token}` }
  const { partitionIds } = (await (await fetch(base, { headers })).json()) as { partitionIds: string[] }
  for (const partition of partitionIds.map(Number)) {
    for (;;) {
      const from = positions.get(partition) ?? 0
      const response = await fetch(`${base}/${partition}/events?from=${from}&limit=1000`, { headers })
      if (!response.ok) throw new Error(`Reading the log: ${response.status} ${await response.text()}`)
      const page = (await response.json()) as EventsPage
      for (const event of page.events) yield Buffer.from(event.body, 'base64').toString()
      if (page.next === from) break
      positions.set(partition, page.next)
    }
  }
}
