import { createServer } from 'node:net'
import { systemRandom } from '../base/random.ts'

// Every address of 127.0.0.0/8 is this machine (Linux, Windows). A process takes a block of its own, so that processes
// hardly ever meet and one server certificate can name all of it.
const block = `127.${10 + (systemRandom.bytes(1).readUInt8() % 240)}.${systemRandom.bytes(1).readUInt8()}`
const HOSTS = 254
const taken = new Set<string>()

/** Every address that `takeLoopback` may answer with. */
export const ownAddresses = (): string[] => Array.from({ length: HOSTS }, (_, at) => `${block}.${at + 1}`)

/**
 * A loopback address where nobody holds these ports; this process's until it is given back.
 * @throws Error that says what to do when there is none
 */
export async function takeLoopback(ports: readonly number[]): Promise<string> {
  let why: string | undefined
  for (const address of ownAddresses()) {
    if (taken.has(address)) continue
    taken.add(address)
    const failures = await Promise.all(ports.map((port) => cannotListen(address, port)))
    why = failures.find((each) => each !== undefined)
    if (why === undefined) return address
    taken.delete(address)
    // No other address would change that.
    if (why === 'EACCES' || why === 'EADDRNOTAVAIL') break
  }
  throw new Error(
    `Expected a loopback address with free ports ${ports.join(' and ')} in ${block}.0/24, found none (${why ?? 'all taken'}). ` +
      'Ports below 1024 need the right to bind them (on Linux: sudo sysctl net.ipv4.ip_unprivileged_port_start=443); ' +
      'addresses other than 127.0.0.1 need Linux or Windows.',
  )
}

export const giveBack = (address: string): void => void taken.delete(address)

const cannotListen = (host: string, port: number): Promise<string | undefined> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', ({ code, message }: NodeJS.ErrnoException) => resolve(code ?? message))
    server.listen({ host, port }, () => server.close(() => resolve(undefined)))
  })
