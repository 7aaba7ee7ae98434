import { readFileSync } from 'node:fs'
import type { Random } from '../../src/base/random.ts'

/** One call of the recorded process (power-loss-recorder.c). */
export interface DiskCall {
  readonly kind: 'create' | 'write' | 'truncate' | 'sync' | 'unlink' | 'rename' | 'sync-folder'
  readonly file: number
  readonly offset: number
  readonly bytes: Buffer
}

const KINDS: Readonly<Record<string, DiskCall['kind']>> = {
  C: 'create',
  W: 'write',
  T: 'truncate',
  S: 'sync',
  U: 'unlink',
  R: 'rename',
  D: 'sync-folder',
}

const HEAD = 17

export function readRecord(path: string): readonly DiskCall[] {
  const record = readFileSync(path)
  const calls: DiskCall[] = []
  for (let at = 0; at < record.length; ) {
    const kind = KINDS[String.fromCharCode(record[at]!)]
    const length = record.readUInt32LE(at + 13)
    if (kind === undefined || at + HEAD + length > record.length)
      throw new Error(`The record is damaged at byte ${at}.`)
    calls.push({
      kind,
      file: record.readUInt32LE(at + 1),
      offset: Number(record.readBigUInt64LE(at + 5)),
      bytes: record.subarray(at + HEAD, at + HEAD + length),
    })
    at += HEAD + length
  }
  return calls
}

/** How much of what was not synced reaches the disk. */
export type Loss = (typeof LOSSES)[number]
export const LOSSES = ['nothing', 'everything', 'some writes', 'some sectors', 'up to a torn write'] as const

const SECTOR = 512

interface DiskFile {
  /** As of its last sync. */
  readonly synced: Extent
  unsynced: DiskCall[]
}

/** Bytes that grow. */
interface Extent {
  bytes: Buffer
  size: number
}

/**
 * A disk that keeps what was synced and nothing else for sure. Names are kept by a sync of the folder, contents by one
 * of the file: what POSIX promises, which is less than most file systems do.
 */
export function createDisk() {
  const files = new Map<number, DiskFile>()
  const syncedNames = new Map<string, number>()
  let unsyncedNames: DiskCall[] = []
  const fileOf = (number: number): DiskFile => {
    let file = files.get(number)
    if (file === undefined) {
      file = { synced: { bytes: Buffer.alloc(64 * 1024), size: 0 }, unsynced: [] }
      files.set(number, file)
    }
    return file
  }
  return {
    apply(call: DiskCall): void {
      const { kind, file } = call
      if (kind === 'create' || kind === 'unlink' || kind === 'rename') unsyncedNames.push(call)
      else if (kind === 'sync-folder') {
        for (const each of unsyncedNames) applyName(syncedNames, each)
        unsyncedNames = []
      } else if (kind === 'sync') {
        const { synced, unsynced } = fileOf(file)
        for (const each of unsynced) applyBytes(synced, each)
        fileOf(file).unsynced = []
      } else fileOf(file).unsynced.push(call)
    },
    /** What is found after the power came back: names and contents. */
    lose(loss: Loss, random: Random): Map<string, Buffer> {
      const names = new Map(syncedNames)
      const share = random.fraction()
      for (const call of unsyncedNames)
        if (loss === 'everything' || (loss !== 'nothing' && random.fraction() < share)) applyName(names, call)
      return new Map(
        [...names].map(([name, number]) => [name, contentAfter(fileOf(number), loss, share, random)] as const),
      )
    },
  }
}

function contentAfter({ synced, unsynced }: DiskFile, loss: Loss, share: number, random: Random): Buffer {
  const found: Extent = { bytes: Buffer.from(synced.bytes), size: synced.size }
  const until = Math.floor(share * unsynced.length)
  for (const [at, call] of unsynced.entries())
    if (loss === 'everything') applyBytes(found, call)
    else if (loss === 'some writes' && random.fraction() < share) applyBytes(found, call)
    else if (loss === 'some sectors') applySectors(found, call, () => random.fraction() < share, random)
    else if (loss === 'up to a torn write' && at < until) applyBytes(found, call)
    else if (loss === 'up to a torn write' && at === until)
      applySectors(found, call, () => random.fraction() < 0.5, random)
  return found.bytes.subarray(0, found.size)
}

function applyName(names: Map<string, number>, { kind, file, bytes }: DiskCall): void {
  const [name = '', renamed = ''] = bytes.toString().split('\0')
  if (kind === 'create') names.set(name, file)
  else names.delete(name)
  if (kind === 'rename') names.set(renamed, file)
}

function applyBytes(extent: Extent, { kind, offset, bytes }: DiskCall): void {
  if (kind === 'truncate') {
    resize(extent, offset)
    return
  }
  if (offset + bytes.length > extent.size) resize(extent, offset + bytes.length)
  bytes.copy(extent.bytes, offset)
}

/** A write in pieces of 512 bytes, each of which arrives or does not; the file may have grown all the same. */
function applySectors(extent: Extent, call: DiskCall, arrives: () => boolean, random: Random): void {
  if (call.kind === 'truncate') {
    if (arrives()) applyBytes(extent, call)
    return
  }
  const end = call.offset + call.bytes.length
  for (let at = call.offset; at < end; ) {
    const next = Math.min(end, (Math.floor(at / SECTOR) + 1) * SECTOR)
    if (arrives())
      applyBytes(extent, { ...call, offset: at, bytes: call.bytes.subarray(at - call.offset, next - call.offset) })
    at = next
  }
  if (end > extent.size && random.fraction() < 0.5) resize(extent, end)
}

function resize(extent: Extent, size: number): void {
  if (size > extent.bytes.length) {
    const bytes = Buffer.alloc(Math.max(size, extent.bytes.length * 2))
    extent.bytes.copy(bytes, 0, 0, extent.size)
    extent.bytes = bytes
  }
  if (size < extent.size) extent.bytes.fill(0, size, extent.size)
  extent.size = size
}
