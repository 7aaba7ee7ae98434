import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { systemRandom } from '../base/random.ts'
import { defaults } from '../config.ts'
import { writeSecret } from '../data-folder.ts'
import { proveChainVisible } from '../wire/self-test.ts'
import { type ServerCertificates, serverCertificates, trustHere } from './authority.ts'
import { MovableClock } from './clock.ts'
import { type Listeners, openListeners } from './listeners.ts'
import { giveBack, takeLoopback } from './loopback.ts'
import type { Checked } from './options.ts'
import type { ServiceNeeds } from './service.ts'

/** What stays over the resets of a Muster: folder, certificates, listeners, clock. */
export interface Ground {
  readonly folder: string
  readonly files: { readonly caFile: string; readonly managementTokenFile: string; readonly readyFile: string }
  readonly certificates: ServerCertificates
  readonly listeners: Listeners
  readonly clock: MovableClock
  readonly needs: ServiceNeeds
  close(): Promise<void>
}

let chainVisible: Promise<void> | undefined

export async function openGround(checked: Checked): Promise<Ground> {
  const closers: (() => unknown)[] = []
  const close = async (): Promise<void> => {
    for (const each of closers.splice(0).reverse()) await each()
  }
  try {
    const takeAddress = async (ports: readonly number[]): Promise<string> => {
      const taken = await takeLoopback(ports)
      closers.push(() => giveBack(taken))
      return taken
    }
    const { log, standardPorts, trust } = checked
    const ports = standardPorts ? { https: 443, mqtts: 8883 } : { https: 0, mqtts: 0 }
    const address = checked.address ?? (standardPorts ? await takeAddress([443, 8883]) : '127.0.0.1')
    const hostNames = checked.hostNames.length === 0 ? [address] : checked.hostNames
    chainVisible ??= proveChainVisible()
    const [certificates] = await Promise.all([serverCertificates([address, ...hostNames]), chainVisible])
    if (trust) trustHere(certificates.ca)
    const folder = temporaryFolder()
    closers.push(folder.remove)
    const token = systemRandom.bytes(32).toString('base64url')
    const files = writeFiles(folder.path, certificates.ca, token)
    const listeners = await openListeners({ log, address, ports, tls: certificates.tls })
    closers.push(listeners.close)
    const clock = new MovableClock()
    const bound = { address, hostNames, ports: listeners.ports }
    const config = { ...defaults, ...checked.config, ...bound, dataFolder: folder.path }
    const hubHostName = hubAddresses(listeners, takeAddress)
    const world = { clock, deadlines: systemClock, random: systemRandom, log }
    const needs = { ...world, config, token, hubHostName }
    return { folder: folder.path, files, certificates, listeners, clock, needs, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** A further hub is told from the others by its host name, so each gets a loopback address of its own, on the same ports. */
function hubAddresses(
  listeners: Listeners,
  takeAddress: (ports: readonly number[]) => Promise<string>,
): ServiceNeeds['hubHostName'] {
  const known = new Map<string, string>()
  return async (name) => {
    const { https, mqtts } = listeners.ports
    const address = known.get(name) ?? (await takeAddress([https, mqtts]))
    if (!known.has(name)) await listeners.listenOn(address)
    known.set(name, address)
    return https === 443 ? address : `${address}:${https}`
  }
}

function writeFiles(folder: string, ca: string, token: string): Ground['files'] {
  const files = {
    caFile: join(folder, 'ca.pem'),
    managementTokenFile: join(folder, 'management-token'),
    readyFile: join(folder, 'ready.json'),
  }
  writeSecret(files.caFile, ca)
  writeSecret(files.managementTokenFile, token)
  return files
}

/** Of this process; also removed when it ends without having stopped. */
const folders = new Set<string>()

function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'muster-'))
  if (folders.size === 0) process.once('exit', removeAll)
  folders.add(path)
  return {
    path,
    remove: () => {
      rmSync(path, { recursive: true, force: true })
      folders.delete(path)
      if (folders.size === 0) process.off('exit', removeAll)
    },
  }
}

function removeAll(): void {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
}
