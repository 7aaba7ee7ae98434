import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { type Control, controlSchema, createControl } from '../../src/control/control.ts'
import { management } from '../../src/endpoints/http/management.ts'
import { createHttpEndpoint } from '../../src/endpoints/http/server.ts'
import { temporaryStore } from './store.ts'

const manager = { kind: 'management', name: 'test' } as const
const TOKEN = 'a-token-of-a-test'

/** The management API alone, on a port, with one provisioning service and two hubs, one of them linked. */
export async function startManagementApi(): Promise<{
  readonly folder: string
  readonly readyFile: string
  readonly control: Control
  stop(): Promise<void>
}> {
  const needs = { clock: systemClock, random: seededRandom(1), log: silentLog }
  const control = createControl({ ...needs, store: await temporaryStore(controlSchema) })
  await prepare(control)
  const hosts = ['127.0.0.1']
  const http = await createHttpEndpoint(needs, [management({ ...needs, control, token: TOKEN, hosts })])
  const server = createServer((socket) => http.serve(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const folder = mkdtempSync(join(tmpdir(), 'muster-management-'))
  const at = (name: string): string => join(folder, name)
  writeFileSync(at('token'), TOKEN)
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  writeFileSync(
    at('ready.json'),
    JSON.stringify({ address: '127.0.0.1', management: { url, tokenFile: at('token') }, hubs: [], ports: {} }),
  )
  return {
    folder,
    readyFile: at('ready.json'),
    control,
    stop: async () => {
      const closed = once(server, 'close')
      server.close()
      await http.close()
      await closed
      rmSync(folder, { recursive: true })
    },
  }
}

async function prepare(control: Control): Promise<void> {
  const absent = { kind: 'absent' } as const
  const hub = await control.hubs.put(manager, 'hub-a', { hostNames: ['hub-a.example.net'] }, absent)
  await control.hubs.put(manager, 'hub-b', { hostNames: ['hub-b.example.net:8443'] }, absent)
  const [policy] = hub.policies
  const connectionString = `HostName=hub-a.example.net;SharedAccessKeyName=${policy?.keyName};SharedAccessKey=${policy?.primaryKey}`
  await control.provisioningServices.put(manager, 'dps-1', { iotHubs: [{ connectionString }] }, absent)
}
