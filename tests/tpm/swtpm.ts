import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Whether swtpm is here; installs it from the distribution where that is possible. */
export function canHaveSwtpm(): boolean {
  if (isHere()) return true
  try {
    execFileSync('sh', ['-c', 'apt-get update -q && apt-get install -y -q --no-install-recommends swtpm'], {
      stdio: 'ignore',
      timeout: 300_000,
    })
  } catch {
    return false
  }
  return isHere()
}

function isHere(): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v swtpm'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** A software TPM with a fresh state, of one device: it serves one connection at a time. */
export interface SoftwareTpm {
  readonly port: number
  stop(): Promise<void>
}

export async function startSwtpm(): Promise<SoftwareTpm> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-swtpm-'))
  const [port, control] = [await freePort(), await freePort()]
  const child = spawn(
    'swtpm',
    [
      ...['socket', '--tpm2', '--tpmstate', `dir=${folder}`],
      ...['--server', `type=tcp,port=${port},bindaddr=127.0.0.1`],
      ...['--ctrl', `type=tcp,port=${control},bindaddr=127.0.0.1`],
      ...['--flags', 'not-need-init,startup-clear'],
    ],
    { stdio: 'ignore' },
  )
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  for (const deadline = Date.now() + 10_000; !(await isTaken(port)); ) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('swtpm did not start.')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    port,
    async stop() {
      child.kill('SIGTERM')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0))
    })
  })

/** Without connecting: swtpm would take that for its one client. */
const isTaken = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(true))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(false)))
  })
