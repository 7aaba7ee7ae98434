import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** The Azure SDK for Node dials these over HTTPS and MQTT, and over HTTPS it cannot be told otherwise (dps.md 10). */
const PORTS = [443, 8883] as const
const START_MS = 20_000
const STOP_MS = 10_000
const launcher = fileURLToPath(new URL('../bin/muster.js', import.meta.url))

/** A `muster up` of our own: its folder is new, its address is free, and it ends with the demo. */
export interface Service {
  readonly address: string
  readonly readyFile: string
}

/**
 * Starts the service in `folder` and waits until every listener accepts.
 * @param started called at once with what stops it, so that an interrupted start leaves nothing behind
 */
export async function startService(folder: string, started: (stop: () => Promise<void>) => void): Promise<Service> {
  const address = await freeAddress()
  const readyFile = join(folder, 'ready.json')
  const flags = ['--data', join(folder, 'data'), '--address', address, '--ready-file', readyFile]
  // Registrations take milliseconds here: a device need not wait the usual three seconds before it asks again.
  const child = spawn(process.execPath, [launcher, 'up', ...flags, '--retry-after', '1', '--log-level', 'warn'], {
    env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MUSTER_'))),
    stdio: ['ignore', 'ignore', 'pipe'],
    // Of its own group: Ctrl-C reaches the demo alone, which then stops the service.
    detached: true,
  })
  started(() => stop(child))
  const complaints: string[] = []
  child.stderr.setEncoding('utf8').on('data', (text: string) => complaints.push(text))
  for (const deadline = Date.now() + START_MS; !existsSync(readyFile); await sleep(20)) {
    const ended = child.exitCode !== null || child.signalCode !== null
    if (!ended && Date.now() < deadline) continue
    throw new Error(
      `Expected "muster up" to be ready within ${START_MS / 1000} s, found it ${ended ? 'ended' : 'still starting'}. ` +
        `It said: ${complaints.join('').trim() || 'nothing'}`,
    )
  }
  return { address, readyFile }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const impatient = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await gone
  clearTimeout(impatient)
}

/**
 * A loopback address on which both ports are free, so that the demo runs beside anything. All of 127.0.0.0/8 is there
 * on Linux; elsewhere only 127.0.0.1 is.
 */
async function freeAddress(): Promise<string> {
  const start = process.pid % 250
  const spare = Array.from({ length: 20 }, (_, at) => `127.44.0.${1 + ((start + at) % 250)}`)
  const found = new Map<string, string>()
  for (const address of [...spare, '127.0.0.1']) {
    const refusals = await Promise.all(PORTS.map((port) => refusalOf(address, port)))
    const refusal = refusals.find((code) => code !== undefined)
    if (refusal === undefined) return address
    found.set(refusal, address)
  }
  if (found.has('EACCES')) throw new Error(NOT_PERMITTED)
  throw new Error(
    `Expected a loopback address with ports ${PORTS.join(' and ')} free, found ${[...found.keys()].join(', ')} on all ` +
      `that were tried (${[...found.values()].join(', ')} and others). Stop what listens there on every address (ss -ltn).`,
  )
}

const NOT_PERMITTED = [
  'Expected to listen on port 443, found that this user may not: ports below 1024 are reserved here.',
  'The Azure SDK for Node cannot dial any other port over HTTPS. Do one of these, then run the demo again:',
  '  sudo sysctl net.ipv4.ip_unprivileged_port_start=443   (Linux, until the next boot)',
  `  sudo setcap cap_net_bind_service=+ep ${process.execPath}   (Linux, this Node only)`,
  '  run it as root, or in a container',
].join('\n')

/** Why the port cannot be had on the address; undefined: it is free. */
async function refusalOf(host: string, port: number): Promise<string | undefined> {
  const server = createServer()
  try {
    server.listen({ host, port, exclusive: true })
    await once(server, 'listening')
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown'
  } finally {
    server.close()
  }
}
