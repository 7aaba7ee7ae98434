import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../support/folders.ts'

const program = new URL('power-loss-full-disk.ts', import.meta.url).pathname

const hasPrlimit = (() => {
  try {
    execFileSync('prlimit', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()
if (!hasPrlimit) console.warn('full disk: skipped, it needs prlimit (Debian: util-linux).')

// A limit on the size of files stands for the full disk: it needs no rights and hits the same calls.
for (const kind of ['in-thread', 'writer-thread'])
  test.runIf(hasPrlimit)(
    `${kind}: a full disk refuses commits with 503001 and loses nothing; with room again all goes on`,
    async () => {
      const file = join(temporaryFolder(), 'store.db')
      const child = spawn('sh', ['-c', 'ulimit -S -f 2000; exec "$0" "$@"', process.execPath, program, file, kind], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      const ended = once(child, 'exit')
      const lines: string[] = []
      for await (const line of createInterface(child.stdout)) {
        lines.push(line)
        if (lines.length !== 2) continue
        execFileSync('prlimit', ['--pid', String(child.pid), '--fsize=unlimited'])
        child.stdin.end('go\n')
      }
      expect(lines).toEqual([expect.stringMatching(/^refused 503001( 503001)?$/), 'kept true', 'room again true'])
      expect((await ended)[0]).toBe(0)
    },
  )
