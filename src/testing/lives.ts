import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { readAddresses } from '../instances.ts'
import { type ReadyFile, readyFileOf, writeReadyFile } from '../ready-file.ts'
import type { Seed } from '../seed/seed-document.ts'
import type { Ground } from './ground.ts'
import { openService, prepareDatabases, type Service } from './service.ts'

/** The service behind the listeners, from one reset to the next. */
export interface Lives {
  /** @throws Error once it was stopped */
  now(): Service
  readonly ready: ReadyFile
  /** Reads again what the instances are called. */
  refresh(): Promise<void>
  reset(): Promise<void>
  stop(): Promise<void>
}

export async function openLives(ground: Ground, seed: Seed | undefined, startTime: number | undefined): Promise<Lives> {
  const { clock, needs, listeners, folder, files } = ground
  const prepared = join(folder, 'prepared')
  let count = 0
  let current: Service | undefined
  let stopped = false
  const begin = async (): Promise<Service> => {
    const service = await openService(needs, prepared, join(folder, `life-${++count}`))
    listeners.replace(service)
    return service
  }
  const readyOf = async ({ node }: Service): Promise<ReadyFile> => {
    const ready = readyFileOf(await readAddresses(node.rooms.control, needs.config, needs.config.ports), files)
    writeReadyFile(files.readyFile, ready)
    return ready
  }
  const end = async (): Promise<void> => {
    const ending = current
    current = undefined
    listeners.replace(undefined)
    await ending?.stop()
  }
  const setTime = () => clock.moveTo(startTime ?? systemClock.now())
  await setTime()
  await prepareDatabases(needs, prepared, seed)
  current = await begin()
  let ready = await readyOf(current)
  const now = (): Service => {
    if (current === undefined)
      throw new Error('Expected a running Muster, found one that was stopped or is being reset.')
    return current
  }
  return {
    now,
    get ready() {
      return ready
    },
    refresh: async () => {
      ready = await readyOf(now())
    },
    reset: async () => {
      now()
      await end()
      await setTime()
      current = await begin()
      ready = await readyOf(current)
    },
    stop: async () => {
      if (stopped) return
      stopped = true
      await end().finally(ground.close)
    },
  }
}
