import { rename, rm } from 'node:fs/promises'
import { Fields } from '../base/json.ts'
import { type Kind, kinds } from './enrollment-documents.ts'
import { type Environment, notice, refused } from './environment.ts'
import { openFileWriter } from './file-writer.ts'
import { startProgress } from './import-progress.ts'
import { onlyName } from './management.ts'
import { absolute } from './ready-file.ts'
import { pathOf, type Rest } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

interface ExportOptions extends ManagementOptions {
  readonly file: string
  readonly keys?: boolean
}

export async function exportDevices(
  options: ExportOptions & { readonly hubName?: string },
  environment: Environment,
): Promise<void> {
  const rest = await managementRest(options, environment)
  const path = pathOf('muster', 'hubs', await onlyName(rest, 'hub', options.hubName), 'exports', 'devices')
  await exportTo(rest, path, options, environment)
}

export async function exportEnrollments(
  kind: Kind,
  options: ExportOptions & { readonly dpsName?: string },
  environment: Environment,
): Promise<void> {
  const rest = await managementRest(options, environment)
  const service = await onlyName(rest, 'dps', options.dpsName)
  const path = pathOf('muster', 'provisioningServices', service, 'exports', kinds[kind].path)
  await exportTo(rest, path, options, environment)
}

/** JSON lines, page by page; a file is there when it is whole. */
async function exportTo(
  rest: Rest,
  path: string,
  { file, keys }: ExportOptions,
  environment: Environment,
): Promise<void> {
  const progress = startProgress(environment, { begin: 0, total: undefined, noun: 'lines' })
  const target = await openTarget(file, environment)
  let count = 0
  try {
    for (let after: string | undefined = ''; after !== undefined; ) {
      const query = new URLSearchParams({ after, keys: String(keys ?? false) })
      const { body } = await rest({ method: 'GET', path: `${path}?${query}` })
      const page = new Fields(body, 'answer')
      const lines = page.array('lines') ?? []
      await target.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
      count += lines.length
      progress.show(count, 0)
      after = page.string('next')
    }
    await target.end()
  } catch (error) {
    await target.abandon()
    throw error
  } finally {
    progress.end()
  }
  const without = keys === true ? '' : ' without symmetric keys (--keys writes them too)'
  notice(environment, `${count} lines written to ${file === '-' ? 'standard output' : file}${without}`)
}

interface Target {
  write(text: string): Promise<void>
  end(): Promise<void>
  abandon(): Promise<void>
}

async function openTarget(file: string, { stdout, cwd }: Environment): Promise<Target> {
  if (file === '-')
    return { write: async (text) => void stdout.write(text), end: async () => {}, abandon: async () => {} }
  const whole = absolute(cwd, file)
  const part = `${whole}.part`
  const writer = await openFileWriter(part, 'the export')
  return {
    write: writer.write,
    async end() {
      await writer.end()
      await rename(part, whole).catch((cause: NodeJS.ErrnoException) => {
        throw refused(`Expected to write ${whole}, found ${cause.code ?? cause.message}.`, cause)
      })
    },
    async abandon() {
      writer.abandon()
      await rm(part, { force: true })
    },
  }
}
