import { spawn, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { muster as runCommand } from './support/command-line.ts'
import { deviceApi } from './support/device-api.ts'
import { hubOf } from './support/hub.ts'
import { type StartedProcess, startProcess } from './support/process.ts'
import { ask, serviceToken } from './support/raw-client.ts'
import { restOf } from './support/rest.ts'

// `muster up` as a user runs it: a process of its own, with its worker and writer threads.
const folder = mkdtempSync(join(tmpdir(), 'muster-up-'))
const data = join(folder, 'data')
let muster: StartedProcess

beforeAll(async () => {
  muster = await startProcess(data)
}, 40_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the ready file keeps its contract', () => {
  const { ready } = muster
  const connection = (policy: string) =>
    new RegExp(`^HostName=[^;]+;SharedAccessKeyName=${policy};SharedAccessKey=[A-Za-z0-9+/]+=*$`)
  expect(ready).toEqual({
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    pid: muster.pid,
    address: '127.0.0.1',
    caFile: join(data, 'ca.pem'),
    idScope: expect.stringMatching(/^0ne[0-9A-F]{8}$/),
    management: {
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      tokenFile: join(data, 'management-token'),
    },
    dps: {
      hostName: `127.0.0.1:${ready.ports.https}`,
      connectionString: expect.stringMatching(connection('provisioningserviceowner')),
    },
    hubs: [
      {
        name: 'muster-hub',
        hostName: `127.0.0.1:${ready.ports.https}`,
        connectionString: expect.stringMatching(connection('iothubowner')),
      },
    ],
    ports: { https: expect.any(Number), mqtts: expect.any(Number) },
  })
  expect(statSync(join(folder, 'ready.json')).mode & 0o777).toBe(0o600)
})

test('everything in the data folder is for its owner only', () => {
  expect(statSync(data).mode & 0o777).toBe(0o700)
  for (const name of readdirSync(data)) expect([name, statSync(join(data, name)).mode & 0o077]).toEqual([name, 0])
})

test('both services answer to their connection strings', async () => {
  const { ready, ca } = muster
  const target = { host: ready.address, port: ready.ports.https, ca }
  const enrollments = await ask(target, {
    method: 'POST',
    path: '/enrollments/query?api-version=2021-10-01',
    headers: { authorization: serviceToken(ready.dps.connectionString) },
    body: { query: 'SELECT *' },
  })
  expect([enrollments.status, enrollments.body]).toEqual([200, []])
  const devices = await ask(target, {
    method: 'GET',
    path: '/devices?api-version=2021-04-12',
    headers: { authorization: serviceToken(ready.hubs[0]!.connectionString) },
  })
  expect([devices.status, devices.body]).toEqual([200, []])
})

test('the threads call webhooks, and know which port they must not call', async () => {
  const { ready, ca } = muster
  const devices = deviceApi({ addresses: ready, ca })
  const webhook = createServer((_request, response) => {
    response.end(JSON.stringify({ iotHubHostName: ready.hubs[0]!.hostName, payload: 'chosen' }))
  })
  await new Promise<void>((resolve) => webhook.listen(0, '127.0.0.1', resolve))
  const { port } = webhook.address() as AddressInfo
  const outcome = async (id: string, webhookUrl: string) => {
    const customAllocationDefinition = { webhookUrl, apiVersion: '2019-03-31' }
    const asking = await devices.enrolled(id, { allocationPolicy: 'custom', customAllocationDefinition })
    return (await devices.settled(asking)).json()
  }
  expect(await outcome('chosen', `http://127.0.0.1:${port}/`)).toMatchObject({
    registrationState: { status: 'assigned', payload: 'chosen' },
  })
  expect(await outcome('inside', ready.management.url)).toMatchObject({
    registrationState: { status: 'failed', errorMessage: expect.stringContaining('leads to the management API') },
  })
  webhook.close()
})

test('metrics are those of all threads and of the writers', async () => {
  const { management } = muster.ready
  const read = async (): Promise<string> => {
    const answer = await fetch(`${management.url}/metrics`, { headers: { authorization: `Bearer ${muster.token}` } })
    return answer.text()
  }
  const value = (text: string, name: string) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
  let text = await read()
  // The other threads may still be on their way.
  while (value(text, 'muster_worker_threads_answering') < value(text, 'muster_worker_threads')) text = await read()
  expect(value(text, 'muster_ready')).toBe(1)
  expect(value(text, 'muster_dps_assignment_seconds_count')).toBeGreaterThan(0)
  for (const store of ['documents', 'telemetry'])
    expect(value(text, `muster_store_transactions_total{store="${store}",result="committed"}`)).toBeGreaterThan(0)
  expect(text).toContain('thread="worker-0"')
})

test('a data folder has one muster at a time, and the second is told so', () => {
  const launcher = join(import.meta.dirname, '..', 'bin', 'muster.js')
  const second = spawnSync(
    process.execPath,
    [launcher, 'up', '--data', data, '--https-port', '0', '--mqtts-port', '0'],
    { encoding: 'utf8', timeout: 20_000 },
  )
  expect(second.status).toBe(2)
  expect(second.stderr).toContain('in use by another muster')
})

test('an address that is not ours is named with what to do, and the process ends', () => {
  const launcher = join(import.meta.dirname, '..', 'bin', 'muster.js')
  const flags = ['--data', join(folder, 'other'), '--https-port', '0', '--mqtts-port', '0', '--address', '203.0.113.9']
  const second = spawnSync(process.execPath, [launcher, 'up', ...flags], { encoding: 'utf8', timeout: 20_000 })
  expect(second.stderr).toMatch(/203\.0\.113\.9 is not an address of this machine/)
  expect(second.status).toBe(1)
})

const upOnce = (name: string, ...flags: string[]) => {
  const launcher = join(import.meta.dirname, '..', 'bin', 'muster.js')
  const all = ['up', '--data', join(folder, name), '--https-port', '0', '--mqtts-port', '0', '--threads', '1', ...flags]
  return spawnSync(process.execPath, [launcher, ...all], { encoding: 'utf8', timeout: 20_000 })
}

test('a store that cannot be opened is named, the process ends, and no ready file of an earlier run stays', () => {
  const ready = join(folder, 'damaged', 'ready.json')
  mkdirSync(join(folder, 'damaged'))
  writeFileSync(join(folder, 'damaged', 'telemetry.db'), 'no database'.repeat(1000))
  writeFileSync(ready, '{}')
  const ended = upOnce('damaged')
  expect(ended.stderr).toMatch(/The store .*telemetry\.db cannot be opened: file is not a database/)
  expect(ended.status).toBe(1)
  expect(existsSync(ready)).toBe(false)
}, 30_000)

test('one thread serves where a system does not let several share a port', async () => {
  // Stands in for macOS, in every thread.
  const system = `import net from 'node:net'
    Object.defineProperty(process, 'platform', { value: 'darwin' })
    const { listen } = net.Server.prototype
    net.Server.prototype.listen = function (options, ...more) {
      if (options.reusePort) throw new Error('ENOTSUP')
      return listen.call(this, options, ...more)
    }`
  const alone = await startProcess(join(folder, 'alone', 'data'), ['--threads', '2'], {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(system)}`,
  })
  const { management } = alone.ready
  const status = await fetch(`${management.url}/muster/status`, { headers: { authorization: `Bearer ${alone.token}` } })
  expect(await status.json()).toMatchObject({ ready: true })
  expect(alone.output()).toContain('darwin lets one thread serve')
  expect(await alone.stop()).toBe(0)
}, 60_000)

test('a hub and a service that are made later are reached under their names', async () => {
  const run = (...words: string[]) => runCommand(words, { readyFile: join(folder, 'ready.json') })
  const out = `later.hub.localhost:${muster.ready.ports.https}\n`
  const told = ['--query', 'properties.hostName', '-o', 'tsv']
  expect(await run('hub', 'create', '-n', 'later', ...told)).toEqual({ code: 0, out, err: '' })
  expect(await run('hub', 'device-identity', 'show', '-n', 'later', '-d', 'd')).toMatchObject({ code: 3 })
  expect(await run('dps', 'create', '-n', 'later', '-o', 'none')).toEqual({ code: 0, out: '', err: '' })
  expect(await run('dps', 'enrollment', 'list', '-n', 'later')).toEqual({ code: 0, out: '[]\n', err: '' })
  const unnamed = await run('hub', 'device-identity', 'create', '-d', 'whose')
  expect([unnamed.code, unnamed.err]).toEqual([2, expect.stringContaining('more than one or none: later, muster-hub')])
  // A policy that can do everything is looked for, wherever it stands.
  const rights = ['RegistryRead', 'RegistryWrite', 'ServiceConnect']
  const policy = (verb: string, ...words: string[]) =>
    run('hub', 'policy', verb, '--hub-name', 'later', '--show-keys', '-o', 'none', '-n', ...words)
  expect((await policy('create', 'late', '--permissions', ...rights)).code).toBe(0)
  expect((await policy('delete', 'iothubowner')).code).toBe(0)
  expect(await run('hub', 'device-identity', 'show', '-n', 'later', '-d', 'd')).toMatchObject({ code: 3 })
  for (const kind of ['hub', 'dps']) expect(await run(kind, 'delete', '-n', 'later')).toMatchObject({ code: 0 })
})

test('commands know the keys as they are now, not as they were at the start', async () => {
  const run = (...words: string[]) => runCommand(words, { readyFile: join(folder, 'ready.json') })
  for (let times = 0; times < 2; times++) {
    const words = ['--pn', 'provisioningserviceowner', '--rk', 'swap', '--show-keys', '-o', 'none']
    expect(await run('dps', 'policy', 'renew-key', ...words)).toEqual({ code: 0, out: '', err: '' })
    expect(await run('dps', 'enrollment', 'show', '--eid', 'nobody')).toMatchObject({ code: 3 })
  }
})

test('a command goes on when nobody reads what it says beside its answer', async () => {
  const launcher = join(import.meta.dirname, '..', 'bin', 'muster.js')
  const words = [
    'hub',
    'list',
    '--verbose',
    '--ready-file',
    join(folder, 'ready.json'),
    '-o',
    'tsv',
    '--query',
    '[].name',
  ]
  const child = spawn(process.execPath, [launcher, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stderr.destroy()
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString()
  })
  const [code] = await once(child, 'close')
  expect([code, out]).toEqual([0, 'muster-hub\n'])
})

test('a port that another muster listens on is not shared with it', () => {
  const port = String(muster.ready.ports.https)
  const { status, stderr } = upOnce('same-port', '--https-port', port)
  expect(stderr).toContain(`127.0.0.1 port ${port} is in use by another program`)
  expect(status).toBe(1)
})

test('a ready file that cannot be written is told, and the process ends', () => {
  const file = join(data, 'ca.pem', 'ready.json')
  const { status, stderr } = upOnce('unready', '--ready-file', file)
  expect(stderr).toContain(`Expected to write the ready file ${file}, found `)
  expect(status).toBe(1)
})

test('it stops when it is told to, and keeps its identity and its devices over a restart with other ports and names', async () => {
  const { idScope, dps } = muster.ready
  const certificate = () => readFileSync(join(data, 'server-ec.pem'), 'utf8')
  const before = certificate()
  const device = await deviceApi({ addresses: muster.ready, ca: muster.ca }).enrolled('stays')
  await deviceApi({ addresses: muster.ready, ca: muster.ca }).settled(device)
  expect(await muster.stop()).toBe(0)
  // The threads write what they hold before the writers end.
  expect(muster.output()).not.toContain('did not stop cleanly')
  muster = await startProcess(data)
  expect(muster.ready.idScope).toBe(idScope)
  const keyOf = (text: string) => text.split('SharedAccessKey=')[1]
  expect(keyOf(muster.ready.dps.connectionString)).toBe(keyOf(dps.connectionString))
  const running = { addresses: muster.ready, ca: muster.ca }
  const { hostName, connectionString } = hubOf(running)
  expect((await deviceApi(running).settled(device)).json()).toMatchObject({
    registrationState: { status: 'assigned', substatus: 'initialAssignment', assignedHub: hostName },
  })
  expect((await restOf(running, connectionString)('GET', '/devices/stays?api-version=2021-04-12')).status).toBe(200)
  expect(await muster.stop()).toBe(0)

  expect(certificate()).toBe(before)
  muster = await startProcess(data, ['--host', 'muster.example.lan', '::1'])
  expect(muster.ready.dps.hostName).toBe(`muster.example.lan:${muster.ready.ports.https}`)
  expect(new X509Certificate(certificate()).subjectAltName).toContain('DNS:muster.example.lan')
  // As in `muster up | tee log`: the databases are closed all the same.
  muster.leave()
  expect(await muster.stop()).toBe(0)
  expect(readdirSync(data).filter((name) => name.endsWith('-wal'))).toEqual([])
}, 60_000)
