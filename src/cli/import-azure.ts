import { isObject, type Json, type JsonObject } from '../base/json.ts'
import { importCertificates } from './azure-certificates.ts'
import { type Kind, kinds } from './enrollment-documents.ts'
import { type Environment, notice, refused, typed, usage } from './environment.ts'
import { openReport, type Report } from './import-report.ts'
import { type ImportRun, type ImportSummary, runImport } from './import-run.ts'
import { openSource, type Problem, type Source, type SourceLine } from './import-source.ts'
import { onlyName } from './management.ts'
import { type Answering, type Columns, print } from './output.ts'
import { pathOf, type Rest } from './rest.ts'
import { type ManagementOptions, managementRest } from './services.ts'

interface AzureOptions extends ManagementOptions, Answering {
  readonly devices?: string
  readonly enrollments?: string
  readonly enrollmentGroups?: string
  readonly certificates?: readonly string[]
  readonly verified?: boolean
  readonly map?: readonly string[]
  readonly hubName?: string
  readonly dpsName?: string
  readonly mode: string
  readonly report: string
  readonly dryRun?: boolean
  readonly restart?: boolean
}

/** What was taken over of one file. */
type Part = Pick<ImportSummary, 'file' | 'kind' | 'lines' | 'succeeded' | 'failed'>

const columns: Columns = { File: 'file', Kind: 'kind', Lines: 'lines', Succeeded: 'succeeded', Failed: 'failed' }

/**
 * Takes over a hub and a provisioning service of Azure from what Azure's own tools write: certificates before the groups
 * that name them, devices last. The report is always written, also when nothing failed.
 */
export async function importAzure(options: AzureOptions, environment: Environment): Promise<void> {
  const { devices, enrollments, enrollmentGroups, certificates } = options
  if ([devices, enrollments, enrollmentGroups, certificates].every((each) => each === undefined))
    throw usage('Expected --devices, --enrollments, --enrollment-groups or --certificates, found none of them.')
  const steps = await preparedSteps(options, environment)
  const rest = await managementRest(options, environment)
  const report = await openReport(options.report, environment)
  const parts: Part[] = []
  try {
    for (const step of steps) parts.push(await step(rest, report))
  } finally {
    await report.end()
  }
  const { dryRun = false } = options
  await print(environment, options, parts, columns)
  const failed = parts.reduce((sum, part) => sum + part.failed, 0)
  if (failed === 0) notice(environment, `nothing failed; ${options.report} is empty`)
  else throw refused(`${failed} entries ${dryRun ? 'would fail' : 'failed'}; ${options.report} says why.`)
}

type Step = (rest: Rest, report: Report) => Promise<Part>

/** Every file is opened before anything is sent: a wrong name is no half take-over. */
async function preparedSteps(options: AzureOptions, environment: Environment): Promise<readonly Step[]> {
  const { mode, dryRun = false, restart = false } = options
  const hubs = readMap(options.map ?? [])
  const service = async (rest: Rest) => onlyName(rest, 'dps', options.dpsName)
  const open = async (file: string | undefined) =>
    file === undefined ? undefined : openSource({ file, format: 'json', columns: undefined }, environment)
  const run = (source: Source, kind: ImportRun['kind'], instance: (rest: Rest) => Promise<string>): Step => {
    return async (rest, report) => {
      // A service without any group has an empty list of them.
      if (source.total === 0) return { file: source.name, kind, lines: 0, succeeded: 0, failed: 0 }
      const label = source.name
      const where = { rest, report, source, label, instance: await instance(rest) }
      return runImport({ ...where, kind, mode, dryRun, restart }, environment)
    }
  }
  const enrolling = async (kind: Kind, file: string | undefined): Promise<Step[]> => {
    const source = await open(file)
    if (source === undefined) return []
    const path = async (rest: Rest) => pathOf('muster', 'provisioningServices', await service(rest))
    return [run(takenOver(source, kind, hubs), kinds[kind].path, path)]
  }
  const devices = await open(options.devices)
  const certificates: Step[] = (options.certificates ?? []).map((path) => async (rest, report) => {
    const how = { path, verified: options.verified ?? false, dryRun, service: await service(rest) }
    return importCertificates(rest, report, how, environment)
  })
  return [
    ...certificates,
    ...(await enrolling('group', options.enrollmentGroups)),
    ...(await enrolling('individual', options.enrollments)),
    ...(devices === undefined
      ? []
      : [
          run(devices, 'devices', async (rest) =>
            pathOf('muster', 'hubs', await onlyName(rest, 'hub', options.hubName)),
          ),
        ]),
  ]
}

/** `--map old.azure-devices.net=new.example`: what the hubs of enrollments are called here. */
function readMap(entries: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    entries.map((entry) => {
      const [from = '', to = '', ...more] = entry.split('=')
      if (from === '' || to === '' || more.length > 0)
        throw usage(`Expected --map OLD=NEW, two host names of hubs, found ${JSON.stringify(entry.slice(0, 200))}.`)
      return [from.toLowerCase(), to]
    }),
  )
}

/** Lists of enrollments, as `az iot dps enrollment list` writes them, made fit for another service. */
function takenOver(source: Source, kind: Kind, hubs: ReadonlyMap<string, string>): Source {
  const line = ({ text, problem }: SourceLine): SourceLine => {
    if (problem !== undefined || text.length === 0) return problem === undefined ? { text } : { text, problem }
    const document = parse(text)
    // What is no document is for the service to refuse, by line.
    if (document === undefined) return { text }
    const missing = missingKeys(document, kind)
    if (missing !== undefined) return { text: '', problem: missing }
    return { text: JSON.stringify(withHubs(document, hubs)) }
  }
  // Other names of hubs make another import of it.
  const mapping = hubs.size === 0 ? '' : JSON.stringify([...hubs])
  return {
    ...source,
    fingerprint: source.fingerprint && `${source.fingerprint}${mapping}`,
    lines: async function* () {
      for await (const lines of source.lines()) yield lines.map(line)
    },
  }
}

function parse(text: string | Buffer): JsonObject | undefined {
  try {
    const document: unknown = JSON.parse(text.toString())
    return isObject(document) ? (document as JsonObject) : undefined
  } catch {
    return undefined
  }
}

/** Lists show no symmetric keys. New ones would lock every device out that has the old ones. */
function missingKeys(document: JsonObject, kind: Kind): Problem | undefined {
  const { attestation } = document
  if (!isObject(attestation) || String(attestation['type']).toLowerCase() !== 'symmetrickey') return undefined
  const keys = attestation['symmetricKey']
  if (isObject(keys) && typeof keys['primaryKey'] === 'string' && keys['primaryKey'] !== '') return undefined
  const { command, id: member } = kinds[kind]
  const id = String(document[member] ?? '').slice(0, 128)
  return {
    id,
    code: 'ArgumentInvalid',
    message: `Expected the symmetric keys, which lists do not show, found none. Ask for them one by one: az iot dps ${command} show --show-keys --enrollment-id ${typed(id)} …, and import these documents.`,
  }
}

function withHubs(document: JsonObject, hubs: ReadonlyMap<string, string>): JsonObject {
  const named = (host: Json): Json => (typeof host === 'string' ? (hubs.get(host.toLowerCase()) ?? host) : host)
  const { iotHubs, iotHubHostName } = document
  return {
    ...document,
    ...(Array.isArray(iotHubs) && { iotHubs: iotHubs.map(named) }),
    ...(iotHubHostName !== undefined && { iotHubHostName: named(iotHubHostName) }),
  }
}
