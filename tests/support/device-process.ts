import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Running } from './hub.ts'
import type { ProvisioningClient, Registered } from './provisioning-matrix.ts'

/** A program with unmodified clients of another language; it does all that it is asked at once. */
export interface DeviceProcess {
  /** One JSON line there, one back; rejects where the client fails, in its words: each cause, the outermost first. */
  ask(what: object): Promise<unknown>
  stop(): Promise<void>
}

interface Line {
  readonly id: number
  readonly result?: unknown
  readonly error?: readonly string[]
}

export function startDevices(command: string, flags: readonly string[], env: NodeJS.ProcessEnv): DeviceProcess {
  const child = spawn(command, flags, { env, stdio: ['pipe', 'pipe', 'pipe'] })
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  let last = 0
  let complaints = ''
  child.stderr.on('data', (chunk: Buffer) => {
    complaints = (complaints + chunk.toString()).slice(-10_000)
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, result, error } = JSON.parse(line) as Line
    const asked = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) asked?.resolve(result)
    else asked?.reject(new Error(error.join('\n')))
  })
  const ended = Promise.withResolvers<void>()
  const end = (reason: string): void => {
    for (const { reject } of waiting.values()) reject(new Error(`${command} ${reason}:\n${complaints}`))
    waiting.clear()
    ended.resolve()
  }
  child.once('error', ({ message }) => end(message))
  child.once('close', (code) => end(`ended with ${code}`))
  // What is written to a process that ended is not lost in silence: its answer is the rejection above.
  child.stdin.on('error', () => {})
  return {
    ask(what) {
      if (child.exitCode !== null) return Promise.reject(new Error(`${command} has ended:\n${complaints}`))
      const asked = Promise.withResolvers<unknown>()
      const id = ++last
      waiting.set(id, asked)
      child.stdin.write(`${JSON.stringify({ id, ...what })}\n`)
      return asked.promise
    },
    async stop() {
      child.stdin.end()
      await ended.promise
    },
  }
}

/** Registering and living with such a program: what every language does alike. */
export function foreignClient(
  devices: () => DeviceProcess,
  { prefix, transport }: Pick<ProvisioningClient, 'prefix' | 'transport'>,
): Pick<ProvisioningClient, 'prefix' | 'transport' | 'register' | 'useHub'> {
  const register = async (
    { addresses }: Running,
    { idScope = addresses.idScope, ...registering }: Parameters<ProvisioningClient['register']>[1],
  ): Promise<Registered> =>
    (await devices().ask({
      ...{ do: 'register', host: addresses.dps.hostName, idScope },
      ...registering,
      transport,
    })) as Registered
  return {
    prefix,
    transport,
    register,
    useHub: (hub, deviceId, credential) => devices().ask({ do: 'useHub', hub, deviceId, credential, transport }),
  }
}
