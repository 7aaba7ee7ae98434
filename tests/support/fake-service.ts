import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuthority, issueServerCertificate } from '../../src/crypto/issuing.ts'

/** A request as the service saw it. */
export interface Seen {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
}

export interface Reply {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** An HTTPS service (DPS and hub alike) and a management API that answer by a function and remember what was asked. */
export interface FakeService {
  readonly folder: string
  readonly readyFile: string
  readonly caFile: string
  readonly port: number
  readonly seen: readonly Seen[]
  readonly connectionString: string
  stop(): Promise<void>
}

const KEY = Buffer.alloc(32, 7).toString('base64')

/** @param isFound whether the management API tells of its hub and provisioning service by itself, and `answer` is not asked */
export async function startFakeService(
  answer: (seen: Seen) => Reply,
  isFound = (): boolean => true,
): Promise<FakeService> {
  const folder = await mkdtemp(join(tmpdir(), 'muster-fake-'))
  const seen: Seen[] = []
  const listener = async (request: IncomingMessage): Promise<Reply> => {
    let text = ''
    for await (const chunk of request.setEncoding('utf8')) text += chunk
    const { method = '', url = '', headers } = request
    const one = { method, path: url, headers, body: text === '' ? undefined : (JSON.parse(text) as unknown) }
    seen.push(one)
    return answer(one)
  }
  const { certificate, server, stop } = await listenHttps(listener)
  const port = (server.address() as AddressInfo).port
  const management = await listenHttp(async (request) => {
    const { method, url } = request
    return (isFound() ? found(port, `${method} ${url}`) : undefined) ?? listener(request)
  })
  const file = async (name: string, content: string): Promise<string> => {
    await writeFile(join(folder, name), content, { mode: 0o600 })
    return join(folder, name)
  }
  const caFile = await file('ca.pem', certificate)
  const connectionString = (policy: string) =>
    `HostName=fake.muster.test:${port};SharedAccessKeyName=${policy};SharedAccessKey=${KEY}`
  const readyFile = await file(
    'ready.json',
    JSON.stringify({
      address: '127.0.0.1',
      caFile,
      idScope: '0ne00000001',
      management: { url: `http://127.0.0.1:${management.port}`, tokenFile: await file('token', 'management-token\n') },
      dps: { hostName: `fake.muster.test:${port}`, connectionString: connectionString('provisioningserviceowner') },
      hubs: [{ name: 'hub1', hostName: `fake.muster.test:${port}`, connectionString: connectionString('iothubowner') }],
      ports: { https: port },
    }),
  )
  return {
    folder,
    readyFile,
    caFile,
    port,
    seen,
    connectionString: connectionString('provisioningserviceowner'),
    stop: async () => {
      await Promise.all([stop(), management.stop()])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** How commands find the one hub and the one provisioning service; not remembered. */
function found(port: number, call: string): Reply | undefined {
  const hostName = `fake.muster.test:${port}`
  const keys = { primaryKey: KEY, secondaryKey: KEY }
  const hub = { name: 'hub1', properties: { hostName } }
  const dps = { name: 'dps1', properties: { serviceOperationsHostName: hostName } }
  const owner = { keyName: 'iothubowner', rights: 'RegistryWrite, ServiceConnect', ...keys }
  const dpsOwner = { keyName: 'provisioningserviceowner', rights: 'ServiceConfig, EnrollmentWrite', ...keys }
  const bodies: Readonly<Record<string, object>> = {
    'GET /IotHubs': { value: [hub] },
    'GET /IotHubs/hub1': hub,
    'POST /IotHubs/hub1/listkeys': { value: [owner] },
    'GET /provisioningServices': { value: [dps] },
    'GET /provisioningServices/dps1': dps,
    'POST /provisioningServices/dps1/listkeys': { value: [dpsOwner] },
  }
  const body = bodies[call]
  return body && { body }
}

type Listener = (request: IncomingMessage) => Promise<Reply>

const respond =
  (listener: Listener) =>
  (request: IncomingMessage, response: import('node:http').ServerResponse): void =>
    void listener(request).then(({ status = 200, headers = {}, body }) => {
      response.writeHead(status, headers)
      response.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body))
    })

async function listenHttps(listener: Listener) {
  const now = Date.now()
  const authority = await createAuthority({ commonName: 'Fake CA', days: 1, keyType: 'ec', now })
  const names = ['fake.muster.test', '127.0.0.1']
  const issued = await issueServerCertificate({ authority, names, days: 1, keyType: 'ec', now })
  const server = createServer({ cert: issued.chain, key: issued.key }, respond(listener))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { certificate: authority.certificate, server, stop: () => closed(server) }
}

async function listenHttp(listener: Listener) {
  const server = createHttpServer(respond(listener))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, stop: () => closed(server) }
}

const closed = (server: { close(done: () => void): unknown; closeAllConnections(): void }): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
