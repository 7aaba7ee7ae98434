import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import { limits } from '../base/limits.ts'
import { type Environment, notice, refused } from './environment.ts'
import { absolute } from './ready-file.ts'

/** One line of the report: why a line of the file was not taken. */
export interface Failure {
  /** From 1. */
  readonly line: number
  readonly id: string
  /** A name of the services' error table, as in `importErrors.log` (hub-service.md 3.4). */
  readonly errorCode: string
  readonly errorStatus: string
}

/** Where failures go: into a file of JSON lines, one for each, or the first of them to standard error. */
export interface Report {
  add(failure: Failure, source?: string): Promise<void>
  /** Answers with the file, if there is one, and how many failures it holds. */
  end(): Promise<{ readonly file: string | undefined; readonly failures: number }>
}

/** @param file undefined: a few are shown */
export async function openReport(file: string | undefined, environment: Environment): Promise<Report> {
  return file === undefined ? shownReport(environment) : fileReport(file, environment)
}

async function fileReport(file: string, { cwd }: Environment): Promise<Report> {
  const stream = createWriteStream(absolute(cwd, file), { mode: 0o600 })
  const failed = (cause: NodeJS.ErrnoException): never => {
    throw refused(`Expected to write the report ${file}, found ${cause.code ?? cause.message}.`, cause)
  }
  await new Promise<void>((resolve, reject) => stream.once('open', () => resolve()).once('error', reject)).catch(failed)
  let failures = 0
  return {
    async add(failure, source) {
      failures++
      const line = `${JSON.stringify({ ...(source !== undefined && { source }), ...failure })}\n`
      if (!stream.write(line))
        await new Promise<void>((resolve) => stream.once('drain', resolve).once('error', resolve))
    },
    async end() {
      stream.end()
      await finished(stream).catch(failed)
      return { file, failures }
    },
  }
}

function shownReport(environment: Environment): Report {
  let failures = 0
  return {
    async add({ line, id, errorCode, errorStatus }) {
      failures++
      // Names and texts of a stranger's file: none of them may steer a terminal.
      const text = `line ${line}${id === '' ? '' : ` (${id})`}: ${errorCode}: ${errorStatus}`
      if (failures <= limits.cliImportShown) notice(environment, text.replace(/[\p{Cc}\p{Cf}]/gu, '·'))
    },
    async end() {
      if (failures > limits.cliImportShown)
        notice(environment, `… and ${failures - limits.cliImportShown} more; --report FILE writes all of them`)
      return { file: undefined, failures }
    },
  }
}
