import { createHash } from 'node:crypto'
import { codes } from '../base/errors.ts'
import { Fields } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { systemRandom } from '../base/random.ts'
import { CommandError, type Environment, notice, refused, usage } from './environment.ts'
import { type Progress, startProgress } from './import-progress.ts'
import type { Report } from './import-report.ts'
import type { Problem, Source, SourceLine } from './import-source.ts'
import { pathOf, type Rest } from './rest.ts'

/** Where an import goes, and how. */
export interface ImportRun {
  readonly rest: Rest
  /** Of the instance in the management API: `/muster/hubs/NAME`. */
  readonly instance: string
  readonly kind: 'devices' | 'enrollments' | 'enrollmentGroups'
  /** For lines that name none of their own. */
  readonly mode: string
  readonly source: Source
  readonly report: Report
  /** Stands in each entry of a report that several files share. */
  readonly label?: string
  readonly dryRun?: boolean
  /** Forgets how far an earlier run of the same file came. */
  readonly restart?: boolean
}

export interface ImportSummary {
  readonly file: string
  readonly kind: string
  readonly mode: string
  readonly lines: number
  readonly succeeded: number
  readonly failed: number
  /** The first line that was sent now, where an earlier run had sent those before. */
  readonly resumedAtLine?: number
  /** Of a dry run: lines that need a device or parent which is not there yet, and may be in the file. */
  readonly undecided?: number
  readonly seconds: number
}

/** Imports one file, or tries it out. Every failure is in the report when it is done. */
export async function runImport(run: ImportRun, environment: Environment): Promise<ImportSummary> {
  const { source, kind, mode } = run
  const summary = run.dryRun === true ? await checkAll(run, environment) : await importAll(run, environment)
  if (summary.lines === 0)
    throw usage(`Expected documents to import in ${source.name}, found none. Nothing was imported.`)
  return { file: source.name, kind, mode, ...summary }
}

type Counts = Omit<ImportSummary, 'file' | 'kind' | 'mode'>

/** How far the service says the import is. */
interface State {
  readonly next: number
  readonly succeeded: number
  readonly failed: number
  readonly later: number
}

async function importAll(run: ImportRun, environment: Environment): Promise<Counts> {
  const { rest, source } = run
  const path = `${run.instance}${pathOf('imports', idOf(run))}`
  if (run.restart === true) await forget(rest, path)
  const body = { kind: run.kind, mode: run.mode }
  const begun = stateOf((await rest({ method: 'PUT', path, body })).body)
  if (begun.next > 0)
    notice(environment, `${source.name} was begun before: going on with line ${begun.next + 1} (--restart begins anew)`)
  const clock = startWatch(environment)
  const progress = startProgress(environment, { begin: begun.next, total: source.total, noun: 'lines' })
  const found: Found = { problems: [] }
  let state = begun
  try {
    await sendAll(run, path, begun.next, found, (answered) => {
      if (answered.next > state.next) state = answered
      progress.show(state.next, state.failed + found.problems.length)
    })
    state = await finish(rest, path, state, progress)
  } catch (error) {
    throw goOn(error, run, state)
  } finally {
    progress.end()
  }
  const failures = await writeFailures(run, path, found.problems)
  await run.report.flush()
  // Last, so that a run that ends before goes on here, with the whole report.
  await rest({ method: 'DELETE', path })
  if (found.broken !== undefined) throw brokenOff(found.broken, state.succeeded, failures)
  return {
    lines: state.succeeded + failures,
    succeeded: state.succeeded,
    failed: failures,
    ...(begun.next > 0 && { resumedAtLine: begun.next + 1 }),
    seconds: clock(),
  }
}

/** The same content, sent the same way, is the same import. */
function idOf({ source, kind, mode }: ImportRun): string {
  if (source.fingerprint === undefined) return systemRandom.uuid()
  const parts = [source.fingerprint, source.format, kind, mode.toLowerCase()]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

const forget = (rest: Rest, path: string): Promise<unknown> =>
  rest({ method: 'DELETE', path }).catch((error: unknown) => {
    if (!(error instanceof CommandError && error.exitCode === 3)) throw error
  })

function goOn(error: unknown, { source }: ImportRun, { next }: State): unknown {
  if (!(error instanceof CommandError)) return error
  const advice =
    source.fingerprint === undefined
      ? 'Standard input cannot be taken up again: import a file instead.'
      : 'Run the same command again: it goes on from there.'
  return new CommandError(error.exitCode, `${error.message} ${next} lines are done. ${advice}`, { cause: error })
}

/** The file itself came to an end that is none: mended, it is another file. */
const brokenOff = ({ exitCode, message, cause }: CommandError, succeeded: number, failures: number): CommandError =>
  new CommandError(
    exitCode,
    `${message} What comes before was imported: ${succeeded} lines, and ${failures} failed. Mend the file and import it again.`,
    { cause },
  )

interface Located extends Problem {
  readonly line: number
}

/** What reading the file brought up, beside its lines. */
interface Found {
  readonly problems: Located[]
  /** Why it could not be read to its end. */
  broken?: CommandError
}

/** Sends what comes after line `from`, a few requests at a time. */
async function sendAll(
  { rest, source }: ImportRun,
  path: string,
  from: number,
  found: Found,
  answered: (state: State) => void,
): Promise<void> {
  const under = new Set<Promise<void>>()
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {}) // it is raced below, and may fail before
  for await (const batch of batches(source.lines(), from, found)) {
    const sent = rest({ method: 'POST', path: `${path}/lines?from=${batch.from}`, lines: batch.body })
    const settled = sent
      .then(({ body }) => answered(stateOf(body)))
      .catch(failed.reject)
      .finally(() => under.delete(settled))
    under.add(settled)
    if (under.size >= limits.cliImportsAtOnce) await Promise.race([...under, failed.promise])
  }
  await Promise.race([Promise.all(under), failed.promise])
}

interface Batch {
  /** Lines before the first. */
  readonly from: number
  readonly count: number
  readonly body: Buffer
}

/** The lines after line `skip`, put together to requests. What cannot be sent is told in `found`, of the whole file. */
async function* batches(
  lines: AsyncIterable<readonly SourceLine[]>,
  skip: number,
  found: Found,
): AsyncGenerator<Batch> {
  let at = 0
  let parts: Buffer[] = []
  let bytes = 0
  const take = (): Batch => {
    const batch = { from: at - parts.length, count: parts.length, body: Buffer.concat(parts) }
    parts = []
    bytes = 0
    return batch
  }
  for await (const some of readable(lines, found))
    for (const { text } of some) {
      if (at >= skip) {
        const part = Buffer.concat([Buffer.from(text as string), NEWLINE])
        if (
          parts.length === limits.importBatchLines ||
          (parts.length > 0 && bytes + part.length > limits.cliImportBatchBytes)
        )
          yield take()
        parts.push(part)
        bytes += part.length
      }
      at++
    }
  if (parts.length > 0) yield take()
}

const NEWLINE = Buffer.from('\n')

/** The lines, their problems noted, up to where the file cannot be read any more. */
async function* readable(
  lines: AsyncIterable<readonly SourceLine[]>,
  found: Found,
): AsyncGenerator<readonly SourceLine[]> {
  const { problems } = found
  let at = 0
  try {
    for await (const some of lines) {
      for (const { problem } of some) {
        at++
        if (problem !== undefined) problems.push({ line: at, ...problem })
      }
      yield some
      if (problems.length > limits.cliImportProblems)
        throw refused(`Expected lines that can be read, found ${problems.length} that cannot: ${problems[0]?.message}`)
    }
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    found.broken = error
  }
}

/** Lines that had to wait for others. */
async function finish(rest: Rest, path: string, sent: State, progress: Progress): Promise<State> {
  let state = sent
  while (state.later > 0) {
    state = stateOf((await rest({ method: 'POST', path: `${path}/finish` })).body)
    progress.show(state.next, state.failed)
  }
  return state
}

/** Ours and the service's, by line; those of lines that waited come last. */
async function writeFailures(run: ImportRun, path: string, problems: readonly Located[]): Promise<number> {
  let written = 0
  let ours = 0
  const write = async (line: number, id: string, errorCode: string, errorStatus: string): Promise<void> => {
    await run.report.add({ line, id, errorCode, errorStatus }, run.label)
    written++
  }
  const writeOurs = async (before: number): Promise<void> => {
    for (; ours < problems.length && problems[ours]!.line < before; ours++) {
      const { line, id, code, message } = problems[ours]!
      await write(line, id, code, message)
    }
  }
  for (let after: number | undefined = 0; after !== undefined; ) {
    const answer = new Fields(
      (await run.rest({ method: 'GET', path: `${path}/failures?after=${after}` })).body,
      'answer',
    )
    for (const { line, id, code, message } of failuresOf(answer)) {
      await writeOurs(line)
      await write(line, id, code, message)
    }
    after = answer.number('next')
  }
  await writeOurs(Number.POSITIVE_INFINITY)
  return written
}

async function checkAll(run: ImportRun, environment: Environment): Promise<Counts> {
  const { rest, source, kind, mode } = run
  const clock = startWatch(environment)
  const progress = startProgress(environment, { begin: 0, total: source.total, noun: 'lines' })
  const found: Found = { problems: [] }
  const counts = { succeeded: 0, undecided: 0, failed: 0 }
  const query = new URLSearchParams({ kind, mode })
  const fail = async (failures: readonly Located[]): Promise<void> => {
    for (const { line, id, code, message } of failures.toSorted((a, b) => a.line - b.line))
      await run.report.add({ line, id, errorCode: code, errorStatus: message }, run.label)
    counts.failed += failures.length
  }
  for await (const { from, count, body } of batches(source.lines(), 0, found)) {
    const path = `${run.instance}/importChecks?${query}&from=${from}`
    const answer = new Fields((await rest({ method: 'POST', path, lines: body })).body, 'answer')
    counts.succeeded += answer.required('succeeded', answer.number('succeeded'))
    counts.undecided += answer.required('later', answer.number('later'))
    await fail([...found.problems.splice(0), ...failuresOf(answer)])
    progress.show(from + count, counts.failed)
  }
  await fail(found.problems)
  progress.end()
  if (found.broken !== undefined) throw found.broken
  return { lines: counts.succeeded + counts.undecided + counts.failed, ...counts, seconds: clock() }
}

const startWatch = ({ clock }: Environment): (() => number) => {
  const startedAt = clock?.now() ?? performance.now()
  return () => Math.round((clock?.now() ?? performance.now()) - startedAt) / 1000
}

function failuresOf(answer: Fields): readonly Located[] {
  return (answer.array('failures') ?? []).map((each) => {
    const failure = new Fields(each, 'failure')
    const code = failure.required('code', failure.number('code'))
    return {
      line: failure.required('line', failure.number('line')),
      id: failure.string('id') ?? '',
      code: (codes as Readonly<Record<number, string>>)[code] ?? String(code),
      message: failure.string('message') ?? '',
    }
  })
}

function stateOf(body: unknown): State {
  const fields = new Fields(body, 'answer')
  const count = (name: keyof State): number => fields.required(name, fields.number(name))
  return { next: count('next'), succeeded: count('succeeded'), failed: count('failed'), later: count('later') }
}
