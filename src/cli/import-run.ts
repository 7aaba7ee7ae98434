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
  const problems: Located[] = []
  let state = begun
  try {
    const sent = await sendAll(run, path, begun.next, problems, (answered) => {
      if (answered.next > state.next) state = answered
      progress.show(state.next, state.failed + problems.length)
    })
    state = await finish(rest, path, sent ?? state, progress)
  } catch (error) {
    throw goOn(error, run, state)
  } finally {
    progress.end()
  }
  const failures = await writeFailures(run, path, problems)
  // Last, so that a run that ends before goes on here, with the whole report.
  await rest({ method: 'DELETE', path })
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

interface Located extends Problem {
  readonly line: number
}

/** Sends what comes after line `from`, a few requests at a time. Answers with the last state. */
async function sendAll(
  run: ImportRun,
  path: string,
  from: number,
  problems: Located[],
  answered: (state: State) => void,
): Promise<State | undefined> {
  const under = new Set<Promise<void>>()
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {}) // it is raced below, and may fail before
  let last: State | undefined
  for await (const batch of batches(run.source.lines(), from, problems)) {
    const sent = run
      .rest({ method: 'POST', path: `${path}/lines?from=${batch.from}`, lines: batch.body })
      .then(({ body }) => {
        const state = stateOf(body)
        if (last === undefined || state.next > last.next) last = state
        answered(state)
      })
    const settled = sent.catch(failed.reject).finally(() => under.delete(settled))
    under.add(settled)
    if (under.size >= limits.cliImportsAtOnce) await Promise.race([...under, failed.promise])
  }
  await Promise.race([Promise.all(under), failed.promise])
  return last
}

interface Batch {
  /** Lines before the first. */
  readonly from: number
  readonly count: number
  readonly body: Buffer
}

/** The lines after line `skip`, put together to requests. What cannot be sent goes to `problems`, all of the file's. */
async function* batches(
  lines: AsyncIterable<readonly SourceLine[]>,
  skip: number,
  problems: Located[],
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
  for await (const some of lines)
    for (const { text, problem } of some) {
      if (problem !== undefined) addProblem(problems, { line: at + 1, ...problem })
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

function addProblem(problems: Located[], problem: Located): void {
  problems.push(problem)
  if (problems.length <= limits.cliImportProblems) return
  const [first] = problems
  throw refused(
    `Expected lines that can be read, found ${problems.length} that cannot, the first in line ${first?.line}: ${first?.message}`,
  )
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
  const problems: Located[] = []
  const counts = { succeeded: 0, undecided: 0, failed: 0 }
  const query = new URLSearchParams({ kind, mode })
  const fail = async ({ line, id, code, message }: Located): Promise<void> => {
    counts.failed++
    await run.report.add({ line, id, errorCode: code, errorStatus: message }, run.label)
  }
  for await (const { from, count, body } of batches(source.lines(), 0, problems)) {
    const path = `${run.instance}/importChecks?${query}&from=${from}`
    const answer = new Fields((await rest({ method: 'POST', path, lines: body })).body, 'answer')
    counts.succeeded += answer.required('succeeded', answer.number('succeeded'))
    counts.undecided += answer.required('later', answer.number('later'))
    const found = [...problems.splice(0), ...failuresOf(answer)].sort((a, b) => a.line - b.line)
    for (const each of found) await fail(each)
    progress.show(from + count, counts.failed)
  }
  for (const each of problems) await fail(each)
  progress.end()
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
