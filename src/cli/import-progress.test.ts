import { expect, test } from 'vitest'
import { TestClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { Verbosity } from './environment.ts'
import { startProgress } from './import-progress.ts'

function watched({ isTTY = false, level = 'notices' as Verbosity, hasTotal = true } = {}) {
  const written: string[] = []
  const clock = new TestClock()
  const stderr = { write: (text: string) => written.push(text), isTTY }
  const environment = { stdout: stderr, stderr, env: {}, cwd: '/', clock, verbosity: { level } }
  return {
    written,
    clock,
    progress: startProgress(environment, { begin: 100, total: hasTotal ? 1_000 : undefined, noun: 'lines' }),
  }
}

test('a person sees a bar that moves, and it is gone at the end', () => {
  const { written, clock, progress } = watched({ isTTY: true })
  progress.show(200, 0)
  expect(written).toEqual([])
  clock.advance(limits.cliProgressMs)
  progress.show(500, 3)
  expect(written).toEqual([`\r[${'#'.repeat(15)}${'-'.repeat(15)}] 50 %  500 lines, 2,000/s, 3 failed\u001b[K`])
  progress.end()
  expect(written.at(-1)).toBe('\r\u001b[K')
})

test('a file gets a line now and then', () => {
  const { written, clock, progress } = watched()
  clock.advance(limits.cliProgressPlainMs)
  progress.show(600, 0)
  progress.show(700, 0)
  progress.end()
  expect(written).toEqual(['muster: 60 %  600 lines, 100/s\n'])
})

test('without a total there is no share; --only-show-errors is quiet', () => {
  const unknown = watched({ hasTotal: false, isTTY: true })
  unknown.clock.advance(1_000)
  unknown.progress.show(1_100, 0)
  expect(unknown.written).toEqual(['\r1,100 lines, 1,000/s\u001b[K'])
  const quiet = watched({ level: 'errors', isTTY: true })
  quiet.clock.advance(60_000)
  quiet.progress.show(900, 1)
  quiet.progress.end()
  expect(quiet.written).toEqual([])
})
