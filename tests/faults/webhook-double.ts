import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Random } from '../../src/base/random.ts'

/** A custom allocation webhook (dps.md 5.5) that is often slow and sometimes fails. */
export interface WebhookDouble {
  readonly url: string
  /** Host name that the next answers choose, as `linkedHubs` of the question names it. */
  choose(hub: string): void
  /** How often it was asked for a device; an answer carries the number of its question as `payload.n`. */
  asked(registrationId: string): number
  readonly failures: number
  close(): Promise<void>
}

export async function webhookDouble(random: Random): Promise<WebhookDouble> {
  const asked = new Map<string, number>()
  let chosen = ''
  let failures = 0
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => {})
    request.on('end', () => {
      const { deviceRuntimeContext, linkedHubs } = JSON.parse(Buffer.concat(chunks).toString()) as {
        deviceRuntimeContext: { registrationId: string }
        linkedHubs: string[]
      }
      const { registrationId } = deviceRuntimeContext
      const n = (asked.get(registrationId) ?? 0) + 1
      asked.set(registrationId, n)
      const iotHubHostName = linkedHubs.find((each) => each === chosen)
      const [fails, slow] = [random.fraction() < 0.08, random.fraction() < 0.4]
      setTimeout(
        () => {
          if (fails) failures++
          response.writeHead(fails ? 500 : 200).end(JSON.stringify({ iotHubHostName, payload: { n } }))
        },
        slow ? random.fraction() * 200 : 0,
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/allocate`,
    choose: (hub) => {
      chosen = hub
    },
    asked: (registrationId) => asked.get(registrationId) ?? 0,
    get failures() {
      return failures
    },
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}
