import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ReadyFile } from '../../src/index.ts'
import { readEvents } from '../support/events.ts'
import type { MusterProcess } from '../support/process.ts'
import { ask, connectDevice, sas, serviceToken } from '../support/raw-client.ts'
import { buildImage, type Image } from './containerfile.ts'

// The container image and the systemd unit as far as a machine without either can try them: the image's steps are done in
// a folder, and what comes out is started by the image's and by the unit's own command line, as an ordinary user.
const root = join(import.meta.dirname, '..', '..')
const unitFile = join(root, 'packaging', 'muster.service')
const USER = 1000

const isRoot = process.getuid?.() === 0
const hasSetpriv = spawnSync('setpriv', ['--version']).status === 0
const canTry = isRoot && hasSetpriv
if (!canTry) console.warn('packaging: skipped, it needs root and setpriv (Debian: util-linux) to become another user.')

const folder = mkdtempSync(join(tmpdir(), 'muster-packaging-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A program as user 1000 without any right, with nothing of this environment. */
const asUser = (words: readonly string[], env: Readonly<Record<string, string>>, cwd: string): ChildProcess =>
  spawn(
    'setpriv',
    [`--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--no-new-privs', '--bounding-set=-all', ...words],
    {
      env: { ...env },
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )

/** Waits until it says that it is ready. */
async function started(child: ChildProcess, dataFolder: string): Promise<MusterProcess> {
  let output = ''
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        if (output.includes('Muster is ready')) resolve()
      })
    void ended.then((code) => reject(new Error(`It ended with ${code}:\n${output}`)))
  })
  const ready = JSON.parse(readFileSync(join(dataFolder, 'ready.json'), 'utf8')) as ReadyFile
  return {
    ready,
    startMs: 0,
    pid: child.pid ?? 0,
    output: () => output,
    ca: readFileSync(ready.caFile, 'utf8'),
    token: readFileSync(ready.management.tokenFile, 'utf8').trim(),
    kill: async () => void child.kill('SIGKILL'),
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}

const anyPorts = { MUSTER_HTTPS_PORT: '0', MUSTER_MQTTS_PORT: '0', MUSTER_ADDRESS: '127.0.0.1' }

describe.runIf(canTry)('the image', () => {
  let image: Image
  beforeAll(() => {
    chmodSync(folder, 0o755)
    image = buildImage(join(root, 'packaging', 'Containerfile'), root, folder)
  }, 600_000)
  const inImage = (path: string): string => join(image.root, path)
  const env = (more: Readonly<Record<string, string>> = {}) => ({
    ...image.env,
    MUSTER_DATA: inImage('data'),
    HOME: inImage('data'),
    PATH: `${inImage('usr/local/bin')}:/usr/bin:/bin`,
    ...anyPorts,
    ...more,
  })

  test('holds the built program and what it needs, no sources, tests, SDKs or keys', () => {
    expect(readdirSync(inImage('opt/muster')).toSorted()).toEqual([
      'LICENSE',
      'bin',
      'dist',
      'node_modules',
      'package.json',
    ])
    const packages = readdirSync(inImage('opt/muster/node_modules'))
    expect(packages).toContain('fastify')
    expect(packages.filter((name) => /azure|vitest|typescript|biome|^node$/.test(name))).toEqual([])
    expect(readdirSync(inImage('data'))).toEqual([])
    expect(existsSync(inImage('opt/muster/dist/main.js'))).toBe(true)
  })

  test('starts as its user, is healthy, stops when told, and what is in the volume stays', async () => {
    expect(image.user).toBe(`${USER}:${USER}`)
    expect(image.env).toMatchObject({ MUSTER_DATA: '/data', MUSTER_HTTPS_PORT: '443', MUSTER_MQTTS_PORT: '8883' })
    const words = [...image.entrypoint, ...image.command]
    const muster = await started(asUser(words, env(), inImage('data')), inImage('data'))
    const health = async () => (await once(asUser(image.healthcheck, env(), inImage('data')), 'exit'))[0] as number
    // Ready is said when the ports are bound; the other threads follow, and the engine asks again.
    let healthy = await health()
    for (let tries = 1; healthy !== 0 && tries < 10; tries++) healthy = await health()
    expect(healthy).toBe(0)
    expect(await muster.stop()).toBe(0)
    expect(await health()).toBe(1)
    const again = await started(asUser(words, env(), inImage('data')), inImage('data'))
    expect(again.ready.idScope).toBe(muster.ready.idScope)
    expect(await again.stop()).toBe(0)
  })

  test("the unit's command line works for a user of no rights, and ends under load within the unit's time", async () => {
    const unit = readUnit(unitFile)
    const [state, cache] = [join(folder, 'state'), join(folder, 'cache')]
    for (const path of [state, join(state, 'muster'), cache, join(cache, 'muster')]) {
      mkdirSync(path)
      chownSync(path, USER, USER)
    }
    const expanded = (text: string): string => text.replaceAll('%S', state).replaceAll('%C', cache)
    const environment = Object.fromEntries(
      unit.environment.map((each) => expanded(each).split('=') as [string, string]),
    )
    const data = join(state, 'muster')
    expect(environment['MUSTER_DATA']).toBe(data)
    const PATH = `${inImage('usr/local/bin')}:${environment['PATH']}`
    const start = () => started(asUser(unit.execStart.split(' '), { ...environment, PATH, ...anyPorts }, data), data)
    const muster = await start()
    const load = await sending(muster)
    const began = performance.now()
    expect(await muster.stop()).toBe(0)
    expect(performance.now() - began).toBeLessThan(unit.timeoutStopSec * 1_000)
    await load.ended
    const again = await start()
    const events = new Set<string>()
    for await (const event of readEvents(again, new Map())) events.add(event)
    expect(load.acknowledged.filter((id) => !events.has(id))).toEqual([])
    expect(await again.stop()).toBe(0)
  })
})

const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0
test.runIf(hasAnalyze)('systemd understands every line of the unit', () => {
  expect(spawnSync('systemd-analyze', ['verify', unitFile], { encoding: 'utf8' })).toMatchObject({
    status: 0,
    stderr: '',
  })
})

test('docs/operations.md names only files that exist', () => {
  const document = readFileSync(join(root, 'docs', 'operations.md'), 'utf8')
  for (const [, name] of document.matchAll(/\b(packaging\/[\w.]+\w)/g))
    expect([name, existsSync(join(root, name!))]).toEqual([name, true])
})

interface Unit {
  readonly execStart: string
  readonly environment: readonly string[]
  readonly timeoutStopSec: number
}

function readUnit(file: string): Unit {
  const lines = readFileSync(file, 'utf8').split('\n')
  const values = (name: string): string[] =>
    lines.filter((line) => line.startsWith(`${name}=`)).map((line) => line.slice(name.length + 1))
  return {
    execStart: values('ExecStart')[0]!,
    environment: values('Environment'),
    timeoutStopSec: Number(values('TimeoutStopSec')[0]),
  }
}

/** One device sends one message after the other until its connection ends. */
async function sending(muster: MusterProcess): Promise<{ acknowledged: readonly string[]; ended: Promise<unknown> }> {
  const key = Buffer.alloc(32, 4).toString('base64')
  const { hostName, connectionString } = muster.ready.hubs[0]!
  const target = (port: number) => ({ host: muster.ready.address, port, ca: muster.ca })
  await ask(target(muster.ready.ports.https), {
    method: 'PUT',
    path: '/devices/busy?api-version=2021-04-12',
    headers: { authorization: serviceToken(connectionString) },
    body: { deviceId: 'busy', authentication: { type: 'sas', symmetricKey: { primaryKey: key, secondaryKey: key } } },
  })
  const password = sas(`${hostName}/devices/busy`, key)
  const device = await connectDevice(target(muster.ready.ports.mqtts), {
    hubHost: hostName,
    deviceId: 'busy',
    password,
  })
  const acknowledged: string[] = []
  const send = async (): Promise<void> => {
    for (let n = 0; ; n++) {
      await device.publish('devices/busy/messages/events/', `message ${n}`)
      acknowledged.push(`message ${n}`)
    }
  }
  const ended = send().catch((error: Error) => error)
  while (acknowledged.length < 10) await new Promise((resolve) => setTimeout(resolve, 5))
  return { acknowledged, ended }
}
