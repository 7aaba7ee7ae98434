import { type Kind, kinds } from './enrollment-documents.ts'
import { type Environment, refused } from './environment.ts'
import { deviceColumns, enrollmentColumns } from './import-columns.ts'
import type { CsvColumns } from './import-csv.ts'
import { openReport } from './import-report.ts'
import { type ImportRun, runImport } from './import-run.ts'
import { openSource } from './import-source.ts'
import { onlyName } from './management.ts'
import { type Answering, type Columns, print } from './output.ts'
import { pathOf } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

export interface ImportOptions extends ManagementOptions, Answering {
  readonly file: string
  readonly format?: 'csv' | 'json'
  readonly mode: string
  readonly report?: string
  readonly dryRun?: boolean
  readonly restart?: boolean
}

export const importDevices = (
  options: ImportOptions & { readonly hubName?: string },
  environment: Environment,
): Promise<void> =>
  importFile(options, environment, {
    kind: 'devices',
    columns: deviceColumns,
    instance: async (rest) => pathOf('muster', 'hubs', await onlyName(rest, 'hub', options.hubName)),
  })

export const importEnrollments = (
  kind: Kind,
  options: ImportOptions & { readonly dpsName?: string },
  environment: Environment,
): Promise<void> =>
  importFile(options, environment, {
    kind: kinds[kind].path,
    columns: enrollmentColumns(kind),
    instance: async (rest) => pathOf('muster', 'provisioningServices', await onlyName(rest, 'dps', options.dpsName)),
  })

interface What {
  readonly kind: ImportRun['kind']
  readonly columns: CsvColumns
  instance(rest: ImportRun['rest']): Promise<string>
}

const columns: Columns = {
  File: 'file',
  Lines: 'lines',
  Succeeded: 'succeeded',
  Failed: 'failed',
  Seconds: 'seconds',
  Report: 'report',
}

async function importFile(options: ImportOptions, environment: Environment, what: What): Promise<void> {
  const { file, format, mode, dryRun = false, restart = false } = options
  const source = await openSource({ file, format, columns: what.columns }, environment)
  const rest = await managementRest(options, environment)
  const instance = await what.instance(rest)
  const report = await openReport(options.report, environment)
  const run = { rest, instance, kind: what.kind, mode, source, report, dryRun, restart }
  const summary = await runImport(run, environment).finally(() => report.end())
  const shown = {
    ...summary,
    ...(options.report !== undefined && { report: options.report }),
    ...(dryRun && { dryRun }),
  }
  await print(environment, options, shown, columns)
  if (summary.failed > 0)
    throw refused(
      `${summary.failed} of ${summary.lines} lines ${dryRun ? 'would fail' : 'failed'}${options.report === undefined ? '' : `; ${options.report} says why`}.`,
    )
}
