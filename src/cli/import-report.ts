import { limits } from '../base/limits.ts'
import { type Environment, notice } from './environment.ts'
import { openFileWriter } from './file-writer.ts'
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
  /** Nothing that was added is lost any more. */
  flush(): Promise<void>
  end(): Promise<void>
}

/** @param file undefined: a few are shown */
export async function openReport(file: string | undefined, environment: Environment): Promise<Report> {
  return file === undefined ? shownReport(environment) : fileReport(file, environment)
}

async function fileReport(file: string, { cwd }: Environment): Promise<Report> {
  const writer = await openFileWriter(absolute(cwd, file), 'the report')
  return {
    add: (failure, source) =>
      writer.write(`${JSON.stringify({ ...(source !== undefined && { source }), ...failure })}\n`),
    flush: () => writer.flush(),
    end: () => writer.end(),
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
    flush: async () => {},
    async end() {
      if (failures > limits.cliImportShown)
        notice(environment, `… and ${failures - limits.cliImportShown} more; --report FILE writes all of them`)
    },
  }
}
