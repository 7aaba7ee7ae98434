import { type Clock, systemClock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import type { Environment } from './environment.ts'

/** How far a long command is, on standard error: a bar for a person at a terminal, now and then a line for a file. */
export interface Progress {
  show(done: number, failed: number): void
  end(): void
}

const WIDTH = 30

/** @param begin lines that were done before; @param total undefined: not known */
export function startProgress(
  environment: Environment,
  { begin, total, noun }: { readonly begin: number; readonly total: number | undefined; readonly noun: string },
): Progress {
  const { stderr, verbosity } = environment
  const clock: Clock = environment.clock ?? systemClock
  const startedAt = clock.now()
  const quiet = verbosity?.level === 'errors'
  const bar = stderr.isTTY === true
  let shownAt = startedAt
  let written = false

  const write = (done: number, failed: number): void => {
    const seconds = Math.max(clock.now() - startedAt, 1) / 1000
    const rate = `${Math.round((done - begin) / seconds).toLocaleString('en')}/s`
    const share = total === undefined || total === 0 ? undefined : Math.min(done / total, 1)
    const counts = `${done.toLocaleString('en')} ${noun}, ${rate}${failed > 0 ? `, ${failed.toLocaleString('en')} failed` : ''}`
    const percent = share === undefined ? '' : `${Math.floor(share * 100)} %  `
    const filled = Math.round((share ?? 0) * WIDTH)
    const picture = share === undefined ? '' : `[${'#'.repeat(filled)}${'-'.repeat(WIDTH - filled)}] `
    stderr.write(bar ? `\r${picture}${percent}${counts}\u001b[K` : `muster: ${percent}${counts}\n`)
    written = true
  }

  return {
    show(done, failed) {
      if (quiet || clock.now() - shownAt < (bar ? limits.cliProgressMs : limits.cliProgressPlainMs)) return
      shownAt = clock.now()
      write(done, failed)
    },
    end() {
      if (bar && written) stderr.write('\r\u001b[K')
    },
  }
}
